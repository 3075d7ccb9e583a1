"""The finished segments of one unfinished job as they lie on the storage of the results.

Below ``OUT/.framelane/segments/ID/`` stands what the work folder holds::

    job.json                    as in the work folder
    segment-000000/             video.nut  rows.jsonl  files.json  record.json

``files.json`` names size and SHA-256 of the segment's files and the record of the segment before it; ``record.json``
comes last. A segment counts where all of it is there and fits, and all segments before it do: storage that uploads in
any order, or loses something, shortens what is gone on with, and never falsifies it.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from framelane.engine.checkpoint import Record
from framelane.jobs.files import Content, Files, Unverified
from framelane.jobs.parts import put
from framelane.jobs.storage import fetch, ship

PARTS = ("video.nut", "rows.jsonl")
FIRST = ("job.json", "record.json")
"""Without these the rest is worth nothing: they are removed first."""


class Damaged(Exception):
    """A shipped file is whole, but not what was shipped."""


class Shipped:
    """What was shipped of one job.

    Args:
        folder: ``OUT/.framelane/segments/ID``.
        files: its storage.
    """

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder, self.files = folder, files

    def job(self) -> bytes | None:
        """The ``job.json`` that the segments belong to; None where nothing is there."""
        return self.files.read(self.folder / "job.json")

    def begin(self, job: bytes) -> None:
        """Make room for segments of ``job``: those of another one go."""
        if self.job() != job:
            self.remove()
            put(self.folder / "job.json", job, self.files)

    def segment(self, index: int, previous: bytes) -> bytes | None:
        """The record of segment ``index`` where it is there with all its files and comes after the one before.

        Args:
            index: from 0.
            previous: the record of the segment before it; not looked at for the first.

        Raises:
            DriveGone: the storage does not answer.
        """
        record, manifest = self.files.read(self._folder(index) / "record.json"), self._manifest(index)
        if record is None or manifest.get("record") != _sha(record):
            return None
        if manifest.get("previous") != (_sha(previous) if index else ""):
            return None
        try:
            Record.from_json(json.loads(record))  # of another version of framelane, perhaps
            whole = all(self._size(index, name) == manifest["files"][name][0] for name in PARTS)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return None
        return record if whole else None

    def add(self, index: int, local: Path, record: bytes, previous: bytes) -> None:
        """Ship a segment; all that are there from ``index`` on are of an earlier course of the job, and go.

        Raises:
            DriveGone: the storage does not answer.
            FramelaneError: it is full or not writable, or the local files are gone.
            OSError: it is full or not writable.
        """
        folder = self._folder(index)
        for name in self.files.listdir(self.folder):
            if name.startswith("segment-") and name >= folder.name:
                self.files.remove_tree(self.folder / name, FIRST)
        sent = {name: ship(local / name, folder / name, self.files) for name in PARTS}
        manifest = {
            "files": {name: [content.size, content.sha256] for name, content in sent.items()},
            "record": _sha(record),
            "previous": _sha(previous) if index else "",
        }
        put(folder / "files.json", json.dumps(manifest).encode(), self.files)
        put(folder / "record.json", record, self.files)

    def fetch(self, index: int, local: Path) -> None:
        """Copy a segment's video and rows into a local folder.

        Raises:
            Damaged: a file is gone, or whole and yet not what was shipped.
            DriveGone: the storage does not answer.
            FramelaneError: the local disk is full.
        """
        wanted = self._manifest(index).get("files", {})
        for name in PARTS:
            try:
                content = Content(*wanted[name])
                self.files.retry(self.folder, partial(self._fetch, index, name, local, content))
            except (FileNotFoundError, KeyError, TypeError) as error:
                raise Damaged(name) from error

    def _fetch(self, index: int, name: str, local: Path, wanted: Content) -> None:
        source = self._folder(index) / name
        got = fetch(source, local / name, self.files)
        if got == wanted:
            return
        if got.size == self.files.size(source) and self.files.content(source) == got:
            raise Damaged(source)  # read twice alike
        raise Unverified(source)

    def remove(self) -> None:
        """Remove everything.

        Raises:
            DriveGone: the storage does not answer.
        """
        self.files.remove_tree(self.folder, FIRST)

    def _folder(self, index: int) -> Path:
        return self.folder / f"segment-{index:06d}"

    def _size(self, index: int, name: str) -> int | None:
        path = self._folder(index) / name
        return self.files.retry(path, lambda: self.files.size(path))

    def _manifest(self, index: int) -> dict[str, Any]:
        data = self.files.read(self._folder(index) / "files.json")
        try:
            known = json.loads(data or b"")
        except ValueError:
            return {}
        return known if isinstance(known, dict) else {}


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
