"""Detectors of the DETR family: their boxes against transformers' own, their objects' maps, and how they are opened.

The models are the real classes of ``transformers``, small and with random weights, in folders as a hub holds them: what
they find means nothing, but every step from file to detection is the real one.
"""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import supervision as sv
import torch
from safetensors.torch import load_file, save_file
from test_deformable import formula, slow_splat

from framelane.errors import FramelaneError, UsageError
from framelane.models import store
from framelane.perception.detectors import (
    COCO_NAMES,
    Detector,
    DetectorOptions,
    catalogue_name,
    coco_ids,
    detector_names,
    load_detector,
)
from framelane.perception.detr import DeformableDetr, Detr, RfDetr, RtDetr
from framelane.perception.trackers import load_tracker
from support import detr

CLASSES: dict[str, type[Detr]] = {cls.name: cls for cls in (RfDetr, RtDetr, DeformableDetr)}
HEIGHT, WIDTH = 90, 160
LOWEST = 0.1


def frames(count: int = 3, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(count, 3, 6, 8, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").to(torch.uint8)


@pytest.fixture(scope="module", params=detr.NAMES)
def folder(request, tmp_path_factory):
    return detr.save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def detector(folder) -> Detr:
    return opened(folder)


def opened(folder, **options) -> Detr:
    name = {"rf_detr": "rfdetr", "rt_detr": "rtdetr"}.get(config := kind(folder), config)
    return CLASSES[name].from_folder(folder, DetectorOptions(threads=1, **options))


def kind(folder) -> str:
    return json.loads((folder / "config.json").read_text())["model_type"]


def own_answers(detector: Detr, rgb: torch.Tensor) -> list[dict[str, np.ndarray]]:
    """What transformers itself answers, as its documentation shows it: arrays in, boxes in pixels out."""
    images = [frame.permute(1, 2, 0).numpy() for frame in rgb]
    with torch.inference_mode():
        outputs = detector.model(**detector.processor(images=images, return_tensors="pt"))
    sizes = torch.tensor([rgb.shape[-2:]] * len(rgb))
    answers = detector.processor.post_process_object_detection(outputs, threshold=LOWEST, target_sizes=sizes)
    return [{key: value.numpy() for key, value in answer.items()} for answer in answers]


def expected_rows(detector: Detr, answer: dict[str, np.ndarray]) -> list[tuple]:
    """(box, score, name) of transformers' answer: COCO's classes, clipped, one label a box, with an area."""
    rows, seen = [], set()
    labels = detector.model.config.id2label
    right_names = {spelt.replace(" ", ""): name for name, spelt in detr._SPELT.items()}
    for box, score, label in zip(answer["boxes"], answer["scores"], answer["labels"], strict=True):
        name = right_names.get(labels[int(label)], labels[int(label)])
        if name == "N/A" or box.tobytes() in seen:
            continue
        seen.add(box.tobytes())
        clipped = np.clip(box, 0, np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32))
        if (clipped[2:] > clipped[:2]).all():
            rows.append((clipped.tolist(), float(score), name))
    return rows


def test_boxes_equal_those_of_transformers_bit_by_bit(detector):
    rgb = frames()
    answers = own_answers(detector, rgb)
    for found, answer in zip(detector.detect(rgb), answers, strict=True):
        expected = expected_rows(detector, answer)
        assert len(expected) >= 3
        assert found.xyxy.dtype == found.confidence.dtype == np.float32
        assert found.xyxy.tolist() == [row[0] for row in expected]
        assert found.confidence.tolist() == [row[1] for row in expected]
        assert found.data["class_name"].tolist() == [row[2] for row in expected]
        assert [COCO_NAMES[index] for index in found.class_id] == [row[2] for row in expected]
        assert (np.diff(found.confidence) <= 0).all()
        assert found.confidence[-1] > LOWEST


def test_some_of_those_boxes_had_a_second_label_or_one_that_is_not_coco(tmp_path):
    """Else the test above would not have met what it leaves out."""
    detector = opened(detr.save("rfdetr", tmp_path))
    answers = own_answers(detector, frames())
    assert any(len(np.unique(answer["boxes"], axis=0)) < len(answer["boxes"]) for answer in answers)
    names = [detector.model.config.id2label[int(label)] for answer in answers for label in answer["labels"]]
    assert "N/A" in names


def test_each_map_is_that_of_the_query_its_box_came_from(detector):
    """Each box is looked up among all queries' boxes, and that query's map is built by the slow formula."""
    rgb, given = frames(2), {}

    def note(_module, _args, kwargs):
        given.update(kwargs)

    with detr.decoder_layer(detector.model).register_forward_pre_hook(note, with_kwargs=True):
        found = detector.detect(rgb)
    with torch.inference_mode():
        outputs = detector.model(**detector.prepare(rgb))
    locations, weights = formula(detr.decoder_layer(detector.model), given)
    boxes = outputs.pred_boxes.numpy()
    corners = np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], axis=-1)
    corners = np.clip(corners * [WIDTH, HEIGHT, WIDTH, HEIGHT], 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    checked = set()
    for frame, detections in enumerate(found):
        for box, grid in zip(detections.xyxy[:4], detections.data["attention"], strict=False):
            distance = np.abs(corners[frame] - box).max(axis=1)
            query = int(distance.argmin())
            assert distance[query] < 1e-3
            expected = slow_splat(locations[frame, query].reshape(-1, 2), weights[frame, query].ravel(), (27, 48))
            np.testing.assert_allclose(grid, expected, atol=2e-4)
            checked.add(query)
    assert len(checked) >= 3


def test_maps_are_distributions_over_the_frame(detector):
    for detections in detector.detect(frames()):
        maps = detections.data["attention"]
        assert maps.dtype == np.float32
        assert maps.shape == (len(detections), 27, 48)
        assert (maps >= 0).all()
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, atol=1e-5)
    assert detector.has_attention
    assert not load_detector("nanodet", DetectorOptions(threads=1)).has_attention


