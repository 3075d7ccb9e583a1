"""The surfaces that NVENC reads: allocated once a session, written in turn, never while the encoder may still read one.

FFmpeg registers a frame's memory with NVENC by its address, and keeps it registered to the session's end
(``nvenc_register_frame`` in ``libavcodec/nvenc.c``). Memory that torch gives back to the driver meanwhile
(``torch.cuda.empty_cache``, which the engine calls when memory is short) would stay registered; so the session owns what
it registers.
"""

from __future__ import annotations

from collections import deque

from framelane.video.surface import Surface

REORDERED = 6
"""No frame is coded so many places after its turn: ``output.b_frames`` is 5 at most."""

_PITCH = 256
"""Bytes that a row is a multiple of. NVENC takes multiples of 4 only (``NV_ENC_REGISTER_RESOURCE.pitch`` in
``nvEncodeAPI.h``), which a width of 1918 is not; the rest is for whole memory transactions."""


class Ring:
    """As many surfaces as are on their way through the encoder; for one thread and one stream at a time."""

    def __init__(self) -> None:
        self._busy: deque[Surface] = deque()
        self._free: list[Surface] = []
        self._freed = 0

    def place(self, surface: Surface) -> Surface:
        """A copy of a surface in the ring's memory, chroma right behind luma with rows of the same length.

        Args:
            surface: with even sides; all of a session are of one size and format.
        """
        import torch

        with torch.inference_mode(False), torch.no_grad():
            into = self._free.pop() if self._free else _made(surface)
            into.y.copy_(surface.y)
            into.uv.copy_(surface.uv)
        self._busy.append(into)
        return into

    def coded(self, packets: int) -> None:
        """Take back what the encoder is done with.

        Args:
            packets: how many it has given out so far; it has then read at least that many frames less those reordered.
        """
        while self._busy and self._freed + REORDERED < packets:
            self._free.append(self._busy.popleft())
            self._freed += 1


def _made(like: Surface) -> Surface:
    size, rows, width = like.y.element_size(), like.height, like.width
    pitch = -(-width * size // _PITCH) * _PITCH // size
    whole = like.y.new_empty((rows + rows // 2, pitch))
    chroma = whole[rows:].view(rows // 2, pitch // 2, 2)[:, : width // 2]
    return Surface(whole[:rows, :width], chroma, like.format)
