"""The conversion against float arithmetic written from ITU-R BT.601/709/2020, and the round trip."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
import torch

from framelane.video.colour import ColourTags, Orientation, from_rgb, plane_array, to_rgb
from support.clips import STREET

KR_KB = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
H, W = 96, 160


def picture() -> np.ndarray:
    """Smooth colours, uint8 (3, H, W)."""
    small = np.random.default_rng(0).integers(20, 236, (6, 10, 3)).astype(np.uint8)
    return np.ascontiguousarray(cv2.resize(small, (W, H), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1))


def reference(rgb: np.ndarray, matrix: int, full: bool) -> list[np.ndarray]:
    """Float Y, Cb, Cr with 2x2 mean chroma."""
    kr, kb = KR_KB[matrix]
    r, g, b = rgb.astype(np.float64)
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    if not full:
        y, cb, cr = 16 + y * 219 / 255, cb * 224 / 255, cr * 224 / 255
    half = [c.reshape(H // 2, 2, W // 2, 2).mean((1, 3)) + 128 for c in (cb, cr)]
    return [y, *half]


@pytest.mark.parametrize("matrix", KR_KB)
@pytest.mark.parametrize("range_", [1, 2])
def test_rgb_to_yuv_matches_float_arithmetic(matrix, range_):
    tags = ColourTags(matrix, range_, 2, 2, H)
    frame = from_rgb(picture(), tags, "yuv420p")
    for plane, wanted, most in zip(
        frame.planes, reference(picture(), matrix, range_ == 2), (0.6, 1.2, 1.2), strict=True
    ):
        assert np.abs(plane_array(plane) - wanted).max() <= most


@pytest.mark.parametrize("matrix", KR_KB)
@pytest.mark.parametrize("range_", [1, 2])
def test_the_round_trip_changes_next_to_nothing(matrix, range_):
    tags = ColourTags(matrix, range_, 2, 2, H)
    first = from_rgb(picture(), tags, "yuv420p")
    rgb = np.empty((3, H, W), np.uint8)
    to_rgb(first, tags, rgb)
    second = from_rgb(rgb, tags, "yuv420p")
    for index, most in ((0, 0.05), (1, 0.6), (2, 0.6)):
        drift = plane_array(second.planes[index]).astype(int) - plane_array(first.planes[index])
        assert np.abs(drift).mean() < most
        assert np.abs(drift).max() <= 2


def test_the_wrong_matrix_would_be_seen():
    """The test above can fail: 709 taken for 601 is far outside its bounds."""
    frame = from_rgb(picture(), ColourTags(1, 1, 2, 2, H), "yuv420p")
    assert np.abs(plane_array(frame.planes[0]) - reference(picture(), 6, False)[0]).max() > 5


def test_untagged_clips():
    assert ColourTags(height=576).effective_matrix == 6
    assert ColourTags(height=1080).effective_matrix == 1
    assert ColourTags().effective_range == 1


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_orientation_round_trip_and_matrix(turns, mirrored):
    """A matrix is built by showing the unit vectors; from_matrix must find the orientation again."""
    orientation = Orientation(turns, mirrored)
    pixels = torch.arange(6).reshape(1, 2, 3)
    assert torch.equal(orientation.coded(orientation.upright(pixels)), pixels)
    right, down = _shown(orientation, 0, 1), _shown(orientation, 1, 0)
    one = 1 << 16
    matrix = (right[0] * one, right[1] * one, 0, down[0] * one, down[1] * one, 0, 0, 0, 1 << 30)
    assert Orientation.from_matrix(matrix) == orientation


def _shown(orientation: Orientation, dy: int, dx: int) -> tuple[int, int]:
    """Where a step of (dy, dx) in coded pixels points on the screen, as (x, y)."""
    marks = []
    for y, x in ((1, 1), (1 + dy, 1 + dx)):
        plane = torch.zeros(4, 4)
        plane[y, x] = 1
        row, column = (orientation.upright(plane) == 1).nonzero()[0].tolist()
        marks.append((column, row))
    return marks[1][0] - marks[0][0], marks[1][1] - marks[0][1]


def test_ten_bit_is_read_with_its_matrix():
    ramp = np.linspace(64, 940, W).astype(np.uint16)
    frame = av.VideoFrame(W, H, "yuv420p10le")
    for plane, value in zip(frame.planes, (None, 512, 512), strict=True):
        view = np.frombuffer(plane, np.uint16).reshape(plane.height, -1)
        view[:, : plane.width] = ramp[None] if value is None else value
    rgb = np.empty((3, H, W), np.uint8)
    to_rgb(frame, ColourTags(9, 1, 9, 16, H), rgb)
    wanted = (ramp - 64.0) * 255 / 876
    assert np.abs(rgb[:, H // 2] - wanted).max() <= 1.5


def test_the_chroma_of_a_decoded_frame_is_not_shifted():
    """Decoders say that chroma lies on the left, by which swscale would shift it: to and fro would then wash it out."""
    with av.open(str(STREET)) as container:
        frame = next(container.decode(video=0))
    tags = ColourTags(height=frame.height)
    rgb = np.empty((3, frame.height, frame.width), np.uint8)
    to_rgb(frame, tags, rgb)
    differences = rgb[0].astype(int) - rgb[2]  # red less blue: chroma alone, and equal within each 2x2 block
    blocks = differences.reshape(frame.height // 2, 2, frame.width // 2, 2)
    inside = (rgb > 0).all(0) & (rgb < 255).all(0)
    whole = inside.reshape(blocks.shape).all((1, 3))
    assert whole.mean() > 0.5
    assert (blocks.max((1, 3)) - blocks.min((1, 3)))[whole].max() <= 1
    again = from_rgb(rgb, tags, "yuv420p")
    for index in (1, 2):
        drift = plane_array(again.planes[index]).astype(int) - plane_array(frame.planes[index])
        assert np.abs(drift[whole]).max() <= 2
