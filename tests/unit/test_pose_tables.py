"""What is written of poses: COCO results, the CSV, and the figures per track; through pycocotools and planted motion."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from framelane.perception.pose_tracks import Person
from framelane.perception.skeleton import COCO17, OPENPOSE18
from framelane.processors.pose.figures import Fold, angle, row
from framelane.processors.pose.tables import COLUMNS, write_coco, write_joints

RATE = 25
# A standing figure 100 pixels tall, arms down, left knee bent by a right angle.
FIGURE = np.array(
    [
        [50, 5], [48, 3], [52, 3], [46, 5], [54, 5], [40, 20], [60, 20], [40, 38], [60, 38], [40, 55], [60, 55],
        [44, 52], [56, 52], [44, 76], [56, 76], [20, 76], [56, 100],
    ],
    dtype=np.float64,
)  # fmt: skip


def person(track, shift=(0.0, 0.0), scores=0.8, bridged=(), missing=(), sure=0.7):
    joints = np.column_stack([FIGURE + shift, np.full(17, scores), np.zeros(17)])
    joints[list(bridged), 3] = 1
    joints[list(missing)] = 0
    return Person(track, joints, sure)


def rows(count, *, speed=100.0, **options):
    """One person who moves to the right at ``speed`` pixels a second."""
    return [row(i, i / RATE, [person(1, (speed * i / RATE, 0), **options)], cut=i == 0) for i in range(count)]


def coco_of(entries):
    """Ground truth of the same figures, as an annotated data set."""
    coco = pytest.importorskip("pycocotools.coco")
    dataset = coco.COCO()
    keypoints = [np.column_stack([joints, np.full(17, 2)]).ravel().tolist() for _, joints in entries]
    dataset.dataset = {
        "images": [{"id": index} for index in sorted({index for index, _ in entries})],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17)}],
        "annotations": [
            {
                "id": k + 1, "image_id": index, "category_id": 1, "iscrowd": 0, "num_keypoints": 17, "area": 4000.0,
                "bbox": [*joints.min(axis=0).tolist(), *np.ptp(joints, axis=0).tolist()], "keypoints": points,
            }
            for k, ((index, joints), points) in enumerate(zip(entries, keypoints, strict=True))
        ],
    }  # fmt: skip
    dataset.createIndex()
    return dataset


def average_precision(dataset, path):
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval(dataset, dataset.loadRes(str(path)), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


def test_coco_results_are_read_and_scored_by_pycocotools(tmp_path):
    """All joints right: AP 1. Half of the people moved away by their own width, and less sure: AP falls to about a half."""
    people = [[person(1), person(2, (300, 50))] for _ in range(20)]
    truth = coco_of([(i, p.joints[:, :2]) for i, two in enumerate(people) for p in two])
    right, wrong = tmp_path / "right.coco.json", tmp_path / "wrong.coco.json"
    write_coco((row(i, i / RATE, two, cut=False) for i, two in enumerate(people)), right)
    moved = [[two[0], person(2, (340, 50), sure=0.4)] for two in people]
    write_coco((row(i, i / RATE, two, cut=False) for i, two in enumerate(moved)), wrong)
    assert average_precision(truth, right) == pytest.approx(1.0)
    assert average_precision(truth, wrong) == pytest.approx(0.5, abs=0.06)


def test_an_empty_result_is_sound_json(tmp_path):
    path = tmp_path / "none.coco.json"
    write_coco([row(0, 0.0, [], cut=True)], path)
    assert json.loads(path.read_text()) == []
    entries = tmp_path / "some.coco.json"
    write_coco(rows(2, missing=[0]), entries)
    first = json.loads(entries.read_text())[0]
    assert set(first) == {"image_id", "category_id", "keypoints", "score", "track_id"}, (
        "a box would make loadRes take boxes"
    )
    assert first["keypoints"][:3] == [0, 0, 0]
    assert len(first["keypoints"]) == 51


@pytest.mark.parametrize(("layout", "order"), [("coco17", COCO17), ("openpose18", OPENPOSE18)])
def test_the_csv_has_a_line_per_joint(tmp_path, layout, order):
    path = tmp_path / "x.joints.csv"
    write_joints(rows(2, bridged=[9], missing=[15]), path, layout)
    lines = list(csv.DictReader(path.open()))
    assert tuple(lines[0]) == COLUMNS
    assert [line["joint"] for line in lines[: len(order) - 1]] == [name for name in order if name != "left_ankle"]
    by_name = {line["joint"]: line for line in lines if line["frame"] == "1"}
    assert by_name["left_wrist"]["bridged"] == "1"
    assert by_name["right_wrist"] == {
        "frame": "1", "time": "0.0400", "track": "1", "joint": "right_wrist", "x": "64.00", "y": "55.00",
        "score": "0.800", "bridged": "0",
    }  # fmt: skip
    if layout == "openpose18":
        assert (by_name["neck"]["x"], by_name["neck"]["y"]) == ("54.00", "20.00")


def test_figures_of_a_planted_walk():
    metrics = Fold().over(rows(50, bridged=[9]))
    (track,) = metrics["tracks"]
    assert track["speed_px_s"]["mean"] == pytest.approx(100, abs=0.2)
    assert track["height_px"] == pytest.approx(97, abs=0.1)
    assert track["speed_heights_s"]["mean"] == pytest.approx(100 / 97, abs=0.01)
    assert track["angles_deg"]["left_knee"] == {"min": 90.0, "mean": 90.0, "max": 90.0}
    assert track["angles_deg"]["right_knee"]["mean"] == pytest.approx(180, abs=0.1)
    assert track["angles_deg"]["left_elbow"] is None, "a bridged wrist tells no angle"
    assert track["joints_seen"] == pytest.approx(16 / 17, abs=1e-3)
    assert track["joints_bridged"] == pytest.approx(1 / 17, abs=1e-3)
    assert (metrics["frames"], metrics["people_per_frame"], metrics["cuts"]) == (50, 1.0, [])


def test_jitter_is_no_speed():
    """A pixel to and fro on every frame is 25 pixels a second along the path, and none in truth."""
    shaken = [row(i, i / RATE, [person(1, (i % 2, 0))], cut=False) for i in range(50)]
    assert Fold().over(shaken)["tracks"][0]["speed_px_s"]["mean"] < 3


def test_figures_without_anybody():
    metrics = Fold().over([row(0, 0.0, [], cut=True), row(1, 0.04, [], cut=True)])
    assert metrics["tracks"] == []
    assert metrics["cuts"] == [0.04]
    assert Fold().over([])["people_per_frame"] == 0


def test_memory_does_not_grow_with_the_clip():
    fold = Fold()
    fold.over(rows(5000))
    track = fold.tracks[1]
    assert max(len(track.heights.values), len(track.speeds.values), len(track.curve.values), len(track.path)) < 1100


def test_angles():
    assert angle(np.array([0.0, 1]), np.zeros(2), np.array([0.0, -3])) == pytest.approx(180)
    assert angle(np.array([0.0, 1]), np.zeros(2), np.array([0.0, 3])) == pytest.approx(0)
    assert angle(np.array([1.0, 0]), np.zeros(2), np.array([1.0, 1])) == pytest.approx(45)
