"""Plans: what fits into a session, told as a box and as data, and kept by every plan that can be made."""

from __future__ import annotations

import io
import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.test_bad_input import framelane
from framelane.engine.checkpoint import WorkFolder
from framelane.errors import FramelaneError, UsageError
from framelane.jobs import executors, planning
from framelane.jobs.admission import Admissions
from framelane.jobs.batch import process_folder
from framelane.jobs.discover import Discovery, Found
from framelane.jobs.figures import Figures
from framelane.jobs.plan import State, make_plan
from framelane.jobs.plan_view import plan_box, plan_data
from framelane.jobs.planning import Wanted, plan_clips
from framelane.jobs.session import Clock, parse_budget, session_clock, spoken
from framelane.jobs.spec import local_output
from framelane.jobs.standing import identify
from framelane.jobs.walk import Skipped
from framelane.settings import load
from support import processors  # noqa: F401  registers "copy"
from support.clips import STREET, WALKER
from support.traces import clip

LOADED = load(profile="cpu", overrides={"gif.enabled": False})
# A second of wall time for a second of a 30 fps clip, whatever its size; 5 s to start, 0.03 s a second to join.
COST = Figures(
    startup_s=5, open_s=0, frame_s=1 / 30, second_s=0, mpx_s=0, join_frame_s=0.001, spread=0.1, source="made up"
)


def found(name, seconds, **changes):
    return Found(
        Path(name), PurePosixPath(name), clip(name, frames=round(seconds * 30), **changes), PurePosixPath(name)
    )


def plan(*seconds, budget, elapsed=0.0, cost=COST, loaded=LOADED, **options):
    clips = [found(f"{index}.mp4", length) for index, length in enumerate(seconds)]
    return make_plan(Discovery(clips), loaded, "attention", budget_s=budget, elapsed_s=elapsed, figures=cost, **options)


def states(made):
    return [(job.state, job.segments_now) for job in made.jobs]


def test_what_fits_what_is_split_and_what_waits():
    made = plan(60, 600, 20, 600, budget=5 + 60 + 1.8 + 105)
    assert states(made) == [(State.FITS, 0), (State.PART, 10), (State.NEXT, 0), (State.NEXT, 0)]
    assert made.jobs[1].seconds_now == pytest.approx(100)
    assert made.admitted_s == pytest.approx(5 + 61.8 + 100)
    assert made.total_s == pytest.approx(5 + 1280 * 1.03)
    assert made.left_over_s == pytest.approx(made.total_s - made.admitted_s)


def test_a_job_that_does_not_fit_keeps_no_shorter_one_out():
    long_segments = load(profile="cpu", overrides={"gif.enabled": False, "engine.segment_seconds": 300.0})
    assert states(plan(600, 20, budget=100, loaded=long_segments)) == [(State.NEXT, 0), (State.FITS, 0)]


def test_time_that_is_gone_is_not_planned():
    assert states(plan(60, budget=100, elapsed=20)) == [(State.FITS, 0)]
    assert states(plan(60, budget=100, elapsed=50)) == [(State.PART, 4)]
    assert states(plan(60, budget=100, elapsed=99)) == [(State.NEXT, 0)]
    assert states(plan(60, budget=100, elapsed=1e6)) == [(State.NEXT, 0)]


def test_without_a_limit_everything_fits():
    made = plan(60, 0, 1e5, budget=None, elapsed=1e9)
    assert {job.state for job in made.jobs} == {State.FITS}
    assert made.room_s(1e12) == math.inf


def test_starting_counts_once_and_not_with_a_worker_that_runs():
    assert plan(10, 10, budget=1000).total_s - plan(10, 10, budget=1000, started=True).total_s == pytest.approx(5)


def test_a_clip_of_unknown_length_is_admitted_segment_by_segment():
    made = plan(0, 20, budget=100)
    assert states(made) == [(State.PART, 9), (State.NEXT, 0)]
    assert made.jobs[0].seconds is None
    assert made.admits(made.jobs[0], 30).segments == 7


