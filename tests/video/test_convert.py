"""Planes to RGB and back against float64 arithmetic written from H.273, and against the conversion on the host."""

from __future__ import annotations

from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framelane.video import colour, convert
from framelane.video.colour import ColourTags
from framelane.video.copies import COPIES
from framelane.video.surface import Surface, from_av, host_planes, to_av
from framelane.video.transfer import UPLOADED, planes_of

KR_KB = {
    1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114),
    7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593),
}  # fmt: skip
sizes = st.tuples(st.integers(1, 21), st.integers(1, 21))


def levels(range_: int, bits: int) -> tuple[float, float, float, float]:
    """Black, luma steps, grey and chroma steps, by H.273 section 8.3."""
    if range_ == 2:
        return 0, 2**bits - 1, 2 ** (bits - 1), 2**bits - 1
    step = 2 ** (bits - 8)
    return 16 * step, 219 * step, 128 * step, 224 * step


def exact_rgb(y: np.ndarray, uv: np.ndarray, matrix: int, range_: int, bits: int) -> np.ndarray:
    """float64 (3, H, W), chroma repeated, held to 0 to 255."""
    kr, kb = KR_KB[matrix]
    black, luma, grey, chroma = levels(range_, bits)
    light = (y.astype(np.float64) - black) / luma
    cb, cr = (
        ((uv[..., i].astype(np.float64) - grey) / chroma).repeat(2, 0).repeat(2, 1)[: y.shape[0], : y.shape[1]]
        for i in (0, 1)
    )
    red, blue = light + 2 * (1 - kr) * cr, light + 2 * (1 - kb) * cb
    green = (light - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(255 * np.stack([red, green, blue]), 0, 255)


def exact_planes(rgb: np.ndarray, matrix: int, range_: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """float64 luma (H, W), and chroma (h, w, 2) of the mean of what each 2x2 block holds."""
    kr, kb = KR_KB[matrix]
    black, luma, grey, chroma = levels(range_, bits)
    red, green, blue = rgb.astype(np.float64) / 255
    light = kr * red + (1 - kr - kb) * green + kb * blue
    halves = []
    for part in ((blue - light) / (2 * (1 - kb)), (red - light) / (2 * (1 - kr))):
        sums, counts = _blocks(part)
        halves.append(sums / counts)
    top = 2**bits - 1
    uv = np.stack([grey + chroma * half for half in halves], axis=-1)
    return np.clip(black + luma * light, 0, top), np.clip(uv, 0, top)


def _blocks(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pad = [(0, side % 2) for side in part.shape]
    summed = []
    for values in (part, np.ones_like(part)):
        whole = np.pad(values, pad)
        summed.append(whole.reshape(whole.shape[0] // 2, 2, whole.shape[1] // 2, 2).sum((1, 3)))
    return summed[0], summed[1]


def surface_of(y: np.ndarray, uv: np.ndarray, bits: int) -> Surface:
    shift = 0 if bits == 8 else 6
    kind = np.uint8 if bits == 8 else np.uint16
    planes = (torch.from_numpy((part.astype(np.uint16) << shift).astype(kind)) for part in (y, uv))
    return Surface(*planes, "nv12" if bits == 8 else "p010le")


def numbers(plane: torch.Tensor, bits: int) -> np.ndarray:
    values = plane.numpy().astype(np.int64)
    if bits == 10:
        assert not (values & 63).any()
    return values if bits == 8 else values >> 6


def noise(shape: tuple[int, ...], top: int, seed: int) -> np.ndarray:
    """Random samples, a third of them at the ends."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, top + 1, shape)
    values[rng.random(shape) < 0.17] = 0
    values[rng.random(shape) < 0.17] = top
    return values


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("matrix", KR_KB)
@settings(max_examples=12, deadline=None)
@given(size=sizes, seed=st.integers(0, 2**31))
def test_rgb_is_within_one_level_of_exact_arithmetic(matrix, range_, bits, size, seed):
    height, width = size
    y = noise((height, width), 2**bits - 1, seed)
    uv = noise((-(-height // 2), -(-width // 2), 2), 2**bits - 1, seed + 1)
    found = convert.to_rgb(surface_of(y, uv, bits), ColourTags(matrix, range_))
    assert found.dtype == torch.uint8
    assert np.abs(found.numpy() - exact_rgb(y, uv, matrix, range_, bits)).max() <= 1


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("matrix", KR_KB)
@settings(max_examples=12, deadline=None)
@given(size=sizes, seed=st.integers(0, 2**31))
def test_planes_are_within_one_level_of_exact_arithmetic(matrix, range_, bits, size, seed):
    rgb = noise((3, *size), 255, seed).astype(np.uint8)
    found = convert.from_rgb(torch.from_numpy(rgb), ColourTags(matrix, range_), "nv12" if bits == 8 else "p010le")
    assert found.bit_depth == bits
    for plane, wanted in zip((found.y, found.uv), exact_planes(rgb, matrix, range_, bits), strict=True):
        assert plane.shape == wanted.shape
        assert np.abs(numbers(plane, bits) - wanted).max() <= 1


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("matrix", KR_KB)
def test_white_is_white_and_grey_has_no_colour(matrix, range_, bits):
    black, luma, grey, _ = levels(range_, bits)
    ramp = torch.arange(256, dtype=torch.uint8).repeat(3, 2, 1)
    found = convert.from_rgb(ramp, ColourTags(matrix, range_), "nv12" if bits == 8 else "p010le")
    assert (numbers(found.uv, bits) == grey).all()
    assert numbers(found.y, bits)[0, [0, 255]].tolist() == [black, black + luma]
    back = convert.to_rgb(found, ColourTags(matrix, range_)).int()
    assert (back - ramp).abs().max() <= 1  # 8-bit limited range has 220 greys
    assert back[:, 0, [0, 255]].tolist() == [[0, 255]] * 3


def in_gamut(pixel_format: str, height: int = 96, width: int = 160, seed: int = 0) -> av.VideoFrame:
    """Random samples, none so far outside of what RGB can show that swscale's 32 bits overflow."""
    rng, frame = np.random.default_rng(seed), av.VideoFrame(width, height, pixel_format)
    step = 1 if pixel_format == "yuv420p" else 4
    for plane, (low, high) in zip(planes_of(frame), ((16, 236), (40, 216), (40, 216)), strict=True):
        plane[...] = rng.integers(low * step, high * step, plane.shape)
    return frame


@pytest.mark.parametrize(("pixel_format", "most"), [("yuv420p", 0), ("yuv420p10le", 1)])
@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("matrix", KR_KB)
def test_rgb_is_that_of_the_host(matrix, range_, pixel_format, most):
    """Bit for bit; but at 10 bits and full range, where swscale puts white at 1020 and H.273 at 1023."""
    frame, tags = in_gamut(pixel_format), ColourTags(matrix, range_)
    wanted = np.empty((3, frame.height, frame.width), np.uint8)
    colour.to_rgb(frame, tags, wanted)
    found = convert.to_rgb(convert.upload(frame, "cpu"), tags).numpy()
    assert np.abs(found.astype(int) - wanted).max() <= (most if range_ == 2 else 0)


@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("matrix", KR_KB)
def test_planes_are_those_of_the_host(matrix, range_):
    rgb, tags = noise((3, 96, 160), 255, 3).astype(np.uint8), ColourTags(matrix, range_)
    found = planes_of(convert.download(convert.from_rgb(torch.from_numpy(rgb), tags)))
    wanted = [colour.plane_array(plane) for plane in colour.from_rgb(rgb, tags, "yuv420p").planes]
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_what_was_not_drawn_on_comes_back_as_it_went_in():
    """Repetition and the mean of 2x2 are each other's inverse: only rounding to 8-bit RGB is left."""
    rgb = cv2.resize(np.random.default_rng(0).integers(20, 236, (6, 10, 3)).astype(np.uint8), (160, 96))
    tags = ColourTags(1, 1)
    first = convert.from_rgb(torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))), tags)
    again = convert.from_rgb(convert.to_rgb(first, tags), tags)
    for one, other, mean in ((first.y, again.y, 0.05), (first.uv, again.uv, 0.1)):
        drift = np.abs(one.numpy().astype(int) - other.numpy())
        assert drift.max() <= 1
        assert drift.mean() < mean


def test_rgb_made_while_inferring_can_be_written_to_later():
    """Working memory is shared by calls: none may be left as torch's inference tensors, which refuse that."""
    surface = surface_of(noise((9, 7), 255, 0), noise((5, 4, 2), 255, 1), 8)
    with torch.inference_mode():
        first = convert.to_rgb(surface, ColourTags(1, 1))
        convert.from_rgb(first, ColourTags(1, 1))
    again = convert.to_rgb(surface, ColourTags(1, 1))
    assert torch.equal(first, again)
    first.add_(1)


@settings(max_examples=40, deadline=None)
@given(size=sizes, seed=st.integers(0, 2**31), pixel_format=st.sampled_from(sorted(UPLOADED)), staged=st.booleans())
def test_there_and_back_is_the_same_frame(size, seed, pixel_format, staged):
    height, width = size
    frame, rng = av.VideoFrame(width, height, pixel_format), np.random.default_rng(seed)
    ten = pixel_format in ("yuv420p10le", "p010le")
    for plane in planes_of(frame):
        plane[...] = rng.integers(0, 1024 if ten else 256, plane.shape) << (6 if pixel_format == "p010le" else 0)
    frame.pts = 7
    COPIES.reset()
    surface = convert.upload(frame, "cpu", convert.Staging("cpu", 2) if staged else None)
    assert convert.download(surface) is frame
    assert COPIES.counted()["downloads"] == 0
    back = convert.download(replace(surface, host=None))
    size_in_bytes = sum(plane.nbytes for plane in planes_of(frame))
    assert COPIES.counted() == {
        "uploads": 1, "downloads": 1, "upload_bytes": size_in_bytes, "download_bytes": size_in_bytes,
    }  # fmt: skip
    assert (back.pts, back.format.name) == (7, "yuv420p10le" if ten else "yuv420p")
    wanted = planes_of(frame)
    if len(wanted) == 2:
        wanted = [wanted[0], wanted[1][..., 0], wanted[1][..., 1]]
    for one, other in zip(planes_of(back), wanted, strict=True):
        assert (one == (other >> 6 if pixel_format == "p010le" else other)).all()


def test_staging_reused_does_not_change_frames_sent_before():
    staging = convert.Staging("cpu", 2)
    frames = [in_gamut("yuv420p", seed=seed) for seed in range(5)]
    surfaces = [convert.upload(frame, "cpu", staging) for frame in frames]
    for frame, surface in zip(frames, surfaces, strict=True):
        assert (surface.y.numpy() == planes_of(frame)[0]).all()


def test_other_formats_are_refused_with_their_name():
    with pytest.raises(ValueError, match="yuv444p is not uploaded"):
        convert.upload(av.VideoFrame(4, 4, "yuv444p"), "cpu")
    with pytest.raises(ValueError, match="not of yuv420p"):
        from_av(av.VideoFrame(4, 4, "yuv420p"))


@pytest.mark.parametrize("pixel_format", ["nv12", "p010le"])
def test_frames_of_pyav_become_surfaces_of_their_own_memory_and_frames_again(pixel_format):
    frame = av.VideoFrame(70, 38, pixel_format)
    for seed, plane in enumerate(host_planes(frame)):
        plane[...] = noise(plane.shape, 255, seed) << (0 if pixel_format == "nv12" else 6)
    frame.pts = 3
    surface = from_av(frame)
    back = to_av(surface)
    assert (back.format.name, back.pts, surface.width, surface.height) == (pixel_format, 3, 70, 38)
    for one, other, plane in zip(host_planes(back), host_planes(frame), (surface.y, surface.uv), strict=True):
        assert (one == other).all()
        assert plane.data_ptr() == one.ctypes.data, "copied"
    host_planes(frame)[0][...] = 0
    assert surface.y.any(), "still the decoder's memory"


@pytest.mark.parametrize("bits", [8, 10])
@settings(max_examples=25, deadline=None)
@given(
    given_=st.tuples(st.integers(2, 60), st.integers(2, 60)), wanted=st.tuples(st.integers(2, 60), st.integers(2, 60))
)
def test_resizing_is_that_of_opencv(bits, given_, wanted):
    """By area down and bilinear up, on each plane; sizes where one side grows and the other shrinks, side by side."""
    y = noise(given_, 2**bits - 1, 1)
    uv = noise((-(-given_[0] // 2), -(-given_[1] // 2), 2), 2**bits - 1, 2)
    found = convert.resize(surface_of(y, uv, bits), wanted[::-1])
    assert (found.height, found.width, found.uv.shape) == (*wanted, (-(-wanted[0] // 2), -(-wanted[1] // 2), 2))
    size = found.uv.shape[:2]
    for plane, whole, to in (
        (found.y, y, wanted),
        (found.uv[..., 0], uv[..., 0], size),
        (found.uv[..., 1], uv[..., 1], size),
    ):
        assert np.abs(numbers(plane, bits) - by_opencv(whole.astype(np.float64), to)).max() <= 0.51


def by_opencv(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One side after the other: OpenCV has no area for one and bilinear for the other."""
    for axis in (0, 1):
        to = (plane.shape[1], size[0]) if axis == 0 else (size[1], plane.shape[0])
        kind = cv2.INTER_AREA if size[axis] < plane.shape[axis] else cv2.INTER_LINEAR
        plane = np.asarray(cv2.resize(plane, to, interpolation=kind)).reshape(to[::-1])
    return plane


def test_resizing_a_host_frame_and_its_surface_gives_the_same_picture():
    frame, tags = in_gamut("yuv420p"), ColourTags(1, 1)
    small = colour.resized(replace(convert.upload(frame, "cpu"), host=None), (70, 40), tags)
    for one, other in zip(
        planes_of(convert.download(small)), colour.resized(frame, (70, 40), tags).planes, strict=True
    ):
        assert np.abs(one.astype(int) - colour.plane_array(other)).max() <= 1


@settings(max_examples=40, deadline=None)
@given(size=sizes, data=st.data())
def test_a_part_is_the_part_with_its_chroma(size, data):
    height, width = size
    whole = surface_of(noise(size, 255, 0), noise((-(-height // 2), -(-width // 2), 2), 255, 1), 8)
    top, left = (2 * data.draw(st.integers(0, (side - 1) // 2)) for side in size)
    high, wide = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    part = convert.crop(whole, left, top, wide, high)
    tags = ColourTags(6, 1)
    wanted = convert.to_rgb(whole, tags)[:, top : top + high, left : left + wide]
    assert torch.equal(convert.to_rgb(part, tags), wanted)
    before = part.y.clone()
    whole.y.zero_()
    assert torch.equal(part.y, before), "the part shares the memory of the whole"


@pytest.mark.parametrize(
    ("place", "why"), [((1, 0, 4, 4), "even"), ((0, 0, 9, 4), "does not lie"), ((0, -2, 4, 4), "does not lie")]
)
def test_parts_that_cannot_be_cut_are_refused(place, why):
    with pytest.raises(ValueError, match=why):
        convert.crop(surface_of(noise((8, 8), 255, 0), noise((4, 4, 2), 255, 1), 8), *place)


def test_of_uint16_only_what_copies_is_asked():
    """torch has most operations on uint16 for no card: P010 is viewed as signed numbers before anything is computed."""
    from torch.utils._python_dispatch import TorchDispatchMode

    moving = {
        "_to_copy", "_unsafe_view", "alias", "as_strided", "clone", "copy_", "detach", "empty", "empty_like", "new_empty",
        "new_empty_strided", "permute", "select", "slice", "split", "t", "transpose", "unsqueeze", "view",
    }  # fmt: skip
    asked = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            tensors = [a for a in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
            if any(tensor.dtype == torch.uint16 for tensor in tensors):
                asked.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    from framelane.video.checksum import checksum
    from framelane.video.encoders.pictures import downloaded, in_one_piece
    from framelane.video.encoders.ring import Ring

    tags = ColourTags(1, 1)
    for name in ("yuv420p10le", "p010le"):
        frame = av.VideoFrame(70, 38, name)
        for plane in planes_of(frame):
            plane[...] = 0
        with Watch():
            surface = replace(convert.upload(frame, "cpu"), host=None)
            back = convert.from_rgb(convert.to_rgb(surface, tags), tags, "p010le")
            convert.resize(convert.crop(back, 2, 2, 20, 20), (30, 10))
            Ring().place(in_one_piece(back))
            checksum(back)
            downloaded(back)
            convert.download(back)
    assert asked
    assert asked <= moving, asked - moving
