"""What a figure was measured on, how figures become ratios, and running something in a process of its own."""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from framelane.errors import FramelaneError

T = TypeVar("T")
DISTURBED = 0.15
"""Cores kept busy by other processes, above which a run's time on the clock is no good witness."""


def about() -> dict[str, Any]:
    """Date, machine (cpu, cores, memory) and versions of whatever does the work."""
    from framelane import machine

    found = machine.detect()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": {"cpu": found.cpu, "cores": found.cores_usable, "ram_gb": round(found.ram_total / 1e9, 1)},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Python, the packages that are measured or measured against, and the ffmpeg command, where they are there."""
    found = {"python": platform.python_version()}
    for package in (
        "framelane",
        "av",
        "numpy",
        "torch",
        "transformers",
        "opencv-python",
        "opencv-python-headless",
        "onnxruntime",
        "insightface",
    ):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    if command := shutil.which("ffmpeg"):
        first = subprocess.run([command, "-version"], capture_output=True, text=True, check=False).stdout
        found["ffmpeg command"] = first.removeprefix("ffmpeg version ").split(" ")[0]
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of ``ours`` over the median of ``theirs``."""
    return median(ours) / median(theirs)


def in_turn(tasks: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """Run every task once, then every task again, and so on: a slow minute of the machine then hits all alike.

    Returns:
        What each run returned, by task, in order.
    """
    found: dict[str, list[T]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            found[name].append(task())
    return found


def undisturbed(task: Callable[[], dict[str, float]], tries: int) -> dict[str, float]:
    """Run a task until other processes leave it alone, at most ``tries`` times.

    Returns:
        What the least disturbed run returned, and ``others``: the cores that other processes kept busy meanwhile.
    """
    best: dict[str, float] = {}
    for _ in range(tries):
        started, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
        found = task()
        others = (busy_seconds() - busy - own_seconds() + own) / (time.perf_counter() - started)
        if not best or others < best["others"]:
            best = {**found, "others": max(0.0, others)}
        if others <= DISTURBED:
            break
    return best


def busy_seconds() -> float:
    """CPU seconds that all processes of this machine together have used."""
    import psutil

    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal")))


def own_seconds() -> float:
    """CPU seconds that this process and its finished children have used."""
    import os

    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def child(task: str, *arguments: str | Path) -> dict[str, Any]:
    """Run a task of :mod:`framelane.bench.child` in a fresh interpreter.

    Returns:
        What it printed: at least ``seconds`` and ``peak_mb``.

    Raises:
        FramelaneError: it failed; the text carries its last line.
    """
    command = [sys.executable, "-m", "framelane.bench.child", task, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise FramelaneError(f"The benchmark's part {task!r} failed: {last}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
