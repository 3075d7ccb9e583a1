"""What cutting a window out costs: on the planes of the frame, against by way of RGB with the same resampling."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.bench.about import DISTURBED, busy_seconds, own_seconds
from framelane.processors.follow.crop import Window, cut_planes, resample
from framelane.video.colour import ColourTags, from_rgb, plane_array, to_rgb
from framelane.video.frames import Layout

if TYPE_CHECKING:
    from rich.table import Table

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
_ZOOM = 1.2


def measure(rounds: int = 30) -> dict[str, Any]:
    """Of 720p and 1080p: milliseconds a frame of both ways, and how far luma is off where nothing is resampled.

    By way of RGB the whole frame is converted, as it is for every processor that draws.

    Args:
        rounds: frames timed, each both ways in turn.
    """
    started, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    found: dict[str, Any] = {name: _one(size, rounds) for name, size in SIZES.items()}
    others = (busy_seconds() - busy - own_seconds() + own) / (time.perf_counter() - started)
    return {"sizes": found, "others": round(max(0.0, others), 2)}


def sentence(figures: dict[str, Any]) -> list[str]:
    """That the clock was disturbed, where it was."""
    if figures["others"] <= DISTURBED:
        return []
    return [
        f"Other processes kept {figures['others']:.1f} cores busy while cutting was timed: take the milliseconds again on "
        "a quiet machine, and only compare within this run."
    ]


def table(figures: dict[str, Any]) -> Table:
    """For the terminal."""
    from rich.table import Table

    made = Table(title="Cutting a 9:16 window at zoom 1.2 out of a frame (yuv420p), one thread")
    for column in ("clip", "output", "planes ms", "through RGB ms", "RGB / planes", "luma off: planes", "RGB"):
        made.add_column(column, justify="left" if column == "clip" else "right")
    for name, row in figures["sizes"].items():
        made.add_row(
            name, "x".join(map(str, row["output"])), f"{row['planes_ms']:.2f}", f"{row['rgb_ms']:.2f}",
            f"{row['rgb_over_planes']:.1f}", f"{row['planes_luma_off']:.3f}", f"{row['rgb_luma_off']:.3f}",
        )  # fmt: skip
    return made


def _one(size: tuple[int, int], rounds: int) -> dict[str, Any]:
    frame, tags = _picture(size), ColourTags()
    layout = Layout(*size, Fraction(1, 30), 0, tags)
    output = (2 * round(size[1] * 9 / 32), size[1])
    took: dict[str, list[float]] = {"planes": [], "rgb": []}
    for k in range(rounds + 3):
        wide = output[0] / _ZOOM
        window = Window(100 + 1.37 * k, 20 + 0.61 * k, wide, output[1] / _ZOOM)
        for name, way in (
            ("planes", lambda w: cut_planes(frame, layout, w, output)),
            ("rgb", lambda w: by_rgb(frame, tags, w, output)),
        ):
            spent = _spent(way, window)
            if k >= 3:  # the first ones fill caches
                took[name].append(spent)
    whole = Window(100, 20, 400, 400)
    truth = plane_array(frame.planes[0])[20:420, 100:500].astype(int)
    off = [
        float(np.abs(plane_array(cut.planes[0]).astype(int) - truth).mean())
        for cut in (cut_planes(frame, layout, whole, (400, 400)), by_rgb(frame, tags, whole, (400, 400)))
    ]
    planes, rgb = (1000 * median(took[name]) for name in ("planes", "rgb"))
    return {
        "output": list(output),
        "planes_ms": round(planes, 2),
        "rgb_ms": round(rgb, 2),
        "rgb_over_planes": round(median(r / p for r, p in zip(took["rgb"], took["planes"], strict=True)), 2),
        "planes_luma_off": round(off[0], 3),
        "rgb_luma_off": round(off[1], 3),
    }


def by_rgb(frame: Any, tags: ColourTags, window: Window, size: tuple[int, int]) -> Any:
    """The same window by way of RGB: to RGB, resampled a channel at a time, and back."""
    rgb = np.empty((3, frame.height, frame.width), np.uint8)
    to_rgb(frame, tags, rgb)
    scale = window.width / size[0], window.height / size[1]
    cut = np.stack([resample(channel, scale, (window.x, window.y), size) for channel in rgb])
    return from_rgb(cut, tags, "yuv420p")


def _spent(way: Callable[[Window], Any], window: Window) -> float:
    started = time.perf_counter()
    way(window)
    return time.perf_counter() - started


def _picture(size: tuple[int, int]) -> Any:
    """Smooth texture with some noise, within the limited range; chroma of its own."""
    import cv2
    from av.video.frame import VideoFrame

    frame, rng = VideoFrame(*size, "yuv420p"), np.random.default_rng(5)
    for plane, strength in zip(frame.planes, (55, 25, 25), strict=True):
        own = plane_array(plane)
        rough = cv2.resize(
            rng.normal(0, 1, (18, 32)).astype(np.float32), own.shape[::-1], interpolation=cv2.INTER_CUBIC
        )
        own[:] = np.clip(126 + strength * rough + rng.normal(0, 2, own.shape), 20, 230).astype(np.uint8)
    return frame
