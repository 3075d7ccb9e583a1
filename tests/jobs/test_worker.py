"""The worker: it keeps its models, dies with its parent, and its own death costs one job at most."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import framelane
import support.processors  # noqa: F401
from framelane.jobs.executors import WorkerProcess
from framelane.jobs.spec import JobSpec
from framelane.jobs.worker import process
from framelane.models import kept
from framelane.obituary import cause_of_death
from framelane.processors import opening
from framelane.processors.attention import sources
from support.batches import FAST, TESTS, alive, cut, workplace  # noqa: F401
from support.clips import WALKER, needs_ffmpeg
from support.read import frame_hashes

pytestmark = needs_ffmpeg
NEVER = threading.Event()
SMALL = {**FAST, "attention.spatial_resolution": 112, "attention.sample_fps": 5}


def spec(clip, processor="averager", identity="0" * 64, **overrides):
    out = str(clip.parent)
    return JobSpec(clip.name, str(clip), processor, out, identity, profile="cpu", overrides={**FAST, **overrides})


def wait_for(condition, what, seconds=60):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, what
        time.sleep(0.02)
    return found


@pytest.fixture
def worker(workplace):  # noqa: F811
    made = WorkerProcess()
    yield made
    made.close()


def test_the_second_job_opens_no_model_again(workplace, worker):  # noqa: F811
    clips = [cut(workplace / "in" / "a.mp4", seconds=0.4), cut(workplace / "in" / "b.mp4", WALKER, seconds=0.4)]
    opened = []
    for index, clip in enumerate(clips):
        outcome = worker.process(spec(clip, "attention", f"{index}" * 64, **SMALL), lambda _: None, NEVER)
        assert outcome.state == "done", outcome.reason
        opened.append(outcome.opened)
    assert opened == [("backbone", "detector"), ()]


def test_kept_models_give_the_frames_of_fresh_ones(workplace, monkeypatch):  # noqa: F811
    """Real models, here in this process, so that what opens them can be counted."""
    clips = [cut(workplace / "in" / "a.mp4", seconds=0.4), cut(workplace / "in" / "b.mp4", WALKER, seconds=0.4)]
    loads = []
    for place, name in ((sources, "load_backbone"), (opening, "load_detector")):
        real = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, real=real, **k: (loads.append(real.__name__), real(*a, **k))[1])
    with kept.keeping():
        jobs = [spec(clip, "attention", f"{index}" * 64, **SMALL) for index, clip in enumerate(clips)]
        assert [process(job, lambda _: None, NEVER).state for job in jobs] == ["done", "done"]
        assert sorted(loads) == ["load_backbone", "load_detector"]
        # Other settings of the detector are another detector; the backbone stays.
        other = spec(clips[0], "attention", "2" * 64, **SMALL, **{"attention.classes": ["person"]})
        assert process(other, lambda _: None, NEVER).opened == ("detector",)
    fresh = framelane.process_video(
        clips[1], "attention", output=workplace / "fresh.mp4", profile="cpu", overrides={**FAST, **SMALL}
    )
    assert frame_hashes(jobs[1].local) == frame_hashes(fresh.output_path)
    assert loads.count("load_backbone") == 2, "outside of a worker nothing is kept"


def test_what_libraries_print_and_read_does_not_reach_the_protocol(workplace, worker):  # noqa: F811
    clip = cut(workplace / "in" / "a.mp4")
    events = []
    outcome = worker.process(spec(clip, "chatty"), events.append, NEVER)
    assert (outcome.state, outcome.reason) == ("done", "")
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "done"


def test_a_killed_worker_is_named_and_replaced(workplace, worker):  # noqa: F811
    clips = [cut(workplace / "in" / name, seconds=2) for name in ("always.mp4", "fine.mp4")]
    first = worker.process(spec(clips[0], "deadly"), lambda _: None, NEVER)
    assert first.state == "died"
    assert "SIGSEGV" in first.reason
    second = worker.process(spec(clips[1], "deadly", "1" * 64), lambda _: None, NEVER)
    assert second.state == "done", second.reason


def test_a_failed_job_says_why_and_the_worker_lives_on(workplace, worker):  # noqa: F811
    clip = cut(workplace / "in" / "a.mp4")
    worker.process(spec(clip, "copy"), lambda _: None, NEVER)
    pid = worker.pid
    assert "Memory ran out" in worker.process(spec(clip, "greedy", "1" * 64), lambda _: None, NEVER).reason
    clip.write_bytes(b"no clip")
    assert "cannot be opened as a video" in worker.process(spec(clip, "copy", "2" * 64), lambda _: None, NEVER).reason
    assert worker.pid == pid


def test_cancelled_jobs_go_on(workplace, worker):  # noqa: F811
    clip = cut(workplace / "in" / "a.mp4", seconds=2)
    cancel, events = threading.Event(), []

    def listen(event):
        events.append(event)
        if event["event"] == "segment":
            cancel.set()

    job = spec(clip, "slowest_averager")  # so that the message comes before the end on a busy machine, too
    assert worker.process(job, listen, cancel).state == "cancelled"
    again = []
    assert worker.process(job, again.append, NEVER).state == "done"
    assert again[0]["resumed_at_frame"] > 0
    whole = framelane.process_video(clip, "averager", output=workplace / "whole.mp4", profile="cpu", overrides=FAST)
    assert frame_hashes(job.local) == frame_hashes(whole.output_path)


PARENT = """
import json, sys, threading
from framelane.jobs import executors
from framelane.jobs.spec import JobSpec
executors.WORKER = "support.worker"
worker = executors.WorkerProcess()
def tell(event):
    print(json.dumps({"pid": worker.pid, **event}), flush=True)
