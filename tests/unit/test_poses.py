"""Joints, limbs, and the embedded pose model."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from framelane.bench.moved_person import still
from framelane.overlay import Figure, Skeletons
from framelane.overlay.skeletons import dashes, shown
from framelane.perception.poses import MoveNet, Options, letterbox, load_estimator, people
from framelane.perception.skeleton import COCO17, OPENPOSE18, arranged, limbs, names, oks, side
from framelane.processors.pose.picture import Picture
from framelane.sections.pose import PoseSettings


@pytest.fixture(scope="module")
def model():
    return MoveNet(Options(threads=1, closer=False))


def walker() -> torch.Tensor:
    return torch.from_numpy(still(60)).permute(2, 0, 1)


def test_similarity_is_that_of_pycocotools():
    """Against computeOks itself; joints that the truth does not know do not count."""
    coco_eval = pytest.importorskip("pycocotools.cocoeval")
    coco = pytest.importorskip("pycocotools.coco")
    rng = np.random.default_rng(0)
    truth = np.column_stack([rng.uniform(0, 200, (17, 2)), np.array([2] * 14 + [0] * 3)])
    found = np.stack([truth + np.array([*rng.normal(0, s, 2), 0]) for s in (1, 5, 20)])
    found[..., 2] = 0.9
    boxes = {"bbox": [0, 0, 200, 200], "area": 9000.0, "category_id": 1, "image_id": 1}
    dataset = coco.COCO()
    dataset.dataset = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "keypoints": list(COCO17)}],
        "annotations": [{**boxes, "id": 1, "iscrowd": 0, "num_keypoints": 14, "keypoints": truth.ravel().tolist()}],
    }
    dataset.createIndex()
    entries = [
        {"image_id": 1, "category_id": 1, "keypoints": f.ravel().tolist(), "score": 1.0 - k / 10}
        for k, f in enumerate(found)
    ]
    evaluation = coco_eval.COCOeval(dataset, dataset.loadRes(entries), "keypoints")
    evaluation._prepare()
    theirs = evaluation.computeOks(1, 1)[:, 0]
    np.testing.assert_allclose(oks(truth, found, 9000.0), theirs, atol=1e-9)


def test_limbs_and_sides_mirror_each_other():
    for layout in ("coco17", "openpose18"):
        order = names(layout)
        pairs = {frozenset((order[a], order[b])) for a, b in limbs(layout)}
        swapped = {
            frozenset(n.replace("left", "x").replace("right", "left").replace("x", "right") for n in pair)
            for pair in pairs
        }
        assert pairs == swapped
        assert {name for pair in pairs for name in pair} >= set(order) - {"neck"} - (
            {"nose"} if layout == "coco17" else set()
        )
    assert side("left_knee", "left_hip") == "left"
    assert side("left_hip", "right_hip") == "middle"
    assert len(COCO17) == 17
    assert len(OPENPOSE18) == 18
    assert set(OPENPOSE18) == {*COCO17, "neck"}


def test_the_neck_is_the_mean_of_the_shoulders():
    joints = np.random.default_rng(1).uniform(1, 9, (17, 4))
    joints[5], joints[6] = [10, 20, 0.9, 0], [30, 40, 0.5, 1]
    form = arranged(joints, "openpose18")
    assert form[OPENPOSE18.index("neck")].tolist() == [20, 30, 0.5, 1], "as sure as the less sure, bridged as either"
    assert form[OPENPOSE18.index("left_wrist")].tolist() == joints[COCO17.index("left_wrist")].tolist()
    joints[5, 2] = 0
    assert arranged(joints, "openpose18")[OPENPOSE18.index("neck"), 2] == 0


def test_nobody_is_found_twice_and_neighbours_are_kept():
    one = np.column_stack([np.random.default_rng(2).uniform(0, 100, (17, 2)), np.full(17, 0.8)]).astype(np.float32)
    other = one + np.array([120, 0, 0], np.float32)
    found = people(np.stack([one, other, one + np.array([1, 1, 0], np.float32)]), np.array([0.5, 0.4, 0.9], np.float32))
    assert found.confidence.tolist() == pytest.approx([0.9, 0.4])
    assert found.data["joints"].shape == (2, 17, 3)
    assert len(people(np.zeros((0, 17, 3), np.float32), np.zeros(0, np.float32))) == 0


@pytest.mark.parametrize(
    ("size", "shape"), [((540, 960), (160, 256)), ((960, 540), (256, 160)), ((100, 100), (256, 256))]
)
def test_frames_keep_their_aspect_in_multiples_of_32(size, shape):
    pixels, scale = letterbox(torch.full((3, *size), 200, dtype=torch.uint8), 256)
    assert pixels.shape == (1, *shape, 3)
    assert scale == 256 / max(size)
    inside = np.argwhere(pixels[0, ..., 0] == 200)
    assert inside.min(axis=0).tolist() == [0, 0]
    np.testing.assert_allclose(inside.max(axis=0) + 1, np.array(size) * scale, atol=1)


def test_the_walker_is_found_where_she_is_and_nobody_in_noise(model):
    found = model.find(walker()[None])[0]
    joints = found.data["joints"][0]
    by_name = dict(zip(COCO17, joints, strict=True))
    assert (joints[:, 0] > 380).all()
    assert (joints[:, 0] < 525).all()
    assert by_name["nose"][1] < by_name["left_hip"][1] < by_name["left_knee"][1] < by_name["left_ankle"][1]
    noise = torch.randint(0, 255, (1, 3, 270, 480), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert len(model.find(noise)[0]) == 0
    assert model.find(noise[:0]) == []


def test_joints_are_in_pixels_of_the_frame(model):
    """The same person, cut out with bars around: joints move by what was cut off."""
    frame = walker()
    cut = frame[:, 200:540, 300:640]
    here = model.find(frame[None])[0].data["joints"][0]
    there = model.find(cut[None])[0].data["joints"][0]
    moved = there[:, :2] + [300, 200]
    assert np.median(np.linalg.norm(moved - here[:, :2], axis=1)) < 8, "of 230 pixels of height"


def test_unknown_models_are_refused():
    from framelane.errors import UsageError

    with pytest.raises(UsageError, match="movenet, rtmo, rtmpose, yolo"):
        load_estimator("openpose", Options())


# -- drawing -------------------------------------------------------------------------------------------------------------


def line(score=1.0, other=1.0, bridged=0.0, opacity=1.0, length=100):
    frame = torch.full((3, 60, 160), 90, dtype=torch.uint8)
    joints = np.array([[20, 30.5, score, bridged], [20 + length, 30.5, other, 0]])
    white = (255, 255, 255)
    Skeletons(opacity).annotate(frame, [Figure(joints, [(0, 1)], [white], [(200, 0, 0)] * 2)])
    return frame.numpy()


def test_opacity_is_confidence():
    sure, unsure = (line(score=s)[0, 30, 70] for s in (0.6, 0.2))
    assert sure == 255
    assert abs(int(unsure) - (90 + 165 * shown(0.2))) < 90 * 0.6, "over a dark rim, half as strong"
    assert unsure < sure
    assert (line(score=0.0)[0, 30, 30:110] == 90).all(), "a joint that is not there has no limbs"


def test_what_is_bridged_is_dashed_and_lighter():
    whole, dashed = line()[0, 30, 30:110], line(bridged=1.0)[0, 30, 30:110]
    assert (whole == 255).all()
    assert (dashed == 90).any(), "gaps"
    assert 120 < dashed.max() < 255, "fainter"
    cuts = dashes(np.zeros(2), np.array([100.0, 0.0]), 10)
    assert cuts[0][0].tolist() == [0, 0]
    assert cuts[-1][1].tolist() == [100, 0]
    assert sum(float(b[0] - a[0]) for a, b in cuts) == pytest.approx(50, rel=0.12)


def test_lines_are_anti_aliased_and_as_thick_as_the_person_is_tall():
    frame = torch.zeros((3, 500, 300), dtype=torch.uint8)
    joints = np.array([[100.0, 20, 1, 0], [190, 440, 1, 0]])
    Skeletons(1.0).annotate(frame, [Figure(joints, [(0, 1)], [(255, 255, 255)], [(255, 255, 255)] * 2)])
    across = frame[0, 230].numpy()
    assert len(set(across.tolist())) > 3, "levels between nothing and all"
    assert 6 <= (across > 0).sum() <= 12
    outside = Figure(joints + np.array([900, 900, 0, 0]), [(0, 1)], [(255, 0, 0)], [(255, 0, 0)] * 2)
    before = frame.clone()
    assert torch.equal(Skeletons(1.0).annotate(frame, [outside]), before)


def test_left_and_right_differ_in_lightness():
    """Also for those who see no hues, and in print."""
    options = PoseSettings()
    left, right = (
        colorsys.rgb_to_hls(*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)))[1]
        for c in (options.left_colour, options.right_colour)
    )
    assert left - right > 0.2


def test_a_picture_without_people_shows_only_the_legend():
    frame = torch.zeros((3, 270, 480), dtype=torch.uint8)
    assert torch.equal(Picture(PoseSettings(legend=False), (270, 480), "movenet").draw(frame, []), frame)
    drawn = Picture(PoseSettings(), (270, 480), "movenet").draw(frame, [])
    assert not torch.equal(drawn, frame)
    assert not frame.any(), "drawn on a copy"
