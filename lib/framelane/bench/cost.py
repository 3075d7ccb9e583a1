"""What the maps of a video transformer cost, beside its own passes: milliseconds a window."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table
    from torch import Tensor

    from framelane.processors.attention.mvit import MvitBackbone

FORWARD, GRADIENTS = "forward", "forward and gradients"
TARGET = 10.0
"""Percent of a window's time that rollout may take at most."""


def times(backbone: MvitBackbone, window: Tensor, repeats: int) -> dict[str, float]:
    """Median milliseconds a window: the pass forward, the pass forward and back, and each method alone.

    Runs are taken in turn, after one to warm up: what else the machine does then hits all alike.

    Args:
        backbone: of any size.
        window: as it takes one, (1, 3, T, S, S).
        repeats: timed runs of each.
    """
    from framelane.bench.about import in_turn
    from framelane.processors.attention.methods import get_method, method_names

    capture = backbone.capture(window, gradients=True)

    def timed(task: Callable[[], Any]) -> Callable[[], float]:
        def once() -> float:
            started = time.perf_counter()
            task()
            return 1000 * (time.perf_counter() - started)

        return once

    def maps(name: str) -> Callable[[], Any]:
        method = get_method(name)
        return lambda: method.maps(capture)

    tasks = {
        FORWARD: lambda: backbone.capture(window, gradients=False),
        GRADIENTS: lambda: backbone.capture(window, gradients=True),
        **{name: maps(name) for name in method_names()},
    }
    runs = in_turn({name: timed(task) for name, task in tasks.items()}, repeats + 1)
    return {name: round(median(found[1:]), 1) for name, found in runs.items()}


def of_mvit_v2_s(repeats: int) -> dict[str, float]:
    """:func:`times` of torchvision's MViTv2-S on 16 x 224 x 224; the weights are random, which costs the same."""
    import torch

    from framelane.processors.attention.mvit import MvitBackbone
    from framelane.processors.attention.mvit_models import kinetics_classes, mvit_v2_s

    torch.manual_seed(0)
    backbone = MvitBackbone(mvit_v2_s(), "cpu", kinetics_classes())
    return times(backbone, torch.randn(1, 3, 16, 224, 224), repeats)


def share(ms: dict[str, float], method: str) -> float:
    """Percent of a window's whole time that a method itself takes, its pass through the model being the rest."""
    from framelane.processors.attention.methods import get_method

    model = ms[GRADIENTS if get_method(method).needs_gradients else FORWARD]
    return 100 * ms[method] / (model + ms[method])


def sentence(ms: dict[str, float]) -> str:
    """Whether rollout is as cheap as it should be."""
    found = share(ms, "rollout")
    met = "met" if found < TARGET else "MISSED"
    return f"mvit_v2_s: rollout is {found:.1f} % of the whole (target < {TARGET:.0f} %: {met})."


def table(models: dict[str, dict[str, float]]) -> Table:
    """Milliseconds and shares of :func:`times`, a column a model."""
    from rich.table import Table

    found = Table("ms a window", *models, title="cost")
    for name in next(iter(models.values())):
        passes = name in (FORWARD, GRADIENTS)
        cells = [
            f"{ms[name]:.1f}" + ("" if passes else f" ({share(ms, name):.1f} % of the whole)") for ms in models.values()
        ]
        found.add_row(name, *cells)
    return found
