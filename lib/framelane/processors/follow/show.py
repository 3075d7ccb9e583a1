"""The camera drawn on the whole frame, for looking at what it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from framelane.overlay import Boxes, Labels, Mark
from framelane.overlay.boxes import line_width
from framelane.processors.follow.crop import Window
from framelane.processors.follow.plan import Camera
from framelane.processors.follow.sightings import PERSON, Sightings
from framelane.processors.follow.subject import BRIDGED, LOST, NOBODY, SEEN
from framelane.video.frames import FrameBatch

if TYPE_CHECKING:
    import torch

_WINDOW = (255, 255, 255)
_COLOURS = {SEEN: (64, 220, 96), BRIDGED: (255, 200, 40), LOST: (255, 64, 48)}
_NUMBER = (160, 200, 255)
_DIM = 0.45


class Numbers:
    """The tracks of people with their numbers, as ``follow.subject`` takes them.

    Args:
        found: by the first pass.
    """

    def __init__(self, found: Sightings) -> None:
        self.looked = np.flatnonzero(found.looked)
        self.rows = found.tracks[(found.tracks[:, 2] == PERSON) & (found.tracks[:, 1] > 0)]

    def at(self, frame: int) -> list[Mark]:
        """As they were when the detector last looked, at or before a frame."""
        place = int(np.searchsorted(self.looked, frame, side="right")) - 1
        if place < 0:
            return []
        low, high = np.searchsorted(self.rows[:, 0], [self.looked[place], self.looked[place] + 1])
        return [
            Mark((float(x1), float(y1), float(x2), float(y2)), _NUMBER, str(int(index)))
            for _, index, _, x1, y1, x2, y2, _ in self.rows[low:high]
        ]


def drawn(batch: FrameBatch, windows: Sequence[Window], camera: Camera, numbers: Numbers) -> FrameBatch:
    """A batch with the frame outside the window dimmed, the window outlined, people with the numbers of their tracks, and
    the subject in a box: green where it is seen, yellow where it is bridged, red where it is lost.
    """
    frames = batch.rgb.clone()
    for index, window in enumerate(windows):
        place = min(batch.first_index + index, len(camera) - 1)
        _draw(frames[index], window, camera, place)
        marks = numbers.at(place)
        Labels().annotate(Boxes().annotate(frames[index], marks), marks)
    return batch.replace(rgb=frames)


def _draw(rgb: torch.Tensor, window: Window, camera: Camera, place: int) -> None:
    height, width = int(rgb.shape[1]), int(rgb.shape[2])
    box = (window.x, window.y, window.x + window.width, window.y + window.height)
    left, top, right, bottom = _pixels(box, width, height)
    inside = rgb[:, top:bottom, left:right].clone()
    rgb.mul_(_DIM) if rgb.is_floating_point() else rgb.copy_((rgb.float() * _DIM).to(rgb.dtype))
    rgb[:, top:bottom, left:right] = inside
    _outline(rgb, (left, top, right, bottom), _WINDOW)
    if (state := int(camera.state[place])) != NOBODY:
        (x, y), (w, h) = camera.place[place].tolist(), camera.size[place].tolist()
        _outline(rgb, _pixels((x - w / 2, y - h / 2, x + w / 2, y + h / 2), width, height), _COLOURS[state])


def _pixels(box: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box
    left, top = min(width - 2, max(0, round(x1))), min(height - 2, max(0, round(y1)))
    return left, top, max(left + 2, min(width, round(x2))), max(top + 2, min(height, round(y2)))


def _outline(rgb: torch.Tensor, box: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    thick = line_width(int(rgb.shape[1]))
    for channel, value in enumerate(colour):
        rgb[channel, top : top + thick, left:right] = value
        rgb[channel, max(top, bottom - thick) : bottom, left:right] = value
        rgb[channel, top:bottom, left : left + thick] = value
        rgb[channel, top:bottom, max(left, right - thick) : right] = value
