"""Files of weights in the cache: where they lie, their SHA-256, and how a checked one gets its name.

A digest that was computed once is remembered, per process and in a small record in the cache, for as long as the file's
size and modification time stay the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError, chain
from framelane.resources import cache_dir

Notify = Callable[[str], object]
_seen: dict[Path, tuple[int, int, str]] = {}


class State(StrEnum):
    """How a model is found on this machine."""

    PRESENT = "present"
    MISSING = "missing"
    DAMAGED = "damaged"
    UNTRUSTED = "untrusted"
    """It is here, its publisher names no digest, and nobody has said that this very file is trusted."""


def folder() -> Path:
    """The folder of the cache that downloaded weights lie in."""
    return cache_dir() / "models"


@contextmanager
def fetching(name: str) -> Iterator[Path]:
    """A fresh folder inside the cache for what is being downloaded; it is gone afterwards.

    Args:
        name: of the model, for the sentence.

    Raises:
        FramelaneError: the cache cannot be written.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder()) as temporary:
            yield Path(temporary)
    except OSError as error:
        raise FramelaneError(f"The weights of {name} cannot be stored in {folder()} ({chain(error)}).") from error


def place(part: Path, target: Path, sha256: str) -> None:
    """Give a checked file its name; atomic, so that two processes that fetch at once both end with a whole file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)
    stat = target.stat()
    _remember(target, (stat.st_size, stat.st_mtime_ns, sha256))


def write_record(path: Path, data: dict[str, Any]) -> None:
    """Write a small JSON file in one step.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(data, indent=1), encoding="utf-8")
    part.replace(path)


def read_record(path: Path) -> dict[str, Any] | None:
    """What :func:`write_record` wrote; None if there is nothing, or nothing that can be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def digest(path: Path, fresh: bool = False) -> str:
    """SHA-256 of a file as hex; remembered by size and modification time unless ``fresh``.

    Raises:
        FramelaneError: the file cannot be read.
    """
    try:
        stat = path.stat()
        key = (stat.st_size, stat.st_mtime_ns)
        known = None if fresh else _recall(path)
        if known and known[:2] == key:
            return known[2]
        found = read_digest(path)
    except OSError as error:
        raise FramelaneError(f"The weights at {path} cannot be read ({chain(error)}).") from error
    _remember(path, (*key, found))
    return found


def read_digest(path: Path) -> str:
    """SHA-256 of a file as hex, read from the disk.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expect(path: Path, wanted: str, what: str, whose: str = "the one in the catalogue") -> str:
    """Refuse a file whose SHA-256 does not begin with ``wanted``.

    Returns:
        The whole digest.

    Raises:
        FramelaneError: it is another file.
        OSError: it cannot be read.
    """
    found = read_digest(path)
    if not found.startswith(wanted):
        raise FramelaneError(f"{what} is not {whose}: its SHA-256 is {found}, expected is {wanted}.")
    return found


def _record(path: Path) -> Path:
    # Embedded files may lie in a folder that cannot be written, so all records lie in the cache, named by the path.
    return folder() / "verified" / f"{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}.json"


def _recall(path: Path) -> tuple[int, int, str] | None:
    if path not in _seen:
        data = read_record(_record(path)) or {}
        try:
            _seen[path] = (int(data["size"]), int(data["mtime_ns"]), str(data["sha256"]))
        except (ValueError, KeyError, TypeError):
            return None
    return _seen[path]


def _remember(path: Path, known: tuple[int, int, str]) -> None:
    _seen[path] = known
    try:
        write_record(_record(path), dict(zip(("size", "mtime_ns", "sha256"), known, strict=True)))
    except OSError:
        # Without the record the next process only reads the file once more.
        return
