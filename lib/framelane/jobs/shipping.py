"""Finished segments of an unfinished job, brought to the storage of the results as they close, and back.

A session may die with its whole machine: what is only on the local disk is then lost. How segments lie on the storage
is in ``shipped``.
"""

from __future__ import annotations

import json
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from framelane.engine.checkpoint import sync_folder
from framelane.engine.events import Event
from framelane.errors import FramelaneError
from framelane.jobs.files import LOCAL, Files, refused
from framelane.jobs.ledger import STATE
from framelane.jobs.shipped import Damaged, Shipped
from framelane.video.writer import write_error


class _Stopped(Exception):
    """The shipper was asked to end."""


class Shipper:
    """Ships the segments of one job in a thread of its own. Only for the holder of the job's claim.

    As a context manager it starts the thread, and at the end stops it: at once where the job came to its end, for its
    segments are needed no more; else when everything that is finished is there.

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
        self.work, self.out = work, out
        self.problem: str | None = None
        self._warn = warn or (lambda _: None)
        self._stopped = threading.Event()
        folder = out / STATE / "segments" / identity
        self._shipped = Shipped(folder, files)
        self._sink = Shipped(folder, files.but(tick=self._tick))  # ends when the thread is to end
        self._wakes: queue.Queue[bool] = queue.Queue(maxsize=1)  # a wake looks at all segments: one waiting is enough
        self._thread: threading.Thread | None = None
        self._job: bytes | None = None
        self._begun = False
        self._next, self._previous = 0, b""

    # -- shipping ------------------------------------------------------------------------------------------------------

    def start(self) -> Shipper:
        """Begin to ship what is finished; call :meth:`restore` first. Once only: a closed shipper stays closed."""
        if self._thread is None:
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
        if self._thread is None:
            return
        with suppress(queue.Full):
            self._wakes.put(False, block=flush)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Shipper:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(flush=kind is not None)

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
            if self._here(self._next) is None:
                return  # sealed meanwhile, or thrown away because the settings are other ones
            why = error if isinstance(error, FramelaneError) else refused(self._shipped.folder, error)
            sentence = f"Finished segments could not be brought to {self.out} and are only on this machine: {why}"
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
            self._look(job)
        while (record := self._here(self._next)) is not None and _read(self.work / "job.json") == job:
            if not self._begun:
                self._sink.begin(job)  # not before there is something to put in the place of other work
                self._begun = True
            self._sink.add(self._next, self._local(self._next), record, self._previous)
            self._next, self._previous = self._next + 1, record
        return self._next

    def _look(self, job: bytes) -> None:
        """Find out what of this work is there already."""
        self._job, self._next, self._previous = None, 0, b""
        self._begun = self._sink.job() == job
        while self._begun and (record := self._sink.segment(self._next, self._previous)) is not None:
            if record != self._here(self._next):
                break
            self._next, self._previous = self._next + 1, record
        self._job = job

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
        job = self._shipped.job()
        empty = self._here(0) is None
        if job is None or (not empty and _read(self.work / "job.json") != job):
            return 0
        brought, previous, index = 0, b"", 0
        while (record := self._shipped.segment(index, previous)) is not None:
            here = self._here(index)
            if here not in (None, record):
                break
            if here is None:
                if empty and not brought:
                    self._write_job(job)
                if not self._bring(index, record):
                    break
                brought += 1
            index, previous = index + 1, record
        return brought

    def _bring(self, index: int, record: bytes) -> bool:
        """One segment, valid by one rename; False where it is damaged."""
        folder = self._local(index)
        opened = folder.with_suffix(".open")  # what the work folder throws away
        with _local_errors(self.work):
            shutil.rmtree(opened, ignore_errors=True)
            opened.mkdir(parents=True)
        try:
            self._shipped.fetch(index, opened)
        except Damaged:
            shutil.rmtree(opened, ignore_errors=True)
            return False
        with _local_errors(self.work):
            LOCAL.write(opened / "record.json", record)
            sync_folder(opened)
            shutil.rmtree(folder, ignore_errors=True)
            opened.rename(folder)
            sync_folder(self.work)
        return True

    def _write_job(self, job: bytes) -> None:
        with _local_errors(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
            LOCAL.write(self.work / "job.json", job)

    def forget(self) -> None:
        """Remove what was shipped: the job is recorded as finished, or starts anew.

        Raises:
            DriveGone: the storage does not answer; the ledger's sweep removes it later.
        """
        self.close()
        self._shipped.remove()
        self._job = None

    def _here(self, index: int) -> bytes | None:
        """The record of a local segment that a resume would trust."""
        folder = self._local(index)
        record = _read(folder / "record.json")
        whole = record is not None and LOCAL.size(folder / "video.nut") == json.loads(record).get("size")
        return record if whole else None

    def _local(self, index: int) -> Path:
        return self.work / f"segment-{index:06d}"


@contextmanager
def _local_errors(path: Path) -> Iterator[None]:
    """Errors of the local disk as sentences; those of the storage are another matter."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
