"""Where a face is cut out of a frame and put back: a similarity transform, crops on the device, a paste in a region.

A crop is a small square picture of one face, turned upright. Its matrix maps pixels of the frame to pixels of the crop;
whole numbers are the centres of pixels, as in OpenCV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Face, Floats
from framelane.processors.faceswap.swapper import Patch

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
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""The outer contour of the lips in the 468-point mesh (MediaPipe, ``face_mesh_connections.py``)."""
_BRIGHT = 1 - 20 / 255
"""How far beyond the outermost pixel, in pixels of the crop, bilinear sampling with black around is brighter than 20."""
_NOTHING = 1 / 512
"""An alpha below this changes no byte, so it becomes 0."""


def template(side: int) -> Floats:
    """The five points of InSwapper's and ArcFace's crops.

    Args:
        side: of the crop, a multiple of 112 (ArcFace) or 128 (InSwapper).

    Returns:
        (5, 2) pixels; as insightface 2.1, ``utils/face_align.py:estimate_norm``.
    """
    if side % 112 == 0:
        return (ARCFACE * (side / 112)).astype(np.float32)
    ratio = side / 128
    return (ARCFACE * ratio + np.array([8.0 * ratio, 0.0])).astype(np.float32)


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


def cut(frames: torch.Tensor, indices: Sequence[int], matrices: Sequence[NDArray[np.float64]], side: int) -> torch.Tensor:
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
        target.copy_(sample(region.of(frames[index]).float(), _positions(inverse(matrix), whole, region, frames), "zeros"))
    return out


def sample(picture: torch.Tensor, positions: torch.Tensor, padding: str = "border") -> torch.Tensor:
    """Bilinear sampling of (3, h, w) at (H, W, 2) pixel positions; outside is black (``zeros``) or the edge's pixel."""
    from torch.nn.functional import grid_sample

    height, width = picture.shape[-2:]
    ends = positions.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    grid = positions * (2 / ends) - 1
    return grid_sample(picture[None], grid[None], mode="bilinear", padding_mode=padding, align_corners=True)[0]


def _positions(matrix: NDArray[np.float64], of: Region, within: Region, like: torch.Tensor) -> torch.Tensor:
    """Where the pixels of a rectangle come to lie under a matrix, counted from the corner of another rectangle.

    Shifts are added in double precision, so that pixels of a large frame are as exact as those of a small one.
    """
    import torch

    shift = matrix[:, :2] @ np.array([of.left, of.top], np.float64) + matrix[:, 2] - np.array([within.left, within.top])
    x = torch.arange(of.right - of.left, dtype=torch.float32, device=like.device)
    y = torch.arange(of.bottom - of.top, dtype=torch.float32, device=like.device)[:, None]
    (a, b), (c, d) = matrix[:, :2].tolist()
    return torch.stack([a * x + (b * y + float(shift[0])), c * x + (d * y + float(shift[1]))], dim=-1)


def patch(
    crop: torch.Tensor, matrix: NDArray[np.float64], width: int, height: int, face: Face, keep_mouth: bool = False
) -> Patch:
    """A crop turned back into the frame, with a soft mask; only the face's region is computed.

    Args:
        crop: (3, side, side) float, 0 to 255.
        matrix: (2, 3) from the frame to the crop.
        width: of the frame.
        height: of the frame.
        face: where a mesh is known, its convex hull limits what is pasted.
        keep_mouth: leave the mouth of the frame.
    """
    side = int(crop.shape[-1])
    region = region_of(matrix, side, width, height)
    positions = _positions(matrix, region, Region(0, 0, side, side), crop)
    alpha = soft_square(positions, matrix, side)
    for mask in (hull_mask(face, region), mouth_mask(face, region) if keep_mouth else None):
        if mask is not None:
            alpha = alpha * alpha.new_tensor(mask)
    alpha = alpha * (alpha >= _NOTHING)
    return Patch(region.left, region.top, back(crop, positions, matrix), alpha[None])


def back(crop: torch.Tensor, positions: torch.Tensor, matrix: NDArray[np.float64]) -> torch.Tensor:
    """The pixels of a crop at positions of it, (3, h, w); averaged first where the frame shows it less than half as large."""
    from torch.nn.functional import avg_pool2d

    fold = max(1, int(scale_of(matrix)))
    while crop.shape[-1] % fold:
        fold -= 1
    if fold > 1:
        crop = avg_pool2d(crop[None], fold)[0]
        positions = (positions - (fold - 1) / 2) / fold
    return sample(crop, positions)


