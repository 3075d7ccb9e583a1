"""Keeping super-resolution calm: a network invents detail anew in every frame, and what differs then flickers.

Each frame is averaged with the two before it, brought to where things are now, as far as they agree with it. Nothing
older counts, so the state is bounded, and two frames after a fresh start the result is the same as ever.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

_BEFORE = 2  # frames that take part beside the current one
_TOLERANCE = 10.0  # levels (of 255): a difference of this size, seen over 5x5 pixels, gives a weight of 1/e
_AROUND = 5
_FLOW_SIDE = 480


@dataclass(frozen=True)
class _Seen:
    large: np.ndarray
    guide: np.ndarray


class Stabiliser:
    """Averages enlarged frames along the motion of the small ones they were made of."""

    def __init__(self) -> None:
        self.seen: deque[_Seen] = deque(maxlen=_BEFORE)

    def forget(self) -> None:
        """The next frame has none before it."""
        self.seen.clear()

    def next(self, large: np.ndarray, small: np.ndarray) -> np.ndarray:
        """The calmed frame.

        Args:
            large: uint8 ``(H, W, 3)``, fresh from the network.
            small: uint8 ``(3, h, w)``, what it was made of.

        Returns:
            uint8 ``(H, W, 3)``: the mean of this frame, with a weight of 1, and of those before it, warped, each with
            a weight from 0 to 1 by how well it agrees with this one around every pixel.
        """
        current = _Seen(large, _guide(small))
        total = large.astype(np.float32)
        weights = np.ones((*large.shape[:2], 1), np.float32)
        for before in self.seen:
            if before.large.shape != large.shape:
                continue
            moved, weight = _aligned(before, current)
            total += weight * moved
            weights += weight
        self.seen.append(current)
        return np.asarray(np.rint(total / weights), np.uint8)


def _guide(small: np.ndarray) -> np.ndarray:
    """What the motion is found on: grey, at most 480 pixels wide or high."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(np.moveaxis(small, 0, 2)), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, _FLOW_SIDE / max(grey.shape))
    size = (max(16, round(grey.shape[1] * scale)), max(16, round(grey.shape[0] * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _aligned(before: _Seen, current: _Seen) -> tuple[np.ndarray, np.ndarray]:
    """An earlier frame where things are now, float ``(H, W, 3)``, and its weight ``(H, W, 1)``.

    Standing still is tried too, and wins wherever it agrees better: flow found on noise shakes.
    """
    import cv2

    height, width = current.large.shape[:2]
    optical: Any = cv2
    dis: Any = optical.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    found: Any = dis.calc(current.guide, before.guide, None)
    flow = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    scale = np.array([width / found.shape[1], height / found.shape[0]], np.float32)
    y, x = np.indices((height, width), np.float32)
    warped = cv2.remap(
        before.large, x + flow[..., 0] * scale[0], y + flow[..., 1] * scale[1],
        cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    moving, still = _distance(warped, current.large), _distance(before.large, current.large)
    keep = still <= moving
    moved = np.where(keep[..., None], before.large, warped).astype(np.float32)
    return moved, np.exp(-np.square(np.where(keep, still, moving) / _TOLERANCE))[..., None]


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The mean absolute difference in levels around every pixel, the largest of three channels."""
    import cv2

    apart = cv2.absdiff(one, other).max(axis=2).astype(np.float32)
    return np.asarray(cv2.blur(apart, (_AROUND, _AROUND)))
