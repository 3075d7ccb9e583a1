"""``framelane bench follow``: does the virtual camera keep a ball in the picture, and is it calm?

A ball with a known path (:mod:`framelane.bench.balls`) is followed twice: from planted detections, which tries the choice
of the subject and the path alone, and from rendered clips through the real first pass. Thresholds were set on the seeds
called "tuning"; nothing was ever set on those "held out" (see :mod:`framelane.bench.balls`). The peers work on the same
candidates with windows of the same size: a window centred on the best detection, and that smoothed exponentially.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from framelane.bench import cutting
from framelane.bench.balls import FIRST, HELD_OUT, SIZE, TUNING, USUAL, Scene, make_scene, planted, render
from framelane.processors.follow.balls import candidates
from framelane.processors.follow.causal import CausalCamera
from framelane.processors.follow.framing import Framing
from framelane.processors.follow.metrics import camera_metrics
from framelane.processors.follow.path import Limits
from framelane.processors.follow.plan import Camera, plan_clip
from framelane.processors.follow.sightings import Sightings
from framelane.processors.follow.subject import SEEN
from framelane.sections.follow import FollowSettings

if TYPE_CHECKING:
    from rich.table import Table

Array = npt.NDArray[np.float64]

SMOOTHING_S = 0.35
OPTIONS = FollowSettings(subject="ball", aspect="1:1")
IN_FRAME, JERK = 0.99, 0.10
"""The targets: the ball's share of frames inside the window, at least; jerk beside that of the centred window, at most."""
OURS, LIVE, NAIVE, SMOOTHER = "planned (L1)", "causal", "centred on detection", "exponential smoother"


def measure(
    *, seconds: float = 20.0, rendered_seconds: float = 10.0, rounds: int = 30, most: int | None = None
) -> dict[str, Any]:
    """Planted and rendered scenes, those that were tuned on and those that were not, and what cutting costs.

    Args:
        seconds: of planted detections, for each seed.
        rendered_seconds: of each rendered clip.
        rounds: frames on which cutting is timed.
        most: scenes of each kind at most; None takes all.
    """
    sets = {
        "tuning": (TUNING, {4: USUAL}),
        "held out at first, failed then": (FIRST, {}),
        "held out": (HELD_OUT, {seed: HELD_OUT[seed] for seed in (44, 45)}),
    }
    parts: list[dict[str, Any]] = []
    said: list[str] = []
    for name, (from_plan, from_pixels) in sets.items():
        runs = {}
        for seed, look_of in list(from_plan.items())[:most]:
            scene = make_scene(seconds, seed, look_of)
            runs[seed] = compare(scene, planted(scene, 10 + seed))
        parts.append(_part(name, f"planted detections, {len(runs)} scenes of {seconds:g} s", runs))
        for seed, look_of in list(from_pixels.items())[:most]:
            scene = make_scene(rendered_seconds, seed, look_of)
            with tempfile.TemporaryDirectory() as folder:
                rows, fps = look(render(scene, Path(folder) / "ball.mp4"))
            seen = found(scene, rows)
            part = _part(
                name, f"rendered clip of {rendered_seconds:g} s through the first pass", {seed: compare(scene, rows)}
            )
            parts.append(
                part | {"found": seen, "first_pass_fps": round(fps, 1), "hidden": round(float(scene.hidden.mean()), 3)}
            )
            said.append(
                f"Rendered, seed {seed}: of the frames with the ball in sight, the detector has it in "
                f"{seen['detector']:.0%} of those it looks at, "
                f"the cue in {seen['cue']:.0%}; the first pass runs at {fps:.1f} fps."
            )
    cut = cutting.measure(rounds)
    return {"parts": parts, "cutting": cut, "sentences": [*said, *map(_verdict, parts), *cutting.sentence(cut)]}


