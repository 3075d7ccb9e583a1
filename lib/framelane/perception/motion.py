"""Optical flow between neighbouring frames, cuts, and carrying a map along the motion.

A *field* is a float32 array ``(h, w)`` that covers the displayed frame at the resolution of the thumbnails on which
the flow is computed. A *displacement* is float32 ``(h, w, 2)`` in field pixels (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from framelane.perception.camera import Motion, camera_motion
from framelane.video.frames import FrameBatch, thumbnail, thumbnails

LONG_SIDE = 192
_REACH = 10.0  # in field pixels: about one and a half patches
_STILL = 0.02  # in field pixels: less is noise of the flow on a static picture
_ROUND_TRIP = 0.5  # in field pixels: flow there and back that misses its start by more has lost its way


@dataclass(frozen=True)
class Step:
    """How a frame relates to the one before it.

    Attributes:
        cut: True where nothing connects them (a cut, or the first frame of the clip).
        size: (h, w) of the fields.
        back: displacement from this frame to where each pixel was before; None at a cut.
        forth: displacement from the frame before to where each pixel is now; None at a cut.
        camera: the camera's own motion from the frame before, in pixels of the displayed frame (see
            :mod:`framelane.perception.camera`); None where it stands still, at a cut, or if nobody asked for it.
        picture: the frame's thumbnail, uint8 ``(h, w)``.
    """

    cut: bool
    size: tuple[int, int]
    back: np.ndarray | None = None
    forth: np.ndarray | None = None
    camera: Motion | None = None
    picture: np.ndarray | None = field(default=None, repr=False)


def steps(batch: FrameBatch, cut_threshold: float, *, camera: bool = False, sharp: bool = False) -> list[Step]:
    """The step to every frame of a batch from the frame before it; pure in the batch.

    Args:
        batch: frames with the one before them.
        cut_threshold: :func:`difference` (0 to 1) above which a cut is assumed.
        camera: estimate the camera's motion as well.
        sharp: keep the motion of every pixel, for fields as sharp as the picture; else it is :func:`spread`.
    """
    frame = batch.layout.display_size[::-1] if camera else None
    previous = None if batch.before is None else thumbnail(batch.before, batch.layout, LONG_SIDE)
    found = []
    for current in thumbnails(batch.planes, batch.layout, LONG_SIDE):
        found.append(_step(previous, current, cut_threshold, frame, sharp))
        previous = current
    return found


def bare_steps(batch: FrameBatch, cut_threshold: float) -> list[Step]:
    """The same without motion, for who asks for cuts and thumbnails only.

    Args:
        batch: frames with the one before them.
        cut_threshold: as for :func:`steps`.
    """
    previous = None if batch.before is None else thumbnail(batch.before, batch.layout, LONG_SIDE)
    found = []
    for current in thumbnails(batch.planes, batch.layout, LONG_SIDE):
        cut = previous is None or way_back(previous, current, cut_threshold) is None
        found.append(Step(cut, (current.shape[0], current.shape[1]), picture=current))
        previous = current
    return found


def _step(
    previous: np.ndarray | None, current: np.ndarray, cut_threshold: float, frame: tuple[int, int] | None, sharp: bool
) -> Step:
    size = (current.shape[0], current.shape[1])
    back = None if previous is None else way_back(previous, current, cut_threshold)
    if previous is None or back is None:
        return Step(True, size, picture=current)
    forth = flow(previous, current)
    camera = None
    if frame:  # from the flow of pixels: spread, what moves by itself would reach over the background
        astray = np.linalg.norm(forth + warp(back, forth), axis=2)
        camera = camera_motion(forth, frame, astray < _ROUND_TRIP)
    if sharp:
        return Step(False, size, back, forth, camera, current)
    return Step(False, size, spread(back), spread(forth), camera, current)


def way_back(previous: np.ndarray, current: np.ndarray, cut_threshold: float) -> np.ndarray | None:
    """The flow from a thumbnail to the one before it; None at a cut: they stay unlike once the motion is taken out."""
    if previous.shape != current.shape:
        return None
    back = flow(current, previous)
    return None if difference(warp(previous, back), current) > cut_threshold else back


def flow(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Dense optical flow (DIS: Kroeger et al., ECCV 2016) from ``source`` to ``target``.

    Args:
        source: uint8 ``(h, w)``.
        target: uint8 ``(h, w)``.

    Returns:
        float32 ``(h, w, 2)``: source pixel (x, y) is found at (x, y) + flow in the target.
    """
    import cv2

    optical_flow: Any = cv2
    if min(source.shape) < 16:  # too small for DIS's patches
        return np.zeros((*source.shape, 2), np.float32)
    # A new object each time: DIS starts from what it found last, and a resumed job would then differ.
    dis: Any = optical_flow.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(0)  # the preset stops at a quarter of the resolution, where a small object's motion is lost
    found: Any = dis.calc(source, target, None)
    found[np.abs(found).max(axis=2) < _STILL] = 0
    return np.asarray(found, np.float32)


