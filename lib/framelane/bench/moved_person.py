"""A person whose motion is known: a frame of the demo clip, shifted, scaled and turned by a known path, under noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from framelane.perception.poses import MoveNet, Options
from framelane.resources import data_path

if TYPE_CHECKING:
    import supervision

Floats = NDArray[np.float64]
RATE = 30
FRAMES = 60
SOURCES = (20, 60, 100)
"""Frames of walker.mp4 that are moved: legs apart, passing, before a wall."""
NOISE = 4.0  # of 255, standard deviation, other in every frame


@lru_cache(maxsize=8)
def still(number: int) -> NDArray[np.uint8]:
    """A frame of the demo clip, uint8 (H, W, 3) RGB."""
    import av

    with av.open(str(data_path("assets", "clips", "walker.mp4"))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == number:
                return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    raise ValueError(f"the clip has no frame {number}")


def path(seconds: float, centre: Floats, size: float = 1.0) -> Floats:
    """Where the picture is at a moment: a walk to and fro that speeds up and slows down, nearer and farther, turning.

    Args:
        seconds: any moment, also between frames.
        centre: the point around which it is scaled and turned.
        size: scale of the whole.

    Returns:
        (2, 3): from pixels of the still to pixels of the frame.
    """
    shift = 90 * np.sin(2 * np.pi * seconds / 2.0), 18 * np.sin(2 * np.pi * seconds / 0.7)
    scale = size * (1 + 0.08 * np.sin(2 * np.pi * seconds / 1.3))
    turn = np.radians(5) * np.sin(2 * np.pi * seconds / 1.7)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([linear, centre + size * np.array(shift) - linear @ centre])


@dataclass(frozen=True)
class Planted:
    """A clip of known motion and what the model saw in it.

    Attributes:
        found: per frame the people.
        centre: see :func:`path`.
        size: see :func:`path`.
        start: (17, 2): the joints in the still.
        seen: (17,): joints that the model is mostly sure of.
    """

    found: list[supervision.Detections]
    centre: Floats
    size: float
    start: Floats
    seen: NDArray[np.bool_]

    def truth(self, seconds: float) -> Floats:
        """The joints at a moment, (17, 2)."""
        matrix = path(seconds, self.centre, self.size)
        return np.asarray(self.start @ matrix[:, :2].T + matrix[:, 2])


def render(number: int, size: float = 1.0, frames: int = FRAMES) -> list[NDArray[np.uint8]]:
    """The moved pictures of a still, each with noise of its own."""
    import cv2

    picture, rng = still(number), np.random.default_rng(number)
    height, width = picture.shape[:2]
    centre, made = np.array([width / 2, height / 2]), []
    for index in range(frames):
        matrix = path(index / RATE, centre, size)
        # OpenCV counts from a pixel's centre, and we from its corner.
        half = np.array([0.5, 0.5])
        shifted = np.column_stack([matrix[:, :2], matrix @ np.append(half, 1) - half])
        moved = cv2.warpAffine(picture, shifted, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
        noisy = moved + rng.normal(0, NOISE, moved.shape).astype(np.float32)
        made.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return made


def start_of(number: int, frames: int = 9) -> Floats:
    """Where the joints lie in a still, (17, 2): the median over moved pictures seen at three times the usual resolution.

    That is another look than any that is scored: at 768 pixels, on the whole frame, once.
    """
    estimator = MoveNet(Options(threads=1, resolution=768, closer=False))
    return look(estimator, number, frames=frames).start


def look(
    estimator: MoveNet, number: int, size: float = 1.0, frames: int = FRAMES, *, start: Floats | None = None
) -> Planted:
    """Render a still's clip and find the poses of every frame.

    Args:
        estimator: what finds them.
        number: of the still.
        size: scale of the whole.
        frames: length.
        start: where the joints lie in the still; None takes the median of what the model saw.
    """
    import torch

    pictures = render(number, size, frames)
    height, width = pictures[0].shape[:2]
    centre = np.array([width / 2, height / 2])
    found = [estimator.find(torch.from_numpy(each).permute(2, 0, 1)[None])[0] for each in pictures]
    back = np.full((frames, 17, 2), np.nan)
    scores = np.zeros((frames, 17))
    for index, people in enumerate(found):
        joints = walker_of(people, path(index / RATE, centre, size), number)
        if joints is not None:
            matrix = path(index / RATE, centre, size)
            back[index] = (joints[:, :2] - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
            scores[index] = joints[:, 2]
    seen = np.median(scores, axis=0) >= 0.3
    return Planted(found, centre, size, np.nanmedian(back, axis=0) if start is None else start, seen)


# Where the walker stands in the stills: x1, y1, x2, y2, roughly; somebody else is in the picture as well.
_STANDS = {20: (598, 284, 729, 508), 60: (387, 277, 517, 507), 100: (185, 274, 283, 519)}


def walker_of(people: supervision.Detections, matrix: Floats, number: int) -> Floats | None:
    """The joints of the one in the middle of it, (17, 3); None where nobody was found there."""
    x1, y1, x2, y2 = _STANDS[number]
    middle = matrix[:, :2] @ np.array([(x1 + x2) / 2, (y1 + y2) / 2]) + matrix[:, 2]
    reach = 0.35 * (y2 - y1) * float(np.sqrt(np.linalg.det(matrix[:, :2])))
    for joints in people.data.get("joints", ()) if len(people) else ():
        sure = joints[:, 2] > 0.1
        if sure.any() and np.linalg.norm(joints[sure, :2].mean(axis=0) - middle) < reach:
            return np.asarray(joints, np.float64)
    return None
