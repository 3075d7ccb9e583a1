"""This machine's own overrides: a layer of the settings that holds on one machine only and can break no job."""

from __future__ import annotations

from datetime import date

import pytest
import yaml

from cli.test_bad_input import framelane
from framelane import run, tuned
from framelane.errors import FramelaneError, UsageError
from framelane.identity import asked_for, frames_settings, go_on_as_begun
from framelane.settings import OwnLayer, load

HERE = {"card": "Tesla T4", "driver": "580.82.07", "cores": 2, "ram_gb": 12.7, "framelane": "0.1.0"}
DAY = date(2026, 11, 21)


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "conf" / "machine.yaml"
    monkeypatch.setenv("FRAMELANE_MACHINE", str(path))
    return path


def test_what_is_written_is_read_back_with_its_figures_and_day(file):
    notes = {"hardware.batch_size": "41.2 frames/s, 8 gave 37.0 # and so on"}
    tuned.write({"hardware.batch_size": 16, "output.nvenc_preset": "p1"}, notes, profile="t4", here=HERE, day=DAY)
    found = tuned.read(HERE)
    assert found.values == {"hardware.batch_size": 16, "output.nvenc_preset": "p1"}
    assert (found.profile, found.when, found.ignored) == ("t4", "2026-11-21", "")
    assert found.notes == notes
    assert found.layer is not None
    assert found.layer.origin == "this machine (tuned 2026-11-21)"
    assert "hardware.batch_size=16" in found.sentence()
    assert [path.name for path in file.parent.iterdir()] == ["machine.yaml"]  # no part is left


def test_writing_again_keeps_what_is_there_and_its_figures(file):
    tuned.write({"hardware.batch_size": 16}, {"hardware.batch_size": "41.2 frames/s"}, profile="t4", here=HERE)
    tuned.write({"profile": "t4"}, here=HERE)
    found = tuned.read(HERE)
    assert found.values == {"hardware.batch_size": 16, "profile": "t4"}
    assert found.notes == {"hardware.batch_size": "41.2 frames/s"}
    assert found.profile == "t4"
    tuned.write({"hardware.batch_size": None}, here=HERE)
    assert tuned.read(HERE).values == {"profile": "t4"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("card", "L4"), ("card", None), ("driver", "550.54.14"), ("cores", 4), ("ram_gb", 25.0), ("framelane", "0.2.0")],
)
def test_another_machine_ignores_it_and_says_so_in_one_line(file, key, value):
    tuned.write({"hardware.batch_size": 16}, here=HERE)
    found = tuned.read({**HERE, key: value})
    assert found.values == {}
    assert found.layer is None
    assert key in found.sentence()
    assert "another machine" in found.sentence()
    assert "\n" not in found.sentence()
    tuned.write({"engine.queue_batches": 3}, here={**HERE, key: value})
    assert tuned.read({**HERE, key: value}).values == {"engine.queue_batches": 3}, (
        "nothing of the other machine's stays"
    )


def test_the_same_ram_told_a_little_differently_is_the_same_machine(file):
    tuned.write({"hardware.batch_size": 16}, here=HERE)
    assert tuned.read({**HERE, "ram_gb": 12.5}).values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("\x00", "not YAML"),
        ("- 1", "for which machine"),
        ("{machine: {}, settings: [1]}", "no mapping"),
        ("machine: 3", "for which machine"),
        ("", "for which machine"),
    ],
)
def test_a_broken_file_is_a_sentence(file, text, said):
    file.parent.mkdir()
    file.write_text(text)
    found = tuned.read(HERE)
    assert found.values == {}
    assert said in found.ignored
    assert "\n" not in found.ignored


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"faceswap.consent": "me"}, "may not stand there"),
        ({"attention": {"alpha": 0.1}}, "may not stand there"),
        ({"hardware.batch_size": 1000}, "not allowed"),
        ({"hardware.batch_size": "many"}, "not allowed"),
        ({"profile": "giant"}, "unknown"),
        ({"hardware": 3}, "may not stand there"),
        ({3: 4}, "may not stand there"),
    ],
)
def test_a_key_or_value_that_does_not_belong_there_is_a_sentence(file, settings, said):
    file.parent.mkdir()
    file.write_text(yaml.safe_dump({"machine": HERE, "settings": settings}))
    found = tuned.read(HERE)
    assert found.values == {}
    assert said in found.ignored


def test_an_unreadable_file_is_a_sentence(file):
    file.mkdir(parents=True)
    assert "cannot be read" in tuned.read(HERE).ignored
    file.rmdir()
    file.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in tuned.read(HERE).ignored


