"""A looping GIF of a stretch of a video, as good as it gets under a size cap.

FFmpeg's ``palettegen`` and ``paletteuse`` run through PyAV's filter graphs in two passes over the file, so memory does
not grow with the stretch. Frames are shown at their own times: a variable frame rate is sampled, never assumed away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError, UsageError, chain
from framelane.video import gif_search as search
from framelane.video.clip import Clip, probe
from framelane.video.disk import writing
from framelane.video.gif_filters import TICK, FilterChain
from framelane.video.gif_search import Shape
from framelane.video.gif_source import Stretch, find_stretch, height_for, sampled, shown_size, ticks

Notify = Callable[[dict[str, Any]], None]

_FASTEST = 50.0  # browsers slow down anything with a delay below two ticks
_MAX_TRIES = 6
_GOOD_USE = 0.75  # of the cap: below it, one more try looks for a better picture


@dataclass(frozen=True)
class GifResult:
    """A finished GIF.

    Attributes:
        path: the file.
        bytes: its size.
        width: pixels.
        height: pixels.
        fps: frames shown per second, on average.
        colours: size of the palette asked for.
        seconds: length of one loop.
        tries: every shape rendered on the way, in order: ``fps, width, height, colours, seconds, bytes, estimated,
            fits``. ``estimated`` says that the rendering was stopped early and ``bytes`` is an extrapolation.
        notes: sentences about what differs from what was asked.
    """

    path: Path
    bytes: int
    width: int
    height: int
    fps: float
    colours: int
    seconds: float
    tries: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def make_gif(
    video: Path,
    output: Path,
    *,
    max_bytes: int,
    seconds: float,
    start: float,
    width: int,
    fps: float,
    notify: Notify | None = None,
) -> GifResult:
    """Make a GIF that loops forever and is no larger than ``max_bytes``.

    The best shape (full frame rate, width and 256 colours) is tried first; while it is too large, the three are
    lowered together as far as the measured size asks for. Where even the plainest shape is too large, the stretch
    becomes shorter. Display rotation and pixel aspect ratio are applied; nothing is enlarged.

    Args:
        video: any file FFmpeg decodes, of one frame or more.
        output: the GIF; written beside it under another name and renamed when complete.
        max_bytes: the cap, in bytes.
        seconds: longest stretch shown.
        start: second at which the stretch begins; 0 is used, with a note, where the video is shorter.
        width: largest width in pixels.
        fps: highest frame rate; at most 50 is used.
        notify: called with each entry of ``GifResult.tries`` as it is measured; what it raises stops the search.

    Returns:
        What was made, and how it was found.

    Raises:
        UsageError: the video does not exist, or an argument is not positive.
        FramelaneError: the video cannot be decoded, the GIF cannot be written, or no GIF is that small.
    """
    import av

    if min(max_bytes, seconds, width, fps) <= 0:
        raise UsageError("A GIF needs a size cap, a length, a width and a frame rate above zero.")
    clip = probe(video)
    try:
        stretch, notes = find_stretch(clip, start, seconds)
        maker = _Maker(clip, stretch, output, max_bytes, notify)
        try:
            with writing(output):
                return maker.search(_best(clip, stretch, width, min(fps, _FASTEST)), notes)
        finally:
            maker.clean()
    except (av.error.FFmpegError, OSError) as error:
        raise FramelaneError(f"The GIF {output} could not be made from {video} ({chain(error)}).") from error


def _best(clip: Clip, stretch: Stretch, width: int, fps: float) -> Shape:
    step = search.first_step(stretch.rate, fps)
    return Shape(step, min(width, shown_size(clip)[0]), search.COLOURS[0], stretch.seconds)


@dataclass(frozen=True)
class _Rendered:
    """A rendering: the file, and its size in bytes, which is an estimate where it was stopped early."""

    path: Path
    size: int
    estimated: bool


class _Maker:
    """Renders shapes of one stretch of one clip until one fits."""

    def __init__(self, clip: Clip, stretch: Stretch, output: Path, cap: int, notify: Notify | None) -> None:
        self.clip, self.stretch, self.output, self.cap, self.notify = clip, stretch, output, cap, notify
        self.tries: list[dict[str, Any]] = []
        self._palettes: dict[int, Any] = {}
        self._parts: list[Path] = []

    def search(self, best: Shape, notes: list[str]) -> GifResult:
        """Find a shape that fits and give its file the output's name."""
        shape, rendered = self._until_it_fits(best)
        shape, rendered = self._once_better(best, shape, rendered)
        if shape.seconds < best.seconds - 0.005:
            notes = [
                *notes,
                f"The GIF shows {shape.seconds:.1f} s of {best.seconds:.1f} s, to stay below its size cap.",
            ]
        os.replace(rendered.path, self.output)
        size, height = self.output.stat().st_size, height_for(self.clip, shape.width)
        fps = self.stretch.rate / shape.step
        return GifResult(self.output, size, shape.width, height, fps, shape.colours, shape.seconds, self.tries, notes)

    def clean(self) -> None:
        """Remove what is left of unfinished renderings."""
        for part in self._parts:
            part.unlink(missing_ok=True)

    def _until_it_fits(self, best: Shape) -> tuple[Shape, _Rendered]:
        shape: Shape | None = best
        while shape is not None:
            rendered = self._try(shape)
            if rendered.size <= self.cap and not rendered.estimated:
                return shape, rendered
            shape = self._next(best, shape, rendered.size)
        smallest = min(entry["bytes"] for entry in self.tries)
        raise FramelaneError(
            f"No GIF of {self.clip.path.name} fits into {self.cap} bytes: a single small frame takes {smallest}. "
            "Raise gif.max_mb."
        )

    def _next(self, best: Shape, shape: Shape, size: int) -> Shape | None:
        rate = self.stretch.rate
        plainest = search.floor_shape(best, rate)
        if shape.seconds < best.seconds or shape == plainest:
            return search.shorter(shape, rate, size, self.cap)
        if len(self.tries) < _MAX_TRIES and (found := search.next_shape(best, rate, size, shape, self.cap)):
            return found
        return plainest

    def _once_better(self, best: Shape, shape: Shape, rendered: _Rendered) -> tuple[Shape, _Rendered]:
        """One more try where the prediction was too careful."""
        if shape == best or shape.seconds < best.seconds or rendered.size >= _GOOD_USE * self.cap:
            return shape, rendered
        wanted = search.next_shape(best, self.stretch.rate, rendered.size, shape, self.cap)
        if wanted is None or search.loss(wanted, best) >= search.loss(shape, best):
            return shape, rendered
        second = self._try(wanted)
        return (wanted, second) if second.size <= self.cap and not second.estimated else (shape, rendered)

    def _try(self, shape: Shape) -> _Rendered:
        rendered = self._render(shape)
        entry = {
            "fps": round(self.stretch.rate / shape.step, 3),
            "width": shape.width,
            "height": height_for(self.clip, shape.width),
            "colours": shape.colours,
            "seconds": round(shape.seconds, 3),
            "bytes": rendered.size,
            "estimated": rendered.estimated,
            "fits": rendered.size <= self.cap and not rendered.estimated,
        }
        self.tries.append(entry)
        if self.notify:
            self.notify(entry)
        return rendered

    def _render(self, shape: Shape) -> _Rendered:
        """One GIF in its own unfinished file; given up once it is sure to be too large."""
        import av

        if shape.colours not in self._palettes:
            self._palettes[shape.colours] = self._palette(shape)
        graph = FilterChain(self.clip, shape.width, self._palettes[shape.colours])
        part = self.output.with_name(f"{self.output.name}.{len(self.tries)}.part")
        self._parts.append(part)
        total, written, done, early = round(100 * shape.seconds), 0, 0, False
        # The delay of a frame is the time to the next; the last one has none.
        last = ticks(shape.step, shape.seconds, self.stretch.rate)[-1]
        options = {"loop": "0", "final_delay": str(max(2, total - last))}
        with av.open(f"file:{part}", "w", format="gif", options=options) as container:
            stream: Any = container.add_stream("gif", rate=round(1 / TICK))
            stream.width, stream.height = shape.width, height_for(self.clip, shape.width)
            stream.pix_fmt, stream.codec_context.time_base = "pal8", TICK
            for frame in graph.run(sampled(self.clip, self.stretch, shape.step, shape.seconds)):
                for packet in stream.encode(frame):
                    written += packet.size
                    container.mux(packet)
                done = frame.pts
                if early := written > self.cap and 3 * done > total:
                    break
            container.mux(stream.encode(None))
        if early:
            return _Rendered(part, round(written * total / done), True)
        return _Rendered(part, part.stat().st_size, False)

    def _palette(self, shape: Shape) -> Any:
        """The palette of the stretch, as a 16x16 frame; one for each number of colours, whatever the width."""
        graph = FilterChain(self.clip, shape.width, colours=shape.colours)
        *_, palette = graph.run(_closed(sampled(self.clip, self.stretch, shape.step, shape.seconds)))
        return palette


def _closed(frames: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The frames, and the first once more: palettegen counts a frame's changed pixels only when the next one arrives."""
    first, tick = None, 0
    for tick, frame in frames:
        first = first or frame
        yield tick, frame
    if first is not None:
        yield tick + 1, first
