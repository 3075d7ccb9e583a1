"""Telling faces of one clip apart by how they look, where no network that knows people is at hand.

No recognition: light, hair and make-up count as much as the person. It is good for "the man on the left, not the woman"
within a clip, and for nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from framelane.perception.faces.base import Face, Floats

if TYPE_CHECKING:
    import torch

DISTANCE = 0.55
"""Largest squared distance of two descriptions that are taken for one person's; see tests/unit/test_face_select.py."""
_SIDE = 96
_CELLS = 6
# Where ArcFace's alignment puts the five points in its 112 x 112 crop (insightface, utils/face_align.py, arcface_dst).
_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)


def describe(rgb: torch.Tensor, face: Face) -> Floats:
    """A unit vector of how a face looks: histograms of colour and of local binary patterns in a grid.

    Patterns as in Ahonen, Hadid and Pietikainen (PAMI 2006, sec. 2): eight neighbours, a histogram for each cell of an
    aligned crop. Square roots of the shares make the product of two vectors their Bhattacharyya coefficient.

    Args:
        rgb: (3, H, W) uint8.
        face: in it.

    Returns:
        float32, of length 1, all values at least 0.
    """
    import cv2

    matrix, _ = cv2.estimateAffinePartial2D(face.points.astype(np.float32), _POINTS * (_SIDE / 112), method=cv2.LMEDS)
    if matrix is None:
        return np.full(1, 1, np.float32)
    picture = _around(rgb, face)
    matrix = np.asarray(matrix, np.float64)
    matrix[:, 2] += matrix[:, :2] @ picture[1]
    crop = cv2.warpAffine(picture[0], matrix, (_SIDE, _SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    lab = cv2.cvtColor(cv2.GaussianBlur(crop, (0, 0), 1.0), cv2.COLOR_RGB2LAB)
    grey = lab[..., 0].astype(np.int16)
    middle = grey[1:-1, 1:-1]
    codes = np.zeros(middle.shape, np.int64)
    ring = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    for bit, (row, column) in enumerate(ring):
        around = grey[row : row + middle.shape[0], column : column + middle.shape[1]]
        codes |= (around > middle + 1).astype(np.int64) << bit
    parts = []
    side = middle.shape[0] // _CELLS
    for row in range(_CELLS):
        for column in range(_CELLS):
            cell = slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)
            patterns = np.bincount(_UNIFORM[codes[cell]].ravel(), minlength=_KINDS)
            colours = [np.bincount(lab[1:-1, 1:-1, c][cell].ravel() // 8, minlength=32) for c in (1, 2)]
            parts += [patterns / patterns.sum(), *(colour / colour.sum() for colour in colours)]
    vector = np.sqrt(np.concatenate(parts))
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def _around(rgb: torch.Tensor, face: Face) -> tuple[np.ndarray, Floats]:
    """The pixels around a face, (h, w, 3), and where they begin: x, y."""
    height, width = rgb.shape[-2:]
    margin = face.size / 2
    left, top = (int(max(0, side - margin)) for side in face.box[:2])
    right, bottom = (int(side + margin) + 1 for side in face.box[2:])
    left, top = min(left, width - 2), min(top, height - 2)
    part = rgb[:, top : max(top + 2, min(bottom, height)), left : max(left + 2, min(right, width))]
    return np.ascontiguousarray(part.permute(1, 2, 0).cpu().numpy()), np.array([left, top], np.float32)


def _uniform() -> tuple[np.ndarray, int]:
    """Patterns with at most two changes around the ring have a bin each, all others share one (Ahonen et al., sec. 2)."""
    kinds = np.zeros(256, np.int64)
    bins = 1
    for code in range(256):
        bits = [(code >> bit) & 1 for bit in range(8)]
        if sum(bits[i] != bits[i - 1] for i in range(8)) <= 2:
            kinds[code], bins = bins, bins + 1
    return kinds, bins


_UNIFORM, _KINDS = _uniform()