def test_nothing_that_is_not_tunable_is_ever_written(file):
    with pytest.raises(UsageError, match="may not stand there"):
        tuned.write({"attention.method": "rollout"}, here=HERE)
    with pytest.raises(UsageError, match="not allowed"):
        tuned.write({"hardware.batch_size": 0}, here=HERE)
    assert not file.exists()


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRAMELANE_MACHINE", str(tmp_path / "file" / "machine.yaml"))
    with pytest.raises(FramelaneError, match="FRAMELANE_MACHINE names another file"):
        tuned.write({"hardware.batch_size": 4}, here=HERE)


def test_an_empty_variable_means_none_and_else_it_lies_in_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_MACHINE", "")
    assert tuned.path() is None
    assert tuned.read(HERE).layer is None
    with pytest.raises(UsageError):
        tuned.write({"hardware.batch_size": 4}, here=HERE)
    monkeypatch.delenv("FRAMELANE_MACHINE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert tuned.path() == tmp_path / "framelane" / "machine.yaml"


def layer(profile="", **values):
    flat = {key.replace("__", "."): value for key, value in values.items()}
    return OwnLayer(flat, profile, "2026-11-21")


def test_it_stands_above_the_profile_and_below_a_picked_mode_and_the_users_own():
    own = layer(hardware__batch_size=6, output__nvenc_preset="p2", hardware__threads=3)
    plain = load(machine=own)
    assert (plain.settings.hardware.batch_size, plain.settings.output.nvenc_preset) == (6, "p2")
    assert plain.origin["hardware.batch_size"] == "this machine (tuned 2026-11-21)"
    assert not plain.is_own("hardware.batch_size")
    picked = load(machine=own, mode="quality")
    assert picked.settings.output.nvenc_preset == "p5"
    assert picked.settings.hardware.batch_size == 6
    given = load(machine=own, overrides={"hardware.batch_size": 2})
    assert given.settings.hardware.batch_size == 2
    assert given.is_own("hardware.batch_size")


def test_its_profile_is_weaker_than_a_named_one_and_stronger_than_the_detected_one():
    own = layer(profile="memory_saver", hardware__batch_size=3)
    assert load(machine=OwnLayer({"profile": "memory_saver"}), detected_profile="t4").settings.profile == "memory_saver"
    assert load(machine=own, detected_profile="t4").settings.hardware.batch_size == 16, "measured under another profile"
    assert load(machine=own, profile="memory_saver").settings.hardware.batch_size == 3
    named = load(machine=OwnLayer({"profile": "memory_saver"}), profile="t4")
    assert named.settings.profile == "t4"


def test_a_tuned_machine_goes_on_with_a_clip_begun_elsewhere():
    elsewhere = load()
    own = load(machine=layer(output__preset="veryfast", hardware__batch_size=7, output__nvenc_preset="p1"))
    assert asked_for("attention", own) == asked_for("attention", elsewhere)
    assert frames_settings("attention", own) != frames_settings("attention", elsewhere)
    begun = {"asked for": asked_for("attention", elsewhere), **frames_settings("attention", elsewhere)}
    taken, differences = go_on_as_begun(begun, "attention", own)
    assert taken.settings.output.preset == "medium"
    assert "output.preset=medium" in differences
    mine = load(machine=layer(hardware__batch_size=7), overrides={"output.preset": "veryfast"})
    assert asked_for("attention", mine) != asked_for("attention", elsewhere)


def test_a_run_on_this_machine_takes_it_and_a_broken_file_stops_nothing(file):
    tuned.write({"hardware.batch_size": 3})
    assert run.load_settings(None, None, None, {}).settings.hardware.batch_size == 3
    file.write_text("machine: {cores: 999}\nsettings: {hardware.batch_size: 5}\n")
    assert run.load_settings(None, None, None, {}).settings.hardware.batch_size == 4  # the profile's
    file.write_text(":::")
    assert run.load_settings(None, None, None, {}).settings.hardware.batch_size == 4


def test_print_settings_names_the_machine(file, tmp_path):
    tuned.write({"hardware.batch_size": 3}, day=DAY)
    shown = framelane("run", "attention", "any.mp4", "--print-settings")
    line = next(line for line in shown.stdout.splitlines() if line.startswith("hardware.batch_size"))
    assert line.split(maxsplit=2) == ["hardware.batch_size", "3", "this machine (tuned 2026-11-21)"]


def test_a_job_says_that_the_file_is_broken(tmp_path, monkeypatch):
    """Ignored without a word, somebody would believe that it holds."""
    import framelane
    from support.clips import STREET

    file = tmp_path / "machine.yaml"
    file.write_text("machine: [")
    monkeypatch.setenv("FRAMELANE_MACHINE", str(file))
    said = []
    with pytest.raises(framelane.errors.FramelaneError):
        framelane.process_video(
            STREET, "attention", output=tmp_path / "out.mp4", progress=said.append,
            overrides={"engine.min_free_mb": 10**9},
        )  # fmt: skip
    assert [e["message"] for e in said if e["event"] == "warning"] == [tuned.read().ignored]