def test_all_segments_but_not_the_sealing_is_a_part_too():
    slow_seal = replace(COST, join_frame_s=0.1)
    assert states(plan(60, budget=5 + 100, cost=slow_seal)) == [(State.PART, 6)]


def test_segments_that_an_earlier_session_made_are_not_paid_again():
    name = PurePosixPath("0.mp4")
    half = plan(600, budget=400, segments_done={name: 30})
    assert half.jobs[0].seconds == pytest.approx(300 + 18)
    assert states(half) == [(State.FITS, 0)]
    assert states(plan(600, budget=400)) == [(State.PART, 39)]
    assert plan(600, budget=400, segments_done={name: 60}).jobs[0].work_s == pytest.approx(0, abs=1e-6)


def test_what_the_ledger_knows_is_done():
    ledger = SimpleNamespace(finished=lambda identity: "record" if identity == "id 1.mp4" else None)
    made = plan(60, 6000, 60, budget=200, ledger=ledger, identify=lambda f, loaded: f"id {f.relative}")
    assert [job.state for job in made.jobs] == [State.FITS, State.DONE, State.FITS]
    assert made.admits(made.jobs[1], 0).state is State.DONE
    assert not made.admits(made.jobs[1], 0)


def test_settings_of_a_clips_own_have_their_own_cost():
    own = {
        PurePosixPath("1.mp4"): (
            load(profile="cpu", overrides={"hardware.working_height": 360}),
            replace(COST, frame_s=1),
        )
    }
    made = plan(10, 10, budget=None, own=own)
    assert made.jobs[0].work_s == pytest.approx(10)
    assert made.jobs[1].work_s == pytest.approx(300)
    assert (made.jobs[0].working_size, made.jobs[1].working_size) == (None, (640, 360))


def test_before_each_job_the_clock_is_asked_again():
    made = plan(60, 600, budget=200)
    first, second = made.jobs
    assert made.admits(first, 10).segments is None
    assert made.admits(second.found, 100).segments == 10
    assert made.admits(second.found.relative, 100, pace=2).segments == 5
    late = made.admits(first, 195)
    assert not late
    assert "not even one segment" in late.reason
    with pytest.raises(KeyError):
        made.admits(PurePosixPath("other.mp4"), 0)


LENGTHS = st.lists(st.floats(0, 7200), max_size=12)
COSTS = st.builds(
    Figures,
    startup_s=st.floats(0, 60), open_s=st.floats(0, 5), frame_s=st.floats(1e-6, 1), second_s=st.floats(0, 5),
    mpx_s=st.floats(0, 0.5), join_frame_s=st.floats(0, 0.01),
)  # fmt: skip


SEGMENTS = [
    load(profile="cpu", overrides={"gif.enabled": False, "engine.segment_seconds": s}) for s in (0.5, 7.3, 10.0, 120.0)
]


@settings(deadline=None)  # two cores are shared; no test here depends on the time it takes
@given(LENGTHS, COSTS, st.none() | st.floats(1, 1e5), st.floats(0, 1e5), st.sampled_from(SEGMENTS), st.booleans())
def test_every_plan_keeps_the_budget_the_order_and_the_clips(lengths, cost, budget, elapsed, loaded, started):
    arguments = {"budget": budget, "elapsed": elapsed, "cost": cost, "loaded": loaded, "started": started}
    made = plan(*lengths, **arguments)
    room = made.room_s(elapsed)
    assert made.admitted_s <= room + 1e-6
    assert [str(job.found.relative) for job in made.jobs] == [f"{index}.mp4" for index in range(len(lengths))]
    assert made == plan(*lengths, **arguments)
    assert made.left_over_s + made.admitted_s == pytest.approx(max(made.total_s, made.admitted_s))
    for job in made.jobs:
        if job.state is State.PART:
            assert job.segments_now >= 1
            assert not job.frames or job.segments_now <= job.segments
        elif job.state is State.NEXT:  # not even a segment fitted when its turn came, and least of all now
            assert job.segment_s > 0
            assert not made.admits(job, budget)


