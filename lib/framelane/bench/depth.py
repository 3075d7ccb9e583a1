"""``framelane bench depth``: distances, speeds and alerts against rendered scenes whose depth is known, for N = 1, 3, 6.

The models are made here and read the truth out of the picture (:mod:`framelane.bench.rendered`), so what is measured is all
that framelane adds: decoding, flow, carrying, steadying, fusion, speeds, zones and alerts. It says nothing of how well a
published network judges depth. Time is taken with Depth Anything V2 Small in its real class and size, with random weights.
"""

from __future__ import annotations

import csv
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.bench.rendered import FOV, RATE, Scene, depth_model, detector_model, scenes, still, write
from framelane.models.kept import keeping
from framelane.run import process_video
from framelane.schema import Settings

if TYPE_CHECKING:
    from rich.table import Table

EVERY = (1, 3, 6)
_SPEED_AFTER_S = 1.0  # from when on a closing speed is compared: it needs its window
_TIMED_S, _WARMED_S, _TIMED_SIZE = 0.96, 0.12, 252


def measure(*, every: Sequence[int] = EVERY, most: int | None = None, timed: bool = True) -> dict[str, Any]:
    """All figures.

    Args:
        every: the strides.
        most: scenes at most; None takes all.
        timed: also the time with a network of real size.
    """
    with tempfile.TemporaryDirectory() as folder, _cache(Path(folder) / "cache"):
        root = Path(folder)
        detector_model(root / "cache" / "models" / "yolo26n.onnx")
        model = depth_model(root / "truth.onnx")
        found = []
        for number, scene in enumerate(list(scenes())[:most]):
            clip = write(scene, root / f"{number}.mp4")
            found += [{"scene": scene.name, "every": n, **accuracy(scene, clip, model, n)} for n in every]
        steady = steadiness(root, every)
        return {"accuracy": found, "steadiness": steady, "time": timing(root) if timed else [], "sentences": []}


def accuracy(scene: Scene, clip: Path, model: Path, every: int, **more: Any) -> dict[str, Any]:
    """One scene at one stride, against what was rendered.

    Args:
        scene: of one object.
        clip: its clip, of :func:`~framelane.bench.rendered.write`.
        model: of :func:`~framelane.bench.rendered.depth_model`.
        every: ``depth.every``.
        **more: further settings of the section ``depth``.

    Returns:
        Errors of the distance in %, of the closing speed in m/s, the alerts, and by how many frames the first is late.
    """
    report, rows = processed(clip, model, every, **more)
    off, speeds = [], []
    for row in rows:
        frame = int(row["frame"])
        truth = scene.distance(0, frame / RATE)
        off.append(100 * abs(float(row["distance_m"]) - truth) / truth)
        if row["closing_mps"] and frame >= _SPEED_AFTER_S * RATE:
            speeds.append(abs(float(row["closing_mps"]) - closing(scene, frame)))
    due, first = alert_frame(scene), first_alert(clip)
    return {
        "frames": len(rows),
        "error_pct": round(float(np.median(off)), 2),
        "error_p95_pct": round(float(np.percentile(off, 95)), 2),
        "closing_error_mps": round(float(np.median(speeds)), 3),
        "alerts": sum(report["metrics"]["alerts"].values()),
        "alert_due": due,
        "alert_delay_frames": None if due is None or first is None else first - due,
        "tracks": report["metrics"]["tracks"],
    }


def processed(clip: Path, model: Path, every: int, **more: Any) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Run the processor, and read its table."""
    output = clip.with_name(f"{clip.stem}-out.mp4")
    options = {"model": str(model), "kind": "metric", "detector": "yolo", "every": every, "fov": FOV, **more}
    result = process_video(
        clip, "depth", output=output, mode="balanced", profile="cpu",
        overrides={f"depth.{key}": value for key, value in options.items()} | {
            "gif.enabled": False, "output.preset": "ultrafast", "engine.min_free_mb": 0, "hardware.device": "cpu",
        },
    )  # fmt: skip
    with output.with_suffix(".objects.csv").open(encoding="utf-8") as file:
        return result.report, list(csv.DictReader(file))


def closing(scene: Scene, frame: int) -> float:
    """Metres a second at which the scene's object truly comes nearer."""
    step = 0.5 / RATE
    return (scene.distance(0, frame / RATE - step) - scene.distance(0, frame / RATE + step)) / (2 * step)


def alert_frame(scene: Scene) -> int | None:
    """The first frame on which the object is truly in the danger zone and does not go away; None where there is none."""
    limits = Settings().depth
    for frame in range(scene.frames):
        far, speed = scene.distance(0, frame / RATE), closing(scene, frame)
        if speed > -1e-6 and (far <= limits.danger_m or (speed > 0 and far / speed <= limits.danger_s)):
            return frame
    return None


