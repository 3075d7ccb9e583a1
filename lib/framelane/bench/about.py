"""What a figure was measured on, how figures become ratios, and running something in a process of its own."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from framelane.errors import FramelaneError


def about() -> dict[str, Any]:
    """Date, machine (cpu, cores) and versions of whatever does the work."""
    import platform

    from framelane import __version__, hardware, machine

    found = machine.detect()
    packages = {name: value for name, value in hardware.versions().items() if value and name != "framelane"}
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": {"cpu": found.cpu, "cores": found.cores_usable, "ram_gb": round(found.ram_total / 1e9, 1)},
        "versions": {"framelane": __version__, **packages, "python": platform.python_version()},
    }


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of ``ours`` over the median of ``theirs``."""
    return median(ours) / median(theirs)


def in_turn(tasks: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Run every task once, then every task again, and so on: a slow minute of the machine then hits all alike.

    Returns:
        What each run returned, by task, in order.
    """
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            found[name].append(task())
    return found


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
