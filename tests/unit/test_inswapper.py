"""InSwapper against insightface's own on the same ONNX file, with random weights of the real architecture.

The weights are random (1/16 of the real width), so the swapped "face" is coloured noise: the hardest content for a
comparison of resampling and masks, and nothing to look at.
"""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framelane.bench.facenets import write_inswapper
from framelane.errors import FramelaneError, UsageError
from framelane.models import files, store
from framelane.models.batch import in_chunks
from framelane.perception.faces import crops
from framelane.perception.faces.base import Face
from framelane.processors.base import Context
from framelane.processors.faceswap import align, inswapper
from framelane.processors.faceswap.swapper import Patch, Refused, Source, Wish
from framelane.settings import load

insightface = pytest.importorskip("insightface", reason="insightface is not installed; it is the peer of this test")

SIZE = 900
POINTS = np.array([[200, 105], [250, 105], [228, 133], [208, 160], [248, 160]], np.float64) * 1.75


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_inswapper(tmp_path_factory.mktemp("swap") / "inswapper.onnx", width=8)


@pytest.fixture(scope="module")
def network(weights):
    return inswapper.load(weights, "cpu", 1, chunk=4)


@pytest.fixture(scope="module")
def theirs(weights):
    from insightface.model_zoo.inswapper import INSwapper

    return INSwapper(str(weights))


@pytest.fixture(scope="module")
def picture():
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed; it brings the picture")
    return cv2.resize(data.astronaut(), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def turned(picture, degrees, scale=1.0):
    """The picture turned about the face, and the face's five points there."""
    matrix = cv2.getRotationMatrix2D((400, 230), degrees, scale)
    points = POINTS @ matrix[:, :2].T + matrix[:, 2]
    return cv2.warpAffine(picture, matrix, (SIZE, SIZE)), points.astype(np.float32)


def face(points, mesh=None):
    low, high = points.min(0) - 40, points.max(0) + 40
    return Face(np.array([*low, *high], np.float32), 0.9, points, mesh)


def planar(picture):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, 2, 0)))


def source(seed=0):
    embedding = np.random.default_rng(seed).normal(size=512).astype(np.float32)
    return Source("somebody", (), (), embedding / np.linalg.norm(embedding))


def psnr(a, b):
    return float(10 * np.log10(255**2 / np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2)))


def swapped(network, pictures, wishes, **options):
    frames = torch.stack([planar(picture) for picture in pictures])
    answers = inswapper.InSwapper(network, **options).swap(frames, wishes)
    return frames, answers, align.paste(frames, [wish.frame for wish in wishes], answers)


@pytest.mark.parametrize("degrees", [0, 17, 45, -80])
def test_crops_and_paste_are_insightfaces(network, theirs, picture, degrees):
    turned_picture, points = turned(picture, degrees)
    target, giver = SimpleNamespace(kps=points), SimpleNamespace(normed_embedding=source().embedding)
    bgr = np.ascontiguousarray(turned_picture[..., ::-1])
    fake, matrix = theirs.get(bgr, target, giver, paste_back=False)
    pasted = theirs.get(bgr, target, giver)[..., ::-1]

    wish = Wish(0, face(points), source())
    frames, (patch,), out = swapped(network, [turned_picture], [wish])
    ours = crops.similarity(points, crops.template(128))
    assert np.allclose(ours, matrix, atol=1e-3)
    crop = inswapper.InSwapper(network).crops(frames, [wish], [ours])[0]
    assert psnr(np.moveaxis(crop.numpy(), 0, 2)[..., ::-1], fake) >= 45

    touched = np.zeros(turned_picture.shape[:2], bool)
    height, width = patch.rgb.shape[1:]
    touched[patch.top : patch.top + height, patch.left : patch.left + width] = (patch.alpha[0] > 0).numpy()
    result = np.moveaxis(out[0].numpy(), 0, 2)
    assert (
        psnr(turned_picture[touched], pasted[touched]) < 10
    )  # the noise is far from the face: the figure below counts
    assert psnr(result[touched], pasted[touched]) >= 35
    assert np.array_equal(result[~touched], turned_picture[~touched])


def test_a_face_comes_out_the_same_whatever_else_is_in_the_batch(network, picture):
    other, other_points = turned(picture, 30)
    _, points = turned(picture, 0)
    first = Wish(1, face(points), source(1))
    company = [Wish(0, face(other_points), source(seed)) for seed in range(5)]
    _, alone, _ = swapped(network, [other, picture], [first])
    for place in (0, 3, 5):
        wishes = [*company[:place], first, *company[place:]]
        _, answers, _ = swapped(network, [other, picture], wishes)
        assert torch.equal(answers[place].rgb, alone[0].rgb)
        assert torch.equal(answers[place].alpha, alone[0].alpha)