for text in sys.argv[1:]:
    print(worker.process(JobSpec.from_json(json.loads(text)), tell, threading.Event()).state, flush=True)
print(json.dumps({"pid": worker.pid, "event": "idle"}), flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("moment", ["idle", "segment"])
def test_a_worker_ends_when_its_parent_is_killed(workplace, moment):  # noqa: F811
    """SIGKILL leaves the parent no moment to say anything: only the closed pipe tells the worker."""
    clip = cut(workplace / "in" / "a.mp4", seconds=3)
    job = spec(clip, "slow_averager" if moment == "segment" else "copy")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps(job.to_json())], stdout=subprocess.PIPE, text=True, cwd=TESTS
    )
    for line in parent.stdout:
        if line.startswith("{") and (said := json.loads(line))["event"] == moment:
            break
    else:
        raise AssertionError("the parent ended by itself")
    assert alive(said["pid"])
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not alive(said["pid"]), "the worker outlives its parent")
    if moment == "idle":
        return
    work = job.local.parent / f".{job.local.name}.framelane"
    finished = sorted(path.parent.name for path in work.glob("segment-??????/record.json"))
    assert finished, "a finished segment was lost"
    events = []
    fresh = WorkerProcess()
    try:
        assert fresh.process(job, events.append, NEVER).state == "done"
    finally:
        fresh.close()
    assert events[0]["resumed_at_frame"] > 0
    whole = framelane.process_video(
        clip, "slow_averager", output=workplace / "whole.mp4", profile="cpu", overrides=FAST
    )
    assert frame_hashes(job.local) == frame_hashes(whole.output_path)


def test_closing_ends_the_process(workplace):  # noqa: F811
    made = WorkerProcess()
    made.process(spec(cut(workplace / "in" / "a.mp4"), "copy"), lambda _: None, NEVER)
    pid = made.pid
    made.close()
    assert not alive(pid)
    assert made.pid is None


@pytest.mark.parametrize(
    ("code", "out_of_memory", "wanted"),
    [
        (-9, True, "ran out of memory and killed the worker process (SIGKILL)"),
        (-9, False, "SIGKILL; the system does that when memory runs out"),
        (-11, False, "SIGSEGV; a native library crashed"),
        (-6, False, "SIGABRT"),
        (-15, False, "SIGTERM"),
        (-64, False, "SIGRTMAX"),
        (1, False, "exit code 1 (last words)"),
    ],
)
def test_causes_of_death_are_named(code, out_of_memory, wanted):
    assert wanted in cause_of_death(code, "last words", out_of_memory=out_of_memory)


def test_a_spec_survives_json():
    job = JobSpec("ä\udcff.mp4", "/in/ä\udcff.mp4", "copy", "/out", "0" * 64, "fast", None, {"gif.enabled": False})
    assert JobSpec.from_json(json.loads(json.dumps(job.to_json()))) == job
    assert job.local.name == "out.mp4"
    assert isinstance(job.target, Path)
