"""Insertion and deletion curves: does the score depend on what a map calls important?

Petsiuk, Das & Saenko 2018, "RISE" (arXiv 1806.07421, section 4.2): the most important cells are taken out of a picture
first (deletion, a good map makes the score fall fast: low area) or put into an empty one first (insertion, a good map
makes it rise fast: high area). What "empty" means decides much, so every curve is taken with more than one baseline.
Pictures and volumes are the same to this module: ``*space`` is (H, W) or (T, H, W), ``*grid`` likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from framelane.errors import FramelaneError

if TYPE_CHECKING:
    from torch import Tensor

Score = Callable[["Tensor"], "Tensor"]
"""From pictures (K, C, *space) to one number each, (K,)."""
BLUR = 0.1
"""Standard deviation of the blurred baseline, as a share of the picture's shorter side."""


@dataclass(frozen=True)
class Curves:
    """Scores while one map's cells go out or come in, most important first; float64 (fractions,) each.

    Attributes:
        insertion: from the baseline to the original.
        deletion: from the original to the baseline.
    """

    insertion: Tensor
    deletion: Tensor


def quadratic(steps: int) -> Tensor:
    """Fractions (i / steps)^2 from 0 to 1: float64 (steps + 1,).

    Objects cover a few percent of a frame. As many even steps as a few minutes allow would step over them; these are
    dense where the curves bend, and the trapezoids of :func:`area` weigh them by their distance.
    """
    import torch

    return torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 2


def ranks(saliency: Tensor, seed: int = 0) -> Tensor:
    """Each cell's place in the order of importance, 0 the first: int64, of the map's shape; equals in random order."""
    import torch

    flat = saliency.detach().flatten()
    mixed = torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed))
    order = mixed[flat[mixed].argsort(descending=True, stable=True)]
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order))
    return places.view(saliency.shape)


def replaced(start: Tensor, end: Tensor, places: Tensor, fraction: float) -> Tensor:
    """``start`` with its most important cells taken from ``end``.

    Args:
        start: (C, *space).
        end: (C, *space).
        places: from :func:`ranks`, (*grid); its cells tile the space evenly.
        fraction: 0 to 1 of the cells, rounded to whole ones.
    """
    from torch.nn.functional import interpolate

    chosen = (places < round(fraction * places.numel())).to(start.dtype)
    mask = interpolate(chosen[None, None], size=start.shape[1:], mode="nearest")[0]
    return end * mask + start * (1 - mask)


def curves(
    score: Score,
    original: Tensor,
    baseline: Tensor,
    maps: dict[str, Tensor],
    fractions: Tensor,
    *,
    batch: int = 16,
    seed: int = 0,
) -> dict[str, Curves]:
    """Both curves of every map on one picture. The ends are scored once: they are the same for all maps.

    Args:
        score: called without gradients on up to ``batch`` pictures.
        original: (C, *space).
        baseline: (C, *space), what "nothing" looks like.
        maps: by name, (*grid); only the order of their cells counts.
        fractions: (K,), rising from 0 to 1.
        batch: pictures a call.
        seed: of the order among equal cells.

    Raises:
        FramelaneError: the fractions do not go from 0 to 1.
    """
    import torch

    if float(fractions[0]) != 0 or float(fractions[-1]) != 1:
        raise FramelaneError("The fractions of an insertion or deletion curve must go from 0 to 1.")
    inner = fractions[1:-1].tolist()

    def pictures() -> Iterator[Tensor]:
        yield original
        yield baseline
        for saliency in maps.values():
            places = ranks(saliency, seed)
            for start, end in ((baseline, original), (original, baseline)):
                yield from (replaced(start, end, places, fraction) for fraction in inner)

    with torch.no_grad():
        waiting = pictures()
        parts = iter(lambda: list(islice(waiting, batch)), [])
        found = torch.cat([score(torch.stack(part)).double().cpu() for part in parts])
    whole, empty, rest = found[:1], found[1:2], found[2:].view(len(maps), 2, len(inner))
    return {
        name: Curves(torch.cat([empty, inserted, whole]), torch.cat([whole, deleted, empty]))
        for name, (inserted, deleted) in zip(maps, rest, strict=True)
    }


def area(values: Tensor, fractions: Tensor) -> float:
    """The area under a curve by trapezoids, on an axis from 0 to 1; for even steps RISE's ``auc``."""
    import torch

    return float(torch.trapezoid(values.double(), fractions.double()))


def mean_colour(picture: Tensor) -> Tensor:
    """A baseline: the picture's own mean in every channel; (C, *space)."""
    axes = tuple(range(1, picture.ndim))
    return picture.mean(dim=axes, keepdim=True).expand_as(picture).clone()


def blurred(picture: Tensor, share: float = BLUR) -> Tensor:
    """A baseline: the picture under a Gaussian in height and width, borders mirrored; (C, *space).

    RISE blurs with 11 taps of sigma 5 at 224 pixels, which leaves most objects recognisable to a large model.

    Args:
        picture: (C, H, W) or (C, T, H, W).
        share: the standard deviation, as a share of the shorter of H and W.
    """
    import torch
    from torch.nn.functional import conv2d, pad

    high, wide = picture.shape[-2:]
    sigma = share * min(high, wide)
    radius = min(round(3 * sigma), min(high, wide) - 1)
    bell = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=picture.dtype) / sigma) ** 2)
    bell = (bell / bell.sum()).to(picture.device)
    planes = pad(picture.reshape(-1, 1, high, wide), (radius,) * 4, mode="reflect")
    return conv2d(conv2d(planes, bell[None, None, :, None]), bell[None, None, None, :]).view(picture.shape)


def spearman(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two maps of one shape, equals sharing their mean rank; 0 where one is even.

    Raises:
        FramelaneError: the shapes differ.
    """
    import torch

    if one.shape != other.shape:
        raise FramelaneError(f"Maps of {tuple(one.shape)} and {tuple(other.shape)} cannot be correlated.")
    pair = torch.stack([_shared_ranks(one), _shared_ranks(other)])
    pair = pair - pair.mean(dim=1, keepdim=True)
    norms = pair.norm(dim=1).prod()
    return float(pair.prod(dim=0).sum() / norms) if norms > 0 else 0.0


def _shared_ranks(saliency: Tensor) -> Tensor:
    import numpy as np
    import torch

    _, cell, counts = np.unique(saliency.detach().cpu().numpy(), return_inverse=True, return_counts=True)
    shared = counts.cumsum() - (counts - 1) / 2
    return torch.from_numpy(shared[cell.ravel()])
