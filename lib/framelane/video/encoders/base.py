"""A session: one segment's encoder. Each rung is one subclass; pictures go in, a NUT file comes out."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from framelane.video.disk import write_error
from framelane.video.encoders.options import encoder_options
from framelane.video.encoders.spec import EncodeSpec
from framelane.video.frames import FrameBatch


class Session(ABC):
    """Encodes the frames of one segment.

    Args:
        path: the NUT file to write.
        spec: how to encode.
        explain: listen to FFmpeg's log while the encoder opens, so that a refusal names its cause.

    Raises:
        SessionRefused: the encoder does not open. Some rungs find out with the first frame only.
        FramelaneError: the file cannot be written.
    """

    rung: ClassVar[str] = ""

    def __init__(self, path: Path, spec: EncodeSpec, explain: bool = False) -> None:
        self.path, self.spec, self.explain = path, spec, explain

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rung" in cls.__dict__:  # not one that is inherited
            SESSIONS[cls.rung] = cls

    @abstractmethod
    def encode(self, batch: FrameBatch, index: int) -> None:
        """Encode one frame of a batch.

        Raises:
            SessionRefused: the encoder does not open.
            FramelaneError: the disk is full, or the encoder refuses the frame.
        """

    @abstractmethod
    def finish(self) -> list[int]:
        """Flush the encoder and close the file.

        Returns:
            Timestamps of the packets in coding order; only their order counts.

        Raises:
            FramelaneError: the disk is full, or the encoder failed.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Let go of everything without caring for what was written."""


SESSIONS: dict[str, type[Session]] = {}
"""The sessions by the name of their rung."""


class PyavSession(Session):
    """What the sessions that encode with PyAV have in common: the stream, its tags, and writing packets."""

    def __init__(self, path: Path, spec: EncodeSpec, explain: bool = False) -> None:
        import av

        super().__init__(path, spec, explain)
        self._coded: list[int] = []
        try:
            self._container: Any = av.open(str(path), "w", format="nut")
            self._stream: Any = self._container.add_stream(
                spec.encoder, rate=spec.rate, options=dict(encoder_options(spec))
            )
            self._configure(self._stream.codec_context)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise write_error(path, error) from error

    def _configure(self, context: Any) -> None:
        from av.codec.context import Flags

        spec = self.spec
        context.width, context.height, context.pix_fmt = spec.width, spec.height, self.pixel_format
        context.time_base = spec.time_base
        context.thread_count = spec.threads
        context.color_range, context.colorspace = spec.colour.range, spec.colour.matrix
        if spec.colour.matrix == 0:  # RGB input: the output is YUV, so say which
            context.colorspace, context.color_range = spec.colour.effective_matrix, spec.colour.effective_range
        context.color_primaries, context.color_trc = spec.colour.primaries, spec.colour.transfer
        if spec.sample_aspect:
            context.sample_aspect_ratio = spec.sample_aspect
        context.flags |= Flags.global_header.value
        self._stream.time_base = spec.time_base

    @property
    def pixel_format(self) -> str:
        """What the encoder is given."""
        return self.spec.pixel_format

    def _send(self, frame: Any, pts: int, duration: int) -> None:
        frame.pts, frame.time_base, frame.duration = pts, self.spec.time_base, duration
        frame.pict_type = 0  # the decoder's choice would force ours
        self._mux(frame)

    def _mux(self, frame: Any) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                self._coded.append(packet.pts)
                self._container.mux(packet)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise write_error(self.path, error) from error

    def finish(self) -> list[int]:
        """See :meth:`Session.finish`."""
        import av

        self._mux(None)
        try:
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise write_error(self.path, error) from error
        return self._coded

    def abandon(self) -> None:
        """See :meth:`Session.abandon`."""
        with contextlib.suppress(Exception):
            self._container.close()
