"""Which CPU cores a job runs on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from framelane.errors import UsageError

_TASKS = Path("/proc/self/task")


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Keep all threads of this process on some cores, and let them go again.

    All of them: the pools of PyTorch and FFmpeg may exist already, and Linux sets each thread by itself.

    Args:
        cores: numbers of logical cores; empty leaves everything as it is, as do systems that cannot pin.

    Raises:
        UsageError: a core that this process may not use.
    """
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    if strange := sorted(set(cores) - allowed):
        usable = ", ".join(map(str, sorted(allowed)))
        raise UsageError(f"hardware.cpu_affinity names core {strange[0]}, but this process may use {usable}.")
    _pin(set(cores))
    try:
        yield
    finally:
        _pin(allowed)


def _pin(cores: set[int]) -> None:
    threads = [int(task.name) for task in _TASKS.iterdir()] if _TASKS.exists() else [0]
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended since
            os.sched_setaffinity(thread, cores)
