"""A frame before and after, about once a second, as small pictures that an event can carry.

What is looked at is made small where it lies: of a frame on a GPU only every n-th pixel leaves it, and of a decoded frame
nothing is converted at its full size. So a preview costs the same few milliseconds whatever the rest does.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.engine.events import Event
from framelane.errors import chain
from framelane.video.colour import to_rgb
from framelane.video.frames import FrameBatch
from framelane.video.surface import Surface

if TYPE_CHECKING:
    import numpy.typing as npt

LONGEST = 320
"""Pixels of the longer side, at most."""
MOST_BYTES = 20_000
"""Of a data URI."""
_QUALITIES = (80, 65, 50, 35, 20)
_GIVEN_UP_S = 10.0  # a frame that has not come out by then is waited for no longer
_HEAD = "data:image/jpeg;base64,"

Picture = Any
"""uint8 (h, w, 3) RGB."""


@dataclass
class _Waiting:
    pts: int
    frame: int
    picture: Picture


class Preview:
    """Takes one frame before it is processed, waits until it comes out, and tells of both.

    Args:
        period_s: seconds between two previews; 0 makes none.
        aspect: width of a coded pixel over its height, as displayed.
        says: what must be said of every picture that comes out; it then stands on each.
        clock: seconds that never go back.
    """

    def __init__(
        self, period_s: float = 0.0, aspect: float = 1.0, says: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.period_s, self.aspect, self.says, self.clock = period_s, aspect, says, clock
        self._taken = -period_s
        self._waiting: _Waiting | None = None

    def before(self, batch: FrameBatch) -> None:
        """Look at frames that are about to be processed; in one thread."""
        if not self.period_s or not len(batch):
            return
        now = self.clock()
        late = now - self._taken
        if late < self.period_s or (self._waiting is not None and late < _GIVEN_UP_S):
            return
        self._taken = now
        last = len(batch) - 1
        self._waiting = _Waiting(batch.pts[last], batch.first_index + last, small(batch, last, self.aspect))

    def after(self, batch: FrameBatch) -> Event | None:
        """Look at frames that have come out; in one thread, which may be another. Returns the event, where there is one."""
        waiting = self._waiting
        if waiting is None or waiting.pts > batch.pts[-1]:
            return None
        self._waiting = None
        if waiting.pts not in batch.pts:  # it never came out
            return None
        picture = small(batch, batch.pts.index(waiting.pts), self.aspect)
        if self.says:
            picture = labelled(picture, self.says)
        return Event(event="preview", frame=waiting.frame, before=jpeg_uri(waiting.picture), after=jpeg_uri(picture))

    def safely(self, look: Callable[[FrameBatch], Event | None], batch: FrameBatch) -> Event | None:
        """Call :meth:`before` or :meth:`after`; where that fails there are no previews any more, and the work goes on."""
        if not self.period_s:
            return None
        try:
            return look(batch)
        except Exception as error:
            self.period_s, self._waiting = 0.0, None
            return Event(event="warning", message=f"There are no previews of this clip ({chain(error)}).")


def small(batch: FrameBatch, index: int, aspect: float = 1.0, longest: int = LONGEST) -> Picture:
    """A frame of a batch as a small picture, as displayed.

    Args:
        batch: frames, drawn on or as decoded.
        index: which of them.
        aspect: width of a pixel over its height, as displayed.
        longest: pixels of the longer side, at most.
    """
    import cv2

    plain = not batch.touched and not isinstance(batch.planes[index], Surface)
    pixels = _of_decoded(batch, index, longest) if plain else _of_rgb(batch, index, longest)
    height, width = pixels.shape[:2]
    scale = min(longest / (width * aspect), longest / height, 1.0)
    size = (max(1, round(width * aspect * scale)), max(1, round(height * scale)))
    return pixels if size == (width, height) else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _of_decoded(batch: FrameBatch, index: int, longest: int) -> Picture:
    """Made small before its colours are converted; about twice as large as wanted, for the last step is the better one."""
    frame, layout = batch.planes[index], batch.layout
    scale = min(1.0, 2 * longest / max(frame.width, frame.height))
    # Even sides, for the colours of 4:2:0 have half of them.
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    less = frame.reformat(width=width, height=height, interpolation="FAST_BILINEAR") if scale < 1 else frame
    out: npt.NDArray[np.uint8] = np.empty((3, less.height, less.width), np.uint8)
    to_rgb(less, layout.colour, out)
    if layout.orientation.mirrored:
        out = out[:, :, ::-1]
    return np.ascontiguousarray(np.rot90(out, layout.orientation.quarter_turns, (1, 2)).transpose(1, 2, 0))


def _of_rgb(batch: FrameBatch, index: int, longest: int) -> Picture:
    pixels = batch.slice(index, index + 1).rgb[0]
    step = max(1, max(pixels.shape[-2:]) // (2 * longest))
    return np.ascontiguousarray(pixels[:, ::step, ::step].cpu().numpy().transpose(1, 2, 0))


def labelled(picture: Picture, text: str) -> Picture:
    """A small picture with a strip at its foot that says the text: a label drawn on the frame is not legible at this size.

    Args:
        picture: uint8 (h, w, 3) RGB.
        text: what must be said of it.
    """
    from PIL import Image, ImageDraw

    from framelane.overlay.text import drawable, font

    image = Image.fromarray(picture)
    draw, wanted, size = ImageDraw.Draw(image), drawable(text), 12
    while size > 6 and draw.textlength(wanted, font=font(size)) > image.width - 6:
        size -= 1
    draw.rectangle((0, image.height - size - 5, image.width, image.height), fill=(0, 0, 0))
    draw.text((3, image.height - size - 4), wanted, font=font(size), fill=(255, 255, 255))
    return np.asarray(image)


def jpeg_uri(picture: Picture, most: int = MOST_BYTES) -> str:
    """A picture as a JPEG data URI.

    Args:
        picture: uint8 (h, w, 3) RGB.
        most: characters that it may have; quality is lowered until it fits, and then size.
    """
    import cv2

    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    while True:
        for quality in _QUALITIES:
            _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if len(_HEAD) + (len(data) + 2) // 3 * 4 <= most:
                return _HEAD + base64.b64encode(data.tobytes()).decode("ascii")
        bgr = cv2.resize(bgr, (max(1, bgr.shape[1] // 2), max(1, bgr.shape[0] // 2)), interpolation=cv2.INTER_AREA)