def test_padding_of_the_input_changes_nothing_of_where_an_object_looks(tmp_path):
    """A Deformable DETR whose input is twice as large as the frame, with every query planted at (0.7, 0.2)."""
    detector = opened(detr.save("deformable_detr", tmp_path))
    layer = detr.decoder_layer(detector.model)
    with torch.no_grad():
        for part in (layer.sampling_offsets, layer.attention_weights, detector.model.model.reference_points):
            part.weight.zero_()
            part.bias.zero_()
        detector.model.model.reference_points.bias.copy_(torch.logit(torch.tensor([0.7, 0.2])))
    detector.processor.size = {"height": 64, "width": 128}
    for padded in ({"height": 64, "width": 128}, {"height": 128, "width": 256}):
        detector.processor.pad_size = padded
        assert detector.prepare(frames())["pixel_values"].shape[-2:] == (padded["height"], padded["width"])
        maps = np.concatenate([found.data["attention"] for found in detector.detect(frames())])
        assert len(maps) >= 3
        centre = [(maps.sum(axis=1) @ (np.arange(48) + 0.5)) / 48, (maps.sum(axis=2) @ (np.arange(27) + 0.5)) / 27]
        np.testing.assert_allclose(centre[0], 0.7, atol=1e-4)
        np.testing.assert_allclose(centre[1], 0.2, atol=1e-4)


def test_a_batch_is_its_frames_and_repeats_exactly(detector):
    rgb = frames()
    together, again = detector.detect(rgb), detector.detect(rgb)
    for index, found in enumerate(together):
        assert found.xyxy.tobytes() == again[index].xyxy.tobytes()
        assert found.data["attention"].tobytes() == again[index].data["attention"].tobytes()
        alone = detector.detect(rgb[index : index + 1])[0]
        np.testing.assert_allclose(found.xyxy, alone.xyxy, atol=1e-2)
        np.testing.assert_allclose(found.data["attention"], alone.data["attention"], atol=1e-3)
    assert detector.detect(rgb[:0]) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 3), (16, 16)])
