"""``framelane bench engine``: what the engine costs, each figure as a ratio within one run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from framelane.bench import transcode
from framelane.bench.about import child, in_turn, ratio
from framelane.bench.clips import SECONDS, loop_clip, make_clip
from framelane.errors import FramelaneError

if TYPE_CHECKING:
    from rich.table import Table

SIZE = (1280, 720)
LONG = 10  # times the short clip, for memory
STAGES_TARGET, MEMORY_TARGET, IMPORT_TARGET_S = 1.05, 1.05, 0.5


def measure(
    *,
    repeats: int = 5,
    size: tuple[int, int] = SIZE,
    seconds: int = SECONDS,
    frames: int = 500,
    long: int = LONG,
    tries: int = 4,
) -> dict[str, Any]:
    """All figures.

    Args:
        repeats: runs of each transcode; the medians are compared. The other figures take fewer.
        size: width and height of the clip.
        seconds: its length.
        frames: through the simulated stages.
        tries: how often a transcode that other processes disturb is made again.
        long: how many times longer the clip is whose memory is compared with the short one's.
    """
    from framelane.container import usable_cores

    threads = usable_cores()
    some = min(repeats, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clip(folder / "clip.mp4", size, seconds)
        compared = transcode.compare(folder / "clip.mp4", folder, threads, repeats, tries)
        sentences = compared.pop("sentences")
        found = {
            "clip": {"width": size[0], "height": size[1], "fps": 30, "seconds": seconds},
            "transcode": compared,
            "stages": stages(frames, some),
            "memory": memory(folder, threads, some, long),
            "import": import_time(repeats),
        }
    return {**found, "sentences": sentences}


def quick() -> dict[str, Any]:
    """The same of a short, small clip, each thing once: about a minute; what other processes do shows more."""
    return measure(repeats=1, size=(640, 360), seconds=3, frames=100, long=3, tries=1)


def stages(frames: int, repeats: int) -> dict[str, Any]:
    """Simulated stages of 5, 10 and 5 ms a frame through the engine, against 10 ms a frame alone, in one process."""
    runs = [child("stages", str(frames)) for _ in range(repeats)]
    engine, alone = [r["seconds"] for r in runs], [r["alone"] for r in runs]
    return {"frames": frames, "engine_s": engine, "alone_s": alone, "ratio": round(ratio(engine, alone), 3)}


def memory(folder: Path, threads: int, repeats: int, long: int) -> dict[str, Any]:
    """Peak memory of a job that repaints ``clip.mp4`` of a folder, and of one on the same content ``long`` times."""
    loop_clip(folder / "clip.mp4", folder / "long.mp4", long)

    def peak(name: str) -> float:
        found = child("pipeline", "bench_repaint", folder / f"{name}.mp4", folder / "memory.mp4", str(threads))
        return float(found["peak_mb"])

    found = in_turn({"clip": lambda: peak("clip"), "long": lambda: peak("long")}, repeats)
    return {
        "times": long,
        "short_mb": [round(mb, 1) for mb in found["clip"]],
        "long_mb": [round(mb, 1) for mb in found["long"]],
        "ratio": round(ratio(found["long"], found["clip"]), 3),
    }


def import_time(repeats: int) -> dict[str, Any]:
    """Seconds of ``import framelane`` in a fresh interpreter, whose own start is not counted."""
    code = "import time; t = time.perf_counter(); import framelane; print(time.perf_counter() - t)"
    runs = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            raise FramelaneError("`import framelane` failed in a fresh interpreter.")
        runs.append(round(float(done.stdout), 4))
    return {"runs_s": runs, "seconds": median(runs)}


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures of :func:`measure`, with their targets."""
    from rich.table import Table

    clip, compared = figures["clip"], figures["transcode"]
    title = f"{clip['width']}x{clip['height']}, {clip['seconds']} s, x264 medium CRF 20, {compared['threads']} threads"
    runs = Table("transcode", "median s", "runs", "CPU s", "MB", title=title)
    for name, seconds in compared["seconds"].items():
        shown = f"{name} ({compared['cv2_codec']})" if name == "cv2" else name
        listed = " ".join(f"{s:.2f}" for s in seconds)
        cpu = f"{median(compared['cpu_s'][name]):.2f}"
        runs.add_row(shown, f"{median(seconds):.2f}", listed, cpu, f"{compared['output_mb'][name]:.1f}")
    table = Table("figure", "found", "target", "met", "of the CPU")
    by_cpu = {transcode.RATIOS[name][2]: f"{value:.3f}x" for name, value in compared["cpu_ratios"].items()}
    for what, found, target, unit in rows(figures):
        met = "" if target is None else ("yes" if found <= target else "NO")
        wanted = "" if target is None else f"{target:g}{unit}"
        table.add_row(what, f"{found:.3f}{unit}", wanted, met, by_cpu.get(what, ""))
    return [runs, table]


def rows(figures: dict[str, Any]) -> list[tuple[str, float, float | None, str]]:
    """What was measured, what was found, the target, the unit."""
    found = figures["transcode"]["ratios"]
    times, stage = figures["memory"]["times"], figures["stages"]
    return [
        *((what, found[name], target, "x") for name, (_, _, what, target) in transcode.RATIOS.items() if name in found),
        (f"stages of 5/10/5 ms, {stage['frames']} frames, to the slowest", stage["ratio"], STAGES_TARGET, "x"),
        (f"peak memory of a clip {times} times as long", figures["memory"]["ratio"], MEMORY_TARGET, "x"),
        ("import framelane", figures["import"]["seconds"], IMPORT_TARGET_S, " s"),
    ]
