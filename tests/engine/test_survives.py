"""Promise 1: nothing finished is lost, and what is resumed equals what was never interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import framelane
import support.processors
from framelane.errors import Cancelled, FramelaneError
from support import warm
from support.clips import STREET, WALKER, excerpt, needs_ffmpeg, synthetic
from support.read import frame_hashes

TESTS = Path(__file__).parents[1]
SETTINGS = ["engine.segment_seconds=1", "engine.min_free_mb=0", "gif.enabled=false", "output.preset=ultrafast"]


@pytest.fixture(scope="module", autouse=True)
def _warm():
    with warm.preloaded(warm.MODELS):
        yield


def command(processor, clip, output, events, *more):
    sets = [part for text in (*SETTINGS, *more) for part in ("--set", text)]
    return [
        sys.executable,
        "-m",
        "support.cli",
        "run",
        processor,
        str(clip),
        "-o",
        str(output),
        "--events",
        str(events),
        "--restart",  # what came to its end before it was killed is done again
        *sets,
    ]


def fork(*arguments):
    """For the short forms: a job that has its imports already."""
    return warm.Command(command(*arguments)[3:])


def start(*arguments):
    """A job in a new Python."""
    return subprocess.Popen(
        command(*arguments),
        cwd=TESTS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test runner in the background has SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def read_events(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def finished_frames(work):
    """What the records on disk say is finished, read without the code under test."""
    total = 0
    for index in range(1000):
        record = work / f"segment-{index:06d}" / "record.json"
        if not record.exists():
            break
        total += json.loads(record.read_text())["info"]["frames"]
    return total


def kill_and_resume(folder, processor, clip, kills, seed, longest, *more, begin=start):
    """Kill jobs at random moments until ``kills`` of them hit one running, and let the last come to its end.

    A job that comes to its end earlier is done again from nothing, so every result has been through at least one kill.

    Returns:
        Hashes of every result's frames, and for every start the frame it went on at.
    """
    rng = random.Random(seed)
    output, events = folder / "out.mp4", folder / "events.jsonl"
    work = folder / ".out.mp4.framelane"
    hits, starts, results = 0, [], []
    while True:
        before = finished_frames(work)
        job = begin(processor, clip, output, events, *more)
        # Every other time not before a segment is closed, however slow the machine: resumes need something to go on from.
        killed = hits < kills and _kill_while_running(job, events, rng.uniform(0, longest), segments=hits % 2)
        hits += killed
        job.wait(timeout=300)
        first = next((e for e in read_events(events) if e["event"] == "start"), None)
        if first:
            assert first["resumed_at_frame"] == before, "a resume did not go on where the finished segments end"
            starts.append(before)
        events.unlink(missing_ok=True)
        if killed:
            continue
        assert job.returncode == 0, job.stderr.read()
        results.append(frame_hashes(output))
        if hits >= kills:
            return results, starts


def _kill_while_running(job, events, moment, segments):
    def reached():
        found = [event["event"] for event in read_events(events)]
        return found and found.count("segment") >= segments  # imports are not what is to be interrupted

    while not reached() and job.poll() is None:
        time.sleep(0.02)
    time.sleep(moment)
    if job.poll() is not None:
        return False
    os.killpg(job.pid, signal.SIGKILL)
    return job.wait() == -signal.SIGKILL


@needs_ffmpeg
@pytest.mark.parametrize(
    ("kills", "seconds", "begin"), [(3, 6, fork), pytest.param(8, 12, start, marks=pytest.mark.slow)]
)
def test_kill_9_at_random_moments_gives_equal_frames(tmp_path, kills, seconds, begin):
    clip = synthetic(tmp_path / "in.mp4", "-c:v", "libx264", "-bf", "3", "-g", "30", "-c:a", "aac", seconds=seconds)
    whole = framelane.process_video(
        clip,
        "slow_averager",
        output=tmp_path / "whole.mp4",
        overrides=_as_dict(SETTINGS),
    )
    folder = tmp_path / "killed"
    folder.mkdir()
    results, starts = kill_and_resume(folder, "slow_averager", clip, kills, seed=1, longest=seconds / 10, begin=begin)
    assert all(result == frame_hashes(whole.output_path) for result in results)
    assert sum(before > 0 for before in starts) >= kills // 2, "too few resumes had anything to go on from"
    report = json.loads((folder / "out.report.json").read_text())
    assert report["metrics"] == whole.report["metrics"], "rows are whole and in order"
    assert not (folder / ".out.mp4.framelane").exists()


def _as_dict(settings):
    from framelane.settings import parse_assignment

    return dict(parse_assignment(text) for text in settings)


ATTENTION = ("attention.sample_fps=2", "attention.spatial_resolution=112", "attention.detect_every=3")
POSE = ("pose.every=3", "pose.closer=false", "pose.smoothing=one_euro")


def _kill(processor, tmp_path, clip, kills, longest, more, begin=start):
    whole = framelane.process_video(
        clip, processor, output=tmp_path / "whole.mp4", overrides=_as_dict((*SETTINGS, *more))
    )
    folder = tmp_path / "killed"
    folder.mkdir()
    results, starts = kill_and_resume(folder, processor, clip, kills, 2, longest, *more, begin=begin)
    assert all(result == frame_hashes(whole.output_path) for result in results)
    assert any(before > 0 for before in starts)
    report = json.loads((folder / "out.report.json").read_text())
    assert report["metrics"] == whole.report["metrics"]


SHORT = ("engine.segment_seconds=0.5",)
"""For the short forms: an excerpt has as many segments as a clip of twice its length."""


def test_attention_survives_kills(tmp_path):
    """The short form: two kills. `make prove` has twenty."""
    _kill("attention", tmp_path, excerpt(tmp_path / "in.mp4", seconds=2), 2, 2, (*SHORT, *ATTENTION), fork)


def test_pose_survives_kills(tmp_path):
    """The short form: two kills. Tables too must be those of an uninterrupted run."""
    _kill("pose", tmp_path, excerpt(tmp_path / "in.mp4"), 2, 1, (*SHORT, *POSE), fork)
    for suffix in (".coco.json", ".joints.csv"):
        whole, killed = (
            folder / f"{name}{suffix}" for folder, name in ((tmp_path, "whole"), (tmp_path / "killed", "out"))
        )
        assert whole.read_bytes() == killed.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("clip", [WALKER, STREET], ids=["walker", "street"])
def test_attention_survives_twenty_kills(tmp_path, clip):
    _kill("attention", tmp_path, clip, 20, 5, ATTENTION)


@pytest.mark.slow
def test_pose_survives_twenty_kills(tmp_path):
    _kill("pose", tmp_path, STREET, 20, 4, ("pose.every=2", "pose.smoothing=loess"))


@pytest.mark.parametrize("length", ["short", pytest.param("long", marks=pytest.mark.slow)])
def test_follow_survives_kills(tmp_path, length):
    """Two kills, in whichever pass they fall."""
    more = ("follow.detect_every=10", "hardware.batch_size=8")
    clip, longest, begin = WALKER, 6, start
    if length == "short":
        clip, longest, begin, more = excerpt(tmp_path / "in.mp4", seconds=2), 1.5, fork, (*SHORT, *more)
    whole = framelane.process_video(
        clip, "follow", output=tmp_path / "whole.mp4", overrides=_as_dict((*SETTINGS, *more))
    )
    folder = tmp_path / "killed"
    folder.mkdir()
    results, _ = kill_and_resume(folder, "follow", clip, 2, 3, longest, *more, begin=begin)
    assert all(result == frame_hashes(whole.output_path) for result in results)
    assert json.loads((folder / "out.report.json").read_text())["metrics"] == whole.report["metrics"]


def test_reprocessing_is_at_most_one_segment_plus_look_ahead(tmp_path):
    """Counted by the processor itself: frames given to infer beyond those of an uninterrupted run."""
    seen: list[int] = []

    class Counting(support.processors.Averager):
        name = "counting"

        def infer(self, batch):
            seen.extend(range(batch.first_index, batch.first_index + len(batch)))
            return super().infer(batch)

    stop = threading.Event()

    def on_event(event):
        if event["event"] == "segment" and event["index"] == 2:
            stop.set()

    arguments = {"output": tmp_path / "out.mp4", "overrides": _as_dict(SETTINGS)}
    with pytest.raises(Cancelled):
        framelane.process_video(STREET, "counting", cancel=stop, progress=on_event, **arguments)
    stopped_after = len(seen)
    starts = []
    result = framelane.process_video(STREET, "counting", progress=starts.append, **arguments)
    begin = next(e for e in starts if e["event"] == "start")["resumed_at_frame"]
    assert begin >= 3 * 10
    again = seen[stopped_after:]
    assert min(again) >= begin - support.processors.Averager.ahead - 8, "replayed more than was held back"
    assert result.report["metrics"]["frames"] == list(range(120))


@pytest.mark.parametrize(("how", "begin"), [(signal.SIGINT, start), (signal.SIGTERM, fork)])
def test_cancel_by_a_signal_exits_130_and_resumes(tmp_path, how, begin):
    output, events = tmp_path / "out.mp4", tmp_path / "events.jsonl"
    job = begin("slow_averager", WALKER, output, events)
    while not any(e["event"] == "segment" for e in read_events(events)):
        time.sleep(0.02)
        assert job.poll() is None
    os.kill(job.pid, how)
    assert job.wait(timeout=30) == 130
    message = job.stderr.read()
    assert "Traceback" not in message
    assert "kept" in message
    assert not output.exists()
    again = fork("slow_averager", WALKER, output, events)
    assert again.wait(timeout=120) == 0
    assert next(e for e in read_events(events) if e["event"] == "start")["resumed_at_frame"] >= 30


def test_changed_settings_start_anew_and_say_so(tmp_path):
    stop = threading.Event()
    arguments = {"output": tmp_path / "out.mp4"}
    with pytest.raises(Cancelled):
        framelane.process_video(
            STREET, "averager", cancel=stop, overrides=_as_dict(SETTINGS),
            progress=lambda e: stop.set() if e["event"] == "segment" else None, **arguments,
        )  # fmt: skip
    result = framelane.process_video(
        STREET, "averager", overrides=_as_dict((*SETTINGS, "output.quality=30")), **arguments
    )
    assert result.report["resumed_at_frame"] == 0
    assert any("output.quality" in w and "anew" in w for w in result.report["warnings"])


def test_two_processes_do_not_write_the_same_output(tmp_path):
    output = tmp_path / "out.mp4"
    job = fork("slow_averager", WALKER, output, tmp_path / "events.jsonl")
    while not read_events(tmp_path / "events.jsonl"):
        time.sleep(0.02)
    with pytest.raises(FramelaneError, match="Another framelane process"):
        framelane.process_video(WALKER, "averager", output=output, overrides=_as_dict(SETTINGS))
    assert job.wait(timeout=120) == 0


def test_a_damaged_segment_is_not_trusted(tmp_path):
    stop = threading.Event()
    arguments = {"output": tmp_path / "out.mp4", "overrides": _as_dict(SETTINGS)}
    with pytest.raises(Cancelled):
        framelane.process_video(
            STREET, "averager", cancel=stop, progress=lambda e: stop.set() if e.get("index") == 3 else None, **arguments
        )
    cut = tmp_path / ".out.mp4.framelane" / "segment-000002" / "video.nut"
    cut.write_bytes(cut.read_bytes()[:-100])
    result = framelane.process_video(STREET, "averager", **arguments)
    assert 0 < result.report["resumed_at_frame"] < 40
    whole = framelane.process_video(STREET, "averager", output=tmp_path / "whole.mp4", overrides=_as_dict(SETTINGS))
    assert frame_hashes(result.output_path) == frame_hashes(whole.output_path)
