"""People's skeletons: limbs and joints, anti-aliased, a colour per side of the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from framelane.overlay.blend import stamp
from framelane.overlay.marks import RGB

if TYPE_CHECKING:
    import torch

Mask = npt.NDArray[np.uint8]
_SUBPIXEL_BITS = 4
_DARK: RGB = (12, 12, 16)
_DASH = 2.5  # in line widths: length of a dash and of the gap behind it
_FAINT = 0.6  # of the opacity, for what is bridged


@dataclass(frozen=True)
class Figure:
    """One person's skeleton on one frame.

    Attributes:
        joints: (n, 4): x, y in pixels of the frame; confidence, 0 to 1 (0: not there); 1 where bridged, else 0.
        limbs: pairs of joints.
        colours: of every limb.
        joint_colours: of every joint.
    """

    joints: npt.NDArray[np.float64]
    limbs: Sequence[tuple[int, int]]
    colours: Sequence[RGB]
    joint_colours: Sequence[RGB]


class Skeletons:
    """Draws figures: opacity is confidence, thickness goes with the person's height, what is bridged is dashed and lighter.

    Under the coloured lines lies a thin dark rim, so that they read on any ground.

    Args:
        opacity: of a limb whose joints are sure, 0 to 1.
    """

    def __init__(self, opacity: float = 0.95) -> None:
        self.opacity = opacity

    def annotate(self, rgb: torch.Tensor, figures: Sequence[Figure]) -> torch.Tensor:
        """Draw on a frame, uint8 (3, H, W), in place."""
        width, height = int(rgb.shape[2]), int(rgb.shape[1])
        for figure in figures:
            canvas = _Canvas(figure, width, height)
            if not canvas.empty:
                canvas.draw(self.opacity)
                canvas.stamp(rgb)
        return rgb


def thickness(joints: npt.NDArray[np.float64]) -> int:
    """Width of a person's lines in pixels: a 60th of the height of what is seen, 1 at least and 12 at most."""
    there = joints[joints[:, 2] > 0]
    if not len(there):
        return 1
    extent = there[:, :2].max(axis=0) - there[:, :2].min(axis=0)
    return int(np.clip(round(float(extent.max()) / 60), 1, 12))


class _Canvas:
    """Opacity masks, as small as one person, one per colour."""

    def __init__(self, figure: Figure, width: int, height: int) -> None:
        self.figure = figure
        self.thick = thickness(figure.joints)
        there = figure.joints[figure.joints[:, 2] > 0, :2]
        margin = 3 * self.thick + 3
        low = there.min(axis=0) if len(there) else np.zeros(2)
        high = there.max(axis=0) if len(there) else np.zeros(2)
        self.left, self.top = (max(0, floor(value) - margin) for value in low)
        right, bottom = min(width, ceil(high[0]) + margin), min(height, ceil(high[1]) + margin)
        self.shape = max(0, bottom - self.top), max(0, right - self.left)
        self.empty = not len(there) or not all(self.shape)
        self.layers: dict[RGB, Mask] = {}

    def draw(self, opacity: float) -> None:
        """All limbs and joints; where two of one colour cross, the surer one counts, so that nothing adds up."""
        joints = self.figure.joints
        for (one, other), colour in zip(self.figure.limbs, self.figure.colours, strict=True):
            sure = min(joints[one, 2], joints[other, 2])
            if sure > 0:
                bridged = bool(joints[one, 3] or joints[other, 3])
                level = opacity * shown(sure) * (_FAINT if bridged else 1)
                self._line(joints[one, :2], joints[other, :2], colour, level, dashed=bridged)
        for joint, colour in zip(joints, self.figure.joint_colours, strict=True):
            if joint[2] > 0:
                self._dot(joint[:2], colour, opacity * shown(joint[2]) * (_FAINT if joint[3] else 1), bool(joint[3]))

    def stamp(self, rgb: torch.Tensor) -> None:
        """Composite the rim, then the colours, onto a frame."""
        rim = self.layers.pop(_DARK, None)
        if rim is not None:
            stamp(rgb, rim, _DARK, self.left, self.top)
        for colour, mask in self.layers.items():
            stamp(rgb, mask, colour, self.left, self.top)

    def _line(
        self,
        start: npt.NDArray[np.float64],
        end: npt.NDArray[np.float64],
        colour: RGB,
        level: float,
        *,
        dashed: bool,
    ) -> None:
        for a, b in dashes(start, end, _DASH * max(2, self.thick)) if dashed else [(start, end)]:
            self._stroke(a, b, _DARK, 0.55 * level, self.thick + 2)
            self._stroke(a, b, colour, level, self.thick)

    def _stroke(
        self, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], colour: RGB, level: float, thick: int
    ) -> None:
        import cv2

        drawn: Mask = np.zeros(self.shape, np.uint8)
        cv2.line(drawn, self._placed(a), self._placed(b), (round(255 * level),), thick, cv2.LINE_AA, _SUBPIXEL_BITS)
        self._add(colour, drawn)

    def _dot(self, at: npt.NDArray[np.float64], colour: RGB, level: float, hollow: bool) -> None:
        import cv2

        drawn: Mask = np.zeros(self.shape, np.uint8)
        radius = max(1.5, 0.95 * self.thick)
        fixed = round(radius * (1 << _SUBPIXEL_BITS))
        thick = max(1, self.thick // 3) if hollow else -1
        cv2.circle(drawn, self._placed(at), fixed, (round(255 * level),), thick, cv2.LINE_AA, _SUBPIXEL_BITS)
        self._add(colour, drawn)

    def _add(self, colour: RGB, drawn: Mask) -> None:
        known = self.layers.get(colour)
        self.layers[colour] = drawn if known is None else np.maximum(known, drawn)

    def _placed(self, point: npt.NDArray[np.float64]) -> tuple[int, int]:
        # A pixel's centre is at its half, OpenCV's at its whole coordinate.
        x, y = np.rint((point - [self.left, self.top] - 0.5) * (1 << _SUBPIXEL_BITS)).clip(-(1 << 20), 1 << 20)
        return int(x), int(y)


def shown(confidence: float) -> float:
    """Opacity for a confidence: a quarter of it stays at the least, full from 0.6 on (networks seldom say more).

    Example:
        >>> shown(0.0), shown(0.6), shown(1.0)
        (0.25, 1.0, 1.0)
    """
    return 0.25 + 0.75 * min(1.0, max(0.0, confidence) / 0.6)


def dashes(
    start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], length: float
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """A line as dashes of about a length, with gaps as long between them; it begins and ends with a dash."""
    whole = float(np.linalg.norm(end - start))
    count = max(1, round((whole / length + 1) / 2))
    cuts = np.linspace(0, 1, 2 * count)
    return [(start + (end - start) * a, start + (end - start) * b) for a, b in zip(cuts[::2], cuts[1::2], strict=True)]
