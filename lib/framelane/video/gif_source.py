"""What a GIF shows of a video: which stretch, at which rate, and the frame on screen at each of its moments.

Frames are taken at their own times: a variable frame rate is sampled, never assumed away. One frame is held at a time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from framelane.errors import FramelaneError
from framelane.video.clip import Clip, open_container, video_stream


@dataclass(frozen=True)
class Stretch:
    """The part of a clip that is shown.

    Attributes:
        begin: seconds from the clip's first frame.
        seconds: its length.
        rate: frames per second of the source within it.
        timed: False where the file holds no timestamps (a raw stream).
    """

    begin: float
    seconds: float
    rate: float
    timed: bool = True


def shown_size(clip: Clip) -> tuple[int, int]:
    """(width, height) in square pixels as seen: display rotation and pixel aspect ratio applied."""
    coded = max(1, round(clip.width * float(clip.sample_aspect or 1))), clip.height
    return (coded[1], coded[0]) if clip.orientation.swaps_sides else coded


def height_for(clip: Clip, width: int) -> int:
    """The height that keeps the shown aspect ratio at ``width`` pixels."""
    shown = shown_size(clip)
    return max(1, round(width * shown[1] / shown[0]))


def find_stretch(clip: Clip, start: float, seconds: float) -> tuple[Stretch, list[str]]:
    """The part of a clip to show, found from the packets' timestamps (nothing is decoded).

    Args:
        clip: the video.
        start: second at which it should begin; the frame on screen then is the first.
        seconds: longest length.

    Returns:
        The stretch, and sentences about what differs from what was asked.

    Raises:
        FramelaneError: the clip holds no frame.
    """
    notes: list[str] = []
    times, end, timed = _times(clip, start, seconds)
    if not times or end <= start:
        if start > 0:
            notes.append(f"The GIF begins at 0 s, because the video ends before the {start:g} s asked for.")
        start = 0.0
        times, end, timed = _times(clip, start, seconds)
    if not times:
        raise FramelaneError(f"{clip.path} holds no frame to make a GIF of.")
    begin = max((t for t in times if t <= start + 1e-6), default=times[0])
    shown = [t for t in times if begin <= t < begin + seconds]
    seconds = max(0.02, min(seconds, end - begin))
    return Stretch(begin, seconds, _rate(shown, seconds), timed), notes


def _rate(times: list[float], seconds: float) -> float:
    """Frames per second: the regular one where there is one, else that of the quicker parts."""
    gaps = [b - a for a, b in pairwise(times)]
    usual = median(gaps) if gaps else 0.0
    regular = [gap for gap in gaps if abs(gap - usual) <= 0.2 * usual]
    if usual > 0 and len(regular) >= 0.9 * len(gaps):
        return len(regular) / sum(regular)  # the mean, because containers round timestamps to milliseconds
    # Irregular: as fine as the quicker parts ask for. A frame that stays on screen costs a GIF next to nothing.
    return 1 / max(sorted(gaps)[len(gaps) // 10], 1e-3) if gaps else 1 / seconds


def _times(clip: Clip, start: float, seconds: float) -> tuple[list[float], float, bool]:
    """Times of the frames around the stretch, where the last of them ends, and whether the file holds times at all."""
    found: list[tuple[float, float]] = []
    usual, timed = 1 / float(clip.rate), True
    with open_container(clip.path) as container:
        stream = video_stream(container, clip.path)
        _seek(container, stream, clip, start)
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:  # a raw stream: frames follow each other at the nominal rate
                timed = False
                time, length = len(found) * usual, usual
            else:
                length = float(packet.duration * stream.time_base) if packet.duration else usual
                time = clip.seconds(packet.pts)
            found.append((time, time + length))
            decoded_at = clip.seconds(packet.dts) if packet.dts is not None else time
            if decoded_at > start + seconds + 1:  # decoding order runs ahead of display order by less than this
                break
    found.sort()
    return [time for time, _ in found], max((end for _, end in found), default=0.0), timed


def _seek(container: Any, stream: Any, clip: Clip, start: float) -> None:
    """To the key frame before ``start``; a file that cannot seek is read from its beginning."""
    import av

    if start > 0:
        with contextlib.suppress(av.error.FFmpegError, OSError):
            container.seek(clip.start_pts + int(start / clip.time_base), stream=stream)


def _decoded(clip: Clip, stretch: Stretch) -> Iterator[tuple[float, Any]]:
    """Frames from at or before the stretch on, with their times; damaged packets are passed over."""
    import av

    with open_container(clip.path) as container:
        stream = video_stream(container, clip.path)
        stream.thread_type = "AUTO"
        if stretch.timed:
            _seek(container, stream, clip, stretch.begin)
        index = 0
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                timed = stretch.timed and frame.pts is not None
                yield (clip.seconds(frame.pts) if timed else index / float(clip.rate)), frame
                index += 1


def ticks(step: int, seconds: float, rate: float) -> list[int]:
    """When each frame of a GIF appears, in hundredths of a second; the first at 0.

    Args:
        step: source frames from one frame of the GIF to the next.
        seconds: length of the GIF.
        rate: frames per second of the source.
    """
    period = step / rate
    return [round(100 * index * period) for index in range(max(1, math.ceil(seconds / period - 1e-3)))]


def sampled(clip: Clip, stretch: Stretch, step: int, seconds: float) -> Iterator[tuple[int, Any]]:
    """The frames of a GIF: at each of its moments the frame that is on screen then.

    Args:
        clip: the video.
        stretch: the part shown.
        step: source frames from one frame of the GIF to the next, on average.
        seconds: length shown, at most the stretch's.

    Yields:
        The time in hundredths of a second from the beginning, and the decoded ``av.VideoFrame``.
    """
    moments = ticks(step, seconds, stretch.rate)
    slack = 0.25 / stretch.rate  # rounded timestamps must not show the frame before
    shown, held = 0, None
    for time, frame in _decoded(clip, stretch):
        while held is not None and stretch.begin + moments[shown] / 100 + slack < time:
            yield moments[shown], held
            shown += 1
            if shown == len(moments):
                return
        held = frame
    for tick in moments[shown:] if held is not None else []:
        yield tick, held
