"""Weights that users bring themselves: copied into the cache, and held to the digest they had then."""

from __future__ import annotations

import shutil
from pathlib import Path

from framelane.errors import FramelaneError, UsageError, chain
from framelane.models import files
from framelane.models.catalog import Entry


def take(entry: Entry, given: Path, published: Path, trust: bool) -> Path:
    """Copy a user's file into the cache.

    The published file goes where a download of it would; any other one is taken only when it is trusted, and lies
    apart from it.

    Args:
        entry: the model it is of.
        given: the user's file.
        published: where the published file lies.
        trust: take it though it is not the published one.

    Returns:
        Where it lies now.

    Raises:
        UsageError: the model is one that no file can be given for, or there is no such file.
        FramelaneError: it is not the published one and not trusted, or it cannot be copied.
    """
    if entry.hub or entry.embedded:
        raise UsageError(f"No file can be given for {entry.name}: it {'is a folder' if entry.hub else 'is embedded'}.")
    if not given.is_file():
        raise UsageError(f"There is no file {given}.")
    found = files.digest(given, fresh=True)
    same = bool(entry.published) and found.startswith(entry.published or "")
    if not (same or trust):
        raise FramelaneError(
            f"{given} is not the published file of {entry.name}: its SHA-256 is {found}, expected is "
            f"{entry.published or 'not known'}. To use this very file all the same, add --trust."
        )
    target = published if same else _file(entry, given.suffix)
    with files.fetching(entry.name) as temporary:
        part = temporary / f"{target.name}.part"
        try:
            shutil.copyfile(given, part)
        except OSError as error:
            raise FramelaneError(f"{given} cannot be copied to {files.folder()} ({chain(error)}).") from error
        files.expect(part, found, f"The copy of {given}", "what was read first")
        files.place(part, target, found)
        forget(entry)
        if not same:
            files.write_record(_record(entry), {"file": target.name, "sha256": found})
    return target


def forget(entry: Entry) -> None:
    """From now on the published file is used again."""
    _record(entry).unlink(missing_ok=True)


def location(entry: Entry) -> Path | None:
    """Where a user's own file of a model lies; None where there is none."""
    record = files.read_record(_record(entry))
    return _folder() / Path(str(record.get("file"))).name if record else None


def digest(entry: Entry) -> str | None:
    """What a user's own file must be; None where there is none."""
    record = files.read_record(_record(entry))
    return str(record.get("sha256")) if record else None


def _folder() -> Path:
    return files.folder() / "own"


def _file(entry: Entry, suffix: str) -> Path:
    return _folder() / f"{entry.name}{suffix}"


def _record(entry: Entry) -> Path:
    return _folder() / f"{entry.name}.json"
