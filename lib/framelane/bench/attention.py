"""``framelane bench attention``: do the maps point at what is there? Every method against two controls.

One pass through the backbone serves all methods for the scores; the time of each is taken with only what it needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from framelane.processors.attention.backbone import Backbone, Capture

MARGIN = 30.0
"""Points of pointing game by which the default method should beat each control."""
CONTROLS = ("centre bias", "random map")
_BACKBONE, _RESOLUTION = "dinov2_vits14", 224


@dataclass
class Tally:
    """Scores of one method, in percent."""

    hits: list[float] = field(default_factory=list)
    masses: list[float] = field(default_factory=list)

    def add(self, attention: Tensor, box: Tensor, frame: tuple[int, int]) -> None:
        """Score one map (gh, gw) against the box in a frame of (height, width)."""
        from framelane.bench.pointing import mass_in_box, pointing_game

        self.hits.append(100.0 * pointing_game(attention, box, frame))
        self.masses.append(100.0 * mass_in_box(attention, box, frame))

    def means(self) -> dict[str, float]:
        """``pointing`` and ``mass``."""
        return {
            "pointing": round(sum(self.hits) / len(self.hits), 1),
            "mass": round(sum(self.masses) / len(self.masses), 1),
        }


def measure(
    *,
    frames: int = 8,
    seeds: tuple[int, ...] = (2, 3),  # attention.start_layer was chosen on 0 and 1
    size: tuple[int, int] = (360, 640),
    repeats: int = 9,
    most: int = 20,
) -> dict[str, Any]:
    """Score and time every method on the planted scenes.

    Args:
        frames: frames a scene.
        seeds: positions, sizes and directions.
        size: height and width of the scenes.
        repeats: timed runs of each method.
        most: scenes a seed; there are 20.
    """
    from framelane.bench.planted import scenes
    from framelane.processors.attention.backbone import load_backbone
    from framelane.settings import load

    backbone = load_backbone(_BACKBONE, "cpu", _RESOLUTION)
    planted = [(seed, scene) for seed in seeds for scene in scenes(frames, size, seed)[:most]]
    by_seed = {seed: _score(backbone, [s for known, s in planted if known == seed]) for seed in seeds}
    scores = {name: _mean([found[name] for found in by_seed.values()]) for name in by_seed[seeds[0]]}
    areas = [float((b[2] - b[0]) * (b[3] - b[1])) for _, scene in planted for b in scene.boxes]
    default = load().settings.attention.method
    times = _times(backbone, planted[0][1].frames[:1], repeats)
    verdict = judge(scores, default)
    return {
        "backbone": _BACKBONE,
        "start_layer": start_layer(),
        "resolution": _RESOLUTION,
        "frames": len(areas),
        "area": round(100 * sum(areas) / len(areas) / (size[0] * size[1]), 1),
        "default": default,
        "scores": scores,
        "by_seed": {str(seed): found for seed, found in by_seed.items()},
        "ms": times,
        "margins": verdict,
        "sentences": [sentence(default, verdict)],
    }


def _score(backbone: Backbone, planted: list[Any]) -> dict[str, dict[str, float]]:
    """Means of every method, of every method after the processor's enlarging, and of the controls."""
    tallies: dict[str, Tally] = {}
    for seed, (frame, box) in enumerate((f, b) for s in planted for f, b in zip(s.frames, s.boxes, strict=True)):
        shape = (frame.shape[-2], frame.shape[-1])
        capture = backbone.capture(backbone.prepare(frame[None]), gradients=True)
        for name, attention in _maps(capture, shape, seed):
            tallies.setdefault(name, Tally()).add(attention, box, shape)
    return {name: tally.means() for name, tally in tallies.items()}


