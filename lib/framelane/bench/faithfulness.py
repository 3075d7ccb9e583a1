"""``framelane bench attention --faithfulness``: do the models really use what the maps call important?

Two proofs. Insertion and deletion curves (:mod:`framelane.bench.curves`), each against a blurred picture and one of its
mean colour, beside controls; and the sanity check with random weights (:mod:`framelane.bench.sanity`).

DINOv2 has no classes. The score of a picture is the cosine between its CLS embedding and that of the original: how much
of what the model makes of the frame is left. It is 1 for the original by construction. The whole frame makes the
embedding, its background too, so the planted box is no upper bound there. The small video transformer of
``framelane bench motion`` has classes; its score is the probability of the right one, and cells of space and time are
replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table
    from torch import Tensor

    from framelane.bench.curves import Score
    from framelane.processors.attention.backbone import Backbone, Capture
    from framelane.processors.attention.mvit import MvitBackbone

BOX, RANDOM, CENTRE, EDGES = "planted box", "random order", "centre bias", "edges"
KINDS = ("insertion", "deletion")
BASELINES = ("blur", "mean colour")
SANITY_PICTURES = 4
_SEED = 30_000_000  # of clips: never trained on, nor scored by bench motion


@dataclass(frozen=True)
class Case:
    """One picture to take apart.

    Attributes:
        picture: as the model takes it, (C, *space).
        score: of pictures (K, C, *space).
        maps: every method's and every control's, (*grid).
    """

    picture: Tensor
    score: Score
    maps: dict[str, Tensor]


def measure(*, scenes: int = 20, clips: int = 24, steps: int = 8, seed: int = 2) -> dict[str, Any]:
    """Curves and sanity check on DINOv2 and on the small video transformer.

    Args:
        scenes: planted scenes, one frame of each; there are 20.
        clips: of the video transformer.
        steps: of each curve.
        seed: of the planted scenes.
    """
    models = {"dinov2_vits14": _images(scenes, steps, seed), "moving-mvit": _clips(clips, steps)}
    return {
        "steps": steps,
        "models": models,
        "sentences": [text for name, found in models.items() for text in sentences(name, found)],
    }


def _images(scenes: int, steps: int, seed: int) -> dict[str, Any]:
    from framelane.bench import planted
    from framelane.processors.attention.backbone import load_backbone

    backbone = load_backbone("dinov2_vits14", "cpu", 224)
    made = planted.scenes(1, (360, 640), seed)[:scenes]
    cases = [_image_case(backbone, scene.frames, scene.boxes[0], i) for i, scene in enumerate(made)]

    def maps(changed: Backbone, index: int) -> dict[str, Tensor]:
        return _sane_maps(changed.capture(cases[index].picture[None], True, changed.usual_start), cases[index].picture)

    return {
        "score": "cosine of the CLS embedding to the original's (the model has no classes)",
        "pictures": len(cases),
        **_curves(cases, steps),
        "sanity": _sanity(backbone, maps, len(cases)),
    }


def _image_case(backbone: Backbone, frame: Tensor, box: Tensor, seed: int) -> Case:
    from torch.nn.functional import cosine_similarity

    pixels = backbone.prepare(frame)
    whole = backbone.embed(pixels)
    capture = backbone.capture(pixels, True, backbone.usual_start)
    rows, columns = capture.grid
    planted_box = covered(box.numpy()[None], (1, rows, columns), (frame.shape[-2], frame.shape[-1]))[0]
    return Case(
        pixels[0],
        lambda pictures: cosine_similarity(backbone.embed(pictures), whole),
        {**_methods(capture), **_controls(capture.grid, seed), BOX: planted_box},
    )


def _clips(clips: int, steps: int) -> dict[str, Any]:
    from framelane.bench.motion import load_model
    from framelane.bench.moving import make_scene

    backbone, scene = load_model(), make_scene(clips, _SEED)
    cases = [_clip_case(backbone, scene.clips[i], int(scene.labels[i]), scene.boxes[i], i) for i in range(clips)]

    def maps(changed: MvitBackbone, index: int) -> dict[str, Tensor]:
        target = changed.classes[scene.labels[index]]
        return _sane_maps(changed.capture(cases[index].picture[None], True, target=target), cases[index].picture)

    return {
        "score": "probability of the right class",
        "pictures": clips,
        **_curves(cases, steps),
        "sanity": _sanity(backbone, maps, clips),
    }


def _clip_case(backbone: MvitBackbone, clip: np.ndarray, label: int, boxes: np.ndarray, seed: int) -> Case:
    from torch import from_numpy

    pixels = backbone.prepare(from_numpy(clip))
    capture = backbone.capture(pixels, True, target=backbone.classes[label])
    slots, rows, columns = capture.grid
    planted_box = covered(boxes, (slots, rows, columns), (clip.shape[-2], clip.shape[-1]))
    return Case(
        pixels[0],
        lambda windows: backbone.probabilities(windows)[:, label],
        {**_methods(capture), **_controls(capture.grid, seed), BOX: planted_box},
    )


def _methods(capture: Capture) -> dict[str, Tensor]:
    from framelane.processors.attention.methods import get_method, method_names

    return {name: get_method(name).maps(capture)[0] for name in method_names()}


def _controls(grid: tuple[int, ...], seed: int) -> dict[str, Tensor]:
    from framelane.bench.pointing import centre_bias, random_map

    rows, columns = grid[-2:]
    slots = grid[0] if len(grid) == 3 else 1
    return {
        CENTRE: centre_bias((rows, columns)).repeat(slots, 1, 1).view(grid),
        RANDOM: random_map((slots * rows, columns), seed).view(grid),
    }


def covered(boxes: np.ndarray, grid: tuple[int, int, int], size: tuple[int, int]) -> Tensor:
    """The map that knows: how much of each cell the box covers.

    Args:
        boxes: (T, 4): x1, y1, x2, y2 in pixels, one a slot of time.
        grid: (T, gh, gw), cells that tile the frames evenly.
        size: (height, width) of the frames in pixels.
    """
    import torch

    from framelane.bench.pointing import overlap

    found = []
    for x1, y1, x2, y2 in boxes.tolist():
        found.append(torch.outer(overlap(grid[1], y1, y2, size[0]), overlap(grid[2], x1, x2, size[1])))
    return torch.stack(found)


def _sane_maps(capture: Capture, picture: Tensor) -> dict[str, Tensor]:
    from framelane.bench.sanity import edges

    return {**_methods(capture), EDGES: edges(picture, capture.grid)}


def _curves(cases: list[Case], steps: int) -> dict[str, Any]:
    """Mean areas (``auc``), of how many pictures a map's area is better than random order's, in percent (``wins``), and
    the mean score of each baseline (``empty``).
    """
    from framelane.bench.curves import area, blurred, curves, mean_colour, quadratic

    fractions, made = quadratic(steps), dict(zip(BASELINES, (blurred, mean_colour), strict=True))
    areas: dict[str, dict[str, list[float]]] = {name: {} for name in cases[0].maps}
    empty: dict[str, list[float]] = {name: [] for name in made}
    for case in cases:
        for baseline, make in made.items():
            found = curves(case.score, case.picture, make(case.picture), case.maps, fractions)
            empty[baseline].append(float(found[RANDOM].deletion[-1]))
            for name, pair in found.items():
                for kind in KINDS:
                    areas[name].setdefault(f"{kind}, {baseline}", []).append(area(getattr(pair, kind), fractions))
    return {
        "auc": {n: {k: round(mean(values), 4) for k, values in found.items()} for n, found in areas.items()},
        "wins": {n: {k: _wins(k, v, areas[RANDOM][k]) for k, v in found.items()} for n, found in areas.items()},
        "empty": {name: round(mean(values), 4) for name, values in empty.items()},
    }


def _wins(kind: str, values: list[float], random: list[float]) -> float:
    sign = 1 if kind.startswith("insertion") else -1
    return round(100 * mean(sign * (a - b) > 0 for a, b in zip(values, random, strict=True)), 1)


def _sanity(backbone: Any, maps: Callable[[Any, int], dict[str, Tensor]], pictures: int) -> dict[str, list[float]]:
    from framelane.bench.sanity import correlations

    found = correlations(backbone, maps, min(pictures, SANITY_PICTURES))
    return {name: [round(value, 3) for value in values] for name, values in found.items()}


def sentences(model: str, found: dict[str, Any]) -> list[str]:
    """What the figures say, as found: who beats random order everywhere, who fails the sanity check."""
    from framelane.bench.sanity import passes

    random, methods = found["auc"][RANDOM], [name for name in found["sanity"] if name != EDGES]

    def better(name: str, kind: str) -> bool:
        gain = found["auc"][name][kind] - random[kind]
        return bool(gain > 0 if kind.startswith("insertion") else gain < 0)

    worse = {name: [kind for kind in random if not better(name, kind)] for name in methods}
    behind = [f"{name} ({'; '.join(kinds)})" for name, kinds in worse.items() if kinds]
    failed = [name for name in methods if not passes(found["sanity"][name])]
    return [
        f"{model}: {'no better than random order: ' + ', '.join(behind) if behind else 'all beat random order'}.",
        f"{model}: sanity check with random weights {'FAILED by ' + ', '.join(failed) if failed else 'passed by all'}"
        f"; the edge detector, which ignores the model, has {found['sanity'][EDGES][-1]:.2f}.",
    ]


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures of :func:`measure`: areas, and rank correlations with random weights."""
    return [table for name, found in figures["models"].items() for table in (_areas(name, found), _ranks(name, found))]


