"""Profiles: which one fits a GPU (a table, as values), what each sets, and how they meet the modes."""

from __future__ import annotations

import itertools

import pytest

from framelane.checks import memory_share
from framelane.profiles import GIB, RULES, Vram, features, profile_for
from framelane.sections.hardware import HardwareSettings
from framelane.settings import load, names, profile_limits, profile_values

SIZES = (2, 4, 6, 8, 15, 16, 24, 40, 80)
# One row a compute capability, one column a size in GB. Nothing else of the card's memory is in use but 0.3 GB.
EXPECTED = {
    (5, 2): "cpu legacy legacy legacy legacy legacy legacy legacy legacy",
    (6, 1): "cpu legacy legacy legacy legacy legacy legacy legacy legacy",
    (7, 0): "cpu memory_saver optimized optimized balanced balanced high_quality high_quality high_quality",
    (7, 5): "cpu memory_saver optimized optimized t4 t4 high_quality high_quality high_quality",
    (8, 0): "cpu memory_saver optimized optimized balanced balanced high_quality ultra_quality ultra_quality",
    (8, 9): "cpu memory_saver optimized optimized balanced balanced high_quality ultra_quality ultra_quality",
    (9, 0): "cpu memory_saver optimized optimized balanced balanced high_quality ultra_quality ultra_quality",
}


@pytest.mark.parametrize("capability", EXPECTED)
def test_the_profile_for_every_size_and_capability(capability):
    found = [profile_for(Vram(gb * GIB, gb * GIB - int(0.3 * GIB), capability))[0] for gb in SIZES]
    assert found == EXPECTED[capability].split()


def test_boundaries_are_exact():
    for rule, capability in itertools.product(RULES, EXPECTED):
        if not rule.fits(int(rule.free), capability):
            continue
        if profile_for(Vram(int(rule.free), int(rule.free), capability))[0] == rule.profile:
            assert profile_for(Vram(int(rule.free), int(rule.free) - 1, capability))[0] != rule.profile


def test_memory_that_others_hold_counts_and_is_said():
    name, why = profile_for(Vram(24 * GIB, 4 * GIB, (8, 6)))
    assert name == "memory_saver"
    assert "4.0 of 24.0 GB" in why
    assert "high_quality" in why
    assert "other programs" in why
    assert "other programs" not in profile_for(Vram(24 * GIB, 23 * GIB, (8, 6)))[1]


def test_old_cards_stay_in_fp32_and_turing_has_no_bf16():
    assert features((6, 1)).fp16 is False
    turing = features((7, 5))
    assert (turing.fp16, turing.bf16, turing.tf32, turing.flash_attention) == (True, False, False, False)
    assert all(vars(features((8, 0))).values())
    assert "FP32" in profile_for(Vram(8 * GIB, 8 * GIB, (6, 1)))[1]


def test_every_profile_that_can_be_chosen_ships_and_loads():
    assert {rule.profile for rule in RULES} | {"cpu"} == set(names("profiles"))
    for name in names("profiles"):
        set_by_it = set(profile_values(name))
        assert {
            "hardware.device",
            "hardware.batch_size",
            "hardware.mixed_precision",
            "hardware.working_height",
        } <= set_by_it
        assert {"attention.backbone", "attention.detector", "attention.detector_size"} <= set_by_it
        for mode in names("modes"):
            loaded = load(profile=name, mode=mode)
            limits = profile_limits(name)
            assert loaded.settings.attention.sample_fps <= limits.get("attention.sample_fps", 240)
            if loaded.settings.attention.backbone.startswith("mvit"):
                assert loaded.settings.attention.spatial_resolution % 32 == 0, "MViT takes multiples of 32"


@pytest.mark.parametrize("name", names("profiles"))
def test_precision_fits_the_capability_the_profile_is_chosen_for(name):
    chosen_for = {capability for capability, row in EXPECTED.items() if name in row.split()}
    if profile_values(name)["hardware.mixed_precision"]:
        assert all(features(capability).fp16 for capability in chosen_for)
    if name == "legacy":
        assert all(capability < (7, 0) for capability in chosen_for)


def test_memory_saver_is_what_it_promises():
    settings = load(profile="memory_saver").settings
    assert settings.hardware.gpu_memory_gb == 3.5
    assert settings.hardware.working_height == 480
    assert settings.hardware.batch_size == 2
    assert settings.hardware.empty_cache_every == 5
    assert settings.hardware.gradient_checkpointing is True
    assert settings.engine.segment_seconds == 10
    assert settings.attention.sample_fps == 6, "a mode that nobody picked must not take it away"


def test_a_mode_that_was_picked_is_stronger_up_to_the_limits(tmp_path):
    fast = load(profile="memory_saver", mode="fast")
    assert fast.settings.attention.sample_fps == 2
    assert not fast.limited
    quality = load(profile="memory_saver", mode="quality")
    assert quality.settings.attention.sample_fps == 6
    assert quality.origin["attention.sample_fps"] == "profile memory_saver (limit)"
    assert any("sample_fps is 6 instead of 8 (mode quality)" in sentence for sentence in quality.limited)
    own = load(profile="memory_saver", mode="quality", overrides={"attention.sample_fps": 9})
    assert own.settings.attention.sample_fps == 9, "what the user says himself is never cut"
    config = tmp_path / "mine.yaml"
    config.write_text("mode: quality\n")
    assert load(profile="memory_saver", config=config).limited == quality.limited


def test_the_absolute_memory_limit_and_the_share():
    assert memory_share(HardwareSettings(), 16 * GIB) == 0.9
    assert memory_share(HardwareSettings(gpu_memory_gb=3.5), 4 * GIB) == pytest.approx(0.875)
    assert memory_share(HardwareSettings(gpu_memory_gb=3.5), 16 * GIB) == pytest.approx(3.5 / 16)
    assert memory_share(HardwareSettings(gpu_memory_gb=8.0), 6 * GIB) == 0.9
