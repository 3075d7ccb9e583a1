"""Frames from the host to a device and back, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.video.copies import COPIES
from framelane.video.samples import samples
from framelane.video.surface import Surface, host_planes, stamp

if TYPE_CHECKING:
    import torch

UPLOADED = {
    "yuv420p": "nv12", "yuvj420p": "nv12", "nv12": "nv12", "yuv420p10le": "p010le", "p010le": "p010le",
}  # fmt: skip
"""Pixel formats that :func:`upload` takes, and the surface's format."""


class Staging:
    """Pinned memory that host frames go through, so that the host need not wait for the card.

    A buffer is written again only when the copy out of it is done. With as many buffers as frames are on their way,
    nobody waits. For one thread at a time. Without a card the memory is ordinary.

    Args:
        device: where the frames go.
        slots: buffers.
    """

    def __init__(self, device: str | torch.device, slots: int = 4) -> None:
        import torch

        self.device, self.slots = torch.device(device), slots
        self._buffers: list[Any] = [None] * slots
        self._sent: list[Any] = [None] * slots
        self._next = 0

    def send(self, planes: list[np.ndarray]) -> list[torch.Tensor]:
        """Planes as tensors on the device, in one copy on the current stream."""
        import torch

        slot, self._next = self._next, (self._next + 1) % self.slots
        if self._sent[slot] is not None:
            self._sent[slot].synchronize()
        size = sum(plane.nbytes for plane in planes)
        buffer = self._buffers[slot]
        if buffer is None or buffer.numel() < size:
            pinned = self.device.type == "cuda"
            buffer = self._buffers[slot] = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
        _pack(planes, buffer.numpy())
        there = torch.empty(size, dtype=torch.uint8, device=self.device)
        there.copy_(buffer[:size], non_blocking=True)
        if self.device.type == "cuda":
            self._sent[slot] = self._sent[slot] or torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._sent[slot].record()
        return _unpacked(there, planes)


def _pack(planes: list[np.ndarray], into: np.ndarray) -> None:
    start = 0
    for plane in planes:
        np.copyto(into[start : start + plane.nbytes].view(plane.dtype).reshape(plane.shape), plane)
        start += plane.nbytes


def _unpacked(packed: torch.Tensor, like: list[np.ndarray]) -> list[torch.Tensor]:
    import torch

    found, start = [], 0
    for plane in like:
        part = packed[start : start + plane.nbytes]
        found.append((part if plane.dtype == np.uint8 else part.view(torch.uint16)).view(plane.shape))
        start += plane.nbytes
    return found


def upload(frame: Any, device: str | torch.device, staging: Staging | None = None) -> Surface:
    """A host frame as a surface on a device; Cb and Cr are interleaved there.

    Args:
        frame: an ``av.VideoFrame``, 4:2:0 with 8 or 10 bits. The surface keeps it as ``host``.
        device: where to.
        staging: memory on the way, for the same device; without it, memory of its own is made for this frame.

    Raises:
        ValueError: the frame has another format.
    """
    import torch

    kind = UPLOADED.get(frame.format.name)
    if kind is None:
        raise ValueError(f"{frame.format.name} is not uploaded: only 4:2:0 with 8 or 10 bits is")
    with torch.inference_mode(False):
        planes = planes_of(frame)
        COPIES.note("upload", sum(plane.nbytes for plane in planes))
        there = (staging or Staging(device, slots=1)).send(planes)
        if len(there) == 2:
            y, uv = there
        elif kind == "nv12":
            y, uv = there[0], torch.stack(there[1:], dim=-1)
        else:  # as signed numbers: of uint16 torch promises little more than that it can be copied
            luma, *chroma = (plane.view(torch.int16).bitwise_left_shift(6) for plane in there)
            y, uv = luma.view(torch.uint16), torch.stack(chroma, dim=-1).view(torch.uint16)
    return Surface(y, uv, kind, frame, frame.pts, frame.time_base, frame.duration)


def planes_of(frame: Any) -> list[np.ndarray]:
    """Views of a host frame's planes without their padding: three, or two where Cb and Cr are interleaved.

    Args:
        frame: an ``av.VideoFrame`` of one of the formats in :data:`UPLOADED`.
    """
    if len(frame.planes) == 2:
        return list(host_planes(frame))
    kind = np.uint8 if UPLOADED[frame.format.name] == "nv12" else np.uint16
    return [
        np.frombuffer(p, np.uint8).view(kind).reshape(-1, p.line_size // kind().itemsize)[: p.height, : p.width]
        for p in frame.planes
    ]


def download(surface: Surface) -> Any:
    """The surface as an ``av.VideoFrame`` on the host, ``yuv420p`` or ``yuv420p10le``; the host waits for it.

    Where it was uploaded from a host frame, that very frame, as it was, and nothing is copied.
    """
    if surface.host is not None:
        return surface.host
    import torch
    from av.video.frame import VideoFrame

    bits = surface.bit_depth
    frame = VideoFrame(surface.width, surface.height, "yuv420p" if bits == 8 else "yuv420p10le")
    planes = [samples(plane, bits) for plane in (surface.y, surface.uv[..., 0], surface.uv[..., 1])]
    values = torch.cat([plane.reshape(-1) for plane in planes]).cpu().numpy()
    COPIES.note("download", values.nbytes)
    start = 0
    for target in planes_of(frame):
        target[...] = values[start : start + target.size].reshape(target.shape).view(target.dtype)
        start += target.size
    return stamp(frame, surface)
