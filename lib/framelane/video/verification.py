"""The last look at a joined file before it gets its name: all frames, at their times, to the end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError
from framelane.video.clip import Clip, open_container
from framelane.video.writer import SegmentInfo


def verify(output: Path, clip: Clip, first: SegmentInfo, last: SegmentInfo, frames: int) -> None:
    """Read the joined file's packets back, compare them with what was written, and decode what follows the last key frame.

    Args:
        output: the joined file.
        clip: the input, for its time base.
        first: what the first segment holds.
        last: what the last segment holds.
        frames: of all segments.

    Raises:
        FramelaneError: frames are missing, the first or last timestamp differs, or the end cannot be decoded.
    """
    with open_container(output) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base)
        times = [packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None]
        whole = bool(times) and _decodes(container, stream, max(times))
    tick = max(base, clip.time_base)
    found = (min(times, default=0) * base, max(times, default=0) * base)
    expected = ((first.first_pts or 0) * clip.time_base, (last.last_pts or 0) * clip.time_base)
    moved = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    count = len(times)
    if count != frames or moved > tick or not whole:
        found_wrong = f"{count} of {frames} frames" if whole else "its end cannot be decoded"
        raise FramelaneError(
            f"The joined file {output.name} does not match its segments ({found_wrong}); the segments are kept, run the "
            "same command again."
        )


def _decodes(container: Any, stream: Any, last: int) -> bool:
    """Whether the frame at ``last`` comes out of the decoder, begun at the key frame before it."""
    import av

    try:
        container.seek(last, stream=stream)
        return any(frame.pts == last for frame in container.decode(stream))
    except av.error.FFmpegError:
        return False
