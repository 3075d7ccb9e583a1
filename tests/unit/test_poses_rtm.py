"""RTMPose and RTMO through the real ``rtmlib``, on made ONNX graphs with the published interface.

The graphs have no trained weights: RTMPose's finds the brightest row and column of its crop, RTMO's says what it was made
to say. So where a joint must come out is known, and the crops, scales and orders of coordinates are what is tested.
"""

from __future__ import annotations

import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from framelane.errors import FramelaneError
from framelane.models import catalog, store
from framelane.perception.poses import Options, load_estimator

pytest.importorskip("rtmlib")


def save(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def rtmpose(path, height=64, width=48):
    """SimCC at twice the crop's resolution: (1, 17, 2 w) and (1, 17, 2 h), the maximum at the brightest column and row."""

    def doubled(side):
        matrix = np.zeros((side, 2 * side), np.float32)
        matrix[np.arange(side), 2 * np.arange(side)] = 1
        return matrix

    nodes = [
        helper.make_node("ReduceMax", ["input"], ["columns"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMax", ["input"], ["rows"], axes=[1, 3], keepdims=0),
        helper.make_node("MatMul", ["columns", "wide"], ["x1"]),
        helper.make_node("MatMul", ["rows", "high"], ["y1"]),
        helper.make_node("Unsqueeze", ["x1", "axis"], ["x2"]),
        helper.make_node("Unsqueeze", ["y1", "axis"], ["y2"]),
        helper.make_node("Expand", ["x2", "xs"], ["simcc_x"]),
        helper.make_node("Expand", ["y2", "ys"], ["simcc_y"]),
    ]
    constants = {
        "wide": doubled(width), "high": doubled(height), "axis": np.array([1]),
        "xs": np.array([1, 17, 2 * width]), "ys": np.array([1, 17, 2 * height]),
    }  # fmt: skip
    outputs = [("simcc_x", [1, 17, 2 * width]), ("simcc_y", [1, 17, 2 * height])]
    save(path, nodes, [1, 3, height, width], outputs, constants)


def rtmo(path, boxes, joints, side=128):
    nodes = [
        helper.make_node("ReduceMax", ["input"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "nothing"], ["zero"]),
        helper.make_node("Add", ["boxes", "zero"], ["dets"]),
        helper.make_node("Add", ["joints", "zero"], ["keypoints"]),
    ]
    constants = {"nothing": np.zeros((), np.float32), "boxes": boxes[None], "joints": joints[None]}
    save(path, nodes, [1, 3, side, side], [("dets", [1, *boxes.shape]), ("keypoints", [1, *joints.shape])], constants)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Puts a graph where the catalogue's weights of a name belong, and trusts it, as `models fetch --from` does."""
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))

    def put(name, file):
        store.fetch(name, given=file, trust=True)

    return put


def archived(path):
    archive = path.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as made:
        made.write(path, "20230504/end2end.onnx")
        made.writestr("20230504/pipeline.json", "{}")
    return archive


def test_rtmpose_finds_a_planted_point_in_the_crop(tmp_path, weights):
    """A bright point on a person whom NanoDet finds: all joints must lie on it, in pixels of the frame."""
    from framelane.bench.moved_person import still

    rtmpose(tmp_path / "end2end.onnx")
    weights("rtmpose_s", archived(tmp_path / "end2end.onnx"))
    frame = (still(60) * 0.6).astype(np.uint8)
    frame[388:394, 448:454] = 255
    model = load_estimator("rtmpose", Options(threads=1, size="small", lowest=0.3))
    found = model.find(torch.from_numpy(frame).permute(2, 0, 1)[None])[0]
    boxes = found.xyxy
    inside = [k for k in range(len(boxes)) if boxes[k, 0] < 450 < boxes[k, 2] and boxes[k, 1] < 390 < boxes[k, 3]]
    assert inside, "the detector sees the walker"
    joints = found.data["joints"][inside[0]]
    np.testing.assert_allclose(joints[:, :2], np.full((17, 2), [451, 391]), atol=5)
    assert joints[:, 2].max() <= 1
    assert model.provider == "CPUExecutionProvider"


def test_rtmo_undoes_its_letterbox_and_nobody_is_nobody(tmp_path, weights):
    joints = np.random.default_rng(0).uniform(10, 60, (2, 17, 3)).astype(np.float32)
    joints[0, :, 2], joints[1, :, 2] = 0.9, 0.5
    boxes = np.array([[10, 10, 60, 60, 0.9], [70, 10, 120, 60, 0.02]], np.float32)
    rtmo(tmp_path / "rtmo.onnx", boxes, joints)
    weights("rtmo_s", tmp_path / "rtmo.onnx")
    model = load_estimator("rtmo", Options(threads=1, size="small", lowest=0.1))
    found = model.find(torch.zeros((1, 3, 256, 512), dtype=torch.uint8))[0]
    assert len(found) == 1, "the other one is too unsure"
    np.testing.assert_allclose(found.data["joints"][0, :, :2], joints[0, :, :2] * 4, atol=1e-3)
    assert found.confidence[0] == pytest.approx(0.9)
    none = load_estimator("rtmo", Options(threads=1, size="small", lowest=0.95))
    assert len(none.find(torch.zeros((1, 3, 256, 512), dtype=torch.uint8))[0]) == 0


def test_weights_that_nobody_can_check_are_not_fetched_by_themselves(weights):
    with pytest.raises(FramelaneError, match=r"models fetch rtmo_s --trust"):
        load_estimator("rtmo", Options(threads=1, size="small"))
    for name in ("rtmpose_s", "rtmpose_m", "rtmpose_x", "rtmo_s", "rtmo_m", "rtmo_l"):
        assert catalog.get(name).licence == "Apache-2.0"
        assert catalog.get(name).published is None


def test_an_archive_without_a_graph_is_refused(tmp_path, weights):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("readme.txt", "nothing")
    weights("rtmo_s", archive)
    with pytest.raises(FramelaneError, match="exactly one ONNX graph"):
        load_estimator("rtmo", Options(threads=1, size="small"))
