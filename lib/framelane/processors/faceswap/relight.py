"""Light and colour of the clip on a pasted face: gradient-domain blending on the mesh.

Poisson image editing (Perez et al. 2003, eq. 2 to 4) pastes gradients: the difference to the picture below is carried in
from the border by a membrane. Two changes make it fit a face that moves. The membrane is solved on the 468 landmarks, not
on pixels: the unknowns ride on the face, so the light does not swim from frame to frame. And it is screened (Bhat et al.
2008, eq. 4): skin inside pulls too, softly, so that light from one side stays on that side. Differences are those of
logarithms, since light multiplies; far-off ones (hair, a hand) count little (Huber 1964).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from framelane.perception.faces.base import Floats
from framelane.perception.faces.topology import (
    CHEEKS,
    HAIRLINE,
    INNER_LIPS,
    LEFT_EYE_RING,
    OUTER_LIPS,
    OVAL,
    RIGHT_EYE_RING,
    edges,
    triangles,
)

_BORDER, _INSIDE = 10.0, 0.5
_FLOOR = 12.0  # added before the logarithm: shadows are noise
_FAR, _ROUNDS = 0.3, 3  # in logarithms: differences farther than this from the smooth answer are distrusted
_LEAST_SEEN = 0.05
_SKIN, _NOT_SKIN = 0.3, 0.6  # in logarithms, distance to the colour of the cheeks


@cache
def _laplacian() -> np.ndarray:
    """(468, 468) of the mesh's graph."""
    matrix = np.zeros((468, 468))
    for one, two in edges():
        matrix[one, two] = matrix[two, one] = -1.0
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


@cache
def _trust() -> np.ndarray:
    """(468,) how hard each landmark pulls: the border hard, skin softly, eyes and lips not at all."""
    weights = np.full(468, _INSIDE)
    outer = np.isin(triangles(), OVAL).any(axis=1)
    weights[np.unique(triangles()[outer])] = _BORDER
    weights[[*LEFT_EYE_RING, *RIGHT_EYE_RING, *INNER_LIPS, *OUTER_LIPS]] = 0.0
    return weights


def membrane(below: Floats, pasted: Floats, seen: Floats) -> Floats:
    """The correction at each landmark.

    Args:
        below: (468, 3) colour of the clip around each landmark, 0 to 255.
        pasted: (468, 3) colour of the pasted face there.
        seen: (468,) 0 to 1, how much of the surroundings could be seen.

    Returns:
        (468, 3) logarithm of the factor that :func:`apply` multiplies with.
    """
    difference = np.log((below + _FLOOR) / (pasted + _FLOOR)).astype(np.float64)
    weights = _trust() * np.where(seen > _LEAST_SEEN, seen, 0.0)
    if weights.sum() < _BORDER:
        return np.zeros((468, 3), np.float32)
    answer = _solve(difference, weights)
    for _ in range(_ROUNDS):  # iteratively reweighted: what lies far off the smooth answer is hair or a hand, not light
        distance = np.abs(difference - answer).max(axis=1)
        answer = _solve(difference, weights * np.minimum(1.0, _FAR / np.maximum(distance, 1e-6)))
    return np.asarray(answer, np.float32)


def _solve(difference: np.ndarray, weights: np.ndarray) -> np.ndarray:
    system = _laplacian() + np.diag(weights + 1e-9)
    return np.asarray(np.linalg.solve(system, difference * weights[:, None]))


def apply(pasted: Floats, base: Floats, correction: Floats, contrast: float) -> Floats:
    """The pasted face in the clip's light.

    Shadow takes contrast with it; light does not give it back, or wrinkles of a dark picture would burn in a bright one.

    Args:
        pasted: (h, w, 3) float32, 0 to 255.
        base: (h, w, 3) its colours without detail.
        correction: (h, w, 3) from :func:`membrane`.
        contrast: what detail is multiplied with.

    Returns:
        (h, w, 3) float32, 0 to 255.
    """
    factor = np.exp(correction)
    detail = (pasted - base) * np.minimum(factor, 1) * np.float32(contrast)
    return np.asarray(np.clip((base + _FLOOR) * factor - _FLOOR + detail, 0, 255), np.float32)


def skin_likeness(colours: Floats) -> Floats:
    """Where hair hides the forehead or the temples.

    Args:
        colours: (468, 3) around each landmark, 0 to 255.

    Returns:
        (468,) 1 where the colour is that of the cheeks, falling to 0 where it is another; 1 away from the hairline.
    """
    logs = np.log(colours + _FLOOR)
    skin = np.median(logs[list(CHEEKS)], axis=0)
    distance = np.abs(logs[list(HAIRLINE)] - skin).max(axis=1)
    ramp = np.clip((_NOT_SKIN - distance) / (_NOT_SKIN - _SKIN), 0, 1)
    likeness = np.ones(468, np.float32)
    likeness[list(HAIRLINE)] = ramp * ramp * (3 - 2 * ramp)
    return likeness


def spread_low(values: Floats) -> Floats:
    """(468,) no landmark more than half above its lowest neighbour: what is hidden does not shine through beside it."""
    result = values.copy()
    for one, two in ((0, 1), (1, 0)):
        np.minimum.at(result, edges()[:, one], values[edges()[:, two]] + np.float32(0.5))
    return result
