"""A frame batch of surfaces is the batch of the host frames: pixels, orientation, thumbnails and checksums."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framelane.engine.positions import Positions
from framelane.engine.streams import Streams
from framelane.errors import FramelaneError
from framelane.video.checksum import checksum, checksums
from framelane.video.colour import ColourTags, Orientation
from framelane.video.convert import crop, upload
from framelane.video.frames import FrameBatch, Layout, thumbnail, thumbnails
from framelane.video.transfer import UPLOADED, planes_of
from support.device import FAR, far_device, near, to_far
from support.surfaces import decoded

H, W = 90, 160
TAGS = ColourTags(1, 1, 1, 1, H)


def picture(seed: int, pixel_format: str = "yuv420p", height: int = H, width: int = W) -> av.VideoFrame:
    frame, rng = av.VideoFrame(width, height, pixel_format), np.random.default_rng(seed)
    ten = UPLOADED[pixel_format] == "p010le"
    for plane in planes_of(frame):
        plane[...] = rng.integers(64, 940, plane.shape) >> (0 if ten else 2) << (6 if pixel_format == "p010le" else 0)
    return frame


UPRIGHT = Orientation()


def batch_of(planes, orientation=UPRIGHT, height: int = H, width: int = W) -> FrameBatch:
    layout = Layout(width, height, Fraction(1, 25), 0, TAGS, orientation)
    planes = tuple(planes)
    count = len(planes)
    return FrameBatch(planes, tuple(range(count)), (1,) * count, 0, layout)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
def test_pixels_are_those_of_the_host_frames_upright(turns, mirrored, pixel_format):
    frames = [picture(seed, pixel_format) for seed in range(3)]
    orientation = Orientation(turns, mirrored)
    wanted = batch_of(frames, orientation).rgb
    assert torch.equal(batch_of(map(decoded, frames), orientation).rgb, wanted)
    with far_device() as crossed:
        found = batch_of([decoded(frame, to_far) for frame in frames], orientation).rgb
        coded = orientation.coded(found[0])
        assert (found.device, coded.device) == (FAR, FAR)
    assert torch.equal(near(found), wanted)
    assert torch.equal(near(coded), orientation.coded(wanted[0]))
    assert (crossed.up, crossed.down, crossed.waits) == ([], [], 0)


def test_slices_share_what_was_converted_and_drawn_pixels_stay_on_their_device():
    with far_device() as crossed:
        batch = batch_of([decoded(picture(seed), to_far) for seed in range(4)])
        part = batch.slice(1, 3)
        assert not part.touched
        assert torch.equal(near(part.rgb), near(batch.rgb)[1:3])
        drawn = part.replace(rgb=part.rgb + 1)
        assert drawn.touched
        assert drawn.slice(1, 2).rgb.device == FAR
        assert drawn.replace(planes=part.planes).touched is False
        assert part.slice(1, 2).before is batch.planes[1]
        assert (crossed.up, crossed.down) == ([], [])


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    pixel_format=st.sampled_from(sorted(UPLOADED)),
    seed=st.integers(0, 99),
)
def test_a_frame_and_its_surface_have_one_checksum(height, width, pixel_format, seed):
    frame = picture(seed, pixel_format, height, width)
    assert checksum(frame) == checksum(decoded(frame)) >= 0
    other = planes_of(frame)[0]
    row = 16 * (seed % (-(-height // 16)))
    other[row, seed % width] += 1 << (6 if pixel_format == "p010le" else 0)
    assert checksum(frame) == checksum(decoded(frame))


@settings(max_examples=40, deadline=None)
@given(row=st.integers(0, 5), columns=st.lists(st.integers(0, W - 1), min_size=2, max_size=2, unique=True))
def test_a_checksum_sees_one_sample_and_two_that_change_places(row, columns):
    one, other = picture(1), picture(1)
    luma = planes_of(other)[0]
    luma[16 * row, columns[0]] += 1
    assert checksum(one) != checksum(other)
    luma[16 * row, columns[1]] -= 1
    assert checksum(one) != checksum(other)


def test_checksums_of_other_formats_are_of_their_own_bytes():
    for name in ("yuv444p", "rgb24", "gbrp", "gray", "yuyv422", "pal8", "yuv422p10le", "gray16le", "gbrpf32le"):
        blank, marked = av.VideoFrame(30, 20, name), av.VideoFrame(30, 20, name)
        for frame, value in ((blank, 0), (marked, 1)):
            np.frombuffer(frame.planes[0], np.uint8)[:] = value
        assert checksum(blank) != checksum(marked)


def test_checksums_wait_for_the_device_once_and_only_when_asked_for():
    frames = [picture(seed) for seed in range(4)]
    positions = Positions()
    with far_device() as crossed:
        positions.note(batch_of([decoded(frame, to_far) for frame in frames]))
        assert crossed.down == []
        assert max(crossed.up, default=0) <= 8 * -(-H // 16) * W, "the weights, once for each size"
        assert [positions.at(index).crc for index in range(4)] == [checksum(frame) for frame in frames]
        assert crossed.down == [4 * 8]
    assert positions.at(None).index == 3
    assert positions.at(-1) is None
    with pytest.raises(FramelaneError, match="holds back more"):
        positions.at(4)


def test_checksums_of_no_frames():
    assert checksums([])._known == []


@pytest.mark.parametrize("pixel_format", sorted(UPLOADED))
def test_thumbnails_are_those_of_the_host_frames(pixel_format):
    frames = [picture(seed, pixel_format, 214, 380) for seed in range(3)]
    layout = batch_of([], Orientation(1, True), 214, 380).layout
    wanted = thumbnails(frames, layout, 96)
    assert wanted[0].shape == (96, 54)
    for frame, small in zip(frames, wanted, strict=True):
        assert np.array_equal(thumbnail(frame, layout, 96), small)
        assert np.array_equal(thumbnail(decoded(frame), layout, 96), small)
        assert np.array_equal(thumbnail(upload(frame, "cpu"), layout, 96), small)
    with far_device() as crossed:
        found = thumbnails([decoded(frame, to_far) for frame in frames], layout, 96)
        assert crossed.down == [3 * 96 * 54], "fetched small, and together"
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_a_small_frame_keeps_its_size_in_a_thumbnail():
    frame = picture(0, "yuv420p", 20, 30)
    layout = batch_of([], height=20, width=30).layout
    assert np.array_equal(thumbnail(decoded(frame), layout, 96), planes_of(frame)[0])


def test_a_part_on_a_device_stays_there():
    with far_device() as crossed:
        assert crop(decoded(picture(0), to_far), 2, 4, 11, 7).device == FAR
        assert (crossed.up, crossed.down) == ([], [])


def test_without_a_card_there_is_nothing_to_wait_for():
    batch, streams = batch_of([decoded(picture(0))]), Streams("cpu")
    with streams.of("decode"):
        assert streams.leave(batch) is batch
    assert batch.ready is None
    assert batch.arrive() is batch
    assert not streams.on_card
