"""What is drawn for one object, and its colour."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from math import ceil, floor

RGB = tuple[int, int, int]
"""Red, green, blue from 0 to 255."""

# Irrational steps near one half (the golden ratio; Roberts' R2): ids that follow each other differ in lightness,
# saturation and hue, and none of the three repeats soon.
_STEPS = (0.6180339887, 0.7548776662, 0.5698402910)


@dataclass(frozen=True)
class Mark:
    """One object on one frame: the common input of the annotators."""

    xyxy: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the frame; may reach over its border."""
    colour: RGB
    label: str = ""
    """Text of the label; empty draws none."""
    trail: tuple[tuple[float, float], ...] = ()
    """Past centres (x, y) in pixels, oldest first."""
    strength: float = 1.0
    """0 to 1: how visible the object is; below 1 while it fades."""


def parse_colour(text: str) -> RGB:
    """``"#1a5cff"`` to ``(26, 92, 255)``.

    Example:
        >>> parse_colour("#1a5cff")
        (26, 92, 255)
    """
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def shade(base_hex: str, track_id: int) -> RGB:
    """The colour of one track: its family's colour, varied by identity in lightness, saturation and a little in hue.

    Args:
        base_hex: the family's colour as ``#rrggbb``.
        track_id: any integer; the same id always gets the same shade.
    """
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in parse_colour(base_hex)))
    first, second, third = ((0.5 + track_id * step) % 1 - 0.5 for step in _STEPS)
    # Around the middle, so that light and dark shades are both left. The hue moves by 5 degrees at most: orange people
    # and yellow vehicles lie 18 apart.
    lightness = min(0.66, max(0.6, lightness)) + 0.32 * first
    saturation = min(1.0, max(0.55, saturation * (0.8 + 0.4 * second)))
    red, green, blue = colorsys.hls_to_rgb((hue + 0.028 * third) % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def pixel_box(mark: Mark, width: int, height: int) -> tuple[int, int, int, int]:
    """The mark's box in whole pixels, every touched pixel included, clipped to the frame; may be empty."""
    left, top, right, bottom = mark.xyxy
    x1, y1 = max(0, floor(left)), max(0, floor(top))
    return x1, y1, max(x1, min(width, ceil(right))), max(y1, min(height, ceil(bottom)))
