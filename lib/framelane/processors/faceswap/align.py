"""Putting crops of faces back into frames: a soft mask, and a paste on the face's region only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Face
from framelane.perception.faces.crops import Region, positions_in, region_of, sample, scale_of
from framelane.processors.faceswap.swapper import Patch

if TYPE_CHECKING:
    import torch

_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""The outer contour of the lips in the 468-point mesh (MediaPipe, ``face_mesh_connections.py``)."""
_BRIGHT = 1 - 20 / 255
"""How far beyond the outermost pixel, in pixels of the crop, bilinear sampling with black around is brighter than 20."""
_NOTHING = 1 / 512
"""An alpha below this changes no byte, so it becomes 0."""


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
    positions = positions_in(matrix, region, Region(0, 0, side, side), crop)
    alpha = soft_square(positions, matrix, side)
    for mask in (hull_mask(face, region), mouth_mask(face, region) if keep_mouth else None):
        if mask is not None:
            alpha = alpha * alpha.new_tensor(mask)
    alpha = alpha * (alpha >= _NOTHING)
    return Patch(region.left, region.top, back(crop, positions, matrix), alpha[None])


def back(crop: torch.Tensor, positions: torch.Tensor, matrix: NDArray[np.float64]) -> torch.Tensor:
    """The pixels of a crop at positions of it, (3, h, w); averaged first where it gets less than half as large."""
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
