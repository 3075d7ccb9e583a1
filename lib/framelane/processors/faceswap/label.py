"""The visible label: on every frame, the same on each, legible on any background."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from framelane.errors import FramelaneError
from framelane.overlay.text import drawable, font
from framelane.provenance import VisibleMark

if TYPE_CHECKING:
    import torch

    from framelane.sections.faceswap import FaceswapSettings

ALWAYS = "AI-generated"
"""What every label begins with, whatever else it says."""

_INK, _PLATE = (255, 255, 255), (0, 0, 0)
_SMALLEST = 7  # pixels of a capital letter; below that nobody reads it
_WIDEST, _HIGHEST = 0.94, 0.5  # shares of the frame that the label may cover
_LINE = 1.6  # from line to line, in heights of a capital letter
_EDGE = 0.02  # of the frame's shorter side, between label and border


class Label:
    """Draws the label of ``faceswap.label`` onto frames.

    White letters on an opaque black plate with a white rim: light and dark meet whatever is behind it, and what is seen
    can be checked in the finished file pixel by pixel.

    Args:
        settings: text, corner and size.
    """

    def __init__(self, settings: FaceswapSettings) -> None:
        self.text = wording(settings.label)
        self.corner, self.share = settings.label_corner, settings.label_size
        self._marks: dict[tuple[int, int], VisibleMark] = {}

    def draw(self, rgb: torch.Tensor) -> torch.Tensor:
        """Draw on frames, in place.

        Args:
            rgb: uint8 (N, 3, H, W) or (3, H, W), as displayed, on any device.

        Returns:
            ``rgb``.

        Raises:
            FramelaneError: the frames are too small for a legible label.
        """
        import torch

        mark = self.mark(int(rgb.shape[-1]), int(rgb.shape[-2]))
        height, width = mark.picture.shape[:2]
        pixels = torch.from_numpy(mark.picture.transpose(2, 0, 1).copy()).to(rgb.device)
        rgb[..., mark.top : mark.top + height, mark.left : mark.left + width] = pixels
        return rgb

    def mark(self, width: int, height: int) -> VisibleMark:
        """What is drawn on frames of a size, and where.

        Raises:
            FramelaneError: the frames are too small for a legible label.
        """
        if (width, height) not in self._marks:
            self._marks[width, height] = self._made(width, height)
        return self._marks[width, height]

    def _made(self, width: int, height: int) -> VisibleMark:
        fitting, too_large = _SMALLEST - 1, max(_SMALLEST, round(self.share * height)) + 1
        lines: list[str] = []
        while too_large - fitting > 1:  # the largest letters that fit, as large as asked for at most
            letters = (fitting + too_large) // 2
            if found := self._fitting(letters, width, height):
                fitting, lines = letters, found
            else:
                too_large = letters
        if not lines:
            raise FramelaneError(
                f"Frames of {width}x{height} are too small for the legible label {self.text!r}, and nothing is made "
                "without it; give a larger clip, or a shorter faceswap.label."
            )
        return self._placed(_plate(lines, fitting), fitting, width, height)

    def _fitting(self, letters: int, width: int, height: int) -> list[str]:
        """The text in as few lines as fit into a frame; empty where none do."""
        for lines in _wrapped(self.text):
            across, down = _extent(lines, letters)
            if across <= _WIDEST * width and down <= _HIGHEST * height:
                return lines
        return []

    def _placed(self, picture: NDArray[np.uint8], letters: int, width: int, height: int) -> VisibleMark:
        edge = max(1, round(_EDGE * min(width, height)))
        top, left = edge, edge
        if self.corner.startswith("bottom"):
            top = height - picture.shape[0] - edge
        if self.corner.endswith("right"):
            left = width - picture.shape[1] - edge
        return VisibleMark(self.text, picture, max(0, left), max(0, top), (width, height), letters)


def wording(text: str) -> str:
    """The label's text: it always begins with :data:`ALWAYS`, and shows nothing that the font lacks."""
    plain = "".join(sign for sign in unicodedata.normalize("NFC", text) if sign.isprintable())
    shown = " ".join(drawable(plain).split())
    if re.match(rf"{re.escape(ALWAYS)}\b", shown):
        return shown
    return f"{ALWAYS} - {shown}" if re.search(r"\w", shown) else ALWAYS


def _wrapped(text: str) -> Iterator[list[str]]:
    """The text in one line, two, three, ..., as even as its words allow."""
    words = text.split()
    for count in range(1, len(words) + 1):
        lines, rest = [], list(words)
        for left in range(count, 0, -1):
            target, line = len(" ".join(rest)) / left, [rest.pop(0)]
            while len(rest) > left - 1 and len(" ".join([*line, rest[0]])) <= target + 2:
                line.append(rest.pop(0))
            if left == 1:
                line += rest
            lines.append(" ".join(line))
        yield lines


def _rim_and_pad(letters: int) -> tuple[int, int]:
    return max(1, round(letters / 12)), max(2, round(letters * 0.5))


def _extent(lines: list[str], letters: int) -> tuple[int, int]:
    """Width and height of the plate in pixels."""
    face, around = font(_font_size(letters)), 2 * sum(_rim_and_pad(letters))
    across = max(round(face.getlength(line)) for line in lines) + around
    return across, letters + round(letters * _LINE) * (len(lines) - 1) + around


def _plate(lines: list[str], letters: int) -> NDArray[np.uint8]:
    """Text on its plate, (h, w, 3); capital letters are ``letters`` pixels high."""
    from PIL import Image, ImageDraw

    face, step = font(_font_size(letters)), round(letters * _LINE)
    (rim, pad), (width, height) = _rim_and_pad(letters), _extent(lines, letters)
    picture = Image.new("RGB", (width, height), _INK)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((rim, rim, width - rim - 1, height - rim - 1), fill=_PLATE)
    for index, line in enumerate(lines):
        base = rim + pad + letters + index * step
        draw.text((rim + pad, base), line, font=face, fill=_INK, anchor="ls")
    return np.asarray(picture, np.uint8)


@lru_cache(maxsize=256)
def _font_size(letters: int) -> int:
    """The font size whose capital letters are at least so many pixels high."""
    size = letters + letters // 4  # a little below what it takes: capitals are 0.7 of the size
    while -font(size).getbbox("A", anchor="ls")[1] < letters:
        size += 1
    return size
