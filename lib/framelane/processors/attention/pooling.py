"""Pooled attention: the way back from a layer's pooled queries and keys to the tokens that entered it.

MViT (Fan et al. 2021, arXiv 2104.11227; v2: Li et al. 2022, arXiv 2112.01526) pools queries, keys and values on their
3D grid with a strided convolution before it multiplies them, so a layer's attention runs from one grid to another.
A :class:`Pooling` is the matrix P from pooled to unpooled tokens. Its rows sum to 1 and CLS goes to CLS, so that
products of such matrices and of attention keep the sum 1, as the rollout of an unpooled model does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Pooling:
    """The matrix P, (1 + pooled tokens) x (1 + source tokens), applied to row vectors without ever being written out.

    Attributes:
        source: (t, h, w) before pooling.
        pooled: (t, h, w) after.
        stride: cells of the source from one pooled cell to the next, on each axis.
        kernel: non-negative weights (kt, kh, kw) with which a pooled cell takes from the source; None takes evenly from
            the block of ``stride`` cells that is its own.
        padding: cells by which the kernel begins before the block, on each axis; 0 without a kernel.
    """

    source: Grid
    pooled: Grid
    stride: Grid
    kernel: Tensor | None = None
    padding: Grid = (0, 0, 0)

    def __call__(self, row: Tensor) -> Tensor:
        """Row vectors times P: (N, 1 + pooled tokens) to (N, 1 + source tokens); the sum of each stays."""
        import torch
        from torch.nn import functional

        if self.kernel is None and self.stride == (1, 1, 1):
            return row
        kernel = row.new_ones(self.stride) if self.kernel is None else self.kernel.to(row)
        weight = kernel[None, None]
        full = [(n - 1) * s + k for n, s, k in zip(self.pooled, self.stride, kernel.shape, strict=True)]
        inside = row.new_zeros((1, 1, *full))
        inside[self._window(full)] = 1
        taken = functional.conv3d(inside, weight, stride=self.stride)  # what each row of P has before normalisation
        cells = row[:, 1:].reshape(-1, 1, *self.pooled) / taken
        spread = functional.conv_transpose3d(cells, weight, stride=self.stride)[self._window(full)]
        missing = [n - have for n, have in zip(self.source, self._sizes(full), strict=True)]
        spread = functional.pad(spread, (0, missing[2], 0, missing[1], 0, missing[0]))
        return torch.cat([row[:, :1], spread.reshape(row.shape[0], -1)], dim=1)

    def _sizes(self, full: list[int]) -> list[int]:
        return [min(n, f - p) for n, f, p in zip(self.source, full, self.padding, strict=True)]

    def _window(self, full: list[int]) -> tuple[slice, ...]:
        """Where the source lies in everything that kernels reach."""
        cells = zip(self.padding, self._sizes(full), strict=True)
        return (slice(None), slice(None), *(slice(p, p + n) for p, n in cells))


def on_tiles(maps: Tensor, shift: tuple[float, ...]) -> Tensor:
    """Maps of tokens that lie beside their even tiles, brought onto the tiles.

    A tile takes from the cells that it overlaps, by the overlap; the first and the last cell go on to the frame's edge,
    so an even map stays even.

    Args:
        maps: (N, *grid), each of which sums to 1.
        shift: as in ``Capture``, less than 1 each; empty changes nothing.
    """
    import torch

    if not any(shift):
        return maps
    for axis, amount in enumerate(shift, start=1):
        length = maps.shape[axis]
        beside = (torch.arange(length, device=maps.device) + (1 if amount < 0 else -1)).clamp(0, length - 1)
        maps = (1 - abs(amount)) * maps + abs(amount) * maps.index_select(axis, beside)
    return maps / maps.sum(dim=tuple(range(1, maps.ndim)), keepdim=True)


@dataclass(frozen=True)
class Pools:
    """How one layer pooled the tokens that entered it.

    Attributes:
        queries: P of the queries, which the residual path follows too.
        keys: P of the keys and values.
    """

    queries: Pooling
    keys: Pooling