def _maps(capture: Capture, frame: tuple[int, int], seed: int) -> Iterator[tuple[str, Tensor]]:
    from torch import from_numpy

    from framelane.bench.pointing import centre_bias, random_map
    from framelane.perception.motion import to_field
    from framelane.processors.attention.methods import get_method, method_names

    start = start_layer()
    late = replace(capture, attentions=capture.attentions[start:], gradients=capture.gradients[start:])
    for name in method_names():
        attention = get_method(name).maps(late)[0]
        yield name, attention
        yield all_layers(name), get_method(name).maps(capture)[0]
        yield field_name(name), from_numpy(to_field(attention.numpy(), field_size(frame)))
    rows, columns = capture.grid
    yield CONTROLS[0], centre_bias((rows, columns))
    yield CONTROLS[1], random_map((rows, columns), seed)


def start_layer() -> int:
    """The first layer that counts unless ``attention.start_layer`` says otherwise."""
    from framelane.processors.attention.backbone import Backbone

    return Backbone.usual_start


def all_layers(method: str) -> str:
    """What the scores call a method that takes all layers, as published."""
    return f"{method} (all layers)"


def field_name(method: str) -> str:
    """What the scores call a method's map after the processor has enlarged it."""
    return f"{method} (field)"


def field_size(frame: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of the processor's fields for a frame of (height, width)."""
    from framelane.perception.motion import LONG_SIDE

    scale = min(1.0, LONG_SIDE / max(frame))
    return max(8, round(frame[0] * scale)), max(8, round(frame[1] * scale))


def _mean(found: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(sum(one[key] for one in found) / len(found), 1) for key in found[0]}


def _times(backbone: Backbone, frame: Tensor, repeats: int) -> dict[str, float]:
    """Milliseconds a frame of every method, from RGB to its map; medians of runs taken in turn after one to warm up."""
    from framelane.bench.about import in_turn
    from framelane.processors.attention.methods import get_method, method_names

    def timed(name: str) -> Callable[[], float]:
        method = get_method(name)

        def once() -> float:
            started = time.perf_counter()
            method.maps(backbone.capture(backbone.prepare(frame), method.needs_gradients, start_layer()))
            return 1000 * (time.perf_counter() - started)

        return once

    runs = in_turn({name: timed(name) for name in method_names()}, repeats + 1)
    return {name: round(median(found[1:]), 1) for name, found in runs.items()}


def judge(scores: dict[str, dict[str, float]], method: str) -> dict[str, float]:
    """Points of pointing game by which a method beats each control."""
    return {name: round(scores[method]["pointing"] - scores[name]["pointing"], 1) for name in CONTROLS}


def sentence(method: str, margins: dict[str, float]) -> str:
    """Whether the target is met, as found."""
    found = " and ".join(f"the {name} by {points:.1f}" for name, points in margins.items())
    met = "met" if min(margins.values()) >= MARGIN else "MISSED"
    return f"The default method {method} beats {found} points of pointing game (target {MARGIN:.0f}: {met})."


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures of :func:`measure`; "field" is the map as the processor enlarges it, "all layers" as published."""
    from rich.table import Table

    title = f"{figures['backbone']} at {figures['resolution']}, {figures['frames']} frames of planted objects"
    kinds = ("", " (field)", " (all layers)")
    table = Table(
        "map", *(f"{key} %{kind}" for kind in kinds for key in ("pointing", "mass")), "ms a frame", title=title
    )
    scores = figures["scores"]
    for name, ms in figures["ms"].items():
        found = (scores[name], scores[field_name(name)], scores[all_layers(name)])
        marked = f"{name} (default)" if name == figures["default"] else name
        table.add_row(marked, *(f"{s[key]:.1f}" for s in found for key in ("pointing", "mass")), f"{ms:.0f}")
    for name in CONTROLS:
        table.add_row(name, f"{scores[name]['pointing']:.1f}", f"{scores[name]['mass']:.1f}", *[""] * 5)
    table.add_row("chance (area of the box)", f"{figures['area']:.1f}", f"{figures['area']:.1f}", *[""] * 5)
    return [table]
