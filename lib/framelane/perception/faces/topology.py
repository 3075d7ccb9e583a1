"""Which landmarks of the face mesh belong together: triangles, rings, and what follows from them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Floats
from framelane.resources import data_path

Integers = NDArray[np.int32]

_LEAN = 9.0

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
    from safetensors.numpy import load_file

    found = load_file(data_path("assets", "models", "face-mesh-triangles.safetensors"))["triangles"]
    return np.ascontiguousarray(found[:, ::-1].astype(np.int32))


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
    """How the head is turned, from the mesh's own depth.

    Args:
        mesh: (468, 3) landmarks, z on the scale of x and y.

    The line from forehead to chin leans back by about 9° in a face that looks straight ahead (10.9° and 7.8° in the two
    portraits of the tests): that is taken off.

    Returns:
        Yaw (positive: towards the right of the picture), pitch (positive: down) and roll (positive: clockwise) in
        degrees; all are near 0 for a face that looks into the camera.
    """
    across = mesh[454] - mesh[234] + mesh[263] - mesh[33] + mesh[291] - mesh[61]
    down = mesh[152] - mesh[10]
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    down = down - across * float(down @ across)
    down = down / max(float(np.linalg.norm(down)), 1e-6)
    yaw = np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1])))
    pitch = np.degrees(np.arctan2(down[2], np.hypot(down[0], down[1]))) - _LEAN
    roll = np.degrees(np.arctan2(across[1], across[0]))
    return float(yaw), float(pitch), float(roll)
