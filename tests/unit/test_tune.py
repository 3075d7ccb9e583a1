"""What measured speeds say, on made-up measurements; and one short run of the real thing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar

import pytest

from framelane import tuned
from framelane.bench import tuning
from framelane.bench.bare import upload_fps
from framelane.bench.choosing import Choice, Speeds, batch_sizes, beats, fastest, preset, rounds, thread_counts, winners
from framelane.errors import FramelaneError
from framelane.settings import load


def speeds(**measured):
    return [Speeds(int(name[1:]), tuple(fps)) for name, fps in measured.items()]


def test_a_clear_winner_is_taken_with_its_figures():
    choice = fastest(speeds(b4=(40, 41, 39), b8=(50, 51, 52), b16=(60, 61, 59)), 8)
    assert (choice.value, choice.changed) == (16, True)
    assert "60" in choice.why
    assert "51" in choice.why


def test_a_difference_within_the_noise_changes_nothing():
    assert fastest(speeds(b8=(50, 56, 45), b16=(57, 58, 55)), 8).value == 8, "the ranges overlap"
    assert fastest(speeds(b8=(50, 50, 50), b16=(52, 52, 52)), 8).value == 8, "less than five percent"
    assert fastest(speeds(b8=(50, 50), b16=(53, 53)), 8).value == 16


def test_of_equally_fast_values_the_cheapest_is_taken():
    found = speeds(b8=(50, 51, 50), b16=(70, 72, 71), b32=(71, 73, 72))
    assert fastest(found, 8).value == 16
    assert fastest(found[:1] + found[2:], 8).value == 32


def test_once_is_not_enough_to_say():
    assert not beats(Speeds(2, (90.0,)), Speeds(1, (50.0, 51.0)))
    choice = fastest(speeds(b8=(50,), b16=(90,)), 8)
    assert (choice.value, choice.changed) == (8, False)
    assert fastest([Speeds(16, (90, 91))], 8).changed is False, "the default itself was not measured"


def test_a_value_that_does_not_work_here_is_never_taken():
    found = [Speeds("auto", (50, 51)), Speeds("nvcodec", (), "no driver"), Speeds("cpu", (40, 41))]
    assert fastest(found, "auto").value == "auto"
    assert str(found[1]) == "nvcodec: -"


PRESETS = [Speeds("p5", (200, 200)), Speeds("p3", (450, 455)), Speeds("p2", (600, 602)), Speeds("p1", (700, 690))]


@pytest.mark.parametrize(
    ("default", "needed", "taken"),
    [
        ("p3", 300, "p3"),
        ("p3", 450, "p2"),
        ("p3", 2000, "p1"),
        ("p5", 100, "p5"),
        ("p5", 300, "p3"),
        ("p1", 2000, "p1"),
    ],
)
def test_a_preset_is_only_as_fast_as_the_pipeline_needs(default, needed, taken):
    choice = preset(PRESETS, default, needed)
    assert (choice.value, choice.changed) == (taken, taken != default)


def test_a_preset_that_is_no_faster_is_not_taken_though_more_speed_is_needed():
    same = [Speeds("p3", (450, 455)), Speeds("p2", (452, 449)), Speeds("p1", (454, 450))]
    assert not preset(same, "p3", 1000).changed
    assert not preset(PRESETS, "p4", 1000).changed
    noisy = [Speeds("p3", (300, 301)), Speeds("p2", (500, 505)), Speeds("p1", (502, 506))]
    assert preset(noisy, "p3", 2000).value == "p2", "of equally fast ones the best"
    assert not preset([Speeds("p3"), *PRESETS[2:]], "p3", 1000).changed


def test_every_round_measures_everything_and_begins_elsewhere():
    order = rounds([1, 2, 3], 4)
    assert [sorted(each) for each in order] == [[1, 2, 3]] * 4
    assert [each[0] for each in order] == [1, 2, 3, 1]
    assert rounds([], 3) == []


def test_what_is_tried_suits_the_machine():
    assert batch_sizes(4, 24) == [2, 4, 8]
    assert batch_sizes(16, 150) == [8, 16, 32]
    assert batch_sizes(1, 150) == [1, 2, 4]
    assert batch_sizes(32, 1000) == [16, 32, 64]
    assert thread_counts(0, 2) == [0, 1, 3]
    assert thread_counts(2, 2) == [2, 1, 3]
    assert thread_counts(0, 16) == [0, 1, 8]


def test_what_stays_the_default_is_taken_out_of_the_file():
    found = winners({"hardware.batch_size": Choice(16, True, ""), "hardware.threads": Choice(0, False, "")})
    assert found == {"hardware.batch_size": 16, "hardware.threads": None}


def test_a_dead_heat_of_two_distributions_is_rarely_called_a_win():
    """Six figures in any order: three of each kind. Only 1 order in 20 puts all of one kind above all of the other."""
    from itertools import combinations

    figures = [100, 110, 120, 130, 140, 150]
    wins = 0
    for picked in combinations(range(6), 3):
        one = tuple(figures[i] for i in picked)
        other = tuple(figures[i] for i in range(6) if i not in picked)
        wins += beats(Speeds("a", one), Speeds("b", other))
    assert wins == 1


class Simulated(tuning.Tuner):
    """A machine whose speeds are made up: what is asked for decides them, so that the order of measuring must not."""

    seen: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    answers: ClassVar[dict[str, bool]] = {}

    def prepare(self, length: Fraction) -> None:
        """No clip is needed."""

    def decode_threads(self, cores: int) -> None:
        """Not asked here."""

    def copies(self) -> None:
        """Not asked here."""

    def job(self, processor: str, overrides: Mapping[str, Any]) -> tuning.Made:
        self.seen.append((processor, dict(overrides)))
        rung = overrides.get("hardware.encoder", "auto")
        if not self.answers.get(overrides.get("hardware.decoder", "auto"), True) or not self.answers.get(rung, True):
            raise FramelaneError("It does not answer here.")
        self.encoder = "libx264 medium" if rung == "cpu" else "h264_nvenc p3 cq 20 (through pyav)"
        preset = {"p1": 900.0, "p2": 700.0, "p3": 300.0}.get(overrides.get("output.nvenc_preset", ""), 200.0)
        if processor == "bench_copy":
            encode = 60.0 if rung == "cpu" else preset
            return tuning.Made(min(encode, 500.0 if overrides.get("hardware.decoder") == "ffmpeg" else 100.0), {}, 150)
        fps = 100.0 + overrides.get("hardware.batch_size", 16) - 20 * (overrides.get("hardware.threads") == 1)
        self._took[processor] = 0.0
        return tuning.Made(fps, {"decode": 1.0, "process": 2.0}, 150)


@pytest.fixture
def simulated(tmp_path):
    def make(card: bool, **answers: bool) -> Simulated:
        Simulated.seen, Simulated.answers = [], answers
        loaded = load(profile="t4" if card else "cpu")
        return Simulated(tmp_path, loaded, 60, card, lambda _: None)

    return make


def test_a_card_is_tuned_through_its_rungs_and_one_that_refuses_is_passed_over(simulated):
    tuner = simulated(True, nvcodec=False)
    choices = tuner.run(Fraction(5))
    taken = {key: choice.value for key, choice in choices.items() if choice.changed}
    assert taken["hardware.batch_size"] == 32
    assert taken["hardware.decoder"] == "ffmpeg"
    assert "hardware.encoder" not in taken, "nothing is faster than what auto takes"
    assert taken["output.nvenc_preset"] == "p2", (
        "the rest of the pipeline reaches 500: p3 would hold it up, p1 is too much"
    )
    refused = [each for row in tuner.rows for each in row.speeds if each.refused]
    assert [each.value for each in refused] == ["nvcodec", "nvcodec"]
    assert "does not answer" in refused[0].refused
    assert tuning.table(tuner.rows).row_count == len(tuner.rows) + 2
    assert all(asked.get("hardware.batch_size") == 32 for _, asked in Simulated.seen[-20:]), "later with what was found"
    tried = [asked.get("hardware.decoder") for _, asked in Simulated.seen]
    assert tried.count("nvcodec") == 1, "what refused is not asked again"


def test_without_a_card_no_rung_is_tried_and_x264s_presets_are(simulated):
    tuner = simulated(False)
    choices = tuner.run(Fraction(1))
    assert set(choices) == {"hardware.batch_size", "hardware.threads", "engine.queue_batches", "output.preset"}
    assert not [asked for _, asked in Simulated.seen if "hardware.decoder" in asked]
    assert not choices["output.preset"].changed, "all were equally fast"


def test_a_card_without_an_encoder_has_x264s_presets_tuned(simulated, monkeypatch):
    monkeypatch.setattr(Simulated, "encodes_on_card", lambda self: False)
    assert "output.preset" in simulated(True).run(Fraction(5))


def test_on_a_slow_machine_groups_are_left_out_and_nothing_is_changed_by_them(simulated, monkeypatch):
    tuner = simulated(False)
    real = Simulated.job

    def slow(self, processor, overrides):
        made = real(self, processor, overrides)
        self._took[processor] = 1000.0
        return made

    monkeypatch.setattr(Simulated, "job", slow)
    choices = tuner.run(Fraction(1))
    assert choices["hardware.batch_size"].changed
    assert not choices["hardware.threads"].changed
    assert {asked for _, overrides in Simulated.seen for asked in overrides} == {"hardware.batch_size", "output.preset"}


def test_a_real_short_run_measures_the_real_pipeline_and_writes_what_it_found(tmp_path, monkeypatch):
    """The embedded models on three frames: the figures mean nothing, that they come from real jobs does."""
    path = tmp_path / "machine.yaml"
    monkeypatch.setenv("FRAMELANE_MACHINE", str(path))
    monkeypatch.setattr(tuning, "_OVERTIME", 1e9)
    monkeypatch.setattr(tuning, "_X264", ("medium", "superfast"))
    monkeypatch.setattr(tuning, "_QUEUES", (2,))
    monkeypatch.setattr(tuning, "thread_counts", lambda default, cores: [default])
    tuned.write({"engine.queue_batches": 7, "profile": "cpu"}, {"engine.queue_batches": "of an older tuning"})
    said: list[str] = []
    rows, written = tuning.tune(0.1, False, said.append, Fraction(1, 10))
    assert written == path
    found = {row.name: row for row in rows}
    assert set(found) >= {"hardware.batch_size", "hardware.threads", "engine.queue_batches", "output.preset"}
    assert [each.value for each in found["hardware.batch_size"].speeds] == [2, 4]
    for row in rows:
        assert all(len(each.fps) == 2 and min(each.fps) > 0 for each in row.speeds), row
    kept = tuned.read()
    assert not kept.ignored
    changed = {row.name: row.choice.value for row in rows if row.choice and row.choice.changed}
    assert kept.values == {**changed, "profile": "cpu"}, "the old tuning goes, the installer's profile stays"
    for key in changed:
        assert re.search(rf"^  {re.escape(key)}: .*# .* frames/s", path.read_text(), re.MULTILINE)
    assert load(machine=kept.layer).settings.profile == "cpu"
    assert tuning.table(rows).row_count == len(rows)


def test_copies_are_timed_on_any_device():
    assert upload_fps(False, "cpu", (64, 64), 5) > 0


@pytest.mark.gpu
def test_pinned_copies_are_timed_on_a_card():
    assert upload_fps(True, "cuda", frames=10) > 0
