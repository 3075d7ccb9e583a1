"""How many whole frames crossed between host and device: counted where it happens, not assumed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch

Way = Literal["upload", "download"]


class Copies:
    """Counts copies of whole frames between host and device memory; any thread may note one.

    Thumbnails, checksums and drawn labels, which are small, are not whole frames and not counted. A surface on the
    device "cpu" counts like one on a card, so that a test sees what a card would do.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def note(self, way: Way, nbytes: int) -> None:
        """Count one frame.

        Args:
            way: ``"upload"`` (host to device) or ``"download"``.
            nbytes: its size.
        """
        with self._lock:
            self._frames[way] += 1
            self._bytes[way] += nbytes

    def counted(self) -> dict[str, int]:
        """Since the last reset: ``uploads``, ``downloads``, ``upload_bytes`` and ``download_bytes``."""
        with self._lock:
            return {
                "uploads": self._frames["upload"],
                "downloads": self._frames["download"],
                "upload_bytes": self._bytes["upload"],
                "download_bytes": self._bytes["download"],
            }

    def reset(self) -> None:
        """Begin at 0."""
        with self._lock:
            self._frames: dict[str, int] = {"upload": 0, "download": 0}
            self._bytes: dict[str, int] = {"upload": 0, "download": 0}


COPIES = Copies()
"""The process's own counter."""


def to_host(pixels: torch.Tensor) -> np.ndarray:
    """A frame's pixels for work that must be done on the host: a view where they lie there, else a counted copy.

    Args:
        pixels: one frame, any shape.
    """
    if pixels.device.type == "cpu":
        return _array(pixels)
    COPIES.note("download", pixels.nbytes)
    return _array(pixels.cpu())


def _array(pixels: torch.Tensor) -> np.ndarray:
    """A tensor of the CPU as an array over the same memory."""
    array: np.ndarray = pixels.detach().numpy()
    return array


def to_device(pixels: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """A frame's pixels where they are needed: the same tensor where they lie there, else a copy.

    Counted where it crosses between host and device.

    Args:
        pixels: one frame or more, ``(..., 3, H, W)``.
        device: where to.
    """
    there = pixels.to(device)
    if there.device.type != pixels.device.type:
        frames = max(1, pixels[..., 0, 0, 0].numel())
        for _ in range(frames):
            COPIES.note("download" if there.device.type == "cpu" else "upload", pixels.nbytes // frames)
    return there
