"""A surface: one frame in device memory, as a hardware decoder leaves it and a hardware encoder takes it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

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
