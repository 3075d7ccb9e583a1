"""NanoDet on the demo clips, and its decoding against a slow one that was written from the model's description."""

from __future__ import annotations

import subprocess
import sys

import av
import numpy as np
import pytest
import torch

from framelane.errors import UsageError
from framelane.perception.detectors import COCO_NAMES, LOW_SCORE, Detector, DetectorOptions, family_of, load_detector
from framelane.resources import data_path


def frames(clip: str, every: int) -> list[torch.Tensor]:
    with av.open(str(data_path("assets", "clips", f"{clip}.mp4"))) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [torch.from_numpy(frame).permute(2, 0, 1).contiguous() for frame in decoded[::every]]


@pytest.fixture(scope="module")
def nanodet() -> Detector:
    return load_detector("nanodet", DetectorOptions(threads=2))


def families(found, threshold: float = 0.35) -> list[str]:
    sure = found.confidence >= threshold
    return [family_of(str(name)) for name in found.data["class_name"][sure]]


def iou(a, b) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, wide) * max(0.0, high)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def slow_nms(rows: list, threshold: float, *, per_class: bool) -> list:
    kept: list = []
    for row in sorted(rows, key=lambda row: -row[4]):
        rivals = [other for other in kept if not per_class or other[5] == row[5]]
        if all(iou(row, other) <= threshold for other in rivals):
            kept.append(row)
    return kept


