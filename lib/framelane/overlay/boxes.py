"""Outlines and tints of objects, drawn as slices of the frame's own tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from framelane.overlay.blend import blend, colour_planes, fixed
from framelane.overlay.marks import RGB, Mark, pixel_box

if TYPE_CHECKING:
    import torch

Rect = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels."""


def line_width(height: int) -> int:
    """Thickness of lines in pixels for a frame of this height: 2 at 540 lines, 4 at 1080."""
    return max(1, round(height / 270))


class Boxes:
    """Thin outlines with thick corners and, where asked for, a tint inside.

    Args:
        tint: opacity of the tint from 0 to 0.5; 0 draws none. Where boxes overlap, the smallest one tints.
        outline: opacity of the thin line between the corners.
    """

    def __init__(self, tint: float = 0.0, outline: float = 0.55) -> None:
        self.tint = tint
        self.outline = outline

    def annotate(self, rgb: torch.Tensor, marks: Sequence[Mark]) -> torch.Tensor:
        """Draw on a frame, uint8 (3, H, W), in place."""
        height, width = int(rgb.shape[1]), int(rgb.shape[2])
        boxes = [(mark, pixel_box(mark, width, height)) for mark in marks if mark.strength > 0]
        boxes = [(mark, box) for mark, box in boxes if box[0] < box[2] and box[1] < box[3]]
        if fixed(self.tint):
            self._tint(rgb, boxes)
        for mark, box in boxes:
            self._outline(rgb, box, mark, line_width(height))
        return rgb

    def _tint(self, rgb: torch.Tensor, boxes: Sequence[tuple[Mark, Rect]]) -> None:
        # Each pixel is tinted once (the balance rule), by the smallest box: it would vanish under the larger ones.
        done: list[Rect] = []
        for mark, box in sorted(boxes, key=lambda item: _area(item[1])):
            parts = [box]
            for other in done:
                parts = [rest for part in parts for rest in without(part, other)]
            for part in parts:
                fill(rgb, part, mark.colour, fixed(self.tint * min(1.0, mark.strength)))
            done.append(box)

    def _outline(self, rgb: torch.Tensor, box: Rect, mark: Mark, thick: int) -> None:
        x1, y1, x2, y2 = box
        thin = max(1, thick // 2)
        weak, strong = fixed(self.outline * mark.strength), fixed(mark.strength)
        for part in frame_of(x1, y1, x2, y2, thin):
            fill(rgb, part, mark.colour, weak)
        long = max(thick, round(0.22 * min(x2 - x1, y2 - y1)))
        for part in corners_of(x1, y1, x2, y2, thick, long):
            fill(rgb, part, mark.colour, strong)


def _area(box: Rect) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def without(part: Rect, other: Rect) -> list[Rect]:
    """What is left of a rectangle outside another one: up to four rectangles that do not overlap."""
    x1, y1, x2, y2 = part
    left, right = max(x1, other[0]), min(x2, other[2])
    top, bottom = max(y1, other[1]), min(y2, other[3])
    if left >= right or top >= bottom:
        return [part]
    rest = [(x1, y1, x2, top), (x1, bottom, x2, y2), (x1, top, left, bottom), (right, top, x2, bottom)]
    return [piece for piece in rest if _area(piece) > 0]


def frame_of(x1: int, y1: int, x2: int, y2: int, thick: int) -> list[Rect]:
    """The four sides of a box as rectangles that do not overlap, lying inside it."""
    top, bottom = min(y2, y1 + thick), max(y1, y2 - thick)
    left, right = min(x2, x1 + thick), max(x1, x2 - thick)
    if top >= bottom or left >= right:
        return [(x1, y1, x2, y2)]
    return [(x1, y1, x2, top), (x1, bottom, x2, y2), (x1, top, left, bottom), (right, top, x2, bottom)]


def corners_of(x1: int, y1: int, x2: int, y2: int, thick: int, long: int) -> list[Rect]:
    """The four corners of a box as eight rectangles that do not overlap, lying inside it."""
    if x2 - x1 <= 2 * long or y2 - y1 <= 2 * long:
        return frame_of(x1, y1, x2, y2, thick)
    across = [(x1, x1 + long), (x2 - long, x2)]
    rows = [(y1, y1 + thick), (y2 - thick, y2)]
    columns = [(x1, x1 + thick), (x2 - thick, x2)]
    down = [(y1 + thick, y1 + long), (y2 - long, y2 - thick)]
    flat = [(left, top, right, bottom) for top, bottom in rows for left, right in across]
    upright = [(left, top, right, bottom) for left, right in columns for top, bottom in down]
    return flat + [part for part in upright if part[1] < part[3]]


def fill(rgb: torch.Tensor, part: Rect, colour: RGB, alpha: int) -> None:
    """Blend a colour into a rectangle that lies inside the frame; ``alpha`` is 0 to 256."""
    x1, y1, x2, y2 = part
    region = rgb[:, y1:y2, x1:x2]
    if alpha < 256:
        blend(region, colour, alpha)
    else:
        region.copy_(colour_planes(colour, str(rgb.device)))
