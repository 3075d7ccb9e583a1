"""One input video and what was probed of it, by opening it and decoding its first frame."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError, UsageError, chain
from framelane.video.aria import is_recording
from framelane.video.colour import ColourTags, Orientation

_STILL = ("image2", "_pipe")  # FFmpeg's demuxers for pictures
_SAMPLE = 1 << 20


@dataclass(frozen=True)
class AudioTrack:
    """One audio stream of a clip."""

    index: int
    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class Clip:
    """What is known of an input video before it is decoded.

    Attributes:
        width: coded width in pixels, before display rotation.
        height: coded height in pixels.
        time_base: seconds per timestamp tick of the video stream.
        start_pts: timestamp of the first frame, in ticks.
        duration: seconds, from the header; 0 where unknown.
        rate: average frames per second; a hint for the encoder's rate control only.
        frames: frame count from the header; 0 where unknown, and never trusted.
        bit_depth: bits per component.
        display_matrix: nine 16.16 fixed-point numbers, or None.
        sample_aspect: pixel aspect ratio, or None for square or unknown.
    """

    path: Path
    format: str
    codec: str
    width: int
    height: int
    pixel_format: str
    bit_depth: int
    time_base: Fraction
    start_pts: int
    duration: float
    rate: Fraction
    frames: int
    colour: ColourTags
    display_matrix: tuple[int, ...] | None
    sample_aspect: Fraction | None
    audio: tuple[AudioTrack, ...] = ()
    left_out: tuple[str, ...] = ()
    interlaced: bool = False
    metadata: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def orientation(self) -> Orientation:
        """How coded pixels are turned for display."""
        return Orientation.from_matrix(self.display_matrix)

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) in pixels as seen, after rotation; pixels keep their aspect ratio."""
        return (self.height, self.width) if self.orientation.swaps_sides else (self.width, self.height)

    @property
    def expected_frames(self) -> int:
        """A guess at the number of frames, for progress bars; 0 where nothing is known."""
        shown = round(self.duration * float(self.rate))
        # MP4 and MOV also count frames that an edit list hides: before a cut, needed to decode and never shown.
        hidden = "mov" in self.format and shown and self.frames > shown + 2
        return shown if hidden else self.frames or shown

    def seconds(self, pts: int) -> float:
        """Seconds from the first frame to ``pts``."""
        return float((pts - self.start_pts) * self.time_base)