def soft_square(positions: torch.Tensor, matrix: NDArray[np.float64], side: int) -> torch.Tensor:
    """How much of a crop is seen at positions of it: 1 inside, falling softly to 0 at its border.

    The mask of insightface 2.1 (``model_zoo/inswapper.py:67-95``), in closed form: there, the crop's white square in
    the frame is eroded by a box of a tenth of its size and blurred by a Gaussian whose kernel is a tenth of it. A
    blurred rectangle is a product of error functions, so no full frame is eroded or blurred.

    Args:
        positions: (h, w, 2) in the crop.
        matrix: (2, 3) from the frame to the crop.
        side: of the crop.

    Returns:
        (h, w) 0 to 1.
    """
    import torch

    scale = scale_of(matrix)
    axes = matrix[:, :2] / scale  # the crop's axes as directions in the frame
    # The size of the turned square's bounding box; a warped pixel counts there while it is brighter than 20 of 255.
    size = int((side - 1 + 2 * _BRIGHT) / scale * np.abs(axes[0]).sum())
    box, blur = max(size // 10, 10), max(size // 20, 5)
    sigma = (0.3 * (blur - 1) + 0.8) * scale * math.sqrt(2)  # of OpenCV's Gaussian kernel of 2 blur + 1, times root 2
    alpha = torch.ones_like(positions[..., 0])
    for axis, place in zip(axes, positions.unbind(-1), strict=True):
        low = _eroded(axis, box) * scale - _BRIGHT
        high = side - 1 + _BRIGHT - _eroded(-axis, box) * scale
        alpha = alpha * (torch.erf((place - low) / sigma) - torch.erf((place - high) / sigma)) / 2
    return alpha


def _eroded(inwards: NDArray[np.float64], box: int) -> float:
    """How far an edge moves when a picture is eroded by a box: OpenCV anchors an even one half a pixel off."""
    before, after = box // 2, box - 1 - box // 2
    return float(sum(abs(v) * (before if v > 0 else after) for v in inwards))


def hull_mask(face: Face, region: Region) -> NDArray[np.float32] | None:
    """1 within the convex hull of a face's mesh, softly 0 outside it; None where there is no mesh."""
    if face.mesh is None:
        return None
    return _soft_polygon(face.mesh[:, :2], region, 0.02 * face.size)


def mouth_mask(face: Face, region: Region) -> NDArray[np.float32]:
    """0 on a face's mouth, softly 1 around it: the lips of the mesh, else an ellipse about the corners of the mouth."""
    if face.mesh is not None:
        lips = face.mesh[list(_LIPS), :2]
        lips = lips.mean(0) + 1.15 * (lips - lips.mean(0))
    else:
        left, right = face.points[3], face.points[4]
        centre, along = (left + right) / 2, (right - left) / 2
        across = np.array([-along[1], along[0]])
        angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)[:, None]
        lips = centre + 1.3 * np.cos(angles) * along + 0.9 * np.sin(angles) * across
    return 1 - _soft_polygon(lips, region, 0.015 * face.size)


def _soft_polygon(points: NDArray[np.floating], region: Region, sigma: float) -> NDArray[np.float32]:
    import cv2

    mask = np.zeros((region.bottom - region.top, region.right - region.left), np.float32)
    if mask.size:
        hull = cv2.convexHull((points - [region.left, region.top]).astype(np.float32))
        cv2.fillConvexPoly(mask, np.rint(hull * 16).astype(np.int32), 1.0, cv2.LINE_AA, 4)
        mask = cv2.GaussianBlur(mask, (0, 0), max(sigma, 0.5))
    return np.asarray(np.clip(mask, 0, 1), np.float32)


def paste(frames: torch.Tensor, indices: Sequence[int], patches: Sequence[Patch]) -> torch.Tensor:
    """Frames with patches on them, one after the other; alpha is a share of the stored (gamma-coded) values.

    Args:
        frames: (N, 3, H, W) uint8; never changed.
        indices: which frame each patch belongs to.
        patches: of any size.

    Returns:
        (N, 3, H, W) uint8; what no patch touches is equal to the input.
    """
    out = frames.clone()
    for index, new in zip(indices, patches, strict=True):
        height, width = new.rgb.shape[-2:]
        target = out[index, :, new.top : new.top + height, new.left : new.left + width]
        target.copy_(over(target, new).round_().clamp_(0, 255))
    return out


def over(under: torch.Tensor, new: Patch) -> torch.Tensor:
    """A patch over the pixels of its own region: (3, h, w) float32, 0 to 255."""
    base = under.float()
    return base + new.alpha * (new.rgb - base)