def first_alert(clip: Path) -> int | None:
    """The frame of the first alert in the table of a processed clip."""
    with clip.with_name(f"{clip.stem}-out.alerts.csv").open(encoding="utf-8") as file:
        return min((int(row["frame"]) for row in csv.DictReader(file)), default=None)


def steadiness(root: Path, strides: Sequence[int] = EVERY) -> list[dict[str, Any]]:
    """How much the distance of what stands still changes, with a model whose scale flickers from frame to frame."""
    scene, model = still(), depth_model(root / "flickers.onnx", flickers=True)
    wrong = np.random.default_rng(7).uniform(-1, 1, scene.frames)
    clip = write(scene, root / "still.mp4", wrong)
    found = []
    for every in strides:
        for seconds in (0.0, Settings().depth.consistency_s):
            _, rows = processed(clip, model, every, consistency_s=seconds)
            far = np.log([float(row["distance_m"]) for row in rows if int(row["frame"]) >= RATE])
            step = np.abs(np.diff(far)).max()
            found.append({
                "every": every, "consistency_s": seconds, "spread_pct": round(100 * float(far.std()), 2),
                "largest_step_pct": round(100 * float(step), 2),
            })  # fmt: skip
    return found


def timing(root: Path) -> list[dict[str, Any]]:
    """Milliseconds a frame with a network of real class and size, whose weights are random: for time alone."""
    short, scene = (Scene(scenes()[0].name, scenes()[0].cuboids, seconds) for seconds in (_WARMED_S, _TIMED_S))
    clip = write(scene, root / "timed.mp4")
    folder = random_depth_anything(root / "random")
    found = []
    with keeping():  # as in a batch: imports, opening the model and its first calls are nobody's
        processed(write(short, root / "warm.mp4"), folder, 1, size=_TIMED_SIZE)
        for every in EVERY:
            began = time.process_time()
            report, _ = processed(clip, folder, every, size=_TIMED_SIZE)
            cpu = 1000 * (time.process_time() - began) / report["frames"]
            found.append({"every": every, "frames": report["frames"], "depth_frames": report["metrics"]["depth_frames"],
                          "process_ms": report["stage_ms"]["process"], "cpu_ms": round(cpu, 1)})  # fmt: skip
    return found


def random_depth_anything(folder: Path) -> Path:
    """Depth Anything V2 Small, metric, in its real class and size, with random weights, as a hub would hold it."""
    from framelane.models.torch_compat import ensure_torchvision

    ensure_torchvision()
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    torch.manual_seed(5)
    config = DepthAnythingConfig(depth_estimation_type="metric", max_depth=80)
    DepthAnythingForDepthEstimation(config).eval().save_pretrained(folder)
    if shown:
        logging.enable_progress_bar()
    return folder


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """A cache of its own, so that the made detector is never taken for a user's."""
    before = os.environ.get("FRAMELANE_CACHE")
    os.environ["FRAMELANE_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["FRAMELANE_CACHE"]
        else:
            os.environ["FRAMELANE_CACHE"] = before


def tables(figures: dict[str, Any]) -> list[Table | str]:
    """The figures as tables."""
    from rich.table import Table

    accuracies = Table(title="against what was rendered")
    for column in (
        "scene",
        "N",
        "distance error %, median",
        "95th percentile",
        "closing error m/s",
        "alerts",
        "delay, frames",
    ):
        accuracies.add_column(column)
    for row in figures["accuracy"]:
        delay = row["alert_delay_frames"]
        accuracies.add_row(
            row["scene"], str(row["every"]), f"{row['error_pct']:.1f}", f"{row['error_p95_pct']:.1f}",
            f"{row['closing_error_mps']:.2f}", str(row["alerts"]), "" if delay is None else f"{delay:+d}",
        )  # fmt: skip
    steady = Table(title="distance of what stands still, with a model that flickers by up to 10 %")
    for column in ("N", "depth.consistency_s", "spread %", "largest step %"):
        steady.add_column(column)
    for row in figures["steadiness"]:
        steady.add_row(
            str(row["every"]), f"{row['consistency_s']:g}", f"{row['spread_pct']:.2f}", f"{row['largest_step_pct']:.2f}"
        )
    timed = Table(title=f"time with Depth Anything V2 Small at {_TIMED_SIZE} (real class and size, random weights)")
    for column in ("N", "frames", "depth frames", "ms a frame, processing", "CPU ms a frame, all of the job"):
        timed.add_column(column)
    for row in figures["time"]:
        timed.add_row(
            str(row["every"]),
            str(row["frames"]),
            str(row["depth_frames"]),
            f"{row['process_ms']:.0f}",
            f"{row['cpu_ms']:.0f}",
        )
    worst = median(row["error_pct"] for row in figures["accuracy"])
    return [accuracies, steady, timed, f"Median of all scenes' median errors: {worst:.1f} %."]
