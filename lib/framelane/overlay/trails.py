"""The paths that objects have taken."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from framelane.overlay.blend import stamp
from framelane.overlay.boxes import line_width
from framelane.overlay.marks import Mark

if TYPE_CHECKING:
    import torch

_SUBPIXEL_BITS = 4


class Trails:
    """Anti-aliased polylines through the past centres, fading with age; drawn in a patch as small as the path.

    Args:
        opacity: of the newest end, 0 to 1.
    """

    def __init__(self, opacity: float = 0.9) -> None:
        self.opacity = opacity

    def annotate(self, rgb: torch.Tensor, marks: Sequence[Mark]) -> torch.Tensor:
        """Draw on a frame, uint8 (3, H, W), in place."""
        height, width = int(rgb.shape[1]), int(rgb.shape[2])
        thick = line_width(height)
        for mark in marks:
            if len(mark.trail) < 2 or mark.strength <= 0:
                continue
            mask, x, y = trail_mask(np.array(mark.trail, dtype=np.float64), thick, width, height)
            if mask.size:
                stamp(rgb, mask, mark.colour, x, y, self.opacity * min(1.0, mark.strength))
        return rgb


def trail_mask(
    points: npt.NDArray[np.float64], thick: int, width: int, height: int
) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Draw a path as an opacity mask.

    Args:
        points: (n, 2) x, y in pixels of the frame, oldest first.
        thick: line width in pixels.
        width: of the frame; nothing outside it is allocated.
        height: of the frame.

    Returns:
        uint8 (h, w) covering what of the path lies on the frame, and the frame's x and y of its corner.
    """
    import cv2

    margin = thick + 1
    x1, y1 = (max(0, floor(low) - margin) for low in points.min(axis=0))
    right, bottom = points.max(axis=0)
    x2, y2 = min(width, ceil(right) + margin + 1), min(height, ceil(bottom) + margin + 1)
    mask: npt.NDArray[np.uint8] = np.zeros((max(0, y2 - y1), max(0, x2 - x1)), np.uint8)
    if not mask.size:
        return mask, x1, y1
    # A pixel's centre is at its half, OpenCV's at its whole coordinate.
    placed = np.rint((points - [x1, y1] - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int64)
    placed = placed.clip(-(1 << 20), 1 << 20)
    for step in range(1, len(placed)):
        value = round(255 * step / (len(placed) - 1))
        start, end = placed[step - 1].tolist(), placed[step].tolist()
        cv2.line(mask, start, end, (value,), thick, cv2.LINE_AA, _SUBPIXEL_BITS)
    return mask, x1, y1