def slow_decode(outputs: list[np.ndarray], scale: float, left: int, top: int, width: int, height: int) -> list:
    """Boxes (x1, y1, x2, y2, score, class) by plain loops in float64, after the README of the embedded models."""
    rows = []
    for cells in (52, 26, 13):
        stride = 416 // cells
        scores = next(o for o in outputs if o.shape == (1, cells * cells, 80))[0]
        sides = next(o for o in outputs if o.shape == (1, cells * cells, 44))[0].astype(np.float64)
        for index in range(cells * cells):
            for label in range(80):
                if scores[index, label] < LOW_SCORE:
                    continue
                reach = []
                for side in range(4):
                    weights = np.exp(sides[index, side * 11 : side * 11 + 11])
                    reach.append(sum(k * w for k, w in enumerate(weights / weights.sum())) * stride)
                x, y = (index % cells + 0.5) * stride, (index // cells + 0.5) * stride
                box = [x - reach[0] - left, y - reach[1] - top, x + reach[2] - left, y + reach[3] - top]
                clipped = [min(max(v / scale, 0), limit) for v, limit in zip(box, (width, height) * 2, strict=True)]
                rows.append((*clipped, float(scores[index, label]), label))
    return slow_nms(slow_nms(rows, 0.6, per_class=True), 0.8, per_class=False)[:100]


@pytest.mark.parametrize(("clip", "every"), [("street", 60), ("walker", 75)])
def test_decoding_equals_a_slow_one_written_from_the_readme(nanodet, clip, every):
    for frame in frames(clip, every):
        pixels, scale, left, top = nanodet.letterbox(frame)
        outputs = nanodet.session.run(None, {nanodet.session.get_inputs()[0].name: pixels})
        expected = slow_decode(outputs, scale, left, top, frame.shape[2], frame.shape[1])
        found = nanodet.detect(frame[None])[0]
        assert len(expected) > 5
        assert [row[5] for row in expected] == found.class_id.tolist()
        np.testing.assert_allclose(found.confidence, [row[4] for row in expected], rtol=1e-6)
        np.testing.assert_allclose(found.xyxy, [row[:4] for row in expected], atol=0.01)


def test_network_input_is_normalised_bgr_in_a_letterbox(nanodet):
    frame = torch.zeros(3, 208, 416, dtype=torch.uint8)
    frame[0], frame[1], frame[2] = 200, 100, 50
    pixels, scale, left, top = nanodet.letterbox(frame)
    assert (scale, left, top) == (1.0, 0, 104)
    inside = [(50 - 103.53) / 57.375, (100 - 116.28) / 57.12, (200 - 123.675) / 58.395]
    bars = [-103.53 / 57.375, -116.28 / 57.12, -123.675 / 58.395]
    np.testing.assert_allclose(pixels[0, :, 208, 200], inside, atol=1e-5)
    np.testing.assert_allclose(pixels[0, :, 103, 200], bars, atol=1e-5)
    np.testing.assert_allclose(pixels[0, :, 104, 200], inside, atol=1e-5)


def test_walker_is_found_in_nine_frames_of_ten(nanodet):
    sampled = frames("walker", 10)
    hits = sum("person" in families(nanodet.detect(frame[None])[0]) for frame in sampled)
    assert hits >= 0.9 * len(sampled)


def test_street_has_people_and_vehicles_where_they_are(nanodet):
    for frame in frames("street", 40):
        found = nanodet.detect(frame[None])[0]
        kinds = families(found)
        assert kinds.count("person") >= 2
        assert "vehicle" in kinds
        # The van stands at the right edge of the picture, at the top, through the whole clip.
        van = found.xyxy[np.isin(found.data["class_name"], ["car", "truck", "bus"])][:, :2]
        assert ((van[:, 0] > 600) & (van[:, 1] < 120)).any()


def test_weak_boxes_are_reported_in_order_and_inside_the_frame(nanodet):
    frame = frames("street", 120)[0]
    found = nanodet.detect(frame[None])[0]
    assert LOW_SCORE <= found.confidence.min() < 0.2
    assert (np.diff(found.confidence) <= 0).all()
    assert found.xyxy.min() >= 0
    assert (found.xyxy.max(axis=0) <= [768, 576, 768, 576]).all()
    assert [COCO_NAMES[i] for i in found.class_id] == found.data["class_name"].tolist()


def test_a_batch_is_its_frames_and_repeats_exactly(nanodet):
    pair = torch.stack(frames("walker", 100))
    together, again = nanodet.detect(pair), nanodet.detect(pair)
    for index, found in enumerate(together):
        alone = nanodet.detect(pair[index : index + 1])[0]
        for other in (alone, again[index]):
            assert found.xyxy.tobytes() == other.xyxy.tobytes()
            assert found.confidence.tobytes() == other.confidence.tobytes()


def test_classes_are_kept_by_name(nanodet):
    frame = frames("street", 120)[0]
    only = load_detector("nanodet", DetectorOptions(threads=2, classes=("car",))).detect(frame[None])[0]
    assert len(only) > 0
    assert set(only.data["class_name"]) == {"car"}


@pytest.mark.parametrize("size", [(16, 16), (17, 401), (1, 1)])
def test_frames_without_objects_give_nothing(nanodet, size):
    found = nanodet.detect(torch.zeros(2, 3, *size, dtype=torch.uint8))
    assert [len(one) for one in found] == [0, 0]
    assert found[0].xyxy.shape == (0, 4)


@pytest.mark.parametrize(("given", "near"), [("persn", "person"), ("lorry car", "car"), ("Dog", "dog")])
def test_an_unknown_class_names_the_nearest(given, near):
    with pytest.raises(UsageError, match=rf"'{given}' is no COCO class; the nearest is '{near}'"):
        load_detector("nanodet", DetectorOptions(threads=1, classes=(given,)))


def test_an_unknown_detector_names_the_known():
    with pytest.raises(UsageError, match="allowed are deformable_detr, nanodet, rfdetr, rtdetr, yolo"):
        load_detector("yolov99", DetectorOptions(threads=1))


def test_families_cover_the_classes():
    assert len(set(COCO_NAMES)) == 80
    expected = {"person": "person", "boat": "vehicle", "giraffe": "animal", "sports ball": "ball", "kite": "other"}
    assert {name: family_of(name) for name in expected} == expected
    assert family_of("traffic light") == family_of("no such thing") == "other"


def test_importing_loads_nothing_heavy():
    code = (
        "import framelane.perception.detectors, framelane.perception.trackers, framelane.overlay, sys;"
        "print([n for n in ('torch', 'cv2', 'onnxruntime', 'supervision', 'trackers', 'PIL') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
