"""When the detector runs: by the picture alone, so the same however frames are batched and wherever a job resumes."""

from __future__ import annotations

import importlib
import json
from fractions import Fraction

import numpy as np
import pytest
import supervision as sv

import framelane
from framelane.perception import schedule
from framelane.perception.detectors import Detector
from framelane.perception.lanes import BoxLane, Pending
from framelane.perception.motion import Step, steps
from framelane.perception.schedule import Given, duties, history, same
from framelane.perception.trackers import load_tracker
from framelane.video.clip import probe
from framelane.video.colour import ColourTags, from_rgb
from framelane.video.frames import FrameBatch, Layout
from framelane.video.reader import Position, checksum, open_reader
from support.clips import STREET, WALKER

H, W = 180, 320
CUT = 0.3


def picture(scene, x=None, noise=None):
    """A scene of coloured tiles; with a grey block at ``x``, and sensor noise if a seed is given."""
    tiles = np.random.default_rng(scene).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    frame = np.kron(tiles, np.ones((20, 20, 1), np.uint8)).astype(np.float32)
    if x is not None:
        frame[80:120, x : x + 16] = 128
    if noise is not None:
        frame += np.random.default_rng(noise).normal(0, 2, frame.shape)
    rgb = np.clip(frame, 0, 255).astype(np.uint8)
    return from_rgb(np.ascontiguousarray(rgb.transpose(2, 0, 1)), ColourTags(height=H), "yuv420p")


def batch(frames):
    layout = Layout(W, H, Fraction(1, 30), 0, ColourTags(height=H))
    return FrameBatch(tuple(frames), tuple(range(len(frames))), (1,) * len(frames), 0, layout)


def plan(frames, every, sizes=None):
    """The duty of every frame, with the input cut into batches of the given sizes."""
    whole, found, start = batch(frames), [], 0
    for size in sizes or [len(frames)]:
        piece = whole.slice(start, min(start + size, len(frames)))
        found += duties(piece, steps(piece, CUT), every, CUT)
        start += size
    return found


def detected(found):
    return [index for index, duty in enumerate(found) if duty == "detect"]


def test_where_something_moves_every_nth_frame_is_detected_and_the_clips_second():
    frames = [picture(1, 10 + 3 * k, noise=k) for k in range(24)]
    assert detected(plan(frames, 3)) == [0, 1, 3, 6, 9, 12, 15, 18, 21]
    assert detected(plan(frames, 1)) == list(range(24))
    assert "repeat" not in plan(frames, 3)


def test_a_standing_picture_is_seldom_looked_at_for_all_its_noise():
    found = plan([picture(1, 40, noise=k) for k in range(26)], 3)
    assert detected(found) == [0, 1, 12, 24]
    assert [k for k, duty in enumerate(found) if duty == "repeat"] == [3, 6, 9, 15, 18, 21]


def test_what_has_moved_and_stands_again_is_seen_at_the_next_turn():
    """The step to frame 15 is still; what counts is the whole way since the turn before."""
    frames = [picture(1, 40 + (8 if k in (13,) else 16 if k > 13 else 0), noise=k) for k in range(26)]
    assert detected(plan(frames, 3)) == [0, 1, 12, 15, 24]


def test_after_a_cut_the_first_two_frames_are_detected():
    frames = [picture(1 if k < 10 else 2, 20 + 2 * k, noise=k) for k in range(20)]
    assert detected(plan(frames, 4)) == [0, 1, 4, 8, 10, 11, 12, 16]


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_the_plan_does_not_depend_on_how_frames_are_batched(every):
    still = [picture(3, 60, noise=k) for k in range(12)]
    frames = [picture(1, 10 + 4 * k) for k in range(9)] + still + [picture(4, 30, noise=k) for k in range(11)]
    whole = plan(frames, every)
    assert {"detect", "repeat"} <= set(whole)
    for sizes in ([1] * 32, [4] * 8, [5, 1, 3, 7, 2, 14], [9, 1, 22], [10, 11, 11]):
        assert plan(frames, every, sizes) == whole


def test_too_little_history_is_an_error_not_another_plan():
    whole = batch([picture(1, k) for k in range(10)])
    piece = whole.slice(5, 8)
    from dataclasses import replace

    assert duties(piece, steps(piece, CUT), 3, CUT) == ["none", "detect", "none"]
    short = replace(piece, earlier=())
    with pytest.raises(ValueError, match="3 frames are needed before a batch, not 1"):
        duties(short, steps(short, CUT), 3, CUT)


def test_small_and_slow_things_are_changes_and_noise_is_none():
    still = np.full((108, 192), 90, np.uint8)
    walker, moved = still.copy(), still.copy()
    walker[40:50, 60:64] = 130  # a person of 4x10 thumbnail pixels, who goes half his width
    moved[40:50, 62:66] = 130
    assert not same(walker, moved)
    noise = np.random.default_rng(0).normal(0, 1.2, still.shape)
    assert same(still, np.clip(still + noise, 0, 255).astype(np.uint8))
    assert not same(still, still[:50])
    assert not same(None, still)


