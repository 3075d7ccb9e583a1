"""Trackers on people outlined by hand (TUD-Campus, TUD-Stadtmitte): the package's own tracks, and their scores.

Parity: our adapters and the trackers of the ``trackers`` package, built here with the same options, are given the same
boxes and must answer alike, frame by frame. What the adapters add (class families, public ids, the log, votes) must not
change a track.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import supervision as sv
from trackers import BoTSORTTracker, ByteTrackTracker

from framelane.bench import tracking
from framelane.errors import FramelaneError
from framelane.perception.botsort import BoTSORT
from framelane.perception.bytetrack import ByteTrack
from framelane.perception.trackers import load_tracker

RATE = 25
SHARED = {
    "lost_track_buffer": 45,  # frames of 1/30 s: 1.5 s
    "frame_rate": RATE,
    "track_activation_threshold": 0.35,
    "high_conf_det_threshold": 0.35,
    "minimum_consecutive_frames": 2,
}


def package_tracker(name, rate=RATE):
    options = {**SHARED, "frame_rate": rate}
    if name == "bytetrack":
        return ByteTrackTracker(**options, minimum_iou_threshold=ByteTrack.lowest_iou)
    return BoTSORTTracker(
        **options,
        minimum_iou_threshold_first_assoc=BoTSORT.lowest_similarity,
        minimum_iou_threshold_second_assoc=BoTSORT.lowest_iou_of_weak,
        minimum_iou_threshold_unconfirmed_assoc=BoTSORT.lowest_similarity,
        enable_cmc=False,
        instant_first_frame_activation=False,
    )


def package_run(name, boxes, rate=RATE):
    """The package's answers; ids count from 1, in order of appearance, as ours do."""
    current, found = package_tracker(name, rate), []
    for index, here in enumerate(boxes):
        answer = current.update(tracking.detections(here), timestamp=index / rate)
        kept = answer[answer.tracker_id >= 0]
        order = np.argsort(kept.tracker_id, kind="stable")
        found.append(((kept.tracker_id[order] + 1).tolist(), kept.xyxy[order].astype(np.float64)))
    return found


def our_run(name, boxes, rate=RATE):
    current, found = load_tracker(name, rate=rate), []
    for index, here in enumerate(boxes):
        answer = current.update(tracking.detections(here), index / rate)
        found.append((answer.tracker_id.tolist(), answer.xyxy.astype(np.float64)))
    return found


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("file", ["gt.txt", "test.txt"])
@pytest.mark.parametrize("sequence", tracking.SEQUENCES)
@pytest.mark.parametrize("name", ["bytetrack", "botsort"])
def test_the_adapter_and_the_package_answer_alike(name, sequence, file, every):
    """On the hand's boxes, and on those that a tracker of 2013 made of real detections (with gaps and noise)."""
    boxes = [here for _, here in tracking.load(sequence, file)][::every]
    ours, theirs = our_run(name, boxes, RATE / every), package_run(name, boxes, RATE / every)
    for (own_ids, own_boxes), (ids, found) in zip(ours, theirs, strict=True):
        assert own_ids == ids
        np.testing.assert_array_equal(own_boxes, found)
    assert sum(len(ids) for ids, _ in ours) > 0.75 * sum(len(here) for here in boxes)
    truth = tracking.load(sequence)[: len(ours) * every : every]
    assert tracking.score([(truth, ours)]) == tracking.score([(truth, theirs)])


@pytest.mark.parametrize("name", ["bytetrack", "botsort"])
def test_true_boxes_keep_their_people(name, record_property):
    """Each person needs two detections to be believed; nothing else may be lost, and nobody mistaken."""
    pairs = [(truth, our_run(name, [here for _, here in truth])) for truth in map(tracking.load, tracking.SEQUENCES)]
    found = tracking.score(pairs)
    for key, value in found.items():
        record_property(key, value)
    print(name, found)
    people = sum(len({index for ids, _ in truth for index in ids}) for truth, _ in pairs)
    assert people == 18
    assert found["switches"] == found["false"] == 0
    assert found["misses"] == people
    boxes = sum(len(ids) for truth, _ in pairs for ids, _ in truth)
    assert found["mota"] == pytest.approx(100 * (1 - people / boxes), abs=0.06)
    assert found["idf1"] > 99


