"""Samples of NV12 and P010 as numbers, and the working memory that conversions share."""

from __future__ import annotations

import threading
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_local = threading.local()


def samples(plane: torch.Tensor, bits: int) -> torch.Tensor:
    """Samples as numbers: those of P010 lie in the upper ten of 16 bits, for which torch has no arithmetic."""
    import torch

    return plane if bits == 8 else plane.view(torch.int16).bitwise_right_shift(6).bitwise_and_(1023)


def stored(plane: torch.Tensor, bits: int) -> torch.Tensor:
    """Numbers as samples, rounded and held to the range; ``plane`` is changed."""
    import torch

    plane.add_(0.5).clamp_(0, (1 << bits) - 1)
    if bits == 8:
        return plane.to(torch.uint8)
    return plane.to(torch.int16).bitwise_left_shift_(6).view(torch.uint16)


def scratch(name: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Working memory, float32, of this thread and its current stream: allocated once."""
    import torch

    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    kept: dict[Any, torch.Tensor] = _local.__dict__.setdefault("kept", {})
    key = name, str(device), stream
    count = prod(shape)
    if key not in kept or kept[key].numel() < count:
        kept[key] = torch.empty(count, dtype=torch.float32, device=device)
    return kept[key][:count].view(shape)