@pytest.mark.parametrize("clip", [STREET, WALKER])
@pytest.mark.parametrize("every", [1, 3])
def test_nothing_is_skipped_on_the_real_clips_where_people_walk(clip, every):
    found = []
    for piece in open_reader(probe(clip)).batches(4, history=history(every)):
        found += duties(piece, steps(piece, CUT), every, CUT)
        if len(found) >= 40:
            break
    assert detected(found) == sorted({1, *range(0, len(found), every)})


# -- the reader's history ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 6, 10])
def test_a_batch_carries_the_frames_before_it_also_where_a_job_goes_on(count):
    clip, frames, pts = probe(STREET), [], []
    for piece in open_reader(clip).batches(4, history=count):
        past = [checksum(plane) for plane in (*piece.earlier, piece.before) if plane is not None]
        assert past == frames[-count:]
        frames += [checksum(plane) for plane in piece.planes]
        pts += piece.pts
    for last in (0, 3, 17, 60, 118):
        first = next(open_reader(clip).batches(4, Position(last, pts[last], frames[last]), count))
        past = [checksum(plane) for plane in (*first.earlier, first.before) if plane is not None]
        assert past == frames[max(0, last + 1 - count) : last + 1]
        assert first.first_index == last + 1


# -- what the lane makes of it -------------------------------------------------------------------------------------------


def people(x):
    return sv.Detections(
        xyxy=np.array([[x, 10, x + 30.3, 90.7]], np.float32),
        confidence=np.array([0.71], np.float32),
        class_id=np.array([0]),
        data={"class_name": np.array(["person"])},
    )


def test_detections_survive_json_bit_for_bit():
    for detections in (people(3.3), sv.Detections.empty()):
        kept = Given.of(5, detections)
        other = Given(*json.loads(json.dumps([kept.index, kept.rows, kept.maps]))).detections()
        np.testing.assert_array_equal(other.xyxy, detections.xyxy)
        if len(detections):
            np.testing.assert_array_equal(other.confidence, detections.confidence)
            assert other.data["class_name"].tolist() == ["person"]
            assert other.class_id.tolist() == [0]


def lane_over(plan_, restore):
    """A person who stands, detected as planned; turns that repeat take the detection over."""
    layout = Layout(W, H, Fraction(1, 10), 0, ColourTags(height=H))
    lane = BoxLane(load_tracker("bytetrack", rate=5), (H, W))
    for index, (found, same_as, cut) in enumerate(plan_):
        frame = FrameBatch((None,), (index,), (1,), index, layout)
        lane.track(Pending(frame, Step(cut, (9, 16)), False, found, same_as))
        if restore:
            state = json.loads(json.dumps(lane.snapshot()))
            lane = BoxLane(load_tracker("bytetrack", rate=5), (H, W))
            lane.restore(state)
    return {index: [track.to_json() for track in tracks] for index, tracks in lane.tracked.items()}


@pytest.mark.parametrize("restore", [False, True])
def test_a_repeated_turn_is_the_same_detection_again(restore):
    """At ten frames a second a person unseen for 1.5 s is lost; standing in a still picture is not being unseen."""
    found = people(50)
    repeated = [(found if k < 2 else None, k - 5 if k >= 5 and k % 5 == 0 else None, k == 0) for k in range(41)]
    tracked = lane_over(repeated, restore)
    assert sorted(tracked) == [0, 1, *range(5, 41, 5)]
    assert all([track[0] for track in tracks] == [1] for index, tracks in tracked.items() if index)
    assert tracked[40][0][2] == pytest.approx([50, 10, 80.3, 90.7], abs=1e-4)
    again = [*repeated, (people(50), None, False)]
    assert [track[0] for track in lane_over(again, restore)[41]] == [1]


def test_nothing_is_taken_over_across_a_cut():
    found = people(50)
    plan_ = [
        (found, None, True),
        (found, None, False),
        (people(200), None, True),
        (None, None, False),
        (None, 0, False),
    ]
    assert sorted(lane_over(plan_, False)) == [0, 1, 2]


def test_a_job_on_a_still_clip_runs_the_detector_as_planned(tmp_path, monkeypatch):
    """One frame of the street shown for 40 frames; the real detector and the real job, with its calls counted."""
    import av

    with av.open(str(STREET)) as source:
        still = next(source.decode(video=0)).to_ndarray(format="rgb24")
    clip = tmp_path / "still.mp4"
    with av.open(str(clip), "w") as target:
        stream = target.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *still.shape[:2], "yuv420p"
        for _ in range(40):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(still, format="rgb24")))
        target.mux(stream.encode(None))
    calls = []
    importlib.import_module(
        "framelane.perception.nanodet"
    )  # a class that nobody has imported is not among the subclasses
    for kind in Detector.__subclasses__():
        true = kind.detect
        monkeypatch.setattr(kind, "detect", lambda self, rgb, true=true: calls.append(len(rgb)) or true(self, rgb))
    overrides = {"attention.channels": "b", "gif.enabled": False, "attention.detect_every": 2}
    result = framelane.process_video(clip, "attention", output=tmp_path / "out.mp4", overrides=overrides)
    assert sum(calls) == len([0, 1, 8, 16, 24, 32])
    tracks = result.report["metrics"]["tracks"]
    assert len(tracks) >= 3
    assert schedule.REFRESH == 4
