"""The work folder of a job: finished segments that survive anything, and where to go on after them.

Beside the output ``NAME.mp4`` stands ``.NAME.mp4.framelane/`` while the job is unfinished::

    job.json                  what the work belongs to; anything else and it is started anew
    lock                      held while a process works here
    segment-000000/           video.nut  rows.jsonl  record.json     valid together: the folder got its name last
    segment-000001.open/      being written; worthless after a crash
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError
from framelane.video.reader import Position
from framelane.video.writer import SegmentInfo, write_error


@dataclass(frozen=True)
class Record:
    """What a finished segment knows.

    Attributes:
        info: frames, first and last timestamp of the segment.
        last: True for the last segment of the clip.
        state: the processor's snapshot after the segment's last frame.
        after: the input frame after which decoding goes on; None is the start of the clip.
        guard: what the guard had set, repeated by a resume.
        size: bytes of the segment's video, checked before it is trusted.
        notes: degradations and warnings noted up to here, for the report.
    """

    info: SegmentInfo
    last: bool = False
    state: dict[str, Any] = field(default_factory=dict)
    after: Position | None = None
    guard: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """The record that :func:`dataclasses.asdict` made."""
        after = data.pop("after")
        return cls(info=SegmentInfo(**data.pop("info")), after=Position(**after) if after else None, **data)


@dataclass
class Segment:
    """A finished segment: its folder and its record."""

    folder: Path
    record: Record

    def light(self) -> Segment:
        """The same without what only a resume needs, so that memory stays flat however many segments there are."""
        return Segment(self.folder, replace(self.record, state={}, notes={}))

    @property
    def video(self) -> Path:
        """The segment's NUT file."""
        return self.folder / "video.nut"


class WorkFolder:
    """Where a job keeps what is finished until its output is sealed.

    Args:
        output: the file that the job makes.

    Attributes:
        changed: the parts of the identity in which unfinished work differed, after :meth:`open` threw that away.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.parent / f".{output.name}.framelane"
        self.output = output
        self.changed: list[str] = []
        self._lock: Any = None

    def begun(self) -> dict[str, Any]:
        """The identity of unfinished work, and with ``"asked for"`` what was asked for; empty where there is none."""
        known = self._read(self.path / "job.json")
        return known if isinstance(known, dict) else {}

    def open(self, identity: dict[str, Any], asked_for: str = "") -> list[Segment]:
        """Take the folder for this process and read what is finished.

        Args:
            identity: everything that the frames depend on. Work of another identity is removed.
            asked_for: is kept beside it, for other machines (see ``framelane.identity``).

        Returns:
            The finished segments, in order, without gaps.

        Raises:
            FramelaneError: another process works on the same output, or the disk is full.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            known = self.begun()
            wanted = json.loads(json.dumps(identity))
            if {key: value for key, value in known.items() if key != "asked for"} != wanted:
                self.clear()
                self._write(self.path / "job.json", {**identity, "asked for": asked_for})
                sync_folder(self.path)
                self.changed = _differences(known, wanted)
        except OSError as error:
            raise write_error(self.path, error) from error
        return self._finished()

    def wait(self, seconds: float) -> None:
        """Wait until no other process holds the folder: one that is being killed takes a moment to die.

        Args:
            seconds: at most; :meth:`open` then says who works here.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                with (self.path / "lock").open() as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # no folder yet, or a file system without locks
                return

    def _take_lock(self) -> None:
        self._lock = (self.path / "lock").open("w")
        try:
            # The kernel drops it with the process, however that ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FramelaneError(f"Another framelane process is working on {self.output} right now.") from error
        except OSError:
            pass  # a file system without locks (some network mounts): go on without

    @staticmethod
    def _read(path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    @staticmethod
    def _write(path: Path, data: Any) -> None:
        with path.open("w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())

    def clear(self) -> None:
        """Throw the segments away; the folder stays taken."""
        for folder in self.path.glob("segment-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, index: int) -> Path:
        return self.path / f"segment-{index:06d}"

    def _finished(self) -> list[Segment]:
        for left_over in self.path.glob("segment-*.open"):
            shutil.rmtree(left_over, ignore_errors=True)
        segments: list[Segment] = []
        while (data := self._read(self._folder(len(segments)) / "record.json")) is not None:
            segment = Segment(self._folder(len(segments)), Record.from_json(data))
            if not segment.video.exists() or segment.video.stat().st_size != segment.record.size:
                break
            if segments:
                segments[-1] = segments[-1].light()
            segments.append(segment)
        for folder in sorted(self.path.glob("segment-*"))[len(segments) :]:
            shutil.rmtree(folder, ignore_errors=True)
        return segments

    def begin(self, index: int) -> Path:
        """A new folder to write segment ``index`` into."""
        folder = self._folder(index).with_suffix(".open")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def finish(self, index: int, record: Record) -> Segment:
        """Make the segment's video, rows and record valid together, by one rename.

        Raises:
            OSError: the disk is full, or failed.
        """
        folder = self._folder(index).with_suffix(".open")
        size = (folder / "video.nut").stat().st_size
        record = Record(**{**record.__dict__, "size": size})
        for name in ("video.nut", "rows.jsonl"):
            with (folder / name).open("rb") as file:
                os.fsync(file.fileno())
        self._write(folder / "record.json", asdict(record))
        sync_folder(folder)
        folder.rename(self._folder(index))
        sync_folder(self.path)
        return Segment(self._folder(index), record)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all finished segments, in order."""
        for path in sorted(self.path.glob("segment-??????/rows.jsonl")):
            with path.open(encoding="utf-8") as file:
                for line in file:
                    yield json.loads(line)

    def release(self) -> None:
        """Let other processes work here."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Remove the folder: the output is sealed."""
        spent = self.path.with_suffix(".spent")
        with contextlib.suppress(OSError):
            shutil.rmtree(spent, ignore_errors=True)
            self.path.rename(spent)  # half-removed work must not look like unfinished work
        shutil.rmtree(spent, ignore_errors=True)
        self.release()


def sync_folder(path: Path) -> None:
    """Make renames and new names in a folder survive a power cut, where the file system can."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        pass


_PROCESSOR = "processor version"


def _differences(known: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """In what an unfinished job's identity is another one; of another processor's only what both have."""
    if not known:
        return []
    names = {str(of.get(_PROCESSOR, "")).split(" ")[0] for of in (known, wanted)}
    left_out = {_PROCESSOR, "models"} if len(names) > 1 else set()
    changed = sorted(key for key in wanted if key in known and known[key] != wanted[key] and key not in left_out)
    return [*(["processor"] if left_out else []), *changed] or ["version of framelane"]
