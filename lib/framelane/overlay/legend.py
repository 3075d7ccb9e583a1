"""The legend: what the colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from framelane.overlay.blend import paste
from framelane.overlay.marks import RGB
from framelane.overlay.text import Patch, drawable, font, rounded, text_size

if TYPE_CHECKING:
    import torch
    from PIL import Image, ImageDraw

Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]
_PLATE = (14, 16, 22, 190)
_INK = (240, 242, 246, 255)
_FAINT = (176, 182, 194, 255)
_NOTE = 36  # characters of the note
_BACKGROUND = 205  # the grey on which the gradient shows the shadow


class Legend:
    """A small translucent panel in a corner: title, method, the shadow's gradient and the families' colours.

    Args:
        title: first line.
        detail: second, fainter line, such as ``"gmar · dinov2_vits14"``, and more after line breaks; may be empty.
        shadow: colour and strongest opacity of the shadow; None leaves the gradient out.
        corner: where it stands.
        weak: word at the gradient's weak end.
        strong: word at its strong end.

    Attributes:
        note: a third line that may change from frame to frame; empty leaves it out. Its place is of constant width, so
            that the panel does not jump.
    """

    def __init__(
        self,
        title: str,
        detail: str = "",
        shadow: tuple[RGB, float] | None = None,
        *,
        corner: Corner = "bottom-left",
        weak: str = "weak",
        strong: str = "strong",
    ) -> None:
        self.title, self.detail, self.shadow, self.corner = title, detail, shadow, corner
        self.weak, self.strong = weak, strong
        self.note = ""

    def annotate(self, rgb: torch.Tensor, families: Sequence[tuple[str, RGB]] = ()) -> torch.Tensor:
        """Draw on a frame, uint8 (3, H, W), in place, the words and colours of the families that are present."""
        height, width = int(rgb.shape[1]), int(rgb.shape[2])
        left, top, _, _ = self.rect(width, height, families)
        return paste(rgb, self._patch(height, families), left, top)

    def rect(self, width: int, height: int, families: Sequence[tuple[str, RGB]] = ()) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels on a frame of this size: what labels should keep out of."""
        high, wide = self._patch(height, families).shape[:2]
        margin = max(2, height // 60)
        x = margin if "left" in self.corner else width - wide - margin
        y = margin if "top" in self.corner else height - high - margin
        return x, y, x + wide, y + high

    def _patch(self, height: int, families: Sequence[tuple[str, RGB]]) -> Patch:
        words = self.title, self.detail, self.note, self.weak, self.strong
        return legend_patch(words, self.shadow, tuple(families), text_size(height))


@lru_cache(maxsize=64)
def legend_patch(
    words: tuple[str, str, str, str, str],
    shadow: tuple[RGB, float] | None,
    families: tuple[tuple[str, RGB], ...],
    size: int,
) -> Patch:
    """Render a legend.

    Args:
        words: title, detail, note, weak, strong (see :class:`Legend`).
        shadow: colour and strongest opacity.
        families: word and colour.
        size: of the title's text in pixels.

    Returns:
        uint8 (h, w, 4), shared by all callers: do not write to it.
    """
    from PIL import ImageDraw

    details = [drawable(line) for line in words[1].split("\n")]
    title, note, weak, strong = map(drawable, (words[0], *words[2:]))
    note = note if len(note) <= _NOTE else f"{note[: _NOTE - 3]}..."
    families = tuple((drawable(word), colour) for word, colour in families)
    small = max(9, round(size * 0.82))
    pad, row = max(4, round(size * 0.5)), round(size * 1.35)
    swatch = round(small * 0.75)
    gaps = [swatch + pad // 2 + round(font(small).getlength(word)) + pad for word, _ in families]
    bar = 5 * size
    lines = [line for line in (*details, note) if line]
    widths = [font(size).getlength(title), sum(gaps), *(font(small).getlength(line) for line in lines)]
    widths.append(font(small).getlength("n" * _NOTE) if note else 0)
    if shadow:
        widths.append(font(small).getlength(weak) + font(small).getlength(strong) + bar + pad)
    rows = 1 + len(lines) + bool(shadow) + bool(families)
    picture = rounded(round(max(widths)) + 2 * pad, rows * row + pad, max(3, size // 3), _PLATE)
    draw = ImageDraw.Draw(picture)
    y = pad // 2 + row // 2
    draw.text((pad, y), title, font=font(size), fill=_INK, anchor="lm")
    for line in lines:
        y += row
        draw.text((pad, y), line, font=font(small), fill=_FAINT, anchor="lm")
    if shadow:
        y += row
        _gradient(picture, draw, (pad, y), (bar, swatch), small, (weak, strong), shadow)
    if families:
        _families(draw, (pad, y + row), swatch, small, families, gaps)
    return np.array(picture)


def _gradient(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    bar: tuple[int, int],
    size: int,
    words: tuple[str, str],
    shadow: tuple[RGB, float],
) -> None:
    """The word for weak, a bar of the shadow over light grey from 0 to its strongest opacity, the word for strong."""
    from PIL import Image

    x, y = at
    colour, alpha = shadow
    draw.text((x, y), words[0], font=font(size), fill=_FAINT, anchor="lm")
    x += round(font(size).getlength(words[0])) + size // 3
    weight = np.linspace(0, alpha, bar[0])[:, None]
    line = np.rint(_BACKGROUND + (np.array(colour) - _BACKGROUND) * weight).astype(np.uint8)
    picture.paste(
        Image.fromarray(np.ascontiguousarray(np.broadcast_to(line, (bar[1], *line.shape)))), (x, y - bar[1] // 2)
    )
    draw.text((x + bar[0] + size // 3, y), words[1], font=font(size), fill=_FAINT, anchor="lm")


def _families(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    swatch: int,
    size: int,
    families: tuple[tuple[str, RGB], ...],
    gaps: Sequence[int],
) -> None:
    x, y = at
    for (word, colour), gap in zip(families, gaps, strict=True):
        top = y - swatch // 2
        draw.rounded_rectangle(((x, top), (x + swatch, top + swatch)), swatch // 3, fill=(*colour, 255))
        draw.text((x + round(swatch * 1.4), y), word, font=font(size), fill=_INK, anchor="lm")
        x += gap