def test_scores_of_answers_that_are_known():
    truth = tracking.load("TUD-Campus")
    assert tracking.score([(truth, truth)]) == {"mota": 100, "idf1": 100, "switches": 0, "misses": 0, "false": 0}
    nothing = [([], np.zeros((0, 4)))] * len(truth)
    boxes = sum(len(ids) for ids, _ in truth)
    assert tracking.score([(truth, nothing)]) == {"mota": 0, "idf1": 0, "switches": 0, "misses": boxes, "false": 0}
    half = len(truth) // 2
    renamed = truth[:half] + [([index + 100 for index in ids], here) for ids, here in truth[half:]]
    both = {i for ids, _ in truth[:half] for i in ids} & {i for ids, _ in truth[half:] for i in ids}
    assert tracking.score([(truth, renamed)])["switches"] == len(both) > 0
    away = [(ids, here + 1000) for ids, here in truth]
    assert tracking.score([(truth, away)])["false"] == boxes


def test_our_matching_equals_motmetrics_published_figures():
    """The figures that motmetrics' own tests expect of the shipped results (test_metrics.py: test_motchallenge_files)."""
    for sequence, mota, idf1, switches, misses, false in (
        ("TUD-Campus", 52.6, 55.8, 7, 150, 13),
        ("TUD-Stadtmitte", 56.4, 64.5, 7, 452, 45),
    ):
        truth, answers = tracking.load(sequence), tracking.load(sequence, "test.txt")
        answers += [([], np.zeros((0, 4)))] * (len(truth) - len(answers))
        found = tracking.score([(truth, answers)])
        assert found == {"mota": mota, "idf1": idf1, "switches": switches, "misses": misses, "false": false}


def test_ways_to_fill_a_gap_on_a_person_who_walks_evenly():
    """Four pixels a frame: interpolation and constant velocity are right everywhere, and holding lags."""
    truth = [([7], np.array([[100.0 + 4 * k, 50, 160 + 4 * k, 200]])) for k in range(41)]
    ways = {name: bring(*tracking.follow(truth, "bytetrack", 5)) for name, bring in tracking.FILLS.items()}
    for index in range(15, 41):
        for name in ("interpolate", "constant velocity"):
            assert ways[name][index][0] == [1]
            np.testing.assert_allclose(ways[name][index][1], truth[index][1], atol=0.01)
        lag = truth[index][1][0, 0] - ways["hold the last"][index][1][0, 0]
        assert lag == pytest.approx(4 * (index % 5))


def test_a_shaken_camera_moves_every_box_and_is_known():
    truth = tracking.load("TUD-Campus")
    video, cameras = tracking.shaken(truth, 0)
    for (ids, boxes), (own, seen), camera in zip(truth, video, cameras, strict=True):
        assert ids == own
        np.testing.assert_allclose(seen - boxes, np.tile(camera[:, 2], (len(boxes), 2)))
    told = tracking.score([tracking.follow_shaken(truth, "botsort", 1, told=True)])
    untold = tracking.score([tracking.follow_shaken(truth, "botsort", 1, told=False)])
    assert told["switches"] == 0
    assert untold["switches"] > 20
    assert told["idf1"] > untold["idf1"] + 20


def test_the_verdict_is_as_found():
    gaps = [{"tracker": "botsort", "every": n, "fill": "interpolate", "mota": m} for n, m in ((1, 99.0), (3, 93.9))]
    shaken = [
        {"tracker": "botsort", "every": 1, "told": told, "switches": s} for told, s in ((True, 4.0), (False, 5.0))
    ]
    first, second = tracking.sentences({"gaps": gaps, "shaken": shaken})
    assert "5.1 points" in first
    assert "MISSED" in first
    assert ": met" in second


def test_without_motmetrics_a_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "motmetrics", None)
    with pytest.raises(FramelaneError, match=r"motmetrics.*not installed: pip install motmetrics"):
        tracking.load("TUD-Campus")


def test_detections_carry_what_a_detector_gives():
    found = tracking.detections(np.array([[1.0, 2, 3, 4]]))
    assert isinstance(found, sv.Detections)
    assert found.data["class_name"].tolist() == ["person"]
    assert len(tracking.detections(np.zeros((0, 4)))) == 0