def test_the_batch_is_free_and_the_map_stays_the_last_initializer(weights, network):
    import onnx

    from framelane.models.batch import free_batch

    model = onnx.load(str(weights))
    names = [tensor.name for tensor in model.graph.initializer]
    free_batch(model)
    assert [tensor.name for tensor in model.graph.initializer] == names
    assert names[-1] == "buff2fs"
    assert network.chunk == 4
    assert network.said == []
    assert np.allclose(network.emap, onnx.numpy_helper.to_array(model.graph.initializer[-1]))


def test_a_graph_that_mixes_faces_is_run_one_by_one_and_that_is_said(tmp_path, weights):
    """Half of the batch's mean is added to every face: with one face it is a factor, with two a mixture."""
    import onnx
    from onnx import helper

    model = onnx.load(str(weights))
    last = model.graph.node[-1]
    mean = helper.make_node("ReduceMean", [last.input[0]], ["mean"], axes=[0], keepdims=1)
    wide = helper.make_node("Mul", ["mean", "half"], ["shift"])
    total = helper.make_node("Add", [last.input[0], "shift"], ["mixed"])
    model.graph.initializer.insert(0, onnx.numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    last.input[0] = "mixed"
    for node in (mean, wide, total):
        model.graph.node.insert(len(model.graph.node) - 1, node)
    path = tmp_path / "mixing.onnx"
    onnx.save(model, str(path))
    network = inswapper.load(path, "cpu", 1, chunk=4)
    assert network.chunk == 1
    assert "one face at a time" in network.said[0]


def test_a_file_that_is_no_inswapper_is_a_sentence(tmp_path):
    path = tmp_path / "no.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(FramelaneError, match="no InSwapper model"):
        inswapper.load(path, "cpu", 1)


def test_a_source_without_an_embedding_is_refused_and_the_others_are_swapped(network, picture):
    _, points = turned(picture, 0)
    nobody = Source("nobody", (), ())
    frames = planar(picture)[None]
    answers = inswapper.InSwapper(network).swap(frames, [Wish(0, face(points), s) for s in (nobody, source())])
    assert answers[0] == Refused("the source has no embedding")
    assert isinstance(answers[1], Patch)


@settings(max_examples=15, deadline=None)
@given(st.floats(-500, 1300), st.floats(-500, 1300), st.floats(0.15, 4), st.floats(-180, 180))
def test_anywhere_also_beyond_the_border_only_the_region_changes(network, x, y, scale, degrees):
    """Faces cut by the border, far outside, tiny and huge: a patch lies within the frame, and nothing else changes."""
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ((POINTS - POINTS.mean(0)) @ turn.T + [x, y]).astype(np.float32)
    frames = torch.full((1, 3, 600, 800), 90, dtype=torch.uint8)
    (patch,) = inswapper.InSwapper(network).swap(frames, [Wish(0, face(points), source())])
    height, width = patch.rgb.shape[1:]
    assert 0 <= patch.left <= patch.left + width <= 800
    assert 0 <= patch.top <= patch.top + height <= 600
    assert torch.isfinite(patch.rgb).all()
    if patch.alpha.numel():
        assert 0 <= float(patch.alpha.min()) <= float(patch.alpha.max()) <= 1
    out = align.paste(frames, [0], [patch])
    mask = torch.ones(600, 800, dtype=torch.bool)
    mask[patch.top : patch.top + height, patch.left : patch.left + width] = patch.alpha[0] == 0
    assert (out[0][:, mask] == 90).all()


def test_a_mesh_limits_the_paste_to_the_face_and_the_mouth_can_be_kept(network, picture):
    _, points = turned(picture, 0)
    centre = points.mean(0)
    angles = np.linspace(0, 2 * np.pi, 468, endpoint=False)
    ring = centre + 60 * np.stack([np.cos(angles), np.sin(angles)], 1)
    mesh = np.concatenate([ring, np.zeros((468, 1))], 1).astype(np.float32)
    lips = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
    around = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    mesh[lips, :2] = centre + np.array([0, 30]) + np.stack([20 * np.cos(around), 10 * np.sin(around)], 1)
    out = [
        np.moveaxis(swapped(network, [picture], [Wish(0, face(points, mesh), source())], **kind)[2][0].numpy(), 0, 2)
        for kind in ({}, {"keep_mouth": True})
    ]
    rows, columns = np.mgrid[:SIZE, :SIZE]
    away = np.hypot(columns - centre[0], rows - centre[1])
    changed = [(found != picture).any(-1) for found in out]
    assert not changed[0][away > 75].any()
    assert changed[0][away < 45].mean() > 0.95
    x, y = (centre + np.array([0, 30])).astype(int)
    assert changed[0][y - 3 : y + 4, x - 8 : x + 9].mean() > 0.9
    assert not changed[1][y - 3 : y + 4, x - 8 : x + 9].any()


def test_without_a_mesh_the_mouth_is_known_by_its_corners(network, picture):
    _, points = turned(picture, 0)
    _, _, out = swapped(network, [picture], [Wish(0, face(points), source())], keep_mouth=True)
    x, y = ((points[3] + points[4]) / 2).astype(int)
    assert np.array_equal(out[0, :, y - 3 : y + 4, x - 8 : x + 9], planar(picture)[:, y - 3 : y + 4, x - 8 : x + 9])


def test_chunks_give_every_output_in_order():
    class Doubling:
        def __init__(self):
            self.sizes = []

        def run(self, _names, feeds):
            self.sizes.append(len(feeds["x"]))
            return [2 * feeds["x"], feeds["x"][:, :1]]

    x = np.arange(14, dtype=np.float32).reshape(7, 2)
    session = Doubling()
    double, first = in_chunks(session, {"x": x}, 3)
    assert np.array_equal(double, 2 * x)
    assert np.array_equal(first, x[:, :1])
    assert session.sizes == [3, 3, 3]


@settings(max_examples=50, deadline=None)
@given(st.floats(-170, 170), st.floats(0.2, 5), st.floats(-800, 800), st.floats(-800, 800), st.integers(0, 1000))
def test_the_similarity_is_umeyamas(degrees, scale, x, y, seed):
    from skimage.transform import SimilarityTransform

    noise = np.random.default_rng(seed).normal(size=(5, 2))
    known = SimilarityTransform(scale=scale, rotation=np.deg2rad(degrees), translation=(x, y))
    points = known(crops.template(128)) + noise
    found = crops.similarity(points, crops.template(128))
    expected = SimilarityTransform.from_estimate(points, crops.template(128).astype(np.float64)).params[:2]
    assert np.allclose(found, expected, atol=1e-6 * max(1.0, np.abs(expected).max()))
    back = crops.inverse(found) @ np.vstack([found @ np.array([[3.0], [4.0], [1.0]]), [[1.0]]])
    assert np.allclose(back[:, 0], [3, 4], atol=1e-6)


@pytest.mark.parametrize(("gain", "precision"), [(0.1, "fp16"), (3.0, "fp32")])
def test_half_precision_is_used_only_where_these_weights_give_the_same(tmp_path, weights, gain, precision):
    """The last convolution decides how loud the picture is, and with it how far FP16 strays."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(weights))
    last = next(node.input[1] for node in reversed(model.graph.node) if node.op_type == "Conv")
    tensor = next(item for item in model.graph.initializer if item.name == last)
    tensor.CopyFrom(numpy_helper.from_array(gain * numpy_helper.to_array(tensor), last))
    path = tmp_path / "gain.onnx"
    onnx.save(model, str(path))
    network = inswapper.load(path, "cpu", 1, chunk=2, half=True)
    assert network.model["precision"] == precision
    assert network.chunk == 2
    assert bool(network.said) == (precision == "fp32")
    assert all("FP16" in text for text in network.said)
    whole = inswapper.load(path, "cpu", 1, chunk=2)
    faces, latents = inswapper._probe(3)
    assert np.abs(network.run(faces, latents) - whole.run(faces, latents)).max() * 255 < 1.01


def test_without_accepted_terms_nothing_is_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    context = Context(load(overrides={"faceswap.swapper": "inswapper"}).settings, "cpu", 1)
    with pytest.raises(UsageError, match=r"non-commercial.*fetch inswapper_128 --accept-licence"):
        inswapper.InSwapper.open(context)


def test_a_users_own_weights_are_opened_with_the_settings_and_named_in_the_report(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    store.fetch("inswapper_128", given=weights, trust=True, accept=True)
    said: list[str] = []
    wanted = load(overrides={"faceswap.swapper": "inswapper", "faceswap.keep_mouth": True}).settings
    swapper = inswapper.InSwapper.open(Context(wanted, "cpu", 1, said.append, said.append))
    assert swapper.keep_mouth
    (model,) = swapper.models
    assert model["sha256"] == store.digest("inswapper_128") == files.read_digest(weights)
    assert "non-commercial" in model["licence"]
    assert any("commercially" in sentence for sentence in said)
