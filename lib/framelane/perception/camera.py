"""How the camera moved from one frame to the next, from dense optical flow.

A motion is a float64 ``(2, 3)`` affine ``[[a, -b, x], [b, a, y]]`` in pixels of the displayed frame (rotation, zoom and
shift), which takes a place in the earlier frame to where it is in the later one. ``None`` is a camera that stands still.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Motion = npt.NDArray[np.float64]

_EVERY = 4  # a point of the flow in every fourth row and column: neighbours say the same
_INLIER = 0.5  # in flow pixels: how far a point of the background may lie from where the camera's motion takes it
_FEWEST = 24  # points; with fewer there is too little texture to tell
_LEAST_SHARE = 0.3  # of the points must agree, else there is no one camera motion in the flow
_STILL = 0.1  # in flow pixels, at the frame's corners: less is noise, or so slow that the Kalman filter follows it
_DECIMALS = 6  # keeps the tracker's log short; 1e-6 of 4,000 pixels is far below what is seen


def camera_motion(
    displacement: npt.NDArray[np.float32], frame: tuple[int, int], trusted: npt.NDArray[np.bool_] | None = None
) -> Motion | None:
    """The similarity transform that most of the flow follows; what moves by itself is left out as outliers.

    RANSAC, then least squares over the inliers (OpenCV's ``estimateAffinePartial2D``, whose random numbers start from
    the same seed in every call, so that the same flow gives the same answer).

    Args:
        displacement: float32 ``(h, w, 2)`` in flow pixels (x, y), from the earlier frame to the later.
        frame: (H, W) of the displayed frame, which the flow covers.
        trusted: ``(h, w)``: where the flow may be believed; None is everywhere.

    Returns:
        The motion, or None where the camera stands still or too little agrees on any motion.
    """
    import cv2

    height, width = displacement.shape[:2]
    scale = np.array([frame[1] / width, frame[0] / height])
    rows, columns = np.mgrid[_EVERY // 2 : height : _EVERY, _EVERY // 2 : width : _EVERY]
    rows, columns = rows.ravel(), columns.ravel()
    if trusted is not None:
        kept = trusted[rows, columns]
        rows, columns = rows[kept], columns[kept]
    if len(rows) < _FEWEST:
        return None
    start = (np.stack([columns, rows], axis=1) + 0.5) * scale  # edges of the frame, not centres of pixels, coincide
    end = start + displacement[rows, columns] * scale
    found, inliers = cv2.estimateAffinePartial2D(
        start, end, method=cv2.RANSAC, ransacReprojThreshold=_INLIER * float(scale.max())
    )
    if found is None or inliers.sum() < max(_FEWEST, _LEAST_SHARE * len(rows)):
        return None
    motion: Motion = np.asarray(found, np.float64).round(_DECIMALS)
    return None if farthest(motion, frame) < _STILL * float(scale.max()) else motion


def farthest(motion: Motion, frame: tuple[int, int]) -> float:
    """By how many pixels the motion shifts the corner of the frame ``(H, W)`` that it shifts farthest."""
    corners = np.array([(x, y) for x in (0, frame[1]) for y in (0, frame[0])], np.float64)
    return float(np.linalg.norm(apply(motion, corners) - corners, axis=1).max())


def apply(motion: Motion, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points ``(N, 2)`` of the earlier frame, in the later one."""
    return points @ motion[:, :2].T + motion[:, 2]


def compose(first: Motion | None, then: Motion | None) -> Motion | None:
    """The motion of ``first`` and, after it, ``then``."""
    if first is None or then is None:
        return then if first is None else first
    return np.column_stack([then[:, :2] @ first[:, :2], then[:, :2] @ first[:, 2] + then[:, 2]])


def moved(boxes: npt.NDArray[np.float64], motion: Motion | None) -> npt.NDArray[np.float64]:
    """Boxes ``(N, 4)`` of the earlier frame in the later one: same size, their centres moved along."""
    if motion is None:
        return boxes
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return boxes + np.tile(apply(motion, centres) - centres, 2)


def to_json(motion: Motion | None) -> list[float] | None:
    """As plain data: the six numbers by rows. Floats survive JSON exactly."""
    return None if motion is None else [float(value) for value in motion.ravel()]


def from_json(data: list[float] | None) -> Motion | None:
    """The inverse of :func:`to_json`."""
    return None if data is None else np.array(data, np.float64).reshape(2, 3)
