"""Landmarks smoothed in time without lag: a local polynomial fit over what was seen before *and* after a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Face, Floats
from framelane.perception.smoothing import weights

__all__ = ["smoothed", "weights"]


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
