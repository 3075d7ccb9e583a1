"""The rung ``pyav``: NVENC through PyAV. A frame goes from torch's memory to the encoder, and the host copies nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from framelane.video.encoders.base import PyavSession
from framelane.video.encoders.pictures import DevicePictures
from framelane.video.encoders.refusal import refusal
from framelane.video.encoders.ring import Ring
from framelane.video.encoders.spec import EncodeSpec
from framelane.video.ffmpeg_log import ffmpeg_log
from framelane.video.frames import FrameBatch
from framelane.video.surface import to_av


class NvencSession(PyavSession):
    """``h264_nvenc`` or ``hevc_nvenc`` of the FFmpeg inside PyAV.

    The encoder opens with the first frame, because it adopts that frame's CUDA context. Surfaces in host memory (a build
    of torch without CUDA) are taken, too: FFmpeg then uploads them itself.
    """

    rung = "pyav"

    def __init__(self, path: Path, spec: EncodeSpec, explain: bool = False) -> None:
        super().__init__(path, spec, explain)
        self._pictures, self._ring = DevicePictures(spec), Ring()
        self._opened = False

    @property
    def pixel_format(self) -> str:
        """``cuda``, or what a surface in host memory holds."""
        return "cuda" if self.spec.device == "cuda" else self.spec.surface_format

    def encode(self, batch: FrameBatch, index: int) -> None:
        """See :meth:`Session.encode`."""
        self._ring.coded(len(self._coded))
        placed = self._ring.place(self._pictures.surface(batch, index))
        self.send(to_av(placed), batch.pts[index], batch.durations[index])

    def send(self, frame: Any, pts: int, duration: int) -> None:
        """Encode a frame that lies where the encoder reads it.

        Raises:
            SessionRefused: it is the first one, and the encoder did not open.
        """
        if self._opened:
            self._send(frame, pts, duration)
            return
        listening: contextlib.AbstractContextManager[list[str]] = contextlib.nullcontext([])
        lines: list[str] = []
        try:
            with ffmpeg_log() if self.explain else listening as lines:
                self._send(frame, pts, duration)
        except Exception as error:  # the log is complete only now
            raise refusal(lines, error, self.spec) from error
        self._opened = True
