"""``framelane bench motion``: do the maps of a video transformer point at what decided, in space and in time?

A small MViT, trained by ``tests/benchmarks/train_moving.py`` on clips of :mod:`framelane.bench.moving` in which one
disk's motion decides the class, is looked into on clips that it never saw.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError
from framelane.resources import data_path

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from rich.table import Table
    from torch import Tensor

    from framelane.bench.moving import Scene
    from framelane.processors.attention.video import VideoBackbone, VideoCapture

SEED = 20_000_000  # never trained on
CONTROLS = ("motion energy", "centre bias", "random map")
GMAR_OVER_ROLLOUT = 30.0
"""Points of pointing game by which GMAR should beat rollout (arXiv 2504.19414 reports 33.9 on images)."""


@dataclass
class Tally:
    """Scores of one kind of map, one a clip."""

    hits: list[bool] = field(default_factory=list)
    masses: list[float] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)

    def add(self, volume: Tensor, boxes: np.ndarray, moves: np.ndarray, side: int) -> None:
        """Score one map.

        Args:
            volume: (T, gh, gw), one slot a frame.
            boxes: (T, 4): x1, y1, x2, y2 of the disk in each frame.
            moves: (T,): whether the disk is moving.
            side: of the frames in pixels.
        """
        import torch

        from framelane.bench.pointing import mass_in_box, pointing_game

        places, shape = torch.from_numpy(boxes), (side, side)
        slots = volume.sum((1, 2)) / volume.sum()
        highest = int(volume.amax((1, 2)).argmax())
        self.hits.append(pointing_game(volume[highest], places[highest], shape))
        inside = [mass_in_box(v, box, shape) for v, box in zip(volume, places, strict=True)]
        self.masses.append(float(slots @ torch.tensor(inside, dtype=slots.dtype)))
        self.moments.append(float(slots[torch.from_numpy(moves)].sum()))

    def means(self) -> dict[str, float]:
        """In percent: ``pointing`` (the highest point of the whole volume lies in the disk's box of its frame),
        ``mass`` (share of the volume inside the boxes), ``time`` (share that falls on frames in which the disk moves).
        """
        parts: dict[str, list[Any]] = {"pointing": self.hits, "mass": self.masses, "time": self.moments}
        return {name: round(100 * mean(values), 1) for name, values in parts.items()}


def load_model() -> VideoBackbone:
    """The trained small MViT.

    Raises:
        FramelaneError: its weights are not there.
    """
    from safetensors.torch import load_file

    from framelane.bench.moving import CLASSES, FRAMES, SIDE, build_model
    from framelane.processors.attention.mvit import MvitBackbone

    path = data_path("assets", "models", "moving-mvit.safetensors")
    if not path.is_file():
        raise FramelaneError(f"The weights {path} are missing; they ship with framelane, so install it again.")
    model = build_model()
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return MvitBackbone(model, "cpu", CLASSES, frames=FRAMES, resolution=SIDE)


def measure(*, clips: int = 200, repeats: int = 9) -> dict[str, Any]:
    """Score every method and the controls on held-out clips; time one window of each method.

    Args:
        clips: how many.
        repeats: timed runs.
    """
    from framelane.bench.moving import SIDE, make_scene

    backbone, scene = load_model(), make_scene(clips, SEED)
    tallies: dict[str, Tally] = {}
    right = 0
    for index in range(clips):
        capture = backbone.capture(_window(backbone, scene, index), gradients=True)
        right += capture.action[0] == backbone.classes[scene.labels[index]]
        for name, volume in _volumes(capture, scene, index).items():
            tallies.setdefault(name, Tally()).add(volume, scene.boxes[index], scene.moves[index], SIDE)
    scores = {name: tally.means() for name, tally in tallies.items()}
    area = float((scene.boxes[..., 2:] - scene.boxes[..., :2]).prod(-1).mean()) / SIDE**2
    return {
        "model": "moving-mvit",
        "clips": clips,
        "accuracy": round(100 * right / clips, 1),
        "area": round(100 * area, 1),
        "moving": round(100 * float(scene.moves.mean()), 1),
        "scores": scores,
        "ms": _times(backbone, _window(backbone, scene, 0), repeats),
        "sentences": sentences(scores),
    }


def _window(backbone: VideoBackbone, scene: Scene, index: int) -> Tensor:
    from torch import from_numpy

    return backbone.prepare(from_numpy(scene.clips[index]))


def _volumes(capture: VideoCapture, scene: Scene, index: int) -> dict[str, Tensor]:
    """Maps (T, gh, gw) of every method and every control."""
    import torch

    from framelane.bench.pointing import centre_bias
    from framelane.processors.attention.methods import get_method, method_names

    slots, rows, columns = capture.grid
    found = {name: get_method(name).maps(capture)[0] for name in method_names()}
    noise = torch.rand(capture.grid, generator=torch.Generator().manual_seed(index))
    controls = (
        motion_energy(scene.clips[index], (rows, columns)),
        centre_bias((rows, columns)).repeat(slots, 1, 1),
        noise,
    )
    return {**found, **dict(zip(CONTROLS, controls, strict=True))}


def motion_energy(clip: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """The control that looks at motion only: absolute differences to the frames before and after, averaged per cell.

    Args:
        clip: uint8 (T, 3, H, W).
        grid: (gh, gw).

    Returns:
        float32 (T, gh, gw).
    """
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    frames = torch.from_numpy(clip).float()
    steps = (frames[1:] - frames[:-1]).abs().mean(1)
    energy = torch.cat([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]])
    return adaptive_avg_pool2d(energy[:, None], grid)[:, 0]


def _times(backbone: VideoBackbone, window: Tensor, repeats: int) -> dict[str, float]:
    """Median milliseconds a window: the pass forward, the pass with gradients, and each method alone."""
    from framelane.processors.attention.methods import get_method, method_names

    capture = backbone.capture(window, gradients=True)
    tasks: dict[str, Callable[[], Any]] = {
        "forward": lambda: backbone.capture(window, gradients=False),
        "forward and gradients": lambda: backbone.capture(window, gradients=True),
        **{name: lambda name=name: get_method(name).maps(capture) for name in method_names()},  # type: ignore[misc]
    }
    return {name: _median_ms(task, repeats) for name, task in tasks.items()}


def _median_ms(task: Callable[[], Any], repeats: int) -> float:
    runs = []
    for _ in range(repeats):
        started = time.perf_counter()
        task()
        runs.append(1000 * (time.perf_counter() - started))
    return round(median(runs), 1)


def sentences(scores: dict[str, dict[str, float]]) -> list[str]:
    """The targets, and whether they were met."""
    points = {name: score["pointing"] for name, score in scores.items()}
    ahead = points["gmar"] - points["rollout"]
    return [
        f"gmar beats rollout by {ahead:.1f} points of pointing game "
        f"(target {GMAR_OVER_ROLLOUT:.0f}: {'met' if ahead >= GMAR_OVER_ROLLOUT else 'MISSED'}).",
        f"chefer {points['chefer']:.1f} and gmar {points['gmar']:.1f} "
        f"(target: chefer at least as good: {'met' if points['chefer'] >= points['gmar'] else 'MISSED'}).",
    ]


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures of :func:`measure`."""
    from rich.table import Table

    title = f"{figures['model']}, {figures['clips']} held-out clips, {figures['accuracy']} % classified rightly"
    table = Table("map", "pointing %", "mass %", "time %", "ms a window", title=title)
    for name, score in figures["scores"].items():
        ms = figures["ms"].get(name)
        table.add_row(
            name, *(f"{score[key]:.1f}" for key in ("pointing", "mass", "time")), "" if ms is None else f"{ms:.1f}"
        )
    table.add_row("chance", f"{figures['area']:.1f}", f"{figures['area']:.1f}", f"{figures['moving']:.1f}", "")
    cost = Table("the model", "ms a window")
    for name in ("forward", "forward and gradients"):
        cost.add_row(name, f"{figures['ms'][name]:.1f}")
    return [table, cost]