def _areas(model: str, found: dict[str, Any]) -> Table:
    from rich.table import Table

    columns = list(found["auc"][RANDOM])
    title = f"{model}, {found['pictures']} pictures; score: {found['score']}"
    headings = [f"{name} {'(high)' if name.startswith('insertion') else '(low)'}" for name in columns]
    table = Table("map", *headings, title=title)
    for name, areas in found["auc"].items():
        wins = found["wins"][name]
        table.add_row(name, *(f"{areas[c]:.3f}" + (f" ({wins[c]:.0f} %)" if name != RANDOM else "") for c in columns))
    table.caption = "areas under the curves; in brackets: pictures on which it is better than random order; "
    table.caption += ", ".join(f"score of {name}: {value:.2f}" for name, value in found["empty"].items())
    return table


def _ranks(model: str, found: dict[str, Any]) -> Table:
    from rich.table import Table

    from framelane.bench.sanity import ALL_AT_ONCE, passes

    stages = len(found["sanity"][EDGES]) - 1
    shown = sorted({1, stages // 4, stages // 2, stages})
    headings = ["last stage random", *(f"last {n}" for n in shown[1:-1]), f"all {stages}, one by one", ALL_AT_ONCE]
    table = Table("map", *headings, "", title=f"{model}: rank correlation with the trained model's map")
    for name, values in found["sanity"].items():
        cells = [f"{values[i - 1]:.2f}" for i in shown]
        table.add_row(name, *cells, f"{values[-1]:.2f}", "passes" if passes(values) else "FAILS")
    return table