def test_frames_of_any_size(folder, size):
    if kind(folder) == "deformable_detr" and size[0] == size[1]:
        pytest.skip("a square of 64 pixels, as this small Deformable DETR takes it, is too small for its last level")
    found = opened(folder).detect(frames(1, *size))[0]
    assert found.xyxy.min(initial=0) >= 0
    assert (found.xyxy.max(axis=0, initial=0) <= [size[1], size[0], size[1], size[0]]).all()


def test_classes_are_kept_and_nothing_found_still_has_its_fields(folder):
    every = np.concatenate([found.data["class_name"] for found in opened(folder).detect(frames())])
    wanted = str(every[0])
    only = np.concatenate([found.data["class_name"] for found in opened(folder, classes=(wanted,)).detect(frames())])
    assert set(only) == {wanted}
    absent = next(name for name in COCO_NAMES if name not in every)
    nothing = opened(folder, classes=(absent,), threshold=0.95)
    nothing.lowest_score = 0.9999999
    for found in nothing.detect(frames()):
        assert len(found) == 0
        assert found.data["attention"].shape == (0, 27, 48)


def test_no_hook_is_left_and_none_after_an_error(detector):
    hooks = lambda: sum(len(module._forward_pre_hooks) for module in detector.model.modules())  # noqa: E731
    detector.detect(frames())
    assert hooks() == 0
    with pytest.raises(Exception, match=r"channel|shape|size|dimension"):
        detector.detect(torch.zeros(1, 5, 20, 20, dtype=torch.uint8))
    assert hooks() == 0


def test_labels_are_mapped_by_name():
    assert coco_ids(detr.COCO_80).tolist() == list(range(80))
    ids = coco_ids(detr.COCO_91)
    assert len(ids) == 91
    assert sorted(ids[ids >= 0]) == list(range(80))
    assert ids[1] == 0  # person
    assert ids[90] == 79  # toothbrush
    assert ids[[0, 12, 26]].tolist() == [-1, -1, -1]
    assert coco_ids({2: "Dining_Table", 0: "hair dryer"}).tolist() == [78, -1, 60]


def test_the_size_chooses_the_weights(folder, monkeypatch):
    """The catalogue's weights cannot be fetched here: its answer is the small folder."""
    asked = []
    monkeypatch.setattr(store, "resolve", lambda name: asked.append(name) or folder)
    name = {"rf_detr": "rfdetr", "rt_detr": "rtdetr"}.get(kind(folder), kind(folder))
    for size in ("nano", "small", "medium", "large"):
        detector = load_detector(name, DetectorOptions(threads=1, size=size))
        assert asked[-1] == catalogue_name(name, size)
        assert detector.provider == "torch cpu"
    assert (
        asked
        == {
            "rfdetr": ["rfdetr_nano", "rfdetr_small", "rfdetr_medium", "rfdetr_large"],
            "rtdetr": ["rtdetr_r18", "rtdetr_r34", "rtdetr_r50", "rtdetr_r101"],
            "deformable_detr": ["deformable_detr"] * 4,
        }[name]
    )


def test_names_and_sizes_that_are_not_there():
    assert detector_names() == ["deformable_detr", "nanodet", "rfdetr", "rtdetr", "yolo"]
    assert catalogue_name("nanodet", "large") == "nanodet"
    assert catalogue_name("yolo", "large") is None
    with pytest.raises(UsageError, match="detector_size: 'huge' is unknown; allowed are nano, small, medium, large"):
        load_detector("rtdetr", DetectorOptions(threads=1, size="huge"))


