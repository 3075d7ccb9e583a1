"""A surface: one frame in device memory, as a hardware decoder leaves it and a hardware encoder takes it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

FORMATS = ("nv12", "p010le")


@dataclass(eq=False)
class Surface:
    """One frame in NV12 or P010 on a device ("cuda", or "cpu": the same code runs there in tests).

    It owns its memory: what a decoder lends is copied on the device and given back at once. Where a
    :class:`~framelane.video.frames.FrameBatch` holds a decoded frame, it holds either an ``av.VideoFrame`` (on the
    host) or one of these.

    Attributes:
        y: luma, ``(H, W)``; uint8, or uint16 with the sample in the upper ten bits (P010).
        uv: chroma, ``(ceil(H/2), ceil(W/2), 2)``, Cb and Cr; the same type.
        format: ``"nv12"`` or ``"p010le"``.
        host: the ``av.VideoFrame`` that this was uploaded from, if any: untouched, it reaches a CPU encoder as it was.
        pts: presentation timestamp in ticks of ``time_base``.
        time_base: seconds per tick.
        duration: ticks that the frame is shown, where the file says so.
    """

    y: torch.Tensor
    uv: torch.Tensor
    format: str = "nv12"
    host: Any = None
    pts: int | None = None
    time_base: Fraction | None = None
    duration: int | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"a surface is {' or '.join(FORMATS)}, not {self.format!r}")

    @property
    def width(self) -> int:
        """Coded width in pixels."""
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        """Coded height in pixels."""
        return int(self.y.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the planes lie."""
        return self.y.device

    @property
    def bit_depth(self) -> int:
        """8 or 10 bits per sample."""
        return 8 if self.format == "nv12" else 10

    @property
    def nbytes(self) -> int:
        """Bytes of both planes."""
        return int(self.y.nbytes + self.uv.nbytes)

    def record(self, stream: Any) -> None:
        """Tell the allocator that a stream uses this memory; nothing on a device without streams.

        Args:
            stream: a ``torch.cuda.Stream``.
        """
        if self.y.is_cuda:
            self.y.record_stream(stream)
            self.uv.record_stream(stream)


def from_av(frame: Any) -> Surface:
    """A surface of its own memory from a frame that lies in NV12 or P010, on a card or on the host.

    FFmpeg's CUDA decoders work on the legacy default stream (``libavcodec/nvdec.c`` passes the stream of the device
    context, which is 0), and torch's own streams do not wait for that one by themselves. So the copy waits for it, and
    it waits for the copy: the decoder writes into the memory again as soon as the frame is dropped.

    Args:
        frame: an ``av.VideoFrame``: of the pixel format ``cuda``, or ``nv12``/``p010le`` on the host.

    Raises:
        ValueError: another format; or a card's frame with an odd side, whose last chroma PyAV does not export.
    """
    import torch

    hardware = frame.format.name == "cuda"
    inner = frame.sw_format.name if hardware else frame.format.name
    if inner not in FORMATS:
        raise ValueError(f"a surface is made of {' or '.join(FORMATS)}, not of {inner}: use convert.upload")
    if hardware and (frame.width % 2 or frame.height % 2):
        raise ValueError(f"a frame of {frame.width}x{frame.height} on a card: PyAV exports even sizes only")
    with torch.inference_mode(False):
        if hardware:
            y, uv = _from_card(frame)
        elif frame.width % 2 or frame.height % 2:
            y, uv = (torch.from_numpy(plane.copy()) for plane in host_planes(frame))
        else:
            y, uv = (plane.clone(memory_format=torch.contiguous_format) for plane in _lent(frame))
    return Surface(y, uv, inner, pts=frame.pts, time_base=frame.time_base, duration=frame.duration)


def _lent(frame: Any) -> list[torch.Tensor]:
    """A frame's planes as tensors over its own memory.

    The capsule is asked for here: ``from_dlpack(plane)`` would name the current stream on a card, for which PyAV 18
    raises NotImplementedError (``av/video/plane.py``, ``__dlpack__``). So who calls this sees to the order.
    """
    from torch.utils.dlpack import from_dlpack

    return [from_dlpack(plane.__dlpack__()) for plane in frame.planes]


def _from_card(frame: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Both planes of a frame on a card, copied there."""
    import torch

    lent = _lent(frame)
    here, theirs = torch.cuda.current_stream(lent[0].device), torch.cuda.default_stream(lent[0].device)
    here.wait_stream(theirs)
    y, uv = (plane.clone(memory_format=torch.contiguous_format) for plane in lent)
    theirs.wait_stream(here)
    return y, uv


def host_planes(frame: Any) -> tuple[np.ndarray, np.ndarray]:
    """Views of a host frame's planes in NV12 or P010: ``(H, W)`` and ``(ceil(H/2), ceil(W/2), 2)``."""
    kind = np.uint8 if frame.format.name == "nv12" else np.uint16
    rows, columns = -(-frame.height // 2), -(-frame.width // 2)
    y, uv = (np.frombuffer(p, np.uint8).view(kind).reshape(-1, p.line_size // kind().itemsize) for p in frame.planes)
    return y[: frame.height, : frame.width], uv[:rows, : 2 * columns].reshape(rows, columns, 2)


_contexts: dict[tuple[int, int], Any] = {}


def to_av(surface: Surface) -> Any:
    """The surface as an ``av.VideoFrame`` over the same memory, where an encoder of the same device takes it.

    On a card the encoder works on the current stream, so that what was queued there is done before it reads, and the
    host waits for nothing. Do not write into the surface afterwards. FFmpeg shares torch's CUDA context as the thread's
    current one: asked for the primary context, it refuses one that is active with other flags than its own
    (``libavutil/hwcontext_cuda.c``, ``cuda_context_init``), as torch's is.

    Args:
        surface: with even sides.

    Raises:
        ValueError: a side is odd.
    """
    import torch
    from av.video.frame import CudaContext, VideoFrame

    planes = (_whole_rows(surface.y), _whole_rows(surface.uv))
    if not surface.y.is_cuda:
        frame = VideoFrame.from_dlpack(tuple(plane.numpy() for plane in planes), format=surface.format)
    else:
        device, stream = surface.y.get_device(), torch.cuda.current_stream(surface.device)
        handle = int(stream.cuda_stream) if device == 0 else 0  # PyAV takes a stream for device 0 only
        if device:
            stream.synchronize()
        context = _contexts.get((device, handle))
        if context is None:
            # FFmpeg refuses the primary context once PyTorch has made it active (its flags differ): use the current one.
            torch.cuda.synchronize(device)  # a call of CUDA's runtime makes it current in this thread
            context = CudaContext(device_id=device, primary_ctx=False, current_ctx=True, cuda_stream=handle)
            _contexts[device, handle] = context
        frame = VideoFrame.from_dlpack(planes, format=surface.format, cuda_context=context)
    return stamp(frame, surface)


def _whole_rows(plane: torch.Tensor) -> torch.Tensor:
    """The plane itself where each row lies in one piece, however far apart the rows are; else a copy."""
    return plane if plane[0].is_contiguous() else plane.contiguous()


def stamp(frame: Any, surface: Surface) -> Any:
    """Give an ``av.VideoFrame`` the surface's timestamps."""
    frame.pts = surface.pts
    if surface.time_base is not None:
        frame.time_base = surface.time_base
    frame.duration = surface.duration or 0
    return frame
