"""Frames on a real card: the same bits as on the CPU, streams in order, and no waiting of the host."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from framelane.engine.streams import Streams
from framelane.video import convert
from framelane.video.checksum import checksum
from framelane.video.colour import ColourTags
from framelane.video.copies import COPIES
from framelane.video.frames import FrameBatch, Layout, thumbnail
from framelane.video.surface import Surface, from_av, to_av
from framelane.video.transfer import planes_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA card"),
]
H, W = 270, 482
FORMATS = {"yuv420p": 8, "yuv420p10le": 10}


def picture(seed: int, pixel_format: str = "yuv420p", height: int = H, width: int = W) -> av.VideoFrame:
    frame, rng = av.VideoFrame(width, height, pixel_format), np.random.default_rng(seed)
    for plane in planes_of(frame):
        plane[...] = rng.integers(0, 1 << FORMATS[pixel_format], plane.shape)
    return frame


def both(seed: int, pixel_format: str = "yuv420p", **size) -> tuple[Surface, Surface]:
    frame = picture(seed, pixel_format, **size)
    return tuple(replace(convert.upload(frame, device), host=None) for device in ("cpu", "cuda"))


def same(one: torch.Tensor, other: torch.Tensor, most: int = 0) -> bool:
    first, second = (part.cpu().numpy().astype(np.int64) for part in (one, other))
    return first.shape == second.shape and np.abs(first - second).max() <= most


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("range_", [1, 2])
@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9, 10])
def test_conversion_gives_the_bits_of_the_cpu(matrix, range_, pixel_format):
    tags = ColourTags(matrix, range_)
    for size in ({}, {"height": 41, "width": 67}):
        near, far = both(3, pixel_format, **size)
        rgb = convert.to_rgb(far, tags)
        assert rgb.is_cuda
        assert same(convert.to_rgb(near, tags), rgb)
        back = convert.from_rgb(rgb, tags, far.format)
        wanted = convert.from_rgb(rgb.cpu(), tags, near.format)
        assert same(back.y, wanted.y)
        assert same(back.uv, wanted.uv)


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_sizes_parts_thumbnails_and_checksums_are_those_of_the_cpu(pixel_format):
    near, far = both(5, pixel_format)
    layout = Layout(W, H, Fraction(1, 25), 0, ColourTags(1, 1))
    for made in (lambda s: convert.resize(s, (200, 112)), lambda s: convert.resize(s, (640, 360))):
        assert same(made(near).y, made(far).y, most=1 if pixel_format == "yuv420p" else 64)
    assert same(convert.crop(near, 10, 20, 101, 51).uv, convert.crop(far, 10, 20, 101, 51).uv)
    assert checksum(near) == checksum(far)
    small = thumbnail(far, layout, 96).astype(int)
    assert np.abs(small - thumbnail(near, layout, 96)).max() <= 1


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_through_pinned_memory_and_back(pixel_format):
    staging, frames = convert.Staging("cuda", 2), [picture(seed, pixel_format) for seed in range(7)]
    COPIES.reset()
    surfaces = [replace(convert.upload(frame, "cuda", staging), host=None) for frame in frames]
    for frame, surface in zip(frames, surfaces, strict=True):
        for one, other in zip(planes_of(convert.download(surface)), planes_of(frame), strict=True):
            assert (one == other).all()
    counted = COPIES.counted()
    assert (counted["uploads"], counted["downloads"]) == (7, 7)


def test_a_batch_is_waited_for_by_the_next_stage_and_not_by_the_host():
    """The process stage's pixels are ready only after a long sleep on its stream; the encode stage must see them."""
    streams, tags = Streams("cuda"), ColourTags(1, 1)
    near, far = both(1)
    layout = Layout(W, H, Fraction(1, 25), 0, tags)
    batch = FrameBatch((far,), (0,), (1,), 0, layout)
    torch.cuda.synchronize()
    # The encode stage has begun before: else it would wait for what the process stage left on the default stream.
    with streams.of("encode"):
        with streams.of("process"):
            slow = torch.cuda.Event()
            torch.cuda._sleep(400_000_000)  # about a fifth of a second of clock ticks
            drawn = batch.replace(rgb=batch.rgb.clone())
            slow.record()
            handed = streams.leave(drawn)
            assert handed.ready is not None
        arrived = handed.arrive()
        copied = arrived.rgb.clone()
        assert not slow.query(), "the host waited"
        del drawn, batch, arrived, handed
        assert same(copied[0], convert.to_rgb(near, tags))


def test_conversion_does_not_wait_for_the_card():
    _, far = both(1)
    tags = ColourTags(1, 1)
    convert.from_rgb(convert.to_rgb(far, tags), tags)  # memory and weights are made once
    convert.resize(far, (200, 112))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        rgb = convert.to_rgb(far, tags)
        convert.from_rgb(rgb, tags)
        convert.resize(far, (200, 112))
        convert.crop(far, 2, 2, 100, 100)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_surfaces_go_to_frames_of_pyav_and_back_on_the_card():
    _, far = both(2)
    frame = to_av(far)
    assert frame.format.name == "cuda"
    again = from_av(frame)
    assert again.y.data_ptr() != far.y.data_ptr()
    assert same(again.y, far.y)
    assert same(again.uv, far.uv)
