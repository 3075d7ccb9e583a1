"""Terms that a user accepts once before a model is fetched or opened, and the record of it."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

from framelane.errors import FramelaneError, UsageError, chain
from framelane.models import files
from framelane.models.catalog import Entry


def accepted(entry: Entry) -> bool:
    """Whether a model's terms, as they read now, were accepted; True where there are none."""
    if entry.terms is None:
        return True
    return (files.read_record(_record(entry)) or {}).get("sha256") == _digest(entry)


def accept(entry: Entry) -> None:
    """Remember that the user has accepted a model's terms: which, and when.

    Raises:
        FramelaneError: the cache cannot be written.
    """
    if entry.terms is None or accepted(entry):
        return
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = {"licence": entry.licence, "terms": entry.terms, "sha256": _digest(entry), "accepted": now}
    try:
        files.write_record(_record(entry), record)
    except OSError as error:
        raise FramelaneError(
            f"That the licence of {entry.name} was accepted cannot be recorded in {files.folder()} ({chain(error)})."
        ) from error


def require(entry: Entry) -> None:
    """Stop unless a model's terms were accepted.

    Raises:
        UsageError: they were not; the text is the terms and the command that accepts them.
    """
    if not accepted(entry):
        raise UsageError(
            f"The weights of {entry.name} are under {entry.licence}. {entry.terms} Who agrees runs: "
            f"{entry.fetch_command} --accept-licence"
        )


def _record(entry: Entry) -> Path:
    return files.folder() / "licences" / f"{entry.name}.json"


def _digest(entry: Entry) -> str:
    # Of what was shown: other terms, or another licence, are accepted anew.
    return hashlib.sha256(f"{entry.licence}\n{entry.terms}".encode()).hexdigest()
