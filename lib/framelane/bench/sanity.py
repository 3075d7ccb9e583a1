"""The sanity check of Adebayo et al. 2018 ("Sanity checks for saliency maps", arXiv 1810.03292, section 3).

A map that is about what a model learned must change when the model forgets it. Weights are made random from the last
layer to the first (cascading) or all at once, and each map is correlated by rank with the trained model's. A method
whose maps stay as they were shows the picture, as an edge detector would, and not the model: it fails.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from statistics import mean
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

FAILS = 0.5
"""Mean rank correlation with all weights random from which on a method fails. Adebayo et al. draw no line."""
ALL_AT_ONCE = "all at once"


class Staged(Protocol):
    """A backbone that says what its modules are, from the output to the input."""

    def stages(self) -> list[list[Any]]:
        """Groups of modules."""
        ...


B = TypeVar("B", bound=Staged)


def cascade(backbone: B, seed: int) -> Iterator[B]:
    """The backbone with its last stage random, its last two, and so on to all: the same copy, changed as one goes on."""
    changed = copy.deepcopy(backbone)
    for number, stage in enumerate(changed.stages()):
        randomise(stage, seed + number)
        yield changed


def all_at_once(backbone: B, seed: int) -> B:
    """A copy of the backbone in which no weight is trained."""
    changed = copy.deepcopy(backbone)
    randomise([module for stage in changed.stages() for module in stage], seed)
    return changed


def randomise(modules: list[Any], seed: int) -> None:
    """Make every weight in these modules random, in place.

    What knows how it begins (linear, convolution, norm) begins anew, as in Quantus's ``MPRT``. The values of other
    parameters (tokens, positions, scales) are shuffled, so that their size stays right.

    Args:
        modules: torch modules.
        seed: the same seed gives the same weights; torch's global state is left alone.
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for part in (part for module in modules for part in module.modules()):
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
                continue
            for values in part.parameters(recurse=False):
                values.copy_(values.flatten()[torch.randperm(values.numel())].view_as(values))


def correlations(
    backbone: B, maps: Callable[[B, int], dict[str, Tensor]], pictures: int, seed: int = 0
) -> dict[str, list[float]]:
    """Mean rank correlation of each map with the trained model's.

    Args:
        backbone: trained.
        maps: from a backbone and the number of a picture to its maps by name.
        pictures: how many there are.
        seed: of the random weights.

    Returns:
        By name: with the last stage random, the last two, ... all, and last with all random at once by another seed.
    """
    from framelane.bench.curves import spearman

    trained = [maps(backbone, i) for i in range(pictures)]
    found: dict[str, list[float]] = {name: [] for name in trained[0]}

    def note(changed: B) -> None:
        now = [maps(changed, i) for i in range(pictures)]
        for name, values in found.items():
            values.append(mean(spearman(a[name], b[name]) for a, b in zip(trained, now, strict=True)))

    for changed in cascade(backbone, seed):
        note(changed)
    note(all_at_once(backbone, seed + 1000))
    return found


def passes(values: list[float]) -> bool:
    """Whether a method's maps depend on the weights: with all of them random, either way, little of its order is left."""
    return max(abs(value) for value in values[-2:]) < FAILS


def edges(picture: Tensor, grid: tuple[int, ...]) -> Tensor:
    """The control that ignores the model: the brightness's gradient, averaged in each cell.

    Args:
        picture: (C, H, W), or (C, T, H, W) of a volume.
        grid: (gh, gw), or (gt, gh, gw).
    """
    import torch
    from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d, pad

    grey = picture.mean(dim=0)
    down = pad(grey.diff(dim=-2), (0, 0, 0, 1))
    across = pad(grey.diff(dim=-1), (0, 1))
    strength = torch.hypot(down, across)[None]
    return (adaptive_avg_pool2d if len(grid) == 2 else adaptive_avg_pool3d)(strength, grid)[0]  # type: ignore[arg-type]
