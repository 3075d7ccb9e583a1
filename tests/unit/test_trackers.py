"""Lasting ids: on planted scenes, across a restore, and on real detections."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import supervision as sv
import torch

from framelane.errors import UsageError
from framelane.perception.detectors import COCO_NAMES, DetectorOptions, load_detector
from framelane.perception.trackers import Tracker, load_tracker
from framelane.resources import data_path

RATE = 10.0


def detections(rows: list[tuple[float, float, float, float, float, str]]) -> sv.Detections:
    """Rows of centre x, centre y, width, height, score, class."""
    if not rows:
        return sv.Detections.empty()
    boxes = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h, _, _ in rows]
    return sv.Detections(
        xyxy=np.array(boxes, dtype=np.float32),
        confidence=np.array([row[4] for row in rows], dtype=np.float32),
        class_id=np.array([COCO_NAMES.index(row[5]) for row in rows]),
        data={"class_name": np.array([row[5] for row in rows])},
    )


def crossing(step: int) -> sv.Detections:
    """Two people who walk past each other, close enough that their boxes overlap, and a parked car; some noise."""
    noise = np.random.default_rng(step).normal(0, 0.7, (3, 2))
    rows = [
        (100 + 8 * step + noise[0, 0], 200 + noise[0, 1], 40, 100, 0.8, "person"),
        (500 - 8 * step + noise[1, 0], 240 + noise[1, 1], 44, 110, 0.7, "person"),
        (600 + noise[2, 0], 80 + noise[2, 1], 90, 50, 0.6, "car"),
    ]
    if 22 <= step <= 27:  # passing: one is partly hidden and scored low
        rows[1] = (*rows[1][:4], 0.22, "person")
    return detections(rows)


@pytest.fixture(params=["bytetrack", "botsort"])
def fresh(request):
    """Makes new trackers; every test that takes it holds for both."""
    return lambda **options: load_tracker(request.param, **{"rate": RATE, **options})


def reborn(tracker: Tracker, **options) -> Tracker:
    other = load_tracker(tracker.name, **{"rate": RATE, **options})
    other.restore(json.loads(json.dumps(tracker.snapshot())))
    return other


def plain(answer: sv.Detections) -> list:
    return [answer.tracker_id.tolist(), answer.xyxy.tolist(), answer.class_id.tolist() if len(answer) else []]


def by_place(answer: sv.Detections) -> dict[int, tuple[float, float]]:
    return {int(i): tuple(box[:2].tolist()) for i, box in zip(answer.tracker_id, answer.xyxy, strict=True)}


def test_people_who_cross_keep_their_ids(fresh):
    tracker = fresh()
    answers = [tracker.update(crossing(step), step / RATE) for step in range(50)]
    assert answers[0].tracker_id.tolist() == []
    assert set(answers[1].tracker_id.tolist()) == {1, 2, 3}
    first, last = by_place(answers[1]), by_place(answers[-1])
    walkers = [i for i in (1, 2, 3) if first[i][1] > 120]
    for index in walkers:
        assert (last[index][0] > first[index][0]) == (first[index][0] < 300)
    assert all(set(answer.tracker_id.tolist()) == {1, 2, 3} for answer in answers[1:])


@pytest.mark.parametrize("at", range(1, 50, 3))
def test_a_restore_changes_no_id_in_the_crossing(fresh, at):
    straight, broken = fresh(), fresh()
    for step in range(50):
        if step == at:
            broken = reborn(broken)
        assert plain(straight.update(crossing(step), step / RATE)) == plain(broken.update(crossing(step), step / RATE))


def test_a_restore_at_every_frame_changes_no_id_in_the_crossing(fresh):
    tracker = fresh()
    for step in range(50):
        tracker = reborn(tracker)
        answer = tracker.update(crossing(step), step / RATE)
        assert len(answer) == (3 if step else 0)
    assert set(answer.tracker_id.tolist()) == {1, 2, 3}
    assert by_place(answer)[next(i for i, (x, y) in by_place(answer).items() if y < 100)][0] > 500


@pytest.fixture(scope="module")
def street() -> list[tuple[float, sv.Detections]]:
    detector = load_detector("nanodet", DetectorOptions(threads=2))
    found = []
    with av.open(str(data_path("assets", "clips", "street.mp4"))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % 2 == 0:
                rgb = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None].contiguous()
                found.append((float(frame.time), detector.detect(rgb)[0]))
    return found


@pytest.mark.parametrize("every", [7, 20])
def test_a_restore_changes_no_id_on_the_street(fresh, street, every):
    straight, broken = fresh(rate=5), fresh(rate=5)
    seen = set()
    for step, (time_s, found) in enumerate(street):
        if step and step % every == 0:
            broken = reborn(broken, rate=5)
        expected = straight.update(found, time_s)
        assert plain(broken.update(found, time_s)) == plain(expected)
        seen.update(expected.tracker_id.tolist())
    assert len(seen) > 8
    assert seen == set(range(1, len(seen) + 1))


def test_an_interrupted_run_equals_one_that_restores_at_every_checkpoint(fresh, street):
    """The promise itself: the engine restores at each checkpoint, so stopping at any of them changes nothing."""
    whole, answers, saved = fresh(rate=5), [], {}
    for step, (time_s, found) in enumerate(street):
        if step % 10 == 0:
            saved[step] = json.dumps(whole.snapshot())
            whole.restore(whole.snapshot())
        answers.append(plain(whole.update(found, time_s)))
    for start, text in saved.items():
        resumed = fresh(rate=5)
        resumed.restore(json.loads(text))
        for step in range(start, len(street)):
            if step > start and step % 10 == 0:
                resumed.restore(resumed.snapshot())
            assert plain(resumed.update(street[step][1], street[step][0])) == answers[step]


def test_two_trackers_from_one_snapshot_answer_alike(fresh, street):
    source = fresh(rate=5)
    for time_s, found in street[:25]:
        source.update(found, time_s)
    text = json.dumps(source.snapshot())
    one, two = fresh(rate=5), fresh(rate=5)
    two.update(street[40][1], 0.0)  # what it was before must not matter
    one.restore(json.loads(text))
    two.restore(json.loads(text))
    assert json.dumps(one.snapshot()) == json.dumps(two.snapshot()) == text
    for time_s, found in street[25:]:
        assert plain(one.update(found, time_s)) == plain(two.update(found, time_s))
    assert one.snapshot() == two.snapshot()


def test_a_snapshot_is_plain_data_of_bounded_size(fresh):
    tracker, sizes = fresh(), []
    for step in range(600):
        rows = [(60 + 70 * k, 100 + (step * 7 + k * 40) % 900, 40, 90, 0.7, "person") for k in range(10)]
        tracker.update(detections(rows), step / RATE)
        if step % 50 == 49:
            snapshot = tracker.snapshot()
            assert json.loads(json.dumps(snapshot)) == snapshot
            sizes.append(len(json.dumps(snapshot)))
    assert max(sizes[2:]) < 1.2 * min(sizes[2:])
    assert max(sizes) < 60_000


def test_a_lost_object_is_found_again_across_a_restore_and_forgotten_after_the_buffer(fresh):
    for hidden, same in ((9, True), (25, False)):  # tenths of a second; the buffer is 1.5 s
        tracker = fresh()
        for step in range(20):
            tracker.update(detections([(100 + 3 * step, 100, 50, 100, 0.8, "person")]), step / RATE)
        for step in range(20, 20 + hidden):
            if step == 24:
                tracker = reborn(tracker)
            assert len(tracker.update(detections([]), step / RATE)) == 0
        for step in range(20 + hidden, 23 + hidden):
            answer = tracker.update(detections([(100 + 3 * step, 100, 50, 100, 0.8, "person")]), step / RATE)
        assert answer.tracker_id.tolist() == ([1] if same else [2])


def test_weak_boxes_continue_a_track_and_never_start_one(fresh):
    tracker = fresh(threshold=0.35)
    weak = detections([(100, 100, 50, 80, 0.25, "dog")])
    assert all(len(tracker.update(weak, step / RATE)) == 0 for step in range(5))
    for step in range(5, 8):
        tracker.update(detections([(100, 100, 50, 80, 0.6, "dog")]), step / RATE)
    assert tracker.update(weak, 0.8).tracker_id.tolist() == [1]
    assert len(tracker.update(detections([(100, 100, 50, 80, 0.12, "dog")]), 0.9)) == 0


def test_a_track_keeps_the_class_it_voted_for_across_a_restore(fresh):
    tracker = fresh()
    for step in range(12):
        if step == 9:
            tracker = reborn(tracker)
        name = "truck" if step in (5, 9, 10) else "car"
        answer = tracker.update(detections([(200, 200, 120, 80, 0.6, name)]), step / RATE)
        if step:
            assert answer.data["class_name"].tolist() == ["car"]
            assert answer.class_id.tolist() == [2]


def test_a_bag_does_not_continue_a_person(fresh):
    tracker = fresh()
    for step in range(5):
        tracker.update(detections([(100, 100, 50, 120, 0.8, "person")]), step / RATE)
    answer = tracker.update(detections([(100, 100, 48, 118, 0.3, "backpack")]), 0.5)
    assert len(answer) == 0


def test_forgetting_at_a_cut_gives_new_ids(fresh):
    tracker = fresh()
    for step in range(3):
        tracker.update(crossing(step), step / RATE)
    tracker.forget()
    tracker.update(crossing(3), 0.3)
    assert tracker.update(crossing(4), 0.4).tracker_id.tolist() == [4, 5, 6]


def test_uneven_and_equal_timestamps_are_survived(fresh):
    tracker = fresh()
    for step, time_s in enumerate((0.0, 0.1, 0.1, 0.35, 0.4, 0.4)):
        answer = tracker.update(detections([(100 + step, 100, 50, 80, 0.8, "cat")]), time_s)
    assert answer.tracker_id.tolist() == [1]


def test_empty_from_the_start(fresh):
    tracker = fresh()
    answer = tracker.update(sv.Detections.empty(), 0.0)
    assert (len(answer), answer.tracker_id.tolist(), answer.data["class_name"].tolist()) == (0, [], [])
    assert len(reborn(fresh()).update(crossing(0), 0.0)) == 0


def test_wrong_names_and_values_are_said(fresh):
    with pytest.raises(UsageError, match="allowed are botsort, bytetrack"):
        load_tracker("sort", rate=10)
    with pytest.raises(UsageError, match="positive rate"):
        load_tracker("bytetrack", rate=0)
    with pytest.raises(UsageError, match="written with the tracker 'other'"):
        fresh().restore({**fresh().snapshot(), "tracker": "other"})