@settings(deadline=None)
@given(LENGTHS, COSTS, st.floats(1, 1e5))
def test_sessions_one_after_the_other_finish_everything(lengths, cost, budget):
    """What one session made, the next does not plan again; where a segment and a sealing fit, all gets done."""
    clips = [found(f"{index}.mp4", 1 + length) for index, length in enumerate(lengths)]
    done, segments = set(), {}
    a_segment = max((cost.work_s(c.clip, 300) for c in clips), default=0)
    a_seal = cost.open_s + max((cost.seal_s(c.clip, LOADED) for c in clips), default=0)
    enough = max(budget, 1 + cost.startup_s + a_segment + a_seal)
    ledger = SimpleNamespace(finished=lambda identity: identity if identity in done else None)
    while len(done) < len(clips):
        made = make_plan(
            Discovery(clips), LOADED, "attention", budget_s=enough, elapsed_s=0, figures=cost, ledger=ledger,
            identify=lambda f, loaded: str(f.relative), segments_done=segments,
        )  # fmt: skip
        before = len(done), sum(segments.values())
        for job in made.jobs:
            name = job.found.relative
            if job.state is State.FITS:
                done.add(str(name))
            elif job.state is State.PART:
                segments[name] = segments.get(name, 0) + job.segments_now
        assert (len(done), sum(segments.values())) > before


# -- time ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("80m", 4800), ("1h30m", 5400), ("90", 5400), ("1.5h", 5400), ("45s", 45), (" 2 H ", 7200), (15, 900),
     ("none", None), (None, None)],
)  # fmt: skip
def test_budgets(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "80x", "-5", "0", "0m", "1h30", "inf", "nan", "m80", "1,5h"])
def test_budgets_that_are_no_time_say_how_to_write_one(text):
    with pytest.raises(UsageError, match="80m, 1h30m or 90"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3599, "1 h 00 min"), (5400, "1 h 30 min")]
)
def test_spans(seconds, text):
    assert spoken(seconds) == text


def system(boot, init, *processes):
    """A machine that booted at ``boot``; ``processes`` are (command, start), this one first, its parents after it."""

    class Process:
        def __init__(self, pid=None, what=None):
            self.what = what or (("init", init) if pid == 1 else processes[0])

        def create_time(self):
            return self.what[1]

        def cmdline(self):
            return self.what[0].split()

        def parents(self):
            return [Process(what=what) for what in processes[1:]]

    return SimpleNamespace(boot_time=lambda: boot, Process=Process, Error=RuntimeError)


KERNEL = ("python -m ipykernel_launcher -f x.json", 700.0)
SHELL = ("framelane plan", 990.0)


@pytest.mark.parametrize(
    ("environment", "machine", "started", "since"),
    [
        ({"FRAMELANE_RUNTIME_START": "123.5"}, system(100, 200, SHELL, KERNEL), 123.5, "FRAMELANE_RUNTIME_START"),
        ({"COLAB_RELEASE_TAG": "r"}, system(100, 200, SHELL, KERNEL), 200, "the start of the runtime"),
        ({}, system(100, 200, SHELL, KERNEL), 700, "kernel"),
        ({}, system(100, 900, SHELL), 900, "the start of this machine"),
        ({}, system(950, 900, SHELL), 950, "the start of this machine"),
    ],
)
def test_the_session_begins_with_the_runtime_not_with_the_command(environment, machine, started, since):
    clock = session_clock(801, environment=environment, system=machine, now=1000.0)
    assert clock.started == started
    assert since in clock.since
    assert clock.elapsed(1000.0) == 1000 - started


@pytest.mark.parametrize(
    ("environment", "machine", "since"),
    [
        ({}, system(100, 200, SHELL), "this machine has run for 13 min"),
        (
            {"KAGGLE_KERNEL_RUN_TYPE": "i"},
            system(100, 200, SHELL),
            "the session has run for 13 min, longer than the budget",
        ),
        ({}, system(100, 200, SHELL, KERNEL), "the session has run for 5 min, longer"),
    ],
)
def test_what_has_outlived_the_budget_begins_with_the_command(environment, machine, since):
    clock = session_clock(300, environment=environment, system=machine, now=1000.0)
    assert (clock.started, clock.elapsed(1000.0)) == (1000, 0)
    assert clock.since.startswith("this command")
    assert since in clock.since
    assert session_clock(None, environment=environment, system=machine, now=1000.0).elapsed(1000.0) > 0


