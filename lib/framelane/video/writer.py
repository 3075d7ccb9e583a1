"""Encoding: one segment of the output, as an elementary stream in a NUT file.

NUT keeps any time base exactly and needs no index to be complete, so a segment's timestamps are those of the input.
Segments are not meant to be played: :mod:`framelane.video.join` makes the file that is.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from framelane.errors import FramelaneError, chain
from framelane.video.clip import Clip
from framelane.video.colour import ColourTags, from_rgb, to_rgb
from framelane.video.copies import to_host
from framelane.video.frames import FrameBatch
from framelane.video.surface import Surface
from framelane.video.transfer import download

_LATE_S = 60.0
EXTENSIONS = (".mp4", ".mov", ".mkv")
# What both encoders take as it is; every other format goes through 8-bit RGB to yuv420p.
_KEPT = {f"yuv{j}{chroma}p" for j in ("", "j") for chroma in (420, 422, 444)} | {
    f"yuv{chroma}p10le" for chroma in (420, 422, 444)
}


@dataclass(frozen=True)
class EncodeSpec:
    """Everything that decides the encoder's bits, but the frames.

    Attributes:
        encoder: FFmpeg's name, ``libx264`` or ``libx265``.
        width: coded width in pixels; even.
        height: coded height in pixels; even.
        pixel_format: what the encoder is given.
        rate: average frames per second; a hint for rate control.
        time_base: seconds per tick.
        quality: CRF.
        preset: x264/x265 preset.
        threads: encoder threads. x264's output depends on it, so it is never "auto" here.
        pad: columns and rows repeated at the right and at the bottom to make both sides even.
        keyframes: frames from one key frame to the next at most; 0 leaves it to the encoder.
    """

    encoder: str
    width: int
    height: int
    pixel_format: str
    rate: Fraction
    time_base: Fraction
    colour: ColourTags
    quality: int
    preset: str
    threads: int
    sample_aspect: Fraction | None = None
    pad: tuple[int, int] = (0, 0)
    keyframes: int = 0

    @property
    def options(self) -> dict[str, str]:
        """The encoder's private options."""
        own = {"preset": self.preset, "crf": str(self.quality)}
        if self.keyframes:
            own["g"] = str(self.keyframes)
        if self.encoder == "libx265":
            own["x265-params"] = f"log-level=error:pools={self.threads}:frame-threads={min(self.threads, 2)}"
        return own


def encode_spec(
    clip: Clip, *, encoder: str, quality: int, preset: str, threads: int, touches: bool
) -> tuple[EncodeSpec, list[str]]:
    """What to encode a clip's twin with, and in sentences what cannot be kept.

    Args:
        clip: the input.
        encoder: FFmpeg's encoder name.
        quality: CRF.
        preset: x264/x265 preset.
        threads: encoder threads, at least 1.
        touches: whether the processor draws on frames; those become 8-bit 4:2:0.
    """
    pad = (clip.width % 2, clip.height % 2)
    kept = not touches and clip.pixel_format in _KEPT and not any(pad)
    notes = []
    if clip.interlaced:
        notes.append("The clip is interlaced; the output is progressive, with both fields woven into each frame.")
    begins = float(clip.start_pts * clip.time_base)
    if begins > _LATE_S:
        notes.append(
            f"The clip's clock begins at {begins:.0f} s, which is kept; some players count the time before "
            "it as part of the length."
        )
    if touches and clip.bit_depth > 8:
        notes.append(f"The clip has {clip.bit_depth} bits per sample; frames that are drawn on become 8-bit.")
    only_depth = touches and clip.pixel_format in ("yuv420p10le", "yuv420p12le")
    if not kept and not only_depth and clip.pixel_format not in ("yuv420p", "yuvj420p"):
        notes.append(f"The clip's pixels are {clip.pixel_format}; the output's are yuv420p.")
    if any(pad):
        notes.append(
            f"The clip is {clip.width}x{clip.height}; 4:2:0 video needs even sides, so the last "
            f"{' and '.join(n for n, p in zip(('column', 'row'), pad, strict=True) if p)} is repeated once."
        )
    return EncodeSpec(
        encoder=encoder,
        width=clip.width + pad[0],
        height=clip.height + pad[1],
        pixel_format=clip.pixel_format if kept else "yuv420p",
        rate=clip.rate,
        time_base=clip.time_base,
        colour=clip.colour,
        quality=quality,
        preset=preset,
        threads=threads,
        sample_aspect=clip.sample_aspect,
        pad=pad,
    ), notes


@dataclass
class SegmentInfo:
    """What one written segment holds.

    Attributes:
        frames: number of frames.
        first_pts: timestamp of the first frame in ticks.
        last_pts: timestamp of the last frame in ticks.
        last_duration: how long the last frame is shown, in ticks.
        shortest: how long the frame with the shortest time is shown, in ticks.
        delay: reorder depth: the most frames that any frame is coded after its turn to be shown.
    """

    frames: int = 0
    first_pts: int | None = None
    last_pts: int | None = None
    last_duration: int = 0
    shortest: int = 0
    delay: int = 0