def fingerprint(path: Path) -> str:
    """A content fingerprint: SHA-256 over the size and the first, middle and last MiB."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for offset in (0, max(0, size // 2 - _SAMPLE // 2), max(0, size - _SAMPLE)):
            file.seek(offset)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def require_file(path: Path) -> None:
    """Raise a sentence unless ``path`` is a readable, non-empty file.

    Raises:
        UsageError: it is missing, a folder, unreadable or empty.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; 'framelane run' takes one video file.")
    if not path.exists():
        raise UsageError(f"The clip {path} does not exist.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise UsageError(f"The clip {path} cannot be read: {error.strerror}.") from error
    if empty:
        raise FramelaneError(f"{path} is empty (0 bytes).")


def open_container(path: Path) -> Any:
    """Open a media file for demuxing.

    Raises:
        UsageError: it is a recording that must be made into a clip first.
        FramelaneError: it is no media file, or its index is missing.
    """
    import av

    if is_recording(path):
        raise UsageError(
            f"{path} is a Project Aria recording; make a clip of it first, framelane prepare {path} -o "
            f"{path.with_suffix('.mp4').name}, and use that."
        )
    try:
        # "file:" keeps names such as "a:b.mp4" from being read as a protocol.
        return av.open(f"file:{path}", metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise FramelaneError(
            f"{path} cannot be opened as a video: it is no media file, or it was cut off before its index was written "
            f"({chain(error)})."
        ) from error


def probe(path: Path) -> Clip:
    """Open a clip, decode its first frame and read its properties.

    Raises:
        UsageError: the path is not a file.
        FramelaneError: no video in it, an image, or no frame that decodes.
    """
    import av

    path = Path(path)
    require_file(path)
    with open_container(path) as container:
        name = container.format.name
        if name.startswith(_STILL[0]) or name.endswith(_STILL[1]):
            raise FramelaneError(f"{path} is an image ({name}), not a video clip.")
        stream = video_stream(container, path)
        tagged = _stream_tags(stream)
        try:
            first = next(iter(container.decode(stream)), None)
        except av.error.FFmpegError as error:
            raise FramelaneError(f"No frame of {path} can be decoded ({chain(error)}).") from error
        if first is None:
            raise FramelaneError(f"{path} has a video stream but no frame in it.")
        return _describe(path, container, stream, first, tagged)


def video_stream(container: Any, path: Path) -> Any:
    """The first video stream that is not a cover picture.

    Raises:
        FramelaneError: there is none, or this build of FFmpeg cannot decode it.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise FramelaneError(f"The video stream of {path} is in a format that FFmpeg cannot decode.")
            return stream
    kinds = ", ".join(sorted({s.type for s in container.streams})) or "none"
    raise FramelaneError(f"{path} holds no video (streams found: {kinds}).")


def _stream_tags(stream: Any) -> tuple[int, int, int, int]:
    context = stream.codec_context
    return context.colorspace, context.color_range, context.color_primaries, context.color_trc


def _colour(tagged: tuple[int, int, int, int], frame: Any) -> ColourTags:
    """The container's tags where it has any (players trust them first), else the bitstream's."""
    own = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
    unknown = (2, 0, 2, 2)
    matrix, range_, primaries, transfer = (t if t != u else o for t, o, u in zip(tagged, own, unknown, strict=True))
    return ColourTags(matrix, range_, primaries, transfer, frame.height)


def _describe(path: Path, container: Any, stream: Any, first: Any, tagged: tuple[int, int, int, int]) -> Clip:
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    header_seconds = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
    tags = _colour(tagged, first)
    sample_aspect = stream.sample_aspect_ratio
    depth = max(component.bits for component in first.format.components)
    return Clip(
        path=path,
        format=container.format.name,
        codec=stream.codec_context.name,
        width=first.width,
        height=first.height,
        pixel_format=first.format.name,
        bit_depth=depth,
        time_base=stream.time_base,
        start_pts=first.pts if first.pts is not None else (stream.start_time or 0),
        duration=max(0.0, header_seconds),
        rate=Fraction(rate) if 0 < rate <= 1000 else Fraction(25),
        frames=max(0, stream.frames),
        colour=tags,
        display_matrix=_display_matrix(first),
        sample_aspect=Fraction(sample_aspect) if sample_aspect and sample_aspect != 1 else None,
        audio=tuple(
            AudioTrack(s.index, s.codec_context.name, s.codec_context.sample_rate, s.codec_context.channels)
            for s in container.streams.audio
            if s.codec_context is not None
        ),
        left_out=_left_out(container, stream),
        interlaced=bool(first.interlaced_frame),
        metadata=dict(container.metadata),
    )


def _left_out(container: Any, chosen: Any) -> tuple[str, ...]:
    """The streams that the output will not have, in words."""
    others = [s for s in container.streams if s.index != chosen.index]
    silent = [s for s in others if s.type == "audio" and s.codec_context is None]
    return tuple(f"{s.type} stream {s.index}" for s in others if s.type in ("video", "subtitle")) + tuple(
        f"audio stream {s.index} of an unknown codec" for s in silent
    )


def _display_matrix(frame: Any) -> tuple[int, ...] | None:
    from av.sidedata.sidedata import Type

    data = next((side for side in frame.side_data if side.type == Type.DISPLAYMATRIX), None)
    if data is None:
        return None
    matrix = struct.unpack("<9i", bytes(data))
    return None if Orientation.from_matrix(matrix) == Orientation() else matrix
