"""Which process something belongs to, and whether that process is known to be dead."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


@dataclass(frozen=True)
class Owner:
    """One process of one start of one machine.

    Attributes:
        host: the machine's name.
        boot: the kernel's id of this boot; a machine that was started anew has none of its old processes.
        namespace: the kernel's id of the space of process numbers: two containers may share name and boot, and yet
            neither can see whether the other's processes live.
        pid: process number.
        start: when the process started, so that a number given out again is not taken for it.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    start: str

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        host, boot, namespace = _machine()
        return cls(host, boot, namespace, os.getpid(), _started(os.getpid()) or "")

    @classmethod
    def from_json(cls, data: Any) -> Owner | None:
        """The owner that :meth:`to_json` wrote; None where something else stands there."""
        try:
            return cls(**{key: kind(data[key]) for key, kind in _FIELDS.items()})
        except (KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @property
    def tag(self) -> str:
        """A short form for file names, read back by :func:`tag_is_dead`."""
        return f"{_place(self.host, self.boot, self.namespace)}-{self.pid}-{self.start or '0'}"

    def known_dead(self) -> bool:
        """True only where that is certain: the process was on this machine, in this boot, and is gone."""
        return (self.host, self.boot, self.namespace) == _machine() and _gone(self.pid, self.start)

    def known_alive(self) -> bool:
        """True only where that is certain: the process is on this machine, and runs."""
        return (self.host, self.boot, self.namespace) == _machine() and not _gone(self.pid, self.start)


_FIELDS: dict[str, Any] = {"host": str, "boot": str, "namespace": str, "pid": int, "start": str}


def tag_is_dead(tag: str) -> bool | None:
    """Whether the process of an :attr:`Owner.tag` is dead; None where it is of another machine or another boot.

    Raises:
        ValueError: it is no tag.
    """
    place, pid, start = tag.split("-")
    number = int(pid)
    return _gone(number, "" if start == "0" else start) if place == _place(*_machine()) else None


def _place(host: str, boot: str, namespace: str) -> str:
    return hashlib.sha256(f"{host}\n{boot}\n{namespace}".encode()).hexdigest()[:10]


@cache
def _machine() -> tuple[str, str, str]:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        boot = str(int(psutil.boot_time()))
    try:
        namespace = os.readlink(_PROC / "self/ns/pid")
    except OSError:
        namespace = ""
    return socket.gethostname(), boot, namespace


def _gone(pid: int, start: str) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass  # somebody else's process: it lives
    now = _started(pid)
    if now is None or not start:
        return now == ""
    return now != start


def _started(pid: int) -> str | None:
    """When a process started; "" for one that has ended but is not yet buried, None where it cannot be seen."""
    # Ticks since boot, proc_pid_stat(5) field 22: psutil's time of day is computed from the system clock, and would
    # move when that is set.
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return None if _PROC.joinpath("self").exists() else _started_psutil(pid)


def _started_psutil(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None