def test_what_the_launcher_says_holds_even_where_nothing_is_left():
    given = {"FRAMELANE_RUNTIME_START": "123.5", "COLAB_RELEASE_TAG": "r"}
    clock = session_clock(300, environment=given, system=system(100, 200, SHELL, KERNEL), now=1000.0)
    assert clock.elapsed(1000.0) == 876.5


def test_the_real_clock_of_this_machine_is_in_the_past():
    import psutil

    clock = session_clock(None, environment={})
    assert psutil.boot_time() <= clock.started + 1
    assert clock.elapsed() > 0
    assert Clock(1e12, "").elapsed() == 0
    with pytest.raises(UsageError, match="FRAMELANE_RUNTIME_START"):
        session_clock(None, environment={"FRAMELANE_RUNTIME_START": "noon"})


# -- the view --------------------------------------------------------------------------------------------------------------


def drawn(made, width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(plan_box(made))
    return console.export_text()


def test_the_box_and_the_data_say_it_all():
    clips = [found("a\n[red]b\udce9.mp4", 60), found("long.mp4", 6000, width=1080, height=1920), found("no.mp4", 0)]
    discovery = Discovery(clips, [Skipped(PurePosixPath("bad.mp4"), "It is empty.")], 3)
    loaded = load(profile="cpu", overrides={"gif.enabled": False, "hardware.working_height": 480})
    made = make_plan(
        discovery, loaded, "attention", budget_s=600, elapsed_s=60, figures=COST, since="the start of the runtime"
    )
    text = drawn(made, 130)
    for word in ("a\\n", "\\xe9", "1:40:00", "854x480", "480x854", "600", "9 min left of 10 min", "start of the runtime",
                 "bad.mp4", "It is empty.", "1 fits", "±10 %", "made up", "unknown"):  # fmt: skip
        assert word in text, word
    assert {len(line) for line in drawn(made, 80).splitlines()} == {80}
    data = json.loads(json.dumps(plan_data(made)))
    assert [job["state"] for job in data["jobs"]] == ["fits", "fits in part", "next time"]
    assert data["jobs"][1]["working_size"] == [480, 854]
    assert data["jobs"][1]["segments"] == 600
    assert data["jobs"][2]["seconds"] is None
    assert data["admitted_s"] <= data["budget_s"] - data["elapsed_s"]
    assert data["skipped"] == [{"clip": "bad.mp4", "reason": "It is empty."}]


# -- from a folder to its plan, with the real pipeline ---------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def folder(tmp_path):
    place = tmp_path / "clips"
    place.mkdir()
    shutil.copy(WALKER, place / "walker.mp4")
    shutil.copy(STREET, place / "street.mp4")
    return place


FAST = ("--set", "gif.enabled=false", "--set", "output.preset=ultrafast")


def test_the_command_measures_once_and_remembers(tmp_path, cache):
    place = folder(tmp_path)
    told = framelane("plan", "copy", place, *FAST, "--json", FRAMELANE_CACHE=str(cache))
    assert told.returncode == 0, told.stderr
    assert "measuring on the first seconds of street.mp4" in told.stderr
    first = json.loads(told.stdout)
    assert [job["clip"] for job in first["jobs"]] == ["street.mp4", "walker.mp4"]
    assert all(job["seconds"] > 0 for job in first["jobs"])
    again = framelane("plan", "copy", place, *FAST, "--budget", "none", FRAMELANE_CACHE=str(cache))
    assert "measuring" not in again.stderr
    assert "no limit" in again.stdout
    assert "remembered" in again.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "clips"]
    assert sorted(path.name for path in place.iterdir()) == ["street.mp4", "walker.mp4"]


