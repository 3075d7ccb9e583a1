"""What is left of the machine's RAM and cores to this process: control groups, of both versions, and CPU affinity."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def memory(root: Path = CGROUPS, membership: Path = _MEMBERSHIP) -> tuple[int, int, bool]:
    """(total, available) bytes of RAM, and whether a container's limit decides them.

    Args:
        root: where control groups are mounted.
        membership: the file that names this process's group.
    """
    import psutil

    machine = psutil.virtual_memory()
    total, available, limited = int(machine.total), int(machine.available), False
    for limit, used in _limits(root, membership):
        available = min(available, max(0, limit - used))
        if limit < total:
            total, limited = limit, True
    return total, available, limited


def _limits(root: Path, membership: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) bytes of every control group that this process is in, version 2 and version 1."""
    for folder, names in _groups(root, membership):
        limit, used = _number(folder / names[0]), _number(folder / names[1])
        if limit is not None and used is not None:
            yield limit, max(0, used - _reclaimable(folder))


def _groups(root: Path, membership: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    version_2, version_1 = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for line in read_text(membership).splitlines() or ["0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        base, names = (root / "memory", version_1) if controllers else (root, version_2)
        group = base / path.lstrip("/")
        while group != base:  # a limit anywhere above holds as well
            yield group, names
            group = group.parent
        yield base, names


def _reclaimable(folder: Path) -> int:
    """Bytes of file cache that the kernel gives back before it refuses memory."""
    found = re.search(r"^(?:total_)?inactive_file (\d+)$", read_text(folder / "memory.stat"), re.MULTILINE)
    return int(found[1]) if found else 0


def _number(path: Path) -> int | None:
    text = read_text(path).strip()
    return int(text) if text.isdigit() else None  # "max" is no limit


def read_text(path: Path) -> str:
    """What a file of the system's says; empty where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""


def usable_cores(root: Path = CGROUPS) -> int:
    """Logical cores this process may use: its CPU affinity, less where a container has a quota; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_text(root / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and int(quota[1]) > 0:
        cores = min(cores, round(int(quota[0]) / int(quota[1])))
    return max(1, cores)
