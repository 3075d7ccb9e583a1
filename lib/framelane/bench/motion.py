"""``framelane bench motion``: do the maps of a video transformer point at what decided, in space and in time?

A small MViT, trained by ``tests/benchmarks/train_moving.py`` on clips of :mod:`framelane.bench.moving` in which one
disk's motion decides the class, is looked into on clips that it never saw. Every method is scored with uniform and, as
an ablation, with learned un-pooling. What maps cost is timed on MViTv2-S itself (:mod:`framelane.bench.cost`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError
from framelane.resources import data_path

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table
    from torch import Tensor

    from framelane.bench.moving import Scene
    from framelane.processors.attention.mvit import MvitBackbone
    from framelane.processors.attention.video import VideoCapture

SEED = 20_000_000  # never trained on
CONTROLS = ("motion energy", "centre bias", "random map")
SCORES = ("pointing", "mass", "time", "moment", "order")
GMAR_OVER_ROLLOUT = 30.0
"""Points of pointing game by which GMAR should beat rollout (arXiv 2504.19414 reports 33.9 on images)."""


@dataclass
class Tally:
    """Scores of one kind of map, one a clip."""

    hits: list[bool] = field(default_factory=list)
    masses: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    moments: list[bool] = field(default_factory=list)
    orders: list[float] = field(default_factory=list)

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
        moving = torch.from_numpy(moves)
        self.times.append(float(slots[moving].sum()))
        self.moments.append(bool(moving[highest]))
        self.orders.append(told_apart(slots[moving], slots[~moving]))

    def means(self) -> dict[str, float]:
        """In percent: ``pointing`` (the highest point of the whole volume lies in the disk's box of its frame),
        ``mass`` (share of the volume inside the boxes), ``time`` (share that falls on frames in which the disk moves),
        ``moment`` (the highest point's frame is one of those), ``order`` (how often such a frame has more than a frame in
        which it stands still; chance is 50).
        """
        parts: dict[str, list[Any]] = dict(
            zip(SCORES, (self.hits, self.masses, self.times, self.moments, self.orders), strict=True)
        )
        return {name: round(100 * mean(values), 1) for name, values in parts.items()}


def told_apart(more: Tensor, less: Tensor) -> float:
    """The share of pairs in which the first is larger, ties half (area under the ROC curve): (A,) and (B,) to 0 to 1."""
    difference = more[:, None] - less[None]
    return float((difference > 0).double().mean() + (difference == 0).double().mean() / 2)


def load_model(pooling: str = "uniform") -> MvitBackbone:
    """The trained small MViT.

    Args:
        pooling: how its pooled attention is brought back, ``"uniform"`` or ``"learned"``.

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
    return MvitBackbone(model, "cpu", CLASSES, frames=FRAMES, resolution=SIDE, pooling=pooling)


def measure(*, clips: int = 200, repeats: int = 9, large_repeats: int = 3) -> dict[str, Any]:
    """Score every method and the controls on held-out clips; time one window of each method.

    Args:
        clips: how many.
        repeats: timed runs of the small model.
        large_repeats: timed runs of MViTv2-S; 0 leaves it out.
    """
    from framelane.bench import cost
    from framelane.bench.moving import SIDE, make_scene

    scene = make_scene(clips, SEED)
    scores, sure, right = _scored(load_model(), scene)
    learned, _, _ = _scored(load_model("learned"), scene)
    backbone = load_model()
    ms = {"moving-mvit": cost.times(backbone, _window(backbone, scene, 0), repeats)}
    if large_repeats:
        ms["mvit_v2_s"] = cost.of_mvit_v2_s(large_repeats)
    area = float((scene.boxes[..., 2:] - scene.boxes[..., :2]).prod(-1).mean()) / SIDE**2
    return {
        "model": "moving-mvit",
        "clips": clips,
        "accuracy": round(100 * right / clips, 1),
        "area": round(100 * area, 1),
        "moving": round(100 * float(scene.moves.mean()), 1),
        "scores": scores,
        "right": {name: score["pointing"] for name, score in sure.items()},
        "learned": {name: score for name, score in learned.items() if name not in CONTROLS},
        "ms": ms,
        "sentences": [*sentences(scores), *([cost.sentence(ms["mvit_v2_s"])] if large_repeats else [])],
    }


Means = dict[str, dict[str, float]]


def _scored(backbone: MvitBackbone, scene: Scene) -> tuple[Means, Means, int]:
    """Mean scores of every map; those of the clips that are classified rightly; how many these are."""
    from framelane.bench.moving import SIDE

    every: dict[str, Tally] = {}
    sure: dict[str, Tally] = {}
    right = 0
    for index in range(len(scene.clips)):
        capture = backbone.capture(_window(backbone, scene, index), gradients=True)
        is_right = capture.action[0] == backbone.classes[scene.labels[index]]
        right += is_right
        for name, volume in _volumes(capture, scene, index).items():
            for tallies in (every, sure) if is_right else (every,):
                tallies.setdefault(name, Tally()).add(volume, scene.boxes[index], scene.moves[index], SIDE)
    means = [{name: tally.means() for name, tally in tallies.items()} for tallies in (every, sure)]
    return means[0], means[1], right


def _window(backbone: MvitBackbone, scene: Scene, index: int) -> Tensor:
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


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures of :func:`measure`."""
    from rich.table import Table

    from framelane.bench import cost

    title = f"{figures['model']}, {figures['clips']} held-out clips, {figures['accuracy']} % classified rightly"
    table = Table("map", *(f"{key} %" for key in SCORES), "pointing % where rightly classified", title=title)
    for name, score in figures["scores"].items():
        table.add_row(name, *(f"{score[key]:.1f}" for key in SCORES), _shown(figures["right"].get(name)))
    chances = (figures["area"], figures["area"], figures["moving"], figures["moving"], 50.0)
    table.add_row("chance", *(f"{value:.1f}" for value in chances))
    ablation = Table("map", *(f"{key} %" for key in SCORES), title="un-pooling by the learned kernels (ablation)")
    for name, score in figures["learned"].items():
        ablation.add_row(name, *(f"{score[key]:.1f}" for key in SCORES))
    return [table, ablation, cost.table(figures["ms"])]
