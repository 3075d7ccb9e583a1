"""Batches on storage that fails: nothing is lost, and where it stays away a sentence says where the results are."""

from __future__ import annotations

import json
import shutil
import threading

import pytest

import framelane
import support.processors  # noqa: F401
from framelane.errors import Cancelled
from framelane.jobs.executors import LocalExecutor
from framelane.jobs.state import DONE_BEFORE
from support.batches import FAST, cut, workplace  # noqa: F401
from support.clips import WALKER, needs_ffmpeg
from support.drive import Drive, parts_in
from support.read import frame_hashes

pytestmark = needs_ffmpeg


def batch(place, drive, processor="averager", **more):
    executor = LocalExecutor(files=drive)
    return framelane.process_folder(
        place / "in",
        processor,
        output=place / "out",
        overrides=FAST,
        files=drive,
        executor=executor,
        **{"profile": "cpu", **more},
    )


def two_clips(place):
    clips = [cut(place / "in" / "a.mp4", seconds=1.5), cut(place / "in" / "sub" / "b.mp4", WALKER)]
    wanted = {}
    for clip in clips:
        made = framelane.process_video(
            clip, "averager", output=place / "whole" / clip.name, profile="cpu", overrides=FAST
        )
        wanted[str(clip.relative_to(place / "in"))] = frame_hashes(made.output_path)
    return wanted


def check(place, wanted):
    assert {name: frame_hashes(place / "out" / name) for name in wanted} == wanted
    assert not parts_in(place / "out")
    assert not list((place / "out" / ".framelane").glob("segments/*"))
    assert not list((place / "cache" / "work").iterdir())


def test_a_drive_that_fails_now_and_then(workplace):  # noqa: F811
    wanted = two_clips(workplace)
    drive = Drive(seed=3, rate=0.03, most=2)
    result = batch(workplace, drive)
    assert result.counts["done"] == 2, [job.reason for job in result.jobs]
    assert drive.slept > 0, "nothing failed"
    drive.heal()
    assert {job.reason for job in batch(workplace, drive).jobs} == {DONE_BEFORE}
    check(workplace, wanted)


def test_a_drive_that_stays_away_stops_the_batch_and_keeps_the_result(workplace):  # noqa: F811
    wanted = two_clips(workplace)
    counting = Drive()
    batch(workplace, counting)
    shutil.rmtree(workplace / "out")
    # It dies while the first result is copied: its video was never begun, or is there in part.
    drive, events = Drive(dies_after=counting.calls), []

    def listen(event):
        events.append(event)
        if event["event"] == "done":
            drive.state.dies_after = drive.calls + 12

    result = batch(workplace, drive, progress=listen)
    first, second = result.jobs
    assert (first.state, second.state) == ("failed", "waiting")
    assert "does not answer" in first.reason
    assert str(workplace / "cache" / "work") in first.reason, "where the result is"
    assert "storage of the output folder" in second.reason
    assert result.exit_code == 3
    assert any(event["event"] == "warning" for event in events), "the page could not be written"
    drive.heal()
    again = []
    assert batch(workplace, drive, progress=again.append).counts["done"] == 2
    assert [e["job"] for e in again if e["event"] == "start"] == ["sub/b.mp4"], "the first was only copied"
    check(workplace, wanted)


def test_another_machine_goes_on_after_the_segments_that_were_shipped(workplace):  # noqa: F811
    cut(workplace / "in" / "a.mp4", seconds=3)
    drive, cancel = Drive(), threading.Event()
    events = []

    def listen(event):
        events.append(event)
        if event["event"] == "segment" and event["index"] == 2:
            cancel.set()

    with pytest.raises(Cancelled):
        batch(workplace, drive, "slowest_averager", progress=listen, cancel=cancel)
    shutil.rmtree(workplace / "cache" / "work")  # the machine is gone with all that was on it
    again = []
    result = batch(workplace, drive, "slowest_averager", progress=again.append)
    assert result.counts["done"] == 1, result.jobs[0].reason
    assert next(e for e in again if e["event"] == "start")["resumed_at_frame"] > 0
    whole = framelane.process_video(
        workplace / "in" / "a.mp4", "averager", output=workplace / "whole.mp4", profile="cpu", overrides=FAST
    )
    check(workplace, {"a.mp4": frame_hashes(whole.output_path)})


def begun_under(profile, place, drive):
    """A batch of one clip, stopped after three segments, on a machine that is then gone."""
    cut(place / "in" / "a.mp4", seconds=3, height=520)
    cancel, events = threading.Event(), []

    def listen(event):
        events.append(event)
        if event["event"] == "segment" and event["index"] == 2:
            cancel.set()

    with pytest.raises(Cancelled):
        batch(place, drive, "slowest_averager", progress=listen, cancel=cancel, profile=profile)
    shutil.rmtree(place / "cache" / "work")
    return events


def test_a_machine_with_another_profile_goes_on_as_the_clip_was_begun(workplace):  # noqa: F811
    drive, again = Drive(), []
    begun_under("memory_saver", workplace, drive)
    result = batch(workplace, drive, "slowest_averager", progress=again.append)
    assert result.counts["done"] == 1, result.jobs[0].reason
    start = next(event for event in again if event["event"] == "start")
    assert (start["profile"], start["resumed_at_frame"] > 0) == ("cpu", True)
    assert start["working_size"][1] == 480, "as the other profile had it, not as this one"
    said = [event["message"] for event in again if event["event"] == "warning"]
    assert any("begun under another profile" in text and "hardware.working_height=480" in text for text in said)
    whole = framelane.process_video(
        workplace / "in" / "a.mp4", "averager", output=workplace / "whole.mp4", profile="memory_saver", overrides=FAST
    )
    check(workplace, {"a.mp4": frame_hashes(whole.output_path)})


def test_a_clip_begun_with_another_encoder_starts_anew_and_says_so(workplace):  # noqa: F811
    drive, again = Drive(), []
    begun_under("memory_saver", workplace, drive)
    (job,) = (workplace / "out" / ".framelane" / "segments").glob("*/job.json")
    job.write_text(json.dumps({**json.loads(job.read_text()), "encoder": "h264_nvenc"}))
    result = batch(workplace, drive, "slowest_averager", progress=again.append)
    assert result.counts["done"] == 1, result.jobs[0].reason
    start = next(event for event in again if event["event"] == "start")
    assert (start["working_size"], start["resumed_at_frame"]) == (None, 0), "anew, and as this machine's profile has it"
    said = [event["message"] for event in again if event["event"] == "warning"]
    assert any("made with another encoder" in text for text in said), said
    whole = framelane.process_video(
        workplace / "in" / "a.mp4", "averager", output=workplace / "whole.mp4", profile="cpu", overrides=FAST
    )
    check(workplace, {"a.mp4": frame_hashes(whole.output_path)})
