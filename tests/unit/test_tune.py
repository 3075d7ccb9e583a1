"""What measured speeds say, on made-up measurements; and one short run of the real thing."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from framelane import tuned
from framelane.bench import tuning
from framelane.bench.choosing import Choice, Speeds, batch_sizes, beats, fastest, preset, rounds, thread_counts, winners
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
    assert tuning.upload_fps(False, "cpu", (64, 64), 5) > 0


@pytest.mark.gpu
def test_pinned_copies_are_timed_on_a_card():
    assert tuning.upload_fps(True, "cuda", frames=10) > 0
