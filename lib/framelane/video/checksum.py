"""A checksum of a decoded frame's pixels: the same whatever decoded it and wherever it lies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.video.samples import samples
from framelane.video.surface import Surface

if TYPE_CHECKING:
    import torch

_EVERY = 16  # rows
_BITS = (1 << 63) - 1


def checksum(frame: Any) -> int:
    """A number from every 16th row of a frame's first plane: the sum of weighted samples, modulo 2^63.

    Sums modulo a power of two do not depend on the order of adding, so any device gives the same; and luma is the same
    in a planar host frame and in a surface. The weights are pseudo-random, so that no place can make up for another.

    Args:
        frame: an ``av.VideoFrame``, or a :class:`Surface`, for whose number the host waits.
    """
    return checksums([frame])[0]


def checksums(frames: Sequence[Any]) -> Checksums:
    """The checksums of some frames of one size, all on the host or all surfaces.

    Those of surfaces are computed on their device, and fetched when one is first asked for.
    """
    return Checksums(frames)


class Checksums:
    """See :func:`checksums`; the frames themselves are not kept."""

    def __init__(self, frames: Sequence[Any]) -> None:
        self._known: list[int] = []
        self._waiting: torch.Tensor | None = None
        if frames and all(isinstance(frame, Surface) for frame in frames):
            self._waiting = _of_surfaces(frames)
        else:
            self._known = [_of_host(frame) for frame in frames]

    def __getitem__(self, index: int) -> int:
        if self._waiting is not None:
            self._known = [number & _BITS for number in self._waiting.cpu().tolist()]
            self._waiting = None
        return self._known[index]


def _of_host(frame: Any) -> int:
    rows = _host_rows(frame)
    return int((rows.astype(np.int64) * _weights(*rows.shape)).sum()) & _BITS


def _host_rows(frame: Any) -> np.ndarray:
    """Every 16th row of the first plane: samples where it holds luma alone in 8 to 16 bits, else bytes."""
    plane, kind = frame.planes[0], frame.format
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height : _EVERY]
    bits, alone = kind.components[0].bits, len(frame.planes) > 1 or len(kind.components) == 1
    if alone and 8 < bits <= 16:
        luma = rows.view(np.uint16)[:, : plane.width]
        return luma >> 6 if kind.name == "p010le" else luma
    return rows[:, : min(plane.width * -(-bits // 8) * (1 if alone else len(kind.components)), plane.line_size)]


def _of_surfaces(surfaces: Sequence[Surface]) -> torch.Tensor:
    """int64 ``(N,)`` on the surfaces' device; nothing is fetched."""
    import torch

    with torch.inference_mode(False):
        rows = torch.stack([samples(surface.y[::_EVERY], surface.bit_depth) for surface in surfaces])
        weights = _weights_on(int(rows.shape[1]), int(rows.shape[2]), str(rows.device))
        return rows.to(torch.int64).mul_(weights).sum((1, 2))


@lru_cache(maxsize=8)
def _weights_on(rows: int, columns: int, device: str) -> torch.Tensor:
    import torch

    return torch.from_numpy(_weights(rows, columns)).to(device)


@lru_cache(maxsize=8)
def _weights(rows: int, columns: int) -> np.ndarray:
    """int64 ``(rows, columns)`` of odd pseudo-random numbers: splitmix64 of the place (Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        mixed = np.arange(1, rows * columns + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)).view(np.int64).reshape(rows, columns)