def test_the_command_refuses_in_sentences(tmp_path, cache):
    for arguments, says in (
        (("copy", tmp_path / "clips"), "There is no folder and no clip"),
        (("copy", tmp_path), "There is no clip in"),
        (("copy", WALKER, "--budget", "soon"), "80m, 1h30m"),
        (("cop", WALKER), "copy"),
        (("copy", tmp_path, "--order", "biggest"), "There is no clip in"),
    ):
        told = framelane("plan", *arguments, FRAMELANE_CACHE=str(cache))
        assert told.returncode == 2, told.stderr
        assert says in told.stderr
        assert told.stdout == ""


def test_a_first_clip_that_breaks_keeps_no_other_from_being_planned(tmp_path, cache, monkeypatch):
    place = folder(tmp_path)
    real, tried = planning.measure, []

    def measure(path, *arguments, **options):
        tried.append(path.name)
        if path.name == "street.mp4":
            raise FramelaneError("It breaks.")
        return real(path, *arguments, **options)

    monkeypatch.setattr(planning, "measure", measure)
    wanted = Wanted(profile="cpu", overrides={"gif.enabled": False, "output.preset": "ultrafast"})
    made = plan_clips(place, "copy", wanted=wanted, budget=None)
    assert tried == ["street.mp4", "walker.mp4"]
    assert len(made.jobs) == 2


def test_settings_beside_a_clip_are_its_own_and_wrong_ones_skip_it_alone(tmp_path, cache):
    place = folder(tmp_path)
    shutil.copy(WALKER, place / "wrong.mp4")
    (place / "walker.yaml").write_text("engine: {segment_seconds: 1}\nhardware: {working_height: 240}\n")
    (place / "wrong.yaml").write_text("engine: {segmnt_seconds: 1}\n")
    wanted = Wanted(profile="cpu", overrides={"gif.enabled": False, "output.preset": "ultrafast"})
    made = plan_clips(place, "copy", wanted=wanted, budget=None)
    street, walker = made.jobs
    assert (street.segments, walker.segments) == (2, 5)
    assert (street.working_size, walker.working_size) == (None, (426, 240))
    [skipped] = made.skipped
    assert "engine.segmnt_seconds" in skipped.reason
    assert "wrong.yaml" in skipped.reason
    given = Wanted(profile="cpu", overrides={"engine.segment_seconds": 2.0})
    assert given.loaded_for(walker.found).settings.engine.segment_seconds == 2  # the command line is stronger


def test_what_the_output_folder_has_is_not_planned_again(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(executors, "WORKER", "support.worker")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    place, out = folder(tmp_path), tmp_path / "out"
    wanted = Wanted(profile="cpu", overrides={"gif.enabled": False, "output.preset": "ultrafast"})
    process_folder(place, "copy", output=out, profile="cpu", overrides=wanted.overrides, include=["street*"])
    made = plan_clips(place, "copy", output=out, wanted=wanted, budget=None)
    assert [job.state for job in made.jobs] == [State.DONE, State.FITS]
    identity = identify("copy")(made.jobs[1].found, wanted.loaded())
    (WorkFolder(local_output(out, identity)).path / "segment-000000").mkdir(parents=True)
    (WorkFolder(local_output(out, identity)).path / "segment-000000" / "record.json").write_text("{}")
    again = plan_clips(place, "copy", output=out, wanted=wanted, budget=None)
    assert [job.segments_done for job in again.jobs] == [0, 1]
    changed = Wanted(profile="cpu", overrides={**wanted.overrides, "output.quality": 30})
    assert plan_clips(place, "copy", output=out, wanted=changed, budget=None).jobs[0].state is State.FITS


def test_a_running_job_stops_before_the_segment_that_would_not_close_in_time():
    made = plan(60, budget=200)
    asked = Admissions(made, Wanted())
    asked.clock, asked._offset = Clock(time.time() - 150, "a test"), 0.0
    [job] = made.jobs
    assert asked.goes_on(job.found, 1, took_s=45)
    assert not asked.goes_on(job.found, 1, took_s=55), "slower than planned: the plan does not bind it"
    assert asked.goes_on(job.found, job.segments, took_s=55), "nothing but sealing is left"
