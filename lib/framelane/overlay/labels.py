"""Labels beside objects: inside the frame, off each other and off faces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from framelane.overlay.blend import paste
from framelane.overlay.boxes import line_width
from framelane.overlay.marks import Mark
from framelane.overlay.text import label_patch, text_size

if TYPE_CHECKING:
    import torch

Rect = tuple[float, float, float, float]
_HEAD = 0.3  # the upper part of a box, where a face may be


class Labels:
    """Small rounded labels, as in ``person 3 · 12 %``; a label that is larger than the frame is left out.

    Args:
        keep_out: rectangles (left, top, right, bottom) in pixels that labels avoid, such as the legend's.
    """

    def __init__(self, keep_out: Sequence[Rect] = ()) -> None:
        self.keep_out = tuple(keep_out)

    def annotate(self, rgb: torch.Tensor, marks: Sequence[Mark]) -> torch.Tensor:
        """Draw on a frame, uint8 (3, H, W), in place."""
        height, width = int(rgb.shape[1]), int(rgb.shape[2])
        wanted = [mark for mark in marks if mark.label and mark.strength > 0]
        patches = [label_patch(mark.label, mark.colour, text_size(height)) for mark in wanted]
        sizes = [(patch.shape[1], patch.shape[0]) for patch in patches]
        spots = place(wanted, sizes, width, height, self.keep_out, line_width(height))
        for mark, patch, spot in zip(wanted, patches, spots, strict=True):
            if spot:
                paste(rgb, patch, *spot, min(1.0, mark.strength))
        return rgb


def place(
    marks: Sequence[Mark],
    sizes: Sequence[tuple[int, int]],
    width: int,
    height: int,
    keep_out: Sequence[Rect] = (),
    gap: int = 1,
) -> list[tuple[int, int] | None]:
    """Find a spot for every label, greedily, in the order given.

    Args:
        marks: the objects.
        sizes: width and height of their labels in pixels.
        width: of the frame.
        height: of the frame.
        keep_out: rectangles to stay off.
        gap: pixels between a box and its label.

    Returns:
        x and y of each label's corner, inside the frame; None for a label larger than the frame.
    """
    heads = [_head(mark.xyxy) for mark in marks]
    taken: list[Rect] = list(keep_out)
    spots: list[tuple[int, int] | None] = []
    for mark, (wide, high) in zip(marks, sizes, strict=True):
        if wide > width or high > height:
            spots.append(None)
            continue
        options = np.rint(list(_candidates(mark.xyxy, wide, high, gap))).clip(0, [width - wide, height - high])
        # A label over another is worse than one over a face; among equals the first, so that labels stay in place.
        cost = 4 * _covered(options, wide, high, taken) + _covered(options, wide, high, heads)
        x, y = options[int(cost.argmin())].astype(int).tolist()
        spot = x, y
        spots.append(spot)
        taken.append((spot[0], spot[1], spot[0] + wide, spot[1] + high))
    return spots


def _candidates(box: Rect, wide: int, high: int, gap: int) -> Iterable[tuple[float, float]]:
    """Above, below, beside, then in the lower part of the box."""
    x1, y1, x2, y2 = box
    for x in (x1, x2 - wide, (x1 + x2 - wide) / 2):
        yield x, y1 - high - gap
    for x in (x1, x2 - wide):
        yield x, y2 + gap
    for y in (y1, y2 - high):
        yield x2 + gap, y
        yield x1 - wide - gap, y
    yield x1, y2 - high
    yield x1, y1 - 2 * high - 2 * gap


def _head(box: Rect) -> Rect:
    return box[0], box[1], box[2], box[1] + _HEAD * (box[3] - box[1])


def _covered(spots: npt.NDArray[np.float64], wide: int, high: int, others: Sequence[Rect]) -> npt.NDArray[np.float64]:
    """How many pixels of a label at each spot (n, 2) lie over other rectangles: (n,)."""
    if not others:
        return np.zeros(len(spots))
    left, top, right, bottom = np.array(others, dtype=np.float64).T
    x, y = spots[:, :1], spots[:, 1:]
    across = np.minimum(x + wide, right) - np.maximum(x, left)
    down = np.minimum(y + high, bottom) - np.maximum(y, top)
    return np.asarray((across.clip(0) * down.clip(0)).sum(axis=1))
