"""Finished segments of an unfinished job, brought to the storage of the results as they close, and back.

A session may die with its whole machine. So below ``OUT/.framelane/segments/ID/`` stands what the work folder holds::

    job.json                    as in the work folder
    segment-000000/             video.nut  rows.jsonl  files.json  record.json

``files.json`` names size and SHA-256 of the segment's files and the record of the segment before it; ``record.json``
comes last. A segment counts where all of it is there and fits, and all segments before it do: storage that uploads in
any order, or loses something, shortens what is gone on with, and never falsifies it.
"""

from __future__ import annotations

import hashlib
import json
import queue
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from framelane.engine.checkpoint import Record, sync_folder
from framelane.engine.events import Event
from framelane.errors import FramelaneError
from framelane.jobs.files import LOCAL, Files, Unverified, refused
from framelane.jobs.ledger import STATE
from framelane.jobs.parts import put
from framelane.jobs.storage import fetch, ship
from framelane.video.writer import write_error

_PARTS = ("video.nut", "rows.jsonl")
_FIRST = ("job.json", "record.json")  # without these the rest is worth nothing


class _Stopped(Exception):
    """The shipper was asked to end."""


class Shipper:
    """Ships the segments of one job in a thread of its own. Only for the holder of the job's claim.

    Args:
        work: the job's work folder (``WorkFolder(output).path``) on the local disk.
        out: the output folder of the batch.
        identity: the job's identity.
        files: the storage of the output folder.
        warn: takes a sentence when segments cannot be shipped; the job itself goes on.

    Attributes:
        problem: that sentence; None while all is well.
    """

    def __init__(
        self, work: Path, out: Path, identity: str, files: Files = LOCAL, *, warn: Callable[[str], None] | None = None
    ) -> None:
        self.work = work
        self.remote = out / STATE / "segments" / identity
        self.problem: str | None = None
        self._warn = warn or (lambda _: None)
        self._files = files
        self._stopped = threading.Event()
        self._background = files.but(tick=self._tick)
        self._wakes: queue.Queue[bool] = queue.Queue(maxsize=1)  # a wake looks at all segments: one waiting is enough
        self._thread: threading.Thread | None = None
        self._job: bytes | None = None
        self._next = 0

    # -- shipping ------------------------------------------------------------------------------------------------------

    def start(self) -> Shipper:
        """Begin to ship what is finished; call :meth:`restore` first."""
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)
        self._thread.start()
        self.wake()
        return self

    def wake(self) -> None:
        """Say that a segment has closed. Never waits."""
        with suppress(queue.Full):
            self._wakes.put_nowait(True)

    def listen(self, event: Event) -> None:
        """The same, as a listener of the job's events."""
        if event["event"] == "segment":
            self.wake()

    def close(self, flush: bool = False) -> None:
        """End the thread.

        Args:
            flush: ship first what is finished by now, for a job that another session goes on with.
        """
        if not flush:
            self._stopped.set()
        if self._thread:
            with suppress(queue.Full):
                self._wakes.put(False, timeout=None if flush else 0)
            self._thread.join()
            self._thread = None
        elif flush:
            self._pass()

    def __enter__(self) -> Shipper:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(flush=kind is not None)  # a job that came to its end needs its segments no more

    def _tick(self) -> None:
        if self._stopped.is_set():
            raise _Stopped

    def _run(self) -> None:
        going = True
        while going and not self._stopped.is_set():
            going = self._wakes.get()
            self._pass()

    def _pass(self) -> None:
        try:
            self.ship_closed()
            self.problem = None
        except _Stopped:
            pass
        except (FramelaneError, OSError) as error:
            if not self._local(self._next).exists():
                return  # sealed meanwhile, or thrown away because the settings are other ones
            why = str(error) if isinstance(error, FramelaneError) else str(refused(self.remote, error))
            sentence = f"Finished segments could not be brought to {self.remote.parents[2]}: {why}"
            if self.problem != sentence:
                self.problem = sentence
                self._warn(sentence)

    def ship_closed(self) -> int:
        """Ship all segments that are finished and not there yet, in order.

        Returns:
            How many segments of this job the storage holds.

        Raises:
            DriveGone: the storage does not answer; nothing local is touched.
            FramelaneError: it is full or not writable.
        """
        job = _read(self.work / "job.json")
        if job is None:
            return 0
        if job != self._job:
            self._begin(job)
        while (record := self._here(self._next)) is not None and _read(self.work / "job.json") == job:
            self._ship_segment(self._next, record)
            self._next += 1
        return self._next

    def _begin(self, job: bytes) -> None:
        """Find out what of this work is there already; work of other settings or another machine goes."""
        files = self._background
        there = files.read(self.remote / "job.json")
        if there != job:
            files.remove_tree(self.remote, _FIRST)
            put(self.remote / "job.json", job, files)
        self._next, previous = 0, b""
        while (record := self._whole(self._next, previous, files)) is not None:
            if record != _read(self._local(self._next) / "record.json"):
                break
            self._next, previous = self._next + 1, record
        self._job = job

    def _ship_segment(self, index: int, record: bytes) -> None:
        files, local = self._background, self._local(index)
        for name in files.listdir(self.remote):
            if name.startswith("segment-") and name >= local.name:
                files.remove_tree(self.remote / name, _FIRST)  # of an earlier course of the same job
        target = self.remote / local.name
        sent = {name: ship(local / name, target / name, files) for name in _PARTS}
        manifest = {
            "files": {name: [content.size, content.sha256] for name, content in sent.items()},
            "record": _sha(record),
            "previous": _sha(_read(self._local(index - 1) / "record.json") or b"") if index else "",
        }
        put(target / "files.json", json.dumps(manifest).encode(), files)
        put(target / "record.json", record, files)

    # -- and back ------------------------------------------------------------------------------------------------------

    def restore(self) -> int:
        """Bring back what another session has finished, before the job is begun.

        Segments that are here already stay: what is shipped is added after them where it is of the same course of the
        job, and left alone where it is not.

        Returns:
            How many segments were brought back.

        Raises:
            DriveGone: the storage does not answer.
            FramelaneError: the local disk is full.
        """
        job = self._files.read(self.remote / "job.json")
        has_segments = self._here(0) is not None
        if job is None or (has_segments and _read(self.work / "job.json") != job):
            return 0
        brought, previous, index = 0, b"", 0
        while (record := self._whole(index, previous, self._files)) is not None:
            here = self._here(index)
            if here is None:
                if not brought and not has_segments:
                    self._write_job(job)
                if not self._bring(index, record):
                    break
                brought += 1
            elif here != record:
                break
            index, previous = index + 1, record
        return brought

    def _here(self, index: int) -> bytes | None:
        """The record of a local segment that a resume would trust."""
        record = _read(self._local(index) / "record.json")
        if record is None or _size(self._local(index) / "video.nut") != json.loads(record).get("size"):
            return None
        return record

    def _bring(self, index: int, record: bytes) -> bool:
        """One segment; False where its files are not what its manifest says."""
        folder = self._local(index)
        opened = folder.with_suffix(".open")
        wanted = self._manifest(index, self._files)["files"]
        with _local_errors(self.work):
            shutil.rmtree(opened, ignore_errors=True)
            opened.mkdir(parents=True)
        try:
            for name in _PARTS:
                self._files.retry(self.remote, lambda name=name: self._bring_file(index, name, wanted[name]))  # type: ignore[misc]
        except (_Damaged, FileNotFoundError):
            shutil.rmtree(opened, ignore_errors=True)
            return False
        with _local_errors(self.work):
            LOCAL.write(opened / "record.json", record)
            sync_folder(opened)
            shutil.rmtree(folder, ignore_errors=True)
            opened.rename(folder)
            sync_folder(self.work)
        return True

    def _bring_file(self, index: int, name: str, wanted: list[Any]) -> None:
        source = self.remote / self._local(index).name / name
        got = fetch(source, self._local(index).with_suffix(".open") / name, self._files)
        if [got.size, got.sha256] == wanted:
            return
        if got.size == wanted[0] and self._files.size(source) == got.size:
            raise _Damaged(source)  # whole, and yet not what was shipped
        raise Unverified(source)

    def _write_job(self, job: bytes) -> None:
        with _local_errors(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
            LOCAL.write(self.work / "job.json", job)

    def _whole(self, index: int, previous: bytes, files: Files) -> bytes | None:
        """The record of a shipped segment that is there with all its files, after ``previous``; None where not."""
        folder = self.remote / self._local(index).name
        record, manifest = files.read(folder / "record.json"), self._manifest(index, files)
        if record is None or manifest.get("record") != _sha(record):
            return None
        if manifest.get("previous") != (_sha(previous) if index else ""):
            return None
        try:
            Record.from_json(json.loads(record))  # of another version of framelane, perhaps
            for name in _PARTS:
                size = files.retry(folder, lambda name=name: files.size(folder / name))  # type: ignore[misc]
                if size != manifest["files"][name][0]:
                    return None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return None
        return record

    def _manifest(self, index: int, files: Files) -> dict[str, Any]:
        data = files.read(self.remote / self._local(index).name / "files.json")
        try:
            known = json.loads(data or b"")
        except ValueError:
            return {}
        return known if isinstance(known, dict) else {}

    def forget(self) -> None:
        """Remove what was shipped: the job is recorded as finished, or starts anew.

        Raises:
            DriveGone: the storage does not answer; the ledger's sweep removes it later.
        """
        self.close()
        self._files.remove_tree(self.remote, _FIRST)
        self._job = None

    def _local(self, index: int) -> Path:
        return self.work / f"segment-{index:06d}"


class _Damaged(Exception):
    """A shipped file is whole, but not what was shipped."""


class _local_errors:  # noqa: N801  used like a function
    """Errors of the local disk as sentences; those of the storage are another matter."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError):
            raise write_error(self.path, error) from error


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _size(path: Path) -> int | None:
    return LOCAL.size(path)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
