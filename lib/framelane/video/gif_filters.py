"""FFmpeg's palette filters over decoded frames, through PyAV, a frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from framelane.video.clip import Clip
from framelane.video.colour import FULL
from framelane.video.gif_source import height_for

TICK = Fraction(1, 100)  # a GIF's clock: delays are whole hundredths of a second
_MATRIX = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_TURNS: dict[int, list[tuple[str, str]]] = {
    0: [],
    1: [("transpose", "cclock")],
    2: [("hflip", ""), ("vflip", "")],
    3: [("transpose", "clock")],
}


class FilterChain:
    """FFmpeg's filters from decoded frames to a palette, or, given a palette, to frames that use it.

    Args:
        clip: the video the frames come from.
        width: of the GIF, in pixels.
        palette: an earlier chain's only output; without it, this chain computes one.
        colours: size of the palette to compute, 4 to 256.
    """

    def __init__(self, clip: Clip, width: int, palette: Any = None, *, colours: int = 256) -> None:
        from av.filter import Graph

        self.clip, self.graph = clip, Graph()
        self.source = self._buffer(clip.width, clip.height, clip.pixel_format)
        end = self.source
        for name, arguments in _filters(clip, width):
            end = self._then(end, name, arguments)
        if palette is None:
            end = self._then(end, "palettegen", f"max_colors={colours}:stats_mode=diff")
        else:
            end = self._then(end, "paletteuse", "dither=bayer:bayer_scale=5:diff_mode=rectangle")
            second = self._buffer(palette.width, palette.height, palette.format.name)
            second.link_to(end, 0, 1)
        self.sink = self._then(end, "buffersink", "")
        self.graph.configure()
        if palette is not None:
            palette.pts, palette.time_base = 0, TICK
            second.push(palette)
            second.push(None)

    def _buffer(self, width: int, height: int, pixel_format: str) -> Any:
        from av import VideoFormat

        return self.graph.add_buffer(width=width, height=height, format=VideoFormat(pixel_format), time_base=TICK)

    def _then(self, before: Any, name: str, arguments: str) -> Any:
        node = self.graph.add(name, arguments or None)
        before.link_to(node)
        return node

    def run(self, frames: Iterable[tuple[int, Any]]) -> Iterator[Any]:
        """Push decoded frames with their times, and yield what comes out as soon as it does.

        Args:
            frames: times in hundredths of a second, and ``av.VideoFrame``; the frames are stamped anew.
        """
        for tick, frame in frames:
            if (frame.width, frame.height, frame.format.name) != self._shape():
                frame = frame.reformat(*self._shape())  # a stream that changes its size midway  # noqa: PLW2901
            frame.pts, frame.time_base = tick, TICK
            self.source.push(frame)
            yield from self._ready()
        self.source.push(None)
        yield from self._ready()

    def _shape(self) -> tuple[int, int, str]:
        return self.clip.width, self.clip.height, self.clip.pixel_format

    def _ready(self) -> Iterator[Any]:
        while True:
            try:
                yield self.sink.pull()
            except (BlockingIOError, EOFError):  # nothing yet, or nothing more
                return


def _filters(clip: Clip, width: int) -> list[tuple[str, str]]:
    """Scale with the clip's own matrix and range, then turn upright: fewer pixels to turn that way round."""
    size = (width, height_for(clip, width))
    across, down = size[::-1] if clip.orientation.swaps_sides else size
    scale = f"{across}:{down}:flags=lanczos+accurate_rnd+full_chroma_int"
    if not clip.pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "pal", "gray", "0")):
        levels = "pc" if clip.colour.effective_range == FULL else "tv"
        scale += f":in_color_matrix={_MATRIX[clip.colour.effective_matrix]}:in_range={levels}"
    mirror = [("hflip", "")] if clip.orientation.mirrored else []
    return [("scale", scale), ("format", "bgra"), *mirror, *_TURNS[clip.orientation.quarter_turns]]
