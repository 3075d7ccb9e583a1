"""The rung ``cpu``: x264 and x265. Frames on a device are made planar there and come down as 1.5 bytes a pixel."""

from __future__ import annotations

from framelane.video.encoders.base import PyavSession
from framelane.video.encoders.pictures import HostPictures
from framelane.video.frames import FrameBatch


class CpuSession(PyavSession):
    """x264 or x265 through PyAV."""

    rung = "cpu"

    def encode(self, batch: FrameBatch, index: int) -> None:
        """See :meth:`Session.encode`."""
        frame = HostPictures(self.spec).frame(batch, index)
        self._send(frame, batch.pts[index], batch.durations[index])
