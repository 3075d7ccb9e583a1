"""YOLO26-pose: the real architecture with random weights, exported by ``ultralytics`` itself in another process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from framelane.errors import FramelaneError, UsageError
from framelane.perception.poses import Options, load_estimator
from framelane.perception.skeleton import oks
from framelane.resources import data_path
from support.export_yolo_pose import LOWEST

SIZE = (150, 200)
needs_ultralytics = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="the package ultralytics (AGPL-3.0) is not installed"
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("yolo-pose")
    coarse = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(2)) * 255
    frames = torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear").to(torch.uint8)
    np.save(folder / "frames.npy", frames.permute(0, 2, 3, 1).numpy())
    command = [sys.executable, "-m", "support.export_yolo_pose", str(folder)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def load():
    return load_estimator("yolo", Options(threads=1, lowest=LOWEST))


@needs_ultralytics
def test_poses_equal_those_of_ultralytics(exported, cache):
    """But one person found twice is one here: of such, ultralytics' surest must be there."""
    shutil.copy(exported / "yolo26n-pose.onnx", cache)
    model, own = load(), np.load(exported / "found.npz")
    frames = torch.from_numpy(np.load(exported / "frames.npy")).permute(0, 3, 1, 2)
    before = set(sys.modules)
    for index, found in enumerate(model.find(frames)):
        boxes, scores, joints = own[f"xyxy{index}"], own[f"confidence{index}"], own[f"joints{index}"]
        assert len(scores) > 5
        assert len(found) > 1
        at = [
            int(np.argmin(np.abs(scores - score) + np.abs(boxes - box).sum(axis=1)))
            for score, box in zip(found.confidence, found.xyxy, strict=True)
        ]
        np.testing.assert_allclose(found.confidence, scores[at], rtol=1e-5)
        np.testing.assert_allclose(found.xyxy, boxes[at], atol=1e-2)
        np.testing.assert_allclose(found.data["joints"][..., :2], joints[at][..., :2], atol=1e-2)
        np.testing.assert_allclose(found.data["joints"][..., 2], joints[at][..., 2], atol=1e-5)
        assert at[0] == int(scores.argmax())
        for left in set(range(len(scores))) - set(at):
            if (boxes[left, 2:] > boxes[left, :2]).all():
                area = [float(np.prod(box[2:] - box[:2])) for box in found.xyxy]
                alike = [
                    oks(joints[left], kept[None], a)[0] for kept, a in zip(found.data["joints"], area, strict=True)
                ]
                assert max(alike) > 0.5, "only who was found twice is left out"
    assert not [name for name in set(sys.modules) - before if name.startswith("ultralytics")]
    assert model.own_weights["licence"] == "AGPL-3.0"
    assert "AGPL-3.0" in model.notice


def test_another_onnx_file_is_refused(cache):
    shutil.copy(data_path("assets", "models", "movenet-multipose.onnx"), cache / "yolo26n-pose.onnx")
    with pytest.raises(FramelaneError, match="no YOLO that ultralytics exported"):
        load()


def test_weights_that_are_missing_are_asked_for_by_name(cache):
    with pytest.raises(UsageError, match=r"pip install ultralytics|yolo export") as caught:
        load()
    for part in ("AGPL-3.0", "yolo export model=yolo26n-pose.pt format=onnx nms=False", "movenet", str(cache)):
        assert part in str(caught.value)
