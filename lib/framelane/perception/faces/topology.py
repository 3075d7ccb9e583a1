"""Which landmarks of the face mesh belong together: triangles, rings, and what follows from them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Floats
from framelane.resources import data_path

Integers = NDArray[np.int32]

_UPPER_LIP = 0
_SHORT_YAW, _SHORT_PITCH = 1.15, 1.4

# Rings of landmarks, in order. The mesh has holes at the eyes and inside the lips; each ring but the outer lips is one
# of its four borders.
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
LEFT_EYE_RING = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
RIGHT_EYE_RING = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)

# Forehead and temples, where hair may lie; cheeks, where skin is seen.
HAIRLINE = (
    *(10, 54, 67, 68, 69, 103, 104, 108, 109, 151, 284, 297, 298, 299, 332, 333, 337, 338),
    *(21, 34, 71, 127, 139, 162, 251, 264, 301, 356, 368, 389),
)
CHEEKS = (50, 101, 118, 117, 123, 187, 205, 36, 280, 330, 347, 346, 352, 411, 425, 266)


@cache
def triangles() -> Integers:
    """(852, 3) landmarks of each triangle (MediaPipe's FACEMESH_TESSELATION), all turned the same way.

    Seen from the front, with y down, :func:`areas` is positive.
    """
    return np.ascontiguousarray(_data()["triangles"][:, ::-1].astype(np.int32))


@cache
def resting() -> Floats:
    """(468, 3) a face that looks straight ahead, about its middle; the square root of its area is 1."""
    return np.asarray(_data()["rest"], np.float32)


@cache
def _data() -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    return dict(load_file(data_path("assets", "models", "face-mesh-triangles.safetensors")))


@cache
def filled() -> Integers:
    """The triangles with strips over the holes of the eyes and the mouth: (n, 3), turned the same way."""
    strips = []
    for ring, turned in ((LEFT_EYE_RING, False), (RIGHT_EYE_RING, True), (INNER_LIPS, False)):
        half = len(ring) // 2
        upper, lower = ring[: half + 1], (ring[0], *ring[:half:-1], ring[half])
        for index in range(half):
            quad = (upper[index], upper[index + 1], lower[index + 1], lower[index])
            for corners in ((quad[0], quad[1], quad[2]), (quad[0], quad[2], quad[3])):
                if len(set(corners)) == 3:
                    strips.append(corners[::-1] if turned else corners)
    return np.concatenate([triangles(), np.array(strips, np.int32)])


@cache
def edges() -> Integers:
    """(n, 2) pairs of landmarks that share a side of a triangle, each once."""
    sides = np.concatenate([triangles()[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    return np.asarray(np.unique(np.sort(sides, axis=1), axis=0), np.int32)


def areas(points: Floats, corners: Integers) -> Floats:
    """Twice the signed area of triangles (n,) in the picture plane; positive seen from the front.

    Args:
        points: (468, 2 or 3) landmarks.
        corners: (n, 3) as in :func:`triangles`.
    """
    first, second, third = (points[corners[:, index], :2] for index in range(3))
    one, two = second - first, third - first
    return np.asarray(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0], np.float32)


def head_pose(mesh: Floats) -> tuple[float, float, float]:
    """How the head is turned: the resting face, seen by a scaled orthographic camera, that fits the landmarks best.

    The camera comes from least squares (POS, DeMenthon and Davis 1995, section 3). The mesh's own depth is not used: it
    says 25° where 40° were planted. Landmarks that the mesh's model found are short of a turn too, by 13 % of the yaw and
    by 29 % of the pitch: that is put on again (measured on faces turned by known angles, tests/unit/test_faces.py).
    Mouth and chin are left out: they move.

    Args:
        mesh: (468, 3) landmarks in pixels, as they were found.

    Returns:
        Yaw (positive: towards the right of the picture), pitch (positive: down) and roll (positive: clockwise) in
        degrees; all are near 0 for a face that looks into the camera.
    """
    rest = resting()
    still = rest[:, 1] < rest[_UPPER_LIP, 1]
    shape = rest[still].astype(np.float64)
    shape -= shape.mean(axis=0)
    seen = mesh[still, :2].astype(np.float64)
    camera = np.linalg.lstsq(shape, seen - seen.mean(axis=0), rcond=None)[0].T
    left, _, right = np.linalg.svd(camera, full_matrices=False)
    across, down = left @ right
    axis = np.cross(across, down)  # the camera's, in the face's own frame
    yaw = _SHORT_YAW * np.degrees(np.arctan2(axis[0], axis[2]))
    pitch = _SHORT_PITCH * np.degrees(np.arcsin(np.clip(axis[1], -1, 1)))
    roll = np.degrees(np.arctan2(down[0], across[0]))
    return float(yaw), float(pitch), float(roll)