def copied(source, target):
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_tensor_that_is_missing_or_misshapen_is_an_error_not_random_numbers(folder, tmp_path):
    broken = copied(folder, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    key = next(key for key in tensors if key.endswith("sampling_offsets.weight") and "decoder" in key)
    for change in ({}, {key: tensors[key][:1].clone()}):
        rest = {name: tensor for name, tensor in tensors.items() if name != key}
        save_file(rest | change, broken / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(FramelaneError, match="sampling_offsets"):
            opened(broken)


def test_pickled_weights_are_not_opened(folder, tmp_path):
    pickled = copied(folder, tmp_path)
    torch.save(load_file(folder / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(FramelaneError, match="cannot be opened"):
        opened(pickled)


def test_a_folder_that_is_not_there_and_one_without_coco(folder, tmp_path):
    with pytest.raises(FramelaneError, match="nowhere cannot be opened as RTDetrForObjectDetection"):
        RtDetr.from_folder(tmp_path / "nowhere", DetectorOptions())
    other = copied(folder, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {index: f"LABEL_{index}" for index in range(len(config["id2label"]))}
    config["label2id"] = {name: index for index, name in config["id2label"].items()}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(FramelaneError, match="knows none of the COCO classes"):
        opened(other)


def test_the_image_processor_is_chosen_by_the_model_not_by_its_config(folder, tmp_path):
    """The hub's RF-DETR has named DETR's image processor, of which the scores are a softmax: other boxes."""
    other = copied(folder, tmp_path)
    path = other / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_processor_type": "DetrImageProcessor"}))
    expected, found = opened(folder).detect(frames(1))[0], opened(other).detect(frames(1))[0]
    assert len(found) > 0
    assert found.confidence.tolist() == expected.confidence.tolist()


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="needs a machine without timm")
def test_the_published_deformable_detr_says_that_it_needs_timm(tmp_path):
    folder = detr.save("deformable_detr", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["backbone_config"]
    (folder / "config.json").write_text(json.dumps(config | {"use_timm_backbone": True, "backbone": "resnet50"}))
    with pytest.raises(FramelaneError, match="timm"):
        opened(folder)


def test_maps_follow_their_objects_through_the_tracker():
    """Three objects of two families swap their order from frame to frame; the map says who it belongs to."""
    tracker = load_tracker("bytetrack", rate=10)
    for step in range(12):
        lefts, order = np.array([10.0, 300.0, 600.0]) + 4 * step, np.random.default_rng(step).permutation(3)
        boxes = np.stack([lefts, np.full(3, 50.0), lefts + 80, np.full(3, 200.0)], axis=1)[order]
        maps = np.zeros((3, 27, 48), np.float32)
        maps[np.arange(3), 0, order] = 1
        names = np.array(["person", "car", "person"])[order]
        seen = sv.Detections(
            xyxy=boxes,
            confidence=np.full(3, 0.9, np.float32),
            class_id=np.array([COCO_NAMES.index(name) for name in names]),
            data={"class_name": names, "attention": maps},
        )
        tracked = tracker.update(seen, step / 10)
    assert len(tracked) == 3
    assert tracked.data["attention"].shape == (3, 27, 48)
    nearest = np.abs(tracked.xyxy[:, :1] - lefts).argmin(axis=1)
    assert tracked.data["attention"].reshape(3, -1).argmax(axis=1).tolist() == nearest.tolist()
    empty = tracker.update(seen[np.zeros(3, bool)], 2.0)
    assert empty.data["attention"].shape == (0, 27, 48)
    assert empty.data["class_name"].shape == (0,)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_half_precision_on_a_gpu_finds_the_same(folder):
    slow, fast = opened(folder), opened(folder, device="cuda")
    assert fast.provider == "torch cuda:0"
    found, again = fast.detect(frames().cuda()), fast.detect(frames().cuda())
    for one, two, expected in zip(found, again, slow.detect(frames()), strict=True):
        assert one.data["attention"].tobytes() == two.data["attention"].tobytes()
        assert abs(len(one) - len(expected)) <= 2
        np.testing.assert_allclose(one.confidence[0], expected.confidence[0], atol=0.05)
        np.testing.assert_allclose(one.data["attention"].sum(axis=(1, 2)), 1, atol=1e-4)


def test_every_detector_says_what_it_has():
    for name in detector_names():
        assert Detector._registry[name].has_attention is (name in CLASSES)
