"""Pinned memory between a decoder on the CPU and a card: allocated once, copied from on a stream of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_SLOTS = 3


class Staging:
    """A ring of buffers of one frame each, for one thread.

    A copy from pinned memory runs beside everything else; a buffer is written again only once its copy has ended. On
    a device without streams ("cpu", as in tests) the same code copies at once.

    Args:
        device: where frames go.
    """

    def __init__(self, device: str | torch.device) -> None:
        import torch

        self.device = torch.device(device)
        self._on_card = self.device.type == "cuda"
        cuda: Any = torch.cuda
        self._side = cuda.Stream(self.device) if self._on_card else None
        self._buffers: list[torch.Tensor] = []
        self._busy: list[Any] = [None] * _SLOTS
        self._turn = 0

    def carry(self, planes: list[np.ndarray]) -> list[torch.Tensor]:
        """The planes on the device, ready for the current stream.

        Args:
            planes: of one frame; uint8 or uint16, any strides.
        """
        total = sum(plane.nbytes for plane in planes)
        buffer = self._free(total)
        start = 0
        for plane in planes:
            target = buffer[start : start + plane.nbytes].numpy().view(plane.dtype).reshape(plane.shape)
            target[...] = plane
            start += plane.nbytes
        return _cut(self._sent(buffer), planes)

    def _free(self, total: int) -> torch.Tensor:
        """The next buffer, once the card has read what was in it."""
        import torch

        self._turn = (self._turn + 1) % _SLOTS
        if not self._buffers or self._buffers[0].numel() != total:
            if self._on_card:
                self._side.synchronize()
            self._buffers = [torch.empty(total, dtype=torch.uint8, pin_memory=self._on_card) for _ in range(_SLOTS)]
            self._busy = [None] * _SLOTS
        if self._busy[self._turn] is not None:
            self._busy[self._turn].synchronize()
        return self._buffers[self._turn]

    def _sent(self, buffer: torch.Tensor) -> torch.Tensor:
        import torch

        if not self._on_card:
            return buffer.clone()
        with torch.cuda.stream(self._side):
            sent = buffer.to(self.device, non_blocking=True)
            self._busy[self._turn] = self._side.record_event()
        here = torch.cuda.current_stream(self.device)
        here.wait_event(self._busy[self._turn])
        sent.record_stream(here)
        return sent


def _cut(sent: torch.Tensor, planes: list[np.ndarray]) -> list[torch.Tensor]:
    """The flat copy as planes again."""
    import torch

    kinds = {1: torch.uint8, 2: torch.uint16}
    pieces = torch.split(sent, [plane.nbytes for plane in planes])
    return [piece.view(kinds[p.itemsize]).reshape(p.shape) for piece, p in zip(pieces, planes, strict=True)]
