"""Cutting faces out of frames: a similarity transform on five points, and crops on the device.

A crop is a small square picture of one face, turned upright. Its matrix maps pixels of the frame to pixels of the crop;
whole numbers are the centres of pixels, as in OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Floats

if TYPE_CHECKING:
    import torch

ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
"""Five points in a crop of 112 pixels (insightface 2.1, ``utils/face_align.py:6``)."""
FFHQ = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ],
    np.float64,
)
"""Five points in a crop of 512 pixels (facexlib 0.3, ``utils/face_restoration_helper.py``)."""


def template(side: int) -> Floats:
    """The five points of InSwapper's and ArcFace's crops.

    Args:
        side: of the crop, a multiple of 112 (ArcFace) or 128 (InSwapper).

    Returns:
        (5, 2) pixels; as insightface 2.1, ``utils/face_align.py:estimate_norm``.
    """
    if side % 112 == 0:
        return np.asarray(ARCFACE * (side / 112), np.float32)
    ratio = side / 128
    return np.asarray(ARCFACE * ratio + np.array([8.0 * ratio, 0.0]), np.float32)


def similarity(points: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The turn, scale and shift that bring points closest to a template, in the least squares sense.

    With points as complex numbers z, about their mean, and the template's w, the best factor is Σ z̄ w / Σ z̄ z: the
    two-dimensional case of Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", PAMI 13 (1991), eq. 40 to 42.

    Args:
        points: (..., n, 2) in the frame.
        target: (n, 2) in the crop.

    Returns:
        (..., 2, 3) matrices from the frame to the crop.
    """
    z = points[..., 0].astype(np.float64) + 1j * points[..., 1]
    w = target[..., 0].astype(np.float64) + 1j * target[..., 1]
    centre, goal = z.mean(-1, keepdims=True), w.mean(-1, keepdims=True)
    spread = np.maximum((np.abs(z - centre) ** 2).sum(-1), 1e-12)  # five points in one place have no scale
    factor = ((z - centre).conj() * (w - goal)).sum(-1) / spread
    shift = goal[..., 0] - factor * centre[..., 0]
    rows = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def scale_of(matrix: NDArray[np.float64]) -> float:
    """Pixels of the crop for a pixel of the frame."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix back: from the crop to the frame. (2, 3) to (2, 3)."""
    turn = np.linalg.inv(matrix[:, :2])
    return np.concatenate([turn, -turn @ matrix[:, 2:]], axis=1)


@dataclass(frozen=True)
class Region:
    """A rectangle of whole pixels in a frame; ``right`` and ``bottom`` are the first ones beyond it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.right <= self.left or self.bottom <= self.top

    def of(self, frame: torch.Tensor) -> torch.Tensor:
        """Its pixels: a view of (..., H, W)."""
        return frame[..., self.top : self.bottom, self.left : self.right]


def region_of(matrix: NDArray[np.float64], side: int, width: int, height: int) -> Region:
    """The part of a frame that a crop's pixels come from, one pixel wider, within the frame."""
    last = side - 1.0
    corners = inverse(matrix) @ np.array([[0, last, last, 0], [0, 0, last, last], [1, 1, 1, 1]])
    low, high = np.floor(corners.min(1)) - 1, np.ceil(corners.max(1)) + 2
    left, top = (int(min(max(v, 0), end)) for v, end in zip(low, (width, height), strict=True))
    right, bottom = (int(min(max(v, 0), end)) for v, end in zip(high, (width, height), strict=True))
    return Region(left, top, right, bottom)


def cut(
    frames: torch.Tensor, indices: Sequence[int], matrices: Sequence[NDArray[np.float64]], side: int
) -> torch.Tensor:
    """Crops of faces by bilinear sampling, on the device of the frames; what lies outside the frame is black.

    No filter is put before it when a large face is made smaller: the networks were trained on crops made this way
    (insightface's ``norm_crop2``).

    Args:
        frames: (N, 3, H, W) uint8, or float 0 to 255.
        indices: which frame each face is in.
        matrices: of each face, (2, 3) from the frame to the crop.
        side: of a crop in pixels.

    Returns:
        (len(indices), 3, side, side) float32, 0 to 255.
    """
    import torch

    out = torch.zeros((len(indices), 3, side, side), dtype=torch.float32, device=frames.device)
    height, width = int(frames.shape[-2]), int(frames.shape[-1])
    for target, index, matrix in zip(out, indices, matrices, strict=True):
        region = region_of(matrix, side, width, height)
        if region.empty:
            continue
        whole = Region(0, 0, side, side)
        target.copy_(
            sample(region.of(frames[index]).float(), positions_in(inverse(matrix), whole, region, frames), "zeros")
        )
    return out


def sample(picture: torch.Tensor, positions: torch.Tensor, padding: str = "border") -> torch.Tensor:
    """Bilinear sampling of (3, h, w) at (H, W, 2) pixel positions; outside is black (``zeros``) or the edge's pixel."""
    from torch.nn.functional import grid_sample

    height, width = picture.shape[-2:]
    ends = positions.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    grid = positions * (2 / ends) - 1
    return grid_sample(picture[None], grid[None], mode="bilinear", padding_mode=padding, align_corners=True)[0]


def positions_in(matrix: NDArray[np.float64], of: Region, within: Region, like: torch.Tensor) -> torch.Tensor:
    """Where the pixels of a rectangle come to lie under a matrix, counted from the corner of another rectangle.

    Shifts are added in double precision, so that pixels of a large frame are as exact as those of a small one.
    """
    import torch

    shift = matrix[:, :2] @ np.array([of.left, of.top], np.float64) + matrix[:, 2] - np.array([within.left, within.top])
    x = torch.arange(of.right - of.left, dtype=torch.float32, device=like.device)
    y = torch.arange(of.bottom - of.top, dtype=torch.float32, device=like.device)[:, None]
    (a, b), (c, d) = matrix[:, :2].tolist()
    return torch.stack([a * x + (b * y + float(shift[0])), c * x + (d * y + float(shift[1]))], dim=-1)
