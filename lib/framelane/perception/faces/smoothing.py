"""Landmarks smoothed in time without lag: a local polynomial fit over what was seen before *and* after a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Face, Floats


def weights(times: Sequence[float], moment: float, width: float) -> NDArray[np.float64]:
    """How much each observation counts in the smoothed value at a moment: LOESS (Cleveland 1979, JASA 74:829, eq. 2-4).

    A polynomial is fitted by least squares with tricube weights ``(1 - |d|^3)^3`` and read off at the moment. With as much
    before as after it is of degree 2: then it has no phase, hence no lag, and follows an even acceleration exactly. Where
    all lies on one side (the track begins or ends here) it is of degree 1, which does not overshoot.

    Args:
        times: seconds, rising; any spacing, also with gaps.
        moment: seconds; within or at the ends of ``times``.
        width: seconds from the moment at which the weight is 0. Made wider where fewer than two observations lie within.

    Returns:
        (n,) weights that sum to 1; some may be negative.
    """
    away = np.asarray(times, np.float64) - moment
    distances = np.sort(np.abs(away))
    reach = max(width, float(distances[min(1, len(distances) - 1)]) * 1.01, 1e-6)
    tricube = np.clip(1 - np.abs(away / reach) ** 3, 0, None) ** 3
    inside = tricube > 0
    both_sides = bool((away[inside] < -1e-9).any() and (away[inside] > 1e-9).any())
    degree = min(2 if both_sides and inside.sum() > 3 else 1, int(inside.sum()) - 1)
    powers = np.vander(away / reach, degree + 1, increasing=True)
    root = np.sqrt(tricube)[:, None]
    # The value at the moment is the constant term: first row of the weighted pseudo-inverse.
    row: NDArray[np.float64] = np.linalg.pinv(root * powers)[0] * root[:, 0]
    return row


def smoothed(faces: Sequence[Face], times: Sequence[float], moment: float, width: float) -> Face:
    """The face at a moment, from what was seen of it around that moment.

    Position, size and turn are smoothed over ``width``, and so is the mesh. What cannot be averaged (who it is, the age,
    the score) is the nearest observation's.

    Args:
        faces: one track's, in order.
        times: seconds of each.
        moment: seconds; within ``times``, or at their ends.
        width: see :func:`weights`.
    """
    nearest = faces[int(np.argmin(np.abs(np.asarray(times) - moment)))]
    shares = weights(times, moment, width)
    with_mesh = [index for index, face in enumerate(faces) if face.mesh is not None]
    mesh = None
    if with_mesh and nearest.mesh is not None:
        own = weights([times[index] for index in with_mesh], moment, width)
        mesh = _mixed([faces[index].mesh for index in with_mesh], own)
    return replace(
        nearest,
        box=_mixed([face.box for face in faces], shares),
        points=_mixed([face.points for face in faces], shares),
        mesh=mesh,
    )


def _mixed(values: Sequence[Floats | None], shares: NDArray[np.float64]) -> Floats:
    stacked = np.stack([np.asarray(value, np.float64) for value in values])
    return np.asarray(np.tensordot(shares, stacked, axes=1), np.float32)