def spread(displacement: np.ndarray) -> np.ndarray:
    """The motion of a place on a map: the mean of the motion around it, weighed so that what moves decides.

    The weight is the fourth power of the motion's length. A transformer's map is coarse: an object's attention reaches
    over its outline onto ground that stands still, and must move with the object all the same.

    Args:
        displacement: float32 ``(h, w, 2)``, as seen by pixels.
    """
    import cv2

    weight = np.square(np.square(displacement).sum(axis=2, keepdims=True)) + 1e-6
    stacked = np.concatenate([displacement * weight, weight], axis=2)
    mean = cv2.GaussianBlur(stacked, (0, 0), _REACH)
    return np.asarray(mean[..., :2] / mean[..., 2:], np.float32)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """How unlike two pictures are: half of 1 minus their correlation, plus their histograms' distance, 0 to 1.

    Correlation ignores a change of exposure; the histogram catches what motion compensation could explain away.
    """
    a, b = one.astype(np.float32), other.astype(np.float32)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    correlation = float((a * b).sum()) / norm if norm > 1e-6 else 1.0
    bins = [np.bincount(x.ravel() >> 3, minlength=32) / x.size for x in (one, other)]
    histogram = 0.5 * float(np.abs(bins[0] - bins[1]).sum())
    return 0.5 * (1 - max(0.0, correlation)) + 0.5 * histogram


def warp(field: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """``field`` looked up at every pixel plus its displacement, bilinear, edges repeated."""
    import cv2

    y, x = _grid(field.shape[0], field.shape[1])
    to_x, to_y = x + displacement[..., 0], y + displacement[..., 1]
    return np.asarray(cv2.remap(field, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def compose(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The displacement of going ``first`` and, from where that leads, ``then``."""
    return np.asarray(first + warp(then, first))


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.indices((height, width), np.float32)
    return y, x


def to_field(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map on the transformer's grid as a field: bicubic, non-negative, summing to 1.

    Args:
        grid: float32 ``(gh, gw)``, non-negative.
        size: (h, w) of the field.
    """
    import cv2

    field = cv2.resize(grid.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    return normalised(field)


def normalised(field: np.ndarray) -> np.ndarray:
    """Non-negative and summing to 1; uniform where there is nothing."""
    field = np.asarray(np.maximum(field, 0), np.float32)
    total = float(field.sum())
    return np.asarray(field / total) if total > 1e-12 else np.full_like(field, 1 / field.size)


def between(maps: tuple[np.ndarray, np.ndarray | None], steps_: list[Step]) -> list[np.ndarray]:
    """Maps for the frames from one sample up to (not including) the next, carried along the motion.

    Args:
        maps: the field at the first frame, and the field at the next sampled frame (None where there is none, or a cut
            lies before it).
        steps_: the steps to every frame after the first, up to the next sampled one if there is one.

    Returns:
        One field a frame, the first included: the first sample carried forward and the next carried back, blended
        by their nearness in frames.
    """
    first, following = maps
    count = len(steps_) if following is not None else len(steps_) + 1
    forward = [first]
    reach: np.ndarray | None = None
    for step in steps_[: count - 1]:
        assert step.back is not None
        reach = step.back if reach is None else compose(step.back, reach)
        forward.append(normalised(warp(first, reach)))
    if following is None:
        return forward
    blended = list(forward)
    reach = None
    for offset in range(count - 1, 0, -1):
        ahead = steps_[offset].forth
        assert ahead is not None
        reach = ahead if reach is None else compose(ahead, reach)
        near = offset / count
        blended[offset] = normalised((1 - near) * forward[offset] + near * warp(following, reach))
    return blended
