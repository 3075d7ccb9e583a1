"""Where an object of a deformable DETR looks: its sampling points, gathered into a map over the frame.

Deformable attention (Zhu et al. 2021, arXiv 2010.04159, eq. 2 and 3) has no map of its own: every query samples a few
points in each feature level and weighs them. :func:`sampling` overhears the points and their weights in the model, and
:func:`splat` puts each weight where its point lies. The models of ``transformers`` return the weights, not the points.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError

if TYPE_CHECKING:
    from torch import Tensor

LONG_SIDE = 48
"""Cells along the frame's longer side: cells of 1/27 of a 1280-pixel frame, near the stride 32 of a feature map."""
_SAMPLER = "MultiScaleDeformableAttention"  # the inner module's class; transformers calls it so in every model


@dataclass
class Samples:
    """What the decoder's last cross-attention sampled in the last pass through the model.

    Attributes:
        locations: (N, queries, heads, levels, points, 2): x, y from 0 to 1 of the network's input, padding included.
        weights: (N, queries, heads, levels, points), at least 0; they sum to 1 for each query and head.
    """

    locations: Tensor = field(init=False)
    weights: Tensor = field(init=False)


@contextmanager
def sampling(model: Any) -> Iterator[Samples]:
    """Overhear the last decoder layer of a model while the block lasts; no hook is left behind.

    The last layer alone, not a mean over layers: its output is what class and box are read from, while earlier layers
    still look around a first guess of the box.

    Args:
        model: ``DeformableDetrForObjectDetection`` or one of its relatives.

    Yields:
        Samples, filled by each pass through the model.

    Raises:
        FramelaneError: the model's last decoder layer has no deformable attention, or more than one.
    """
    layer = model.model.decoder.layers[-1]
    inner = [module for module in layer.modules() if type(module).__name__ == _SAMPLER]
    if len(inner) != 1:
        raise FramelaneError(
            f"The last decoder layer of {type(model).__name__} has {len(inner)} modules {_SAMPLER}, not one; "
            "this version of transformers builds it in a way that framelane does not know."
        )
    signature = inspect.signature(inner[0].forward)
    samples = Samples()

    def note(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # By name: today's callers pass them as positional arguments 4 and 5.
        given = signature.bind(*args, **kwargs).arguments
        samples.locations, samples.weights = given["sampling_locations"].detach(), given["attention_weights"].detach()

    with inner[0].register_forward_pre_hook(note, with_kwargs=True):
        yield samples


def grid_for(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the map of a frame: the longer side has :data:`LONG_SIDE`, the aspect ratio is kept.

    Example:
        >>> grid_for(720, 1280)
        (27, 48)
    """
    longer = max(height, width)
    return max(1, round(LONG_SIDE * height / longer)), max(1, round(LONG_SIDE * width / longer))


def splat(points: Tensor, weights: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps of weighted points: each weight is shared bilinearly among the four cells around its point.

    It is the transpose of the bilinear reading in the model, with cell centres at (i + 0.5) / cells. A point outside
    the frame is dropped: there the model reads zeros, so it saw nothing of the picture. A point between the border and
    the nearest centre belongs to the border's cells.

    A cell's share is the product of a share by row and one by column, so all points of a map are one matrix product.
    That gives the same bits every time, where a scatter on a GPU adds in any order.

    Args:
        points: (n, P, 2), x and y from 0 to 1 over the displayed frame; they may lie outside.
        weights: (n, P), at least 0.
        grid: rows and columns.

    Returns:
        float32 (n, rows, columns), at least 0, each map with sum 1. A map is uniform where nothing lies inside: it stays
        a distribution, and claims no place.
    """
    import torch

    points, weights = points.float(), weights.float()
    inside = ((points >= 0) & (points <= 1)).all(dim=-1)
    points = torch.where(inside[..., None], points, 0.0)  # NaN is outside as well, and NaN times 0 is NaN
    weights = torch.where(inside, weights, 0.0)
    down, across = (_shares(points[..., axis], cells) for axis, cells in zip((1, 0), grid, strict=True))
    maps = (down * weights[..., None]).transpose(1, 2) @ across
    total = maps.sum(dim=(1, 2), keepdim=True)
    return torch.where(total > 0, maps / torch.where(total > 0, total, 1.0), 1 / (grid[0] * grid[1]))


def _shares(places: Tensor, cells: int) -> Tensor:
    """(n, P) from 0 to 1 to (n, P, cells): linear shares of the two nearest centres, at most the outermost ones."""
    import torch

    centres = torch.arange(cells, dtype=places.dtype, device=places.device)
    steps = (places * cells - 0.5).clamp(0, cells - 1)
    return (1 - (steps[..., None] - centres).abs()).clamp(min=0)


def maps_of(samples: Samples, frames: Tensor, queries: Tensor, extent: Tensor, grid: tuple[int, int]) -> Tensor:
    """The maps of some queries, summed over heads, levels and points.

    Args:
        samples: of one pass through the model.
        frames: int64 (n,), positions in the pass.
        queries: int64 (n,).
        extent: (N, 2), the shares of the input's width and height that the frame fills; the rest is padding at right
            and bottom.
        grid: rows and columns.

    Returns:
        float32 (n, rows, columns), as :func:`splat` gives them.
    """
    points = samples.locations[frames, queries].float() / extent[frames].float().view(-1, 1, 1, 1, 2)
    return splat(points.flatten(1, 3), samples.weights[frames, queries].flatten(1), grid)