def _part(name: str, what: str, runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Means over the scenes, and of ours the figures of each."""
    values = list(runs.values())
    each = {
        seed: {
            "in_frame": run[OURS]["in_frame"],
            "jerk_of_naive": _share(run[OURS], run[NAIVE]),
        }
        for seed, run in runs.items()
    }
    return {
        "set": name,
        "what": what,
        "each": each,
        "cameras": {key: _mean([run[key] for run in values]) for key in values[0]},
    }


def _share(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The jerk of one camera as a share of another's; where that one never moves, 0 or 1."""
    if not other["p99_jerk"]:
        return float(one["p99_jerk"] > 0)
    return round(float(one["p99_jerk"] / other["p99_jerk"]), 5)


def _verdict(part: dict[str, Any]) -> str:
    """Whether every scene meets the targets."""
    title = f"{part['set'].capitalize()}, {part['what']}"
    missed = [
        f"seed {seed} (in frame {100 * run['in_frame']:.1f} %, jerk {run['jerk_of_naive']:.2%} of the centred one)"
        for seed, run in part["each"].items()
        if run["in_frame"] < IN_FRAME or run["jerk_of_naive"] > JERK
    ]
    if missed:
        return f"{title}: missed by {', '.join(missed)}."
    return f"{title}: every scene meets both targets (in frame {IN_FRAME:.0%}, jerk at most {JERK:.0%} of the centred one)."


def framing() -> Framing:
    """A square window, as high as the frame at its widest."""
    return Framing(SIZE, (540, 540), (540.0, 540.0))


def compare(scene: Scene, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Figures of every camera against the truth; hidden frames count as well."""
    sightings = Sightings.of(rows)
    started = time.perf_counter()
    camera = plan_clip(sightings, framing(), OPTIONS)
    took = time.perf_counter() - started
    windows = as_array(camera)
    naive = naive_windows(sightings, windows)
    every = np.ones(len(scene.times), bool)
    cameras = {
        OURS: windows,
        LIVE: live_windows(sightings, camera),
        NAIVE: naive,
        SMOOTHER: smoothed(naive, scene.times),
    }
    figures = {name: camera_metrics(scene.times, w, scene.ball, every, sightings.cuts) for name, w in cameras.items()}
    zoom = framing().widest[0] / windows[:, 2]
    figures[OURS] |= {"zoom": [round(float(zoom.min()), 2), round(float(zoom.max()), 2)], "plan_s": round(took, 2)}
    return figures


def as_array(camera: Camera) -> Array:
    """Windows as ``(n, 4)``."""
    return np.stack([camera.left, camera.top, camera.width, camera.height], 1).astype(np.float64)


def naive_windows(sightings: Sightings, like: Array) -> Array:
    """Centred on the best candidate of each frame, held where there is none; of the same sizes."""
    every, place = candidates(sightings), np.array(SIZE) / 2
    middles = np.empty((len(like), 2))
    starts = np.searchsorted(every[:, 0], np.arange(len(like) + 1))
    for i in range(len(like)):
        here = every[starts[i] : starts[i + 1]]
        if len(here):
            place = here[int(here[:, 5].argmax()), 1:3]
        middles[i] = place
    return _placed(middles, like)


def smoothed(windows: Array, times: Array) -> Array:
    """The same, through a first-order low-pass."""
    middles = windows[:, :2] + windows[:, 2:] / 2
    for i in range(1, len(middles)):
        share = 1 - np.exp(-(times[i] - times[i - 1]) / SMOOTHING_S)
        middles[i] = middles[i - 1] + share * (middles[i] - middles[i - 1])
    return _placed(middles, windows)


def live_windows(sightings: Sightings, camera: Camera) -> Array:
    """The camera that knows no future, on the subject that the plan found, known only while it is seen."""
    limits = Limits(OPTIONS.max_speed, OPTIONS.max_acceleration, OPTIONS.max_jerk)
    live = CausalCamera(framing(), limits, OPTIONS)
    windows = []
    for i, moment in enumerate(sightings.times):
        sure = float(camera.certainty[i]) if camera.state[i] == SEEN else 0.0
        x, y = camera.place[i].tolist()
        window = live.step(float(moment), (x, y) if sure else None, sure, cut=bool(sightings.cuts[i]))
        windows.append((window.x, window.y, window.width, window.height))
    return np.array(windows)


def _placed(middles: Array, like: Array) -> Array:
    size = like[:, 2:]
    return np.concatenate([np.clip(middles - size / 2, 0, np.array(SIZE) - size), size], 1)


def look(clip: Path) -> tuple[list[dict[str, Any]], float]:
    """The rows of the real first pass over a clip, and its frames a second."""
    from framelane.processors.base import Context
    from framelane.processors.follow.scout import Scout
    from framelane.schema import Settings
    from framelane.video.clip import probe
    from framelane.video.reader import open_reader

    probed = probe(clip)
    settings = Settings(follow=OPTIONS)
    scout = Scout(probed, Context(settings, threads=1))
    rows: list[dict[str, Any]] = []
    started = time.perf_counter()
    reader = open_reader(probed, 1)
    for batch in reader.batches(8, history=scout.history):
        for done in scout.commit(batch, scout.infer(batch)):
            rows += done.rows
    return rows, len(rows) / (time.perf_counter() - started)


def found(scene: Scene, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Shares of the frames with the ball in sight in which the detector, and the cue, have a candidate on it."""
    counts = {"detector": 0, "cue": 0}
    visible = 0
    for i, row in enumerate(rows):
        if scene.hidden[i]:
            continue
        visible += 1
        boxes = [((t[2] + t[4]) / 2, (t[3] + t[5]) / 2) for t in row.get("tracks", ()) if t[1] == "ball"]
        blobs = [(b[0], b[1]) for b in row.get("blobs", ())]
        for name, places in (("detector", boxes), ("cue", blobs)):
            counts[name] += any(np.hypot(*(np.array(p) - scene.ball[i])) < 10 for p in places)
    looked = max(1, sum("tracks" in row and not scene.hidden[i] for i, row in enumerate(rows)))
    return {"detector": round(counts["detector"] / looked, 3), "cue": round(counts["cue"] / max(1, visible), 3)}


def _mean(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mean: dict[str, Any] = {}
    for key in runs[0]:
        values = [run[key] for run in runs]
        if key == "zoom":
            mean[key] = [min(v[0] for v in values), max(v[1] for v in values)]
        else:
            mean[key] = max(values) if key == "worst_loss_s" else round(float(np.mean(values)), 4)
    return mean


def tables(figures: dict[str, Any]) -> list[Table | str]:
    """For the terminal."""
    made: list[Table | str] = [_table(part) for part in figures["parts"]]
    return [*made, cutting.table(figures["cutting"])]


def _table(part: dict[str, Any]) -> Table:
    from rich.table import Table

    seeds = ", ".join(map(str, part["each"]))
    table = Table(title=f"{part['set'].capitalize()}: {part['what']} (seeds {seeds})")
    for column in (
        "camera",
        "in frame %",
        "central 60 % of it %",
        "worst loss s",
        "p99 jerk w/s³",
        "of naive",
        "reversals/min",
    ):
        table.add_column(column, justify="left" if column == "camera" else "right")
    naive = part["cameras"][NAIVE]
    for name, row in part["cameras"].items():
        table.add_row(
            name, f"{100 * row['in_frame']:.1f}", f"{100 * row['central_60']:.1f}", f"{row['worst_loss_s']:.2f}",
            f"{row['p99_jerk']:.1f}", f"{_share(row, naive):.2%}", f"{row['reversals_per_minute']:.1f}",
        )  # fmt: skip
    return table