@dataclass
class SegmentWriter:
    """Encodes frame batches into one NUT file; a closed group of pictures of its own.

    Args:
        path: the file to write.
        spec: how to encode.

    Raises:
        FramelaneError: the encoder does not open, or the disk is full.
    """

    path: Path
    spec: EncodeSpec
    info: SegmentInfo = field(default_factory=SegmentInfo)
    _coded: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        import av

        try:
            self._container = av.open(str(self.path), "w", format="nut")
            self._stream = self._container.add_stream(
                self.spec.encoder, rate=self.spec.rate, options=dict(self.spec.options)
            )
            self._configure(self._stream.codec_context)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise write_error(self.path, error) from error

    def _configure(self, context: Any) -> None:
        spec = self.spec
        context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pixel_format
        context.time_base = spec.time_base
        context.thread_count = spec.threads
        context.color_range, context.colorspace = spec.colour.range, spec.colour.matrix
        if spec.colour.matrix == 0:  # RGB input: the output is YUV, so say which
            context.colorspace, context.color_range = spec.colour.effective_matrix, spec.colour.effective_range
        context.color_primaries, context.color_trc = spec.colour.primaries, spec.colour.transfer
        if spec.sample_aspect:
            context.sample_aspect_ratio = spec.sample_aspect
        from av.codec.context import Flags

        context.flags |= Flags.global_header.value
        self._stream.time_base = spec.time_base

    def write(self, batch: FrameBatch) -> None:
        """Encode a frame batch.

        Raises:
            FramelaneError: the disk is full, or the encoder refuses a frame.
        """
        for index, pts in enumerate(batch.pts):
            frame = self._frame(batch, index)
            frame.pts, frame.time_base, frame.duration = pts, self.spec.time_base, batch.durations[index]
            frame.pict_type = 0  # the decoder's choice would force ours
            self._mux(frame)
            self.info.first_pts = pts if self.info.first_pts is None else self.info.first_pts
            self.info.last_pts, self.info.last_duration = pts, batch.durations[index]
            self.info.shortest = min(self.info.shortest or batch.durations[index], batch.durations[index])
            self.info.frames += 1

    def _frame(self, batch: FrameBatch, index: int) -> Any:
        if not batch.touched:
            return fit(batch.planes[index], self.spec)
        coded = to_host(batch.layout.orientation.coded(batch.rgb[index]))
        return from_rgb(_padded(coded, self.spec.pad), self.spec.colour, self.spec.pixel_format)

    def _mux(self, frame: Any) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                self._coded.append(packet.pts)
                self._container.mux(packet)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise write_error(self.path, error) from error

    def close(self) -> SegmentInfo:
        """Flush the encoder and close the file.

        Raises:
            FramelaneError: the disk is full.
        """
        import av

        self._mux(None)
        try:
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise write_error(self.path, error) from error
        rank = {pts: place for place, pts in enumerate(sorted(self._coded))}
        self.info.delay = max((place - rank[pts] for place, pts in enumerate(self._coded)), default=0)
        return self.info

    def abandon(self) -> None:
        """Close the file without caring for what is in it."""
        import contextlib

        with contextlib.suppress(Exception):
            self._container.close()


def open_writer(path: Path, spec: EncodeSpec) -> SegmentWriter:
    """A writer for one segment; see :class:`SegmentWriter`."""
    return SegmentWriter(path, spec)


def fit(frame: Any, spec: EncodeSpec) -> Any:
    """An untouched frame as the encoder takes it: the frame itself, or (another format, odd sides) through RGB."""
    if isinstance(frame, Surface):
        frame = download(frame)
    if frame.format.name == spec.pixel_format and not any(spec.pad):
        return frame
    planar = np.empty((3, frame.height, frame.width), np.uint8)
    to_rgb(frame, spec.colour, planar)
    return from_rgb(_padded(planar, spec.pad), spec.colour, spec.pixel_format)


def _padded(rgb: np.ndarray, pad: tuple[int, int]) -> np.ndarray:
    right, bottom = pad
    return np.pad(rgb, ((0, 0), (0, bottom), (0, right)), mode="edge") if right or bottom else rgb


def write_error(path: Path, error: BaseException, action: str = "written") -> FramelaneError:
    """The sentence for an error of writing to ``path``."""
    if getattr(error, "errno", None) == errno.ENOSPC:
        return FramelaneError(
            f"The disk is full: {path} could not be {action}. Free some space and run the same command again; "
            "finished segments are kept."
        )
    return FramelaneError(f"{path} could not be {action} ({chain(error)}).")
