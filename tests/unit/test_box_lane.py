"""Boxes on their way from detections to every frame, under a moving camera: as planted, and the same after a resume."""

from __future__ import annotations

import json
from collections import deque
from fractions import Fraction

import numpy as np
import pytest
import supervision as sv

from framelane.perception.camera import apply, compose, moved
from framelane.perception.lanes import BoxLane, Pending
from framelane.perception.motion import Step
from framelane.perception.trackers import load_tracker
from framelane.video.colour import ColourTags
from framelane.video.frames import FrameBatch, Layout

RATE, COUNT, PEOPLE = 30.0, 60, 5
LAYOUT = Layout(640, 360, Fraction(1, 30), 0, ColourTags(height=360))


def shift(x, y):
    return np.array([[1.0, 0, x], [0, 1, y]])


def scene(every, cut_at=None, blind=False):
    """Frames of five people under a camera that jumps up to 30 pixels a frame, detected on every ``every``-th.

    ``blind``: the lane is not told about the camera.
    """
    rng = np.random.default_rng(5)
    jumps = [shift(*rng.uniform(-30, 30, 2)) for _ in range(COUNT)]
    camera, items = None, []
    for index in range(COUNT):
        cut = index in (0, cut_at)
        camera = None if cut else compose(camera, jumps[index])
        boxes = moved(
            np.array([[80.0 + 110 * k + index, 100, 120 + 110 * k + index, 200] for k in range(PEOPLE)]), camera
        )
        found = None
        if cut or index % every == 0:
            found = sv.Detections(
                xyxy=boxes.astype(np.float32),
                confidence=np.full(PEOPLE, 0.7, np.float32),
                class_id=np.zeros(PEOPLE, int),
                data={"class_name": np.array(["person"] * PEOPLE)},
            )
        step = Step(cut, (108, 192), camera=None if cut or blind else jumps[index])
        frame = FrameBatch((None,), (index,), (1,), index, LAYOUT)
        items.append(Pending(frame, step, False, found))
    return items


def lane(every):
    return BoxLane(load_tracker("botsort", rate=RATE / every), (480, 640))


def run(items, every, stops=(), resumed=()):
    """Ids and boxes of every frame.

    A checkpoint follows each frame of ``stops``; at those of ``resumed`` the process dies there, and another replays
    the frames that were waiting.
    """
    current, waiting, done = lane(every), deque(), []
    for item in items:
        waiting.append(Pending(item.frame, item.step, False, item.detections))
        current.track(waiting[-1])
        _release(current, waiting, done, ended=False)
        if item.index in stops:
            state = json.loads(json.dumps(current.snapshot()))
            if item.index in resumed:
                again = [Pending(old.frame, old.step, False, old.detections) for old in waiting]
                current, waiting = lane(every), deque()
                current.restore(state)
                for old in again:
                    waiting.append(old)
                    current.track(old)
                _release(current, waiting, done, ended=False)
            else:
                current.restore(state)
    _release(current, waiting, done, ended=True)
    return done


def _release(current, waiting, done, *, ended):
    current.fill(waiting, ended=ended)
    while waiting and waiting[0].tracks is not None:
        item = waiting.popleft()
        done.append((item.index, [track.to_json() for track in item.tracks]))
    current.forget_before(len(done))


@pytest.mark.parametrize("every", [1, 2, 5])
def test_the_motion_of_the_frames_between_two_detections_adds_up(every):
    told = run(scene(every), every)
    assert {track[0] for _, tracks in told for track in tracks} == set(range(1, PEOPLE + 1))
    assert all(len(tracks) == PEOPLE for _, tracks in told[every:])
    assert [index for index, _ in told] == list(range(COUNT))
    blind = run(scene(every, blind=True), every)
    assert len({track[0] for _, tracks in blind for track in tracks}) > PEOPLE


def test_a_cut_ends_the_sum():
    found = run(scene(3, cut_at=40), 3)
    ids = [{track[0] for track in tracks} for _, tracks in found]
    assert ids[39] == set(range(1, PEOPLE + 1))
    assert set().union(*ids[41:]) == set(range(PEOPLE + 1, 2 * PEOPLE + 1))


@pytest.mark.parametrize("every", [1, 4])
def test_a_resume_at_any_frame_gives_the_same_boxes(every):
    stops = range(5, COUNT, 11)  # at every place between two detections
    whole = run(scene(every), every, stops)
    for stop in stops:
        assert run(scene(every), every, stops, resumed={stop}) == whole
    assert run(scene(every), every, stops, resumed=set(stops)) == whole


def test_a_snapshot_between_two_detections_holds_the_motion_so_far():
    items, current = scene(5), lane(5)
    for item in items[:13]:
        current.track(item)
    expected = compose(items[11].step.camera, items[12].step.camera)
    points = np.array([[0.0, 0], [640, 360]])
    state = json.loads(json.dumps(current.snapshot()))
    other = lane(5)
    other.restore(state)
    np.testing.assert_allclose(apply(other.camera, points), apply(expected, points))
    assert np.array_equal(other.camera, current.camera)
