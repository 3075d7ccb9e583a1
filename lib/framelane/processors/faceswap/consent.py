"""Consent: who agreed to the use of a source face, kept in the report and in a log that only grows.

Nothing here proves that consent was given. It makes somebody say so, keeps what was said with the SHA-256 of the very
pictures, and ties it to every output.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError, UsageError, chain
from framelane.processors.faceswap.swapper import Source
from framelane.provenance import record_digest
from framelane.resources import state_dir
from framelane.schema import Settings
from framelane.sections.faceswap import FaceswapSettings

_LEAST_WORDS = 3
_HOW = (
    'say who agreed to the use of the source face and on what ground, as in --consent "Ada Example, signed release of '
    '2026-03-01" (faceswap.consent). With it you declare that the person is an adult.'
)
DECLARED = "The person shown is an adult and agreed to this use, as declared by whoever started the job."


def require(settings: Settings) -> str:
    """The consent text, where there is one that says who and on what ground.

    Raises:
        UsageError: there is none, or it says nothing.
    """
    text = " ".join((settings.faceswap.consent or "").split())
    if not text:
        raise UsageError(f"faceswap needs consent; {_HOW}")
    words = re.findall(r"[^\W\d_]{2,}", text)
    if len(words) < _LEAST_WORDS or len({word.lower() for word in words}) < _LEAST_WORDS:
        raise UsageError(f"faceswap.consent: {text!r} does not say enough; {_HOW}")
    return text


def check(settings: Settings, sources: Sequence[Source], *, age: str = "declared") -> list[dict[str, Any]]:
    """The consent record of each source face; each is added to the audit log first.

    Args:
        settings: the job's.
        sources: in the order of ``faceswap.source`` or ``faceswap.pairs``.
        age: ``"declared"``, or ``"estimated"`` where a model has looked, too.

    Returns:
        A record for each source: ``source, sha256, pixels_sha256, consent, declared, age, time``.

    Raises:
        UsageError: there is no consent, or no source.
        FramelaneError: the audit log cannot be written.
    """
    text = require(settings)
    if not sources:
        raise UsageError("faceswap needs a source face; name an image or a folder of images with faceswap.source.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    files = _files(settings.faceswap)
    records = []
    for index, source in enumerate(sources):
        path = files[index] if len(files) == len(sources) else None
        records.append(
            {
                "source": source.name,
                "sha256": _file_digest(path) if path else None,
                "pixels_sha256": pixels_digest(source),
                "consent": text,
                "declared": DECLARED,
                "age": age,
                "time": now,
            }
        )
    for record in records:
        append(record)
    return records


def audit_log() -> Path:
    """Where the audit log of this machine lies: one JSON object a line, each with the SHA-256 of the line before it."""
    return state_dir() / "faceswap-consent.jsonl"


def append(record: dict[str, Any]) -> None:
    """Add a record to the audit log.

    Raises:
        FramelaneError: the log cannot be written, or what is in it was changed.
    """
    path = audit_log()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            about = {"user": _user(), "machine": platform.node(), "record_sha256": record_digest(record)}
            entry = {**record, **about, "previous": _last_line_digest(file)}
            file.write(json.dumps(entry, sort_keys=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FramelaneError(
            f"The consent could not be recorded in {path} ({chain(error)}), and nothing is swapped without a record. "
            "FRAMELANE_STATE names another folder."
        ) from error


def broken_at(path: Path) -> int | None:
    """The number of the first line (from 1) of an audit log that does not follow from the one before; None if all do."""
    previous = ""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            if json.loads(line)["previous"] != previous:
                return number
        except (ValueError, KeyError, TypeError):
            return number
        previous = hashlib.sha256(line).hexdigest()
    return None


def _last_line_digest(file: Any) -> str:
    """SHA-256 of the last line; a line cut off by a crash is ended first, so that it stays visible as broken."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return ""
    file.seek(max(0, end - (1 << 16)))
    tail: bytes = file.read()
    if not tail.endswith(b"\n"):
        file.write(b"\n")
        tail += b"\n"
    return hashlib.sha256(tail[:-1].rsplit(b"\n", 1)[-1]).hexdigest()


def pixels_digest(source: Source) -> str:
    """SHA-256 over the pictures as they are used, whatever file they came from."""
    found = hashlib.sha256()
    for image in source.images:
        found.update(f"{image.shape[1]}x{image.shape[0]}\n".encode())
        found.update(image.tobytes())
    return found.hexdigest()


def _files(wanted: FaceswapSettings) -> list[Path]:
    if wanted.pairs:
        return [Path(pair.source) for pair in wanted.pairs]
    return [Path(wanted.source)] if wanted.source else []


def _file_digest(path: Path) -> str | None:
    """SHA-256 of an image, or of the sorted list of the digests of a folder's files."""
    try:
        if path.is_dir():
            inner = sorted(hashlib.sha256(each.read_bytes()).hexdigest() for each in path.iterdir() if each.is_file())
            return hashlib.sha256("\n".join(inner).encode()).hexdigest()
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return str(os.getuid())
