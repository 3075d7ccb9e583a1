"""A ball by colour and motion, where a detector is too weak to see it: small, blurred, or of no known class.

What moves is told by two frames before: a pixel differs from both. What belongs to it is told by colour: the region
around it that looks alike. A ball is then a small, round, moving region; which of them is the ball is decided later,
over the whole clip.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from framelane.video.colour import resized, to_rgb
from framelane.video.frames import FrameBatch

LONG_SIDE = 640
_PAST_S = 0.1  # the two frames before: so long ago, and twice that
_DIFFERENT = 22  # of 255, in the channel that differs most
_ALIKE = 18  # of 255 in each channel of Lab, from the middle of what moves
_SMALLEST, _LARGEST = 9.0, 0.02  # area of a ball: pixels of the small picture; share of the picture
_ROUND = 0.55  # area over that of the smallest circle around it
_MOST = 8


@dataclass(frozen=True)
class Blob:
    """A small round thing that moves, in pixels of the displayed frame.

    Attributes:
        x: its middle.
        y: its middle.
        size: its diameter.
        roundness: area over that of the smallest circle around it, 0 to 1.
        moving: share of it that differs from the frames before, 0 to 1.
        light: mean colour, L of OpenCV's 8-bit Lab; ``a`` and ``b`` likewise.
    """

    x: float
    y: float
    size: float
    roundness: float
    moving: float
    light: float
    a: float
    b: float

    def to_json(self) -> list[float]:
        """As plain data."""
        return [round(float(value), 2) for value in astuple(self)]


class Cue:
    """Finds blobs; stateless.

    Args:
        rate: frames per second.
    """

    def __init__(self, rate: float) -> None:
        self.gap = max(1, round(_PAST_S * rate))

    @property
    def reach(self) -> int:
        """How many frames before a batch it looks at."""
        return 2 * self.gap

    def find(self, batch: FrameBatch) -> list[list[Blob]]:
        """The blobs of each frame of a batch, roundest and most moving first."""
        past = () if batch.before is None else (*batch.earlier, batch.before)[-self.reach :]
        pictures = [small_lab(plane, batch) for plane in (*past, *batch.planes)]
        width = batch.layout.display_size[0]
        found: list[list[Blob]] = []
        for index in range(len(past), len(pictures)):
            near, far = index - self.gap, index - 2 * self.gap
            if far < 0:
                found.append([])
                continue
            found.append(blobs(pictures[index], pictures[near], pictures[far], width / pictures[index].shape[1]))
        return found


def small_lab(frame: Any, batch: FrameBatch) -> np.ndarray:
    """A decoded frame as a small upright picture, uint8 ``(h, w, 3)`` in Lab."""
    import cv2
    import torch

    layout = batch.layout
    scale = min(1.0, LONG_SIDE / max(frame.width, frame.height))
    width, height = (max(16, 2 * round(side * scale / 2)) for side in (frame.width, frame.height))
    small = resized(frame, (width, height), layout.colour)
    rgb = np.empty((3, height, width), np.uint8)
    to_rgb(small, layout.colour, rgb)
    turned = layout.orientation.upright(torch.from_numpy(rgb)).numpy()
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(turned.transpose(1, 2, 0)), cv2.COLOR_RGB2LAB))


def blobs(here: np.ndarray, near: np.ndarray, far: np.ndarray, scale: float) -> list[Blob]:
    """Small round moving regions.

    Args:
        here: uint8 ``(h, w, 3)`` in Lab.
        near: a frame before.
        far: one before that.
        scale: pixels of the displayed frame per pixel of these.
    """
    import cv2

    near, far = steadied(near, here), steadied(far, here)
    apart = np.minimum(cv2.absdiff(here, near).max(axis=2), cv2.absdiff(here, far).max(axis=2))
    moving = (cv2.GaussianBlur(apart, (3, 3), 0) > _DIFFERENT).astype(np.uint8)
    count, _, stats, middles = cv2.connectedComponentsWithStats(moving, connectivity=8)
    largest = _LARGEST * moving.size
    order = [i for i in range(1, count) if _SMALLEST / 2 <= stats[i, cv2.CC_STAT_AREA] <= largest]
    order.sort(key=lambda i: -int(stats[i, cv2.CC_STAT_AREA]))
    found: list[Blob] = []
    for i in order[: 4 * _MOST]:
        blob = _grown(here, moving, (float(middles[i][0]), float(middles[i][1])), largest)
        if blob and all((blob.x - o.x) ** 2 + (blob.y - o.y) ** 2 > (o.size / 2) ** 2 for o in found):
            found.append(blob)
    found.sort(key=lambda blob: -blob.roundness * blob.moving)
    return [
        Blob((b.x + 0.5) * scale, (b.y + 0.5) * scale, b.size * scale, b.roundness, b.moving, b.light, b.a, b.b)
        for b in found[:_MOST]
    ]


def _grown(lab: np.ndarray, moving: np.ndarray, middle: tuple[float, float], largest: float) -> Blob | None:
    """The region around a moving one that has its colour; None where that is not round, too small or too large."""
    import cv2

    height, width = lab.shape[:2]
    x, y = min(width - 1, max(0, round(middle[0]))), min(height - 1, max(0, round(middle[1])))
    mask = np.zeros((height + 2, width + 2), np.uint8)
    flags = 8 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    area, _, _, box = cv2.floodFill(
        lab.copy(), mask, (x, y), 0, (4 * _ALIKE,) + (_ALIKE,) * 2, (4 * _ALIKE,) + (_ALIKE,) * 2, flags
    )
    if not _SMALLEST <= area <= largest:
        return None
    left, top, w, h = box
    part = mask[1 + top : 1 + top + h, 1 + left : 1 + left + w]
    points = np.argwhere(part)[:, ::-1].astype(np.float32)
    _, radius = cv2.minEnclosingCircle(points)
    roundness = min(1.0, float(area) / (np.pi * (radius + 0.5) ** 2))
    if roundness < _ROUND:
        return None
    inside = part.astype(bool)
    share = float(moving[top : top + h, left : left + w][inside].mean())
    colour = lab[top : top + h, left : left + w][inside].mean(axis=0)
    centre = points.mean(axis=0)
    return Blob(
        left + float(centre[0]),
        top + float(centre[1]),
        2 * float(np.sqrt(area / np.pi)),
        roundness,
        share,
        *map(float, colour),
    )


def steadied(before: np.ndarray, here: np.ndarray) -> np.ndarray:
    """A frame before as it would look from where the camera is now; itself where the camera stands still.

    Corners are followed (Lucas-Kanade) and a shift with rotation and scale is fitted to most of them (RANSAC).
    """
    import cv2

    grey, now = np.ascontiguousarray(before[..., 0]), np.ascontiguousarray(here[..., 0])
    corners = cv2.goodFeaturesToTrack(grey, 120, 0.01, 12)
    if corners is None or len(corners) < 8:
        return before
    found, status, _ = cv2.calcOpticalFlowPyrLK(grey, now, corners, None)
    kept = status.ravel() == 1
    if kept.sum() < 8:
        return before
    cv2.setRNGSeed(0)
    motion, _ = cv2.estimateAffinePartial2D(corners[kept], found[kept], ransacReprojThreshold=1.5)
    if motion is None:
        return before
    edge = np.array([[0, 0, 1], [here.shape[1], here.shape[0], 1]], np.float64)
    if np.abs(edge @ motion.T - edge[:, :2]).max() < 0.5:
        return before
    return np.asarray(cv2.warpAffine(before, motion, here.shape[1::-1], borderMode=cv2.BORDER_REPLICATE))
