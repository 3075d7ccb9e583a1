"""Surfaces at another size, on their planes: no RGB is made."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from framelane.video.samples import samples, stored
from framelane.video.surface import Surface

if TYPE_CHECKING:
    import torch


def resize(surface: Surface, size: tuple[int, int]) -> Surface:
    """A surface at another size, on its planes: by area where a side shrinks, bilinear where it grows.

    Args:
        surface: NV12 or P010.
        size: (width, height) in pixels.
    """
    import torch

    width, height = size
    chroma = -(-height // 2), -(-width // 2)
    with torch.inference_mode(False), torch.no_grad():
        y = stored(_scaled(samples(surface.y, surface.bit_depth)[None], (height, width)), surface.bit_depth)[0]
        uv = stored(_scaled(samples(surface.uv.movedim(2, 0), surface.bit_depth), chroma), surface.bit_depth)
    return Surface(
        y, uv.movedim(0, 2).contiguous(), surface.format, None, surface.pts, surface.time_base, surface.duration
    )


def _scaled(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Planes ``(N, h, w)`` as float32 at another size ``(h, w)``: one matrix a side."""
    import torch

    given = int(planes.shape[1]), int(planes.shape[2])
    large = planes.float()
    if given[0] != size[0]:
        large = torch.matmul(_weights(given[0], size[0], str(planes.device)), large)
    if given[1] != size[1]:
        large = torch.matmul(large, _weights(given[1], size[1], str(planes.device)).T)
    return large.clone() if large is planes else large


@lru_cache(maxsize=32)
def _weights(given: int, wanted: int, device: str) -> torch.Tensor:
    """float32 ``(wanted, given)``: each row the weights of the samples that make one; every row sums to 1.

    A sample is a box of width 1. Shrinking, a new sample is the mean of what its box covers; growing, it is
    interpolated linearly between the two nearest centres, edges repeated.
    """
    import torch

    scale = given / wanted
    weights = np.zeros((wanted, given))
    for row in range(wanted):
        if wanted < given:
            first, last = row * scale, (row + 1) * scale
            covered = np.arange(int(first), min(given, int(np.ceil(last - 1e-9))))
            weights[row, covered] = np.minimum(covered + 1, last) - np.maximum(covered, first)
        else:
            centre = min(max((row + 0.5) * scale - 0.5, 0.0), given - 1.0)
            low = min(int(centre), max(0, given - 2))
            weights[row, low] = 1 - (centre - low)
            if centre > low:
                weights[row, low + 1] += centre - low
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32)).to(device)


def crop(surface: Surface, left: int, top: int, width: int, height: int) -> Surface:
    """A part of a surface, chroma in step; it owns its memory.

    Args:
        surface: NV12 or P010.
        left: column of its left edge, even.
        top: row of its top edge, even.
        width: in pixels.
        height: in pixels.

    Raises:
        ValueError: an odd position, or a part that does not lie on the surface.
    """
    if left % 2 or top % 2:
        raise ValueError(f"a part begins at even positions, not at {left}, {top}: chroma has half as many")
    inside = 0 <= left < left + width <= surface.width and 0 <= top < top + height <= surface.height
    if not inside:
        raise ValueError(f"{width}x{height} at {left}, {top} does not lie on {surface.width}x{surface.height}")
    y = surface.y[top : top + height, left : left + width].contiguous()
    rows, columns = slice(top // 2, -(-(top + height) // 2)), slice(left // 2, -(-(left + width) // 2))
    uv = surface.uv[rows, columns].contiguous()
    if y.data_ptr() == surface.y.data_ptr():
        y, uv = y.clone(), uv.clone()
    return Surface(y, uv, surface.format, None, surface.pts, surface.time_base, surface.duration)
