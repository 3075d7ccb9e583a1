"""YOLO26 from a file that the user exported, against ``ultralytics`` running the same file.

The weights are random, from the package's own yaml; the export, the file and the way through it are the real ones.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from framelane.errors import FramelaneError, UsageError
from framelane.perception.detectors import COCO_NAMES, Detector, DetectorOptions, load_detector
from framelane.perception.yolo import weights_path
from framelane.resources import data_path

needs_ultralytics = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="the AGPL package ultralytics is not installed"
)
LOWEST = 0.1
SIZE = (90, 120)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with frames, two exports and what ultralytics found; made in another process."""
    folder = tmp_path_factory.mktemp("yolo")
    coarse = torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(2)) * 255
    frames = torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear").to(torch.uint8)
    np.save(folder / "frames.npy", frames.permute(0, 2, 3, 1).numpy())
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-m", "support.export_yolo", str(folder)]
    done = subprocess.run(
        command, cwd=tests, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def load(**options) -> Detector:
    return load_detector("yolo", DetectorOptions(**{"threads": 1, **options}))


def frames(exported: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(exported / "frames.npy")).permute(0, 3, 1, 2)


@needs_ultralytics
def test_boxes_equal_those_of_ultralytics(exported, cache):
    shutil.copy(exported / "yolo26n.onnx", cache)
    detector, own = load(), np.load(exported / "found.npz")
    several = 0
    for index, found in enumerate(detector.detect(frames(exported))):
        boxes, scores, ids = own[f"xyxy{index}"], own[f"confidence{index}"], own[f"id{index}"]
        # One label a box, and only boxes with an area inside the frame.
        first = np.sort(np.unique(boxes, axis=0, return_index=True)[1])
        several += len(boxes) - len(first)
        first = [row for row in first if (boxes[row, 2:] > boxes[row, :2]).all()][:100]
        assert len(first) > 10
        assert found.class_id.tolist() == ids[first].tolist()
        np.testing.assert_allclose(found.confidence, scores[first], rtol=1e-6)
        np.testing.assert_allclose(found.xyxy, boxes[first], atol=1e-3)
        assert [COCO_NAMES[label] for label in found.class_id] == found.data["class_name"].tolist()
        assert found.xyxy.dtype == found.confidence.dtype == np.float32
        assert (found.xyxy >= 0).all()
        assert (found.xyxy.max(axis=0) <= [SIZE[1], SIZE[0]] * 2).all()
    assert several > 0


@needs_ultralytics
def test_the_file_is_named_in_the_report_and_its_licence_told(exported, cache):
    path = Path(shutil.copy(exported / "yolo26n.onnx", cache))
    before = set(sys.modules)
    detector = load()
    detector.detect(frames(exported))
    assert not [name for name in set(sys.modules) - before if name.startswith("ultralytics")]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert detector.own_weights == {"name": "yolo26n", "sha256": digest, "licence": "AGPL-3.0"}
    assert detector.provider == "CPUExecutionProvider"
    assert "AGPL-3.0" in detector.notice
    assert "rfdetr, rtdetr" in detector.notice
    assert not detector.has_attention


@needs_ultralytics
def test_classes_and_the_lowest_score(exported, cache):
    shutil.copy(exported / "yolo26n.onnx", cache)
    every = load().detect(frames(exported))[0]
    name = str(every.data["class_name"][0])
    only = load(classes=(name,)).detect(frames(exported))[0]
    assert set(only.data["class_name"]) == {name}
    assert every.confidence.min() >= LOWEST
    assert (np.diff(every.confidence) <= 0).all()
    assert load().detect(frames(exported)[:0]) == []


@needs_ultralytics
@pytest.mark.parametrize("size", [(1, 1), (64, 96), (300, 40), (40, 300)])
def test_the_letterbox_keeps_the_aspect_and_is_undone(exported, cache, size):
    """A corner of the frame, sent through the letterbox and back, is that corner."""
    shutil.copy(exported / "yolo26n.onnx", cache)
    detector = load()
    pixels, gain, corner = detector.letterbox(np.full((*size, 3), 255, np.uint8))
    assert pixels.shape == (1, 3, 64, 96)
    inside = np.argwhere(pixels[0, 0] == 1)
    assert inside.min(axis=0).tolist() == corner[::-1].tolist()
    # From pixels of the frame to pixels of the network and back.
    far = inside.max(axis=0)[::-1] + 1
    np.testing.assert_allclose((far - corner) / gain, [size[1], size[0]])
    assert (pixels[0, 0] == np.float32(114) / 255).sum() == 64 * 96 - len(inside)
    assert len(detector.detect(torch.zeros(1, 3, *size, dtype=torch.uint8))) == 1


@needs_ultralytics
def test_an_export_without_the_end_to_end_head_is_refused(exported, cache):
    shutil.copy(exported / "raw.onnx", cache / "yolo26n.onnx")
    with pytest.raises(FramelaneError, match=r"exported end to end.*nms=False"):
        load()


def test_another_onnx_file_is_refused(cache):
    shutil.copy(data_path("assets", "models", "nanodet-plus-m-416.onnx"), cache / "yolo26n.onnx")
    with pytest.raises(FramelaneError, match="no YOLO that ultralytics exported"):
        load()
    (cache / "yolo26n.onnx").write_bytes(b"nothing")
    with pytest.raises(FramelaneError, match="cannot be opened"):
        load()


@needs_ultralytics
def test_a_model_of_other_classes_is_refused(exported, cache):
    model = onnx.load(exported / "yolo26n.onnx")
    for item in model.metadata_props:
        if item.key == "names":
            item.value = "{0: 'ship', 1: 'buoy'}"
    onnx.save(model, cache / "yolo26n.onnx")
    with pytest.raises(FramelaneError, match="none of the COCO classes"):
        load()


@pytest.mark.parametrize(("size", "letter"), [("nano", "n"), ("small", "s"), ("medium", "m"), ("large", "l")])
def test_weights_that_are_missing_are_asked_for_by_name(cache, size, letter):
    name = f"yolo26{letter}"
    assert weights_path(size) == cache / f"{name}.onnx"
    with pytest.raises(UsageError) as caught:
        load(size=size)
    text = str(caught.value)
    for part in ("ultralytics", "AGPL-3.0", f"yolo export model={name}.pt format=onnx nms=False", "rfdetr", str(cache)):
        assert part in text


def test_without_the_package_the_sentence_says_so(cache):
    """In a process in which Python does not find the package, as on a machine without it."""
    code = (
        "from importlib.machinery import PathFinder\n"
        "own = PathFinder.find_spec\n"
        "PathFinder.find_spec = classmethod(lambda cls, name, path=None, target=None:"
        " None if name == 'ultralytics' else own(name, path, target))\n"
        "from framelane.perception.detectors import DetectorOptions, load_detector\n"
        "load_detector('yolo', DetectorOptions())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UsageError: attention.detector=yolo needs weights made with the package ultralytics" in done.stderr
    assert "is not installed; install it (pip install ultralytics)" in done.stderr
