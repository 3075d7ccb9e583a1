"""A moving camera: its motion found in the flow, and tracks that keep their ids under it."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest
import supervision as sv

from framelane.perception.camera import apply, camera_motion, compose, from_json, moved, to_json
from framelane.perception.motion import steps
from framelane.perception.trackers import load_tracker
from framelane.resources import data_path
from framelane.video.colour import ColourTags, from_rgb
from framelane.video.frames import FrameBatch, Layout

RATE = 10.0
MARGIN = 48  # pixels around the view, so that a shifted view still shows real picture


def shift(x, y):
    return np.array([[1.0, 0, x], [0, 1, y]])


def similar(angle, zoom, x, y):
    return np.array([[zoom * np.cos(angle), -zoom * np.sin(angle), x], [zoom * np.sin(angle), zoom * np.cos(angle), y]])


def inverse(motion):
    return np.linalg.inv(np.vstack([motion, [0, 0, 1]]))[:2]


def corners(height, width):
    return np.array([(x, y) for x in (0, width) for y in (0, height)], float)


# -- found in real pixels ----------------------------------------------------------------------------------------------


def film(name, motions):
    """The view of a camera over an embedded clip: frame k of the clip, moved by ``motions[k]`` (in the view's pixels)."""
    views, home = [], shift(-MARGIN, -MARGIN)
    with av.open(str(data_path("assets", "clips", name))) as container:
        for frame, motion in zip(container.decode(video=0), motions, strict=False):
            rgb = frame.to_ndarray(format="rgb24")
            whole = compose(home, motion)
            size = (rgb.shape[1] - 2 * MARGIN, rgb.shape[0] - 2 * MARGIN)
            views.append(cv2.warpAffine(rgb, whole, size, flags=cv2.INTER_LINEAR))
    height, width = views[0].shape[:2]
    planes = [from_rgb(np.ascontiguousarray(v.transpose(2, 0, 1)), ColourTags(height=height), "yuv420p") for v in views]
    layout = Layout(width, height, Fraction(1, 30), 0, ColourTags(height=height))
    return FrameBatch(tuple(planes), tuple(range(len(planes))), (1,) * len(planes), 0, layout)


def planted(kind, count=12):
    """Absolute camera motions, one a frame."""
    rng = np.random.default_rng(7)
    if kind == "shake":
        return [shift(*rng.uniform(-20, 20, 2)) for _ in range(count)]
    if kind == "turn":
        return [similar(*rng.uniform((-0.02, 0.98, -8, -8), (0.02, 1.02, 8, 8))) for _ in range(count)]
    return [shift(8 * k - 44, 4 * k - 22) for k in range(count)]


@pytest.mark.parametrize("name", ["walker.mp4", "street.mp4"])
@pytest.mark.parametrize("kind", ["shake", "turn", "pan"])
def test_the_cameras_motion_is_found_among_people_who_walk(name, kind):
    motions = planted(kind)
    batch = film(name, motions)
    width, height = batch.layout.display_size
    found = steps(batch, 1.0, camera=True)
    assert found[0].camera is None, "nothing lies before the first frame"
    for before, now, step in zip(motions[:-1], motions[1:], found[1:], strict=True):
        true = compose(inverse(before), now)
        miss = apply(step.camera, corners(height, width)) - apply(true, corners(height, width))
        assert np.linalg.norm(miss, axis=1).max() < 1.0  # pixels, at the worst corner


@pytest.mark.parametrize("name", ["walker.mp4", "street.mp4"])
def test_a_camera_that_stands_still_is_none_whoever_walks_by(name):
    found = steps(film(name, [shift(0, 0)] * 18), 0.3, camera=True)
    assert [to_json(step.camera) for step in found] == [None] * 18
    assert max(float(np.abs(step.forth).max()) for step in found[1:]) > 0.5, "somebody does walk"


def test_nobody_pays_who_did_not_ask():
    batch = film("walker.mp4", planted("shake", 4))
    assert all(step.camera is None for step in steps(batch, 1.0))


def test_the_answer_depends_neither_on_the_batches_nor_on_the_random_seed():
    batch = film("street.mp4", planted("turn", 10))
    whole = [step.camera for step in steps(batch, 1.0, camera=True)]
    pieces = []
    for start, stop in ((0, 1), (1, 4), (4, 10)):
        cv2.setRNGSeed(start + 99)
        pieces += [step.camera for step in steps(batch.slice(start, stop), 1.0, camera=True)]
    assert [to_json(one) for one in whole] == [to_json(other) for other in pieces]
    assert sum(one is not None for one in whole) == 9


def flow_of(motion, frame=(540, 960), size=(108, 192)):
    """The dense flow of a motion, in flow pixels."""
    scale = np.array([frame[1] / size[1], frame[0] / size[0]])
    y, x = np.indices(size)
    points = (np.stack([x, y], axis=2).reshape(-1, 2) + 0.5) * scale
    return ((apply(motion, points) - points) / scale).reshape(*size, 2).astype(np.float32)


def test_a_motion_comes_back_from_its_own_flow_with_a_third_of_it_elsewhere():
    motion = similar(0.03, 1.04, 25.0, -11.0)
    flow = flow_of(motion)
    flow[20:90, 30:100] = (9.0, -4.0)  # something large goes its own way
    found = camera_motion(flow, (540, 960))
    np.testing.assert_allclose(apply(found, corners(540, 960)), apply(motion, corners(540, 960)), atol=0.3)
    trusted = np.ones(flow.shape[:2], bool)
    trusted[20:90, 30:100] = False
    np.testing.assert_allclose(camera_motion(flow, (540, 960), trusted), motion, atol=1e-3)


def test_no_motion_is_claimed_where_nothing_agrees():
    noise = np.random.default_rng(0).uniform(-12, 12, (108, 192, 2)).astype(np.float32)
    assert camera_motion(noise, (540, 960)) is None
    assert camera_motion(flow_of(shift(20, 0)), (540, 960), np.zeros((108, 192), bool)) is None
    assert camera_motion(np.zeros((6, 6, 2), np.float32), (6, 6)) is None


def test_motions_are_composed_in_order_and_survive_json():
    first, then = similar(0.1, 1.1, 5, 6), similar(-0.2, 0.9, -7, 1)
    points = np.random.default_rng(1).uniform(0, 500, (9, 2))
    np.testing.assert_allclose(apply(compose(first, then), points), apply(then, apply(first, points)))
    assert compose(None, then) is then
    assert compose(first, None) is first
    assert compose(None, None) is None
    assert from_json(None) is None
    assert np.array_equal(from_json(json.loads(json.dumps(to_json(first)))), first)


def test_moved_boxes_keep_their_size():
    boxes = np.array([[10.0, 20, 30, 60], [0, 0, 4, 4]])
    found = moved(boxes, similar(np.pi / 2, 2.0, 0, 0))
    np.testing.assert_allclose(found, [[-90, 20, -70, 60], [-6, 2, -2, 6]])
    assert moved(boxes, None) is boxes


# -- used by the tracker -----------------------------------------------------------------------------------------------


def people(step, camera):
    """Six people who stroll left or right in two rows, as the camera sees them."""
    rows = [(150 + 110 * k + (2 if k % 2 else -2) * step, 300 + 90 * (k % 2), 44, 110) for k in range(6)]
    boxes = np.array([(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in rows], float)
    seen = moved(boxes, camera) + np.random.default_rng(step).normal(0, 0.7, boxes.shape)
    return sv.Detections(
        xyxy=seen.astype(np.float32),
        confidence=np.full(6, 0.7, np.float32),
        class_id=np.zeros(6, int),
        data={"class_name": np.array(["person"] * 6)},
    )


def cameras(kind, count=40):
    """Absolute motions, one a frame: a shake of up to 30 pixels a frame, or a pan of 35."""
    rng = np.random.default_rng(3)
    if kind == "shake":
        return [shift(*offset) for offset in np.cumsum(rng.uniform(-30, 30, (count, 2)), axis=0)]
    return [shift(35.0 * max(0, k - 8), 0) for k in range(count)]  # sets in at once


def follow(motions, *, told, tracker=None, restore_at=()):
    """The ids of every step, by person."""
    tracker = tracker or load_tracker("botsort", rate=RATE)
    before, found = motions[0], []
    for step, now in enumerate(motions):
        if step in restore_at:
            fresh = load_tracker("botsort", rate=RATE)
            fresh.restore(json.loads(json.dumps(tracker.snapshot())))
            tracker = fresh
        camera = compose(inverse(before), now) if told and step else None
        detections = people(step, now)
        answer = tracker.update(detections, step / RATE, camera)
        who = {tuple(box): person for person, box in enumerate(detections.xyxy.tolist())}
        found.append({who[tuple(box)]: int(i) for i, box in zip(answer.tracker_id, answer.xyxy.tolist(), strict=True)})
        before = now
    return found


def switches(found):
    last, count = {}, 0
    for ids in found:
        count += sum(last.get(person, index) != index for person, index in ids.items())
        last.update(ids)
    return count


@pytest.mark.parametrize("kind", ["shake", "pan"])
def test_ids_survive_a_moving_camera_that_is_known_and_not_one_that_is_not(kind):
    motions = cameras(kind)
    told = follow(motions, told=True)
    assert switches(told) == 0
    assert all(len(ids) == 6 for ids in told[1:])
    untold = follow(motions, told=False)
    assert switches(untold) > 5 or sum(6 - len(ids) for ids in untold[1:]) > 20


@pytest.mark.parametrize("kind", ["shake", "pan"])
def test_a_restore_under_a_moving_camera_changes_nothing(kind):
    motions = cameras(kind)
    straight = follow(motions, told=True)
    for every in (1, 3, 10):
        assert follow(motions, told=True, restore_at=range(2, 40, every)) == straight


def test_what_is_lost_is_found_where_the_camera_has_put_it():
    tracker, last = load_tracker("botsort", rate=RATE), shift(0, 0)
    for step in range(20):
        tracker.update(people(step, last), step / RATE)
    for step in range(20, 26):  # hidden, while the camera turns away by 300 pixels
        assert len(tracker.update(people(step, last)[:0], step / RATE, shift(50, 0))) == 0
    fresh = load_tracker("botsort", rate=RATE)
    fresh.restore(json.loads(json.dumps(tracker.snapshot())))
    for one in (tracker, fresh):
        assert one.update(people(26, shift(300, 0)), 2.6).tracker_id.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_shaking_cameras_log_is_bounded_and_only_kept_by_who_wants_it():
    sizes, motions = {}, cameras("shake", 200)
    for name in ("bytetrack", "botsort"):
        tracker = load_tracker(name, rate=RATE)
        for step, (before, now) in enumerate(pairwise(motions)):
            tracker.update(people(step % 40, shift(0, 0)), step / RATE, compose(inverse(before), now))
            if step == 99:
                middle = len(json.dumps(tracker.snapshot()))
        snapshot = tracker.snapshot()
        assert json.loads(json.dumps(snapshot)) == snapshot
        sizes[name] = (middle, len(json.dumps(snapshot)))
        kept = [camera is not None for _, camera, _ in snapshot["log"]]
        assert all(kept) if name == "botsort" else not any(kept)
    assert sizes["botsort"][1] < 1.3 * sizes["botsort"][0] < 40_000
