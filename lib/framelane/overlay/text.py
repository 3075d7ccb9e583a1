"""Text as small RGBA pictures, with the font that Pillow carries."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from framelane.overlay.marks import RGB

if TYPE_CHECKING:
    from PIL import Image

Patch = npt.NDArray[np.uint8]
_SMOOTH = 4  # Pillow draws rounded corners without anti-aliasing: draw larger, then shrink


@lru_cache(maxsize=32)
def font(size: int) -> Any:
    """Pillow's built-in TrueType font (Aileron) at a size in pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


@lru_cache(maxsize=1024)
def _drawable(sign: str) -> str:
    """A character, or what the font can show for it: it has no accented letters, and draws a box for what it lacks."""
    from unicodedata import normalize

    lacking = bytes(font(16).getmask("\uffff"))
    for option in (sign, normalize("NFKD", sign)[:1]):
        if option.isspace() or bytes(font(16).getmask(option)) != lacking:
            return option
    return "?"


def drawable(text: str) -> str:
    """Text as the font can show it: ``"vehículo"`` becomes ``"vehiculo"``, an unknown sign a question mark."""
    return "".join(map(_drawable, text))


def text_size(frame_height: int) -> int:
    """Size of label text in pixels for a frame of this height: 14 at 540 lines, 28 at 1080, never below 10."""
    return max(10, round(frame_height / 38))


def ink_on(colour: RGB) -> RGB:
    """Black or white, whichever reads better on a colour (Rec. 709 luma)."""
    luma = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
    return (16, 16, 16) if luma > 110 else (255, 255, 255)


def rounded(width: int, height: int, radius: int, fill: tuple[int, int, int, int]) -> Image.Image:
    """An RGBA picture of a rectangle with smooth round corners."""
    from PIL import Image

    picture = Image.new("RGBA", (width, height), (*fill[:3], 0))
    picture.putalpha(_plate(width, height, radius, fill[3]))
    return picture


@lru_cache(maxsize=256)
def _plate(width: int, height: int, radius: int, opacity: int) -> Image.Image:
    from PIL import Image, ImageDraw

    mask = Image.new("L", (width * _SMOOTH, height * _SMOOTH), 0)
    corner = (width * _SMOOTH - 1, height * _SMOOTH - 1)
    ImageDraw.Draw(mask).rounded_rectangle(((0, 0), corner), radius * _SMOOTH, fill=opacity)
    return mask.resize((width, height), Image.Resampling.BOX)


@lru_cache(maxsize=512)
def label_patch(text: str, colour: RGB, size: int) -> Patch:
    """A label: text on a rounded plate of the colour.

    Returns:
        uint8 (h, w, 4), shared by all callers: do not write to it; h depends on ``size`` alone.
    """
    from PIL import ImageDraw

    face, text = font(size), drawable(text)
    ascent, descent = face.getmetrics()
    pad = max(2, round(size * 0.3))
    width = round(face.getlength(text)) + 2 * pad
    picture = rounded(max(1, width), ascent + descent + 2, max(2, size // 4), (*colour, 225))

    ImageDraw.Draw(picture).text((pad, 1), text, font=face, fill=(*ink_on(colour), 255))
    return np.array(picture)
