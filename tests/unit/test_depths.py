"""Depth estimators: what they give is what their file holds, in the right unit, or a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from framelane.bench.rendered import SIZE, depth_model, render, scenes
from framelane.errors import FramelaneError, UsageError
from framelane.models import catalog, store
from framelane.perception.depth_onnx import yolo_path
from framelane.perception.depths import DepthOptions, input_size, load_estimator, sane
from support.depth_nets import small_depth_anything

ONE = DepthOptions(threads=1, size=98)


def _rgb(count=1):
    frames = [render(scenes()[0], time)[0] for time in np.linspace(0, 2, count)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


def test_a_made_onnx_gives_the_depth_that_was_rendered(tmp_path):
    model = load_estimator("onnx", depth_model(tmp_path / "d.onnx"), ONE)
    _, truth, _ = render(scenes()[0], 0.0)
    found = model.estimate(_rgb())[0]
    assert model.kind == "metric"
    assert found.shape == SIZE
    assert np.abs(found / truth - 1).max() < 0.02, "blue has steps of 1.9 %"


def test_a_file_that_does_not_say_what_it_gives_is_asked_for(tmp_path):
    import onnx

    path = depth_model(tmp_path / "d.onnx")
    mute = onnx.load(str(path))
    del mute.metadata_props[:]
    onnx.save(mute, str(path))
    with pytest.raises(UsageError, match=r"depth\.kind=metric .*depth\.kind=relative"):
        load_estimator("onnx", path, ONE)
    assert load_estimator("onnx", path, DepthOptions(threads=1, kind="relative")).kind == "relative"


def test_what_is_no_depth_model_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        load_estimator("onnx", tmp_path / "none.onnx", ONE)
    import onnx
    from onnx import helper

    ends = [helper.make_tensor_value_info(name, 1, [1, 1, 8, 8]) for name in ("grey", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["grey"], ["same"])], "grey", ends[:1], ends[1:])
    path = tmp_path / "grey.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    with pytest.raises(
        FramelaneError, match=r"it takes tensor\(float\) \[1, 1, 8, 8\], and one picture of \(1, 3, h, w\)"
    ):
        load_estimator("onnx", path, DepthOptions(threads=1, kind="metric"))


def _made(path, shape, node, out):
    import onnx
    from onnx import helper

    ends = [helper.make_tensor_value_info(name, 1, sides) for name, sides in (("x", shape), ("y", out))]
    graph = helper.make_graph([node], "made", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def _mean(**how):
    from onnx import helper

    return helper.make_node("ReduceMean", ["x"], ["y"], **how)


def test_a_table_of_boxes_is_no_map():
    """Our own detector takes a picture and gives one array of three axes."""
    detector = load_estimator("onnx", store.resolve("nanodet"), DepthOptions(threads=1, kind="metric"))
    with pytest.raises(FramelaneError, match="one map of the frame"):
        detector.estimate(_rgb())


def test_a_model_that_gives_no_map_is_refused_with_a_sentence(tmp_path):
    unit = DepthOptions(threads=1, kind="metric", normalisation="unit", size=98)
    scalar = _made(tmp_path / "scalar.onnx", [1, 3, 32, 32], _mean(keepdims=0), [])
    with pytest.raises(FramelaneError, match=r"gives \(\) for a frame of .*; one map of the frame"):
        load_estimator("onnx", scalar, unit).estimate(_rgb())
    two = _made(tmp_path / "two.onnx", [2, 3, 32, 32], _mean(axes=[1], keepdims=1), [2, 1, 32, 32])
    with pytest.raises(FramelaneError, match=r"\[2, 3, 32, 32\], and one picture of \(1, 3, h, w\)"):
        load_estimator("onnx", two, unit)
    free = _made(tmp_path / "free.onnx", [1, 3, 32, "w"], _mean(axes=[1], keepdims=1), [1, 1, 32, "w"])
    assert load_estimator("onnx", free, unit).estimate(_rgb()).shape == (1, 32, 126), "only what is free is chosen"


def test_what_the_settings_say_of_a_file_wins_over_what_it_says(tmp_path):
    path = depth_model(tmp_path / "d.onnx")  # which says that it takes RGB from 0 to 1
    told = load_estimator("onnx", path, DepthOptions(threads=1, normalisation="imagenet")).estimate(_rgb())[0]
    asked = load_estimator("onnx", path, ONE).estimate(_rgb())[0]
    assert np.abs(np.log(told) - np.log(asked)).max() > 1


def test_yolo_without_an_export_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"yolo export model=yolo26n-depth\.pt format=onnx.*AGPL-3\.0"):
        load_estimator("yolo", yolo_path(), ONE)


@pytest.mark.parametrize("kind", ["metric", "relative"])
def test_depth_anything_in_its_real_class(tmp_path, kind):
    """Random weights: shapes, units and that the cutting into batches is not seen; nothing of how good it is."""
    model = load_estimator("depth_anything", small_depth_anything(tmp_path, kind), ONE)
    frames = _rgb(2)
    both = model.estimate(frames)
    assert model.kind == kind
    assert both.shape == (2, 98, 126), "sides are multiples of the patch, the aspect is kept"
    assert both.dtype == np.float32
    assert (both >= 0).all()
    assert kind == "relative" or both.max() <= 20
    assert np.array_equal(both[1], model.estimate(frames[1:])[0])
    assert both[0].std() > 0


def test_depth_anything_whose_weights_do_not_fit_is_refused(tmp_path):
    import json

    folder = small_depth_anything(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "head_hidden_size": 6}))
    with pytest.raises(FramelaneError, match="do not fit Depth Anything"):
        load_estimator("depth_anything", folder, ONE)


def test_the_catalogue_names_depth_models_with_their_licence():
    known = {entry.name: entry for entry in catalog.entries() if entry.task == "depth"}
    assert {"depth_anything_v2_small", "depth_anything_v2_metric_indoor", "depth_anything_v2_metric_outdoor"} <= set(
        known
    )
    assert all(entry.licence == "Apache-2.0" for entry in known.values())
    assert known["depth_anything_v2_small_onnx"].published is None, "nobody here has checked it: it asks before use"


def test_nonsense_of_a_model_becomes_far_and_never_near():
    depth = np.array([[1.0, np.nan], [-1.0, 9.0]], np.float32)
    assert sane(depth, "metric").tolist() == [[1, 9], [9, 9]]
    assert sane(np.array([[0.5, np.inf]], np.float32), "relative").tolist() == [[0.5, 0.5]]


def test_input_sizes_keep_the_aspect():
    assert input_size((1080, 1920), 518, 14) == (518, 924)
    assert input_size((1920, 1080), 518, 14) == (924, 518)
