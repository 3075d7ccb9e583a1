"""A contact sheet: moments of a finished video that somebody should look at, with why, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError, chain
from framelane.overlay.text import drawable, font
from framelane.processors.base import Moment
from framelane.provenance import Provenance
from framelane.provenance.metadata import xmp
from framelane.video.clip import Clip, probe
from framelane.video.copies import to_host
from framelane.video.disk import writing
from framelane.video.reader import frame_near

if TYPE_CHECKING:
    from PIL import Image

_COLUMNS, _WIDTH, _MOST_HEIGHT, _TEXT, _GAP = 2, 640, 640, 14, 6


def make_sheet(video: Path, moments: Sequence[Moment], path: Path, says: Provenance | None) -> None:
    """Draw a sheet of a video's own frames, with all that is drawn on them.

    Args:
        video: the finished video.
        moments: at least one, in the order in which they are shown.
        path: the JPEG to make.
        says: what must be said of every picture of the video; it stands above the frames and in the metadata.

    Raises:
        FramelaneError: a frame cannot be decoded, or the picture not be written.
    """
    from PIL import Image, ImageDraw

    clip = probe(video)
    tiles = [_tile(clip, moment) for moment in moments]
    width, height = tiles[0].size
    head = 2 * _TEXT + _GAP if says else 0
    rows = -(-len(tiles) // _COLUMNS)
    size = (_COLUMNS * (width + _GAP) - _GAP, head + rows * (height + _GAP) - _GAP)
    sheet = Image.new("RGB", size, (24, 24, 24))
    if says:
        ImageDraw.Draw(sheet).text((_GAP, _GAP), drawable(says.mark.text), font=font(2 * _TEXT - _GAP), fill="white")
    for place, tile in enumerate(tiles):
        row, column = divmod(place, _COLUMNS)
        sheet.paste(tile, (column * (width + _GAP), head + row * (height + _GAP)))
    try:
        more: dict[str, Any] = {"xmp": xmp(says.statement).encode()} if says else {}
        with writing(path):
            sheet.save(path, "JPEG", quality=85, **more)
    except OSError as error:
        raise FramelaneError(f"The contact sheet {path} could not be written ({chain(error)}).") from error


def _tile(clip: Clip, moment: Moment) -> Image.Image:
    """A frame with its time and what is to be seen, below it."""
    from PIL import Image, ImageDraw

    frame = frame_near(clip, moment.seconds)
    picture = Image.fromarray(to_host(frame.rgb[0]).transpose(1, 2, 0))
    aspect = float(clip.sample_aspect or 1) ** (-1 if clip.orientation.swaps_sides else 1)
    shown = (picture.width * aspect, picture.height)
    scale = min(_WIDTH / shown[0], _MOST_HEIGHT / shown[1])
    picture = picture.resize((max(1, round(shown[0] * scale)), max(1, round(shown[1] * scale))))
    tile = Image.new("RGB", (max(picture.width, _WIDTH // 2), picture.height + _TEXT + 2 * _GAP), (24, 24, 24))
    tile.paste(picture, ((tile.width - picture.width) // 2, 0))
    text = drawable(f"{moment.seconds:.2f} s  {moment.why}")
    ImageDraw.Draw(tile).text((_GAP, picture.height + _GAP // 2), text, font=font(_TEXT), fill="white")
    return tile
