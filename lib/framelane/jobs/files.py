"""The small door through which everything on storage goes that may be Google Drive.

Such storage is a cache behind FUSE: it answers with Errno 5 or 107 and is back a moment later, loses what was written,
shows half a file, or is unmounted, and then its mount point is an empty folder of the local disk. So nothing here is
believed until it was read back, transient errors are tried again, and an anchored :class:`Files` notices that its mount
is gone before it writes results into a folder that dies with the machine.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from framelane.errors import FramelaneError, chain
from framelane.jobs.mounts import MOUNTS, is_mounted_remote, mount_of

T = TypeVar("T")

CHUNK = 1 << 20
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between two tries: about a minute in all."""
_HEARS_S = 0.25
_TRANSIENT = {
    getattr(errno, name)
    for name in (
        "EIO", "ENOTCONN", "ESTALE", "EAGAIN", "EBUSY", "EINTR", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED",
        "EREMOTEIO", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "ENODEV", "ENXIO", "ESHUTDOWN",
    )
    if hasattr(errno, name)
}  # fmt: skip
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_SYNC = {errno.EINVAL, errno.ENOSYS, getattr(errno, "EOPNOTSUPP", errno.ENOSYS)}  # file systems that cannot


class DriveGone(FramelaneError):
    """Storage did not come back in time; what was to be written there is still where it was."""


class Unverified(OSError):
    """What was read back is not what was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EIO, f"{path.name} was read back otherwise than it was written")


@dataclass(frozen=True)
class Content:
    """What a file holds: its size in bytes and its SHA-256 (64 hex digits)."""

    size: int
    sha256: str


class Files:
    """Plain files, with the patience and the mistrust that remote storage needs.

    Args:
        anchor: a folder on the storage; where its mount vanishes, everything fails as "not connected".
        waits: seconds between two tries of what failed.
        table: the kernel's table of mounts.
    """

    def __init__(self, anchor: Path | None = None, *, waits: tuple[float, ...] = WAITS, table: Path = MOUNTS) -> None:
        self.waits = waits
        self.tick: Callable[[], None] = lambda: None
        self._table = table
        self._anchor = anchor
        self._mount = mount_of(anchor, table) if anchor else ("", "")

    # -- what a file system does: one try, errors as they come ---------------------------------------------------------

    def open(self, path: Path, mode: str) -> BinaryIO:
        """Open without a buffer: ``"rb"``, ``"wb"``, or ``"xb"`` for a file that must not exist yet."""
        return open(path, mode, buffering=0)  # type: ignore[return-value]

    def sync(self, file: BinaryIO) -> None:
        """Make what was written survive a power cut, where the file system can."""
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise

    def size(self, path: Path) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            return path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def entries(self, folder: Path) -> list[tuple[str, bool]]:
        """(name, whether it is a folder) of what a folder holds, by name; nothing where there is no folder."""
        try:
            with os.scandir(folder) as found:
                return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, in place of what has that name."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is fine."""
        path.unlink(missing_ok=True)

    def rmdir(self, folder: Path) -> None:
        """Remove an empty folder; one that is not there is fine."""
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()

    def mkdir(self, path: Path) -> None:
        """Make a folder and those above it."""
        path.mkdir(parents=True, exist_ok=True)

    def remote(self, path: Path) -> bool:
        """Whether a path lies on storage that may come and go."""
        return is_mounted_remote(path, self._table)

    def sleep(self, seconds: float) -> None:
        """Wait before the next try."""
        time.sleep(seconds)

    # -- patience ------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise unless the storage is still mounted where it was.

        Raises:
            OSError: it is not (ENOTCONN).
        """
        if self._anchor and mount_of(self._anchor, self._table) != self._mount:
            raise OSError(errno.ENOTCONN, f"{self._mount[0]} is no longer mounted")

    def retry(self, path: Path, action: Callable[[], T], kept: str = "") -> T:
        """Do ``action`` until it works, as long as its errors are of the kind that passes.

        Args:
            path: what it is about, for the sentence.
            action: what to do; it may be done several times, also after it had worked but the answer was lost.
            kept: a sentence on where the data is safe.

        Raises:
            DriveGone: it failed each time.
            OSError: an error that waiting does not cure.
        """
        for wait in (*self.waits, None):
            try:
                self.tick()
                self.check()
                done = action()
                self.check()  # "there is no such file" is no answer from a folder that nothing is mounted on any more
                return done
            except OSError as error:
                if error.errno not in _TRANSIENT:
                    raise
                if wait is None:
                    raise DriveGone(_gone(path, error, kept)) from error
            self._pause(wait)
        raise AssertionError("unreachable")

    def _pause(self, seconds: float) -> None:
        """Wait, and hear within a moment that the work is to end."""
        pieces = max(1, round(seconds / _HEARS_S))
        for _ in range(pieces):
            self.tick()
            self.sleep(seconds / pieces)

    def but(self, *, waits: tuple[float, ...] | None = None, tick: Callable[[], None] | None = None) -> Files:
        """The same storage with other patience.

        Args:
            waits: seconds between tries.
            tick: called before each try and with each piece that is copied; what it raises ends the work.
        """
        other = copy.copy(self)
        other.waits = self.waits if waits is None else waits
        other.tick = tick or self.tick
        return other

    # -- whole files ---------------------------------------------------------------------------------------------------

    def listdir(self, folder: Path) -> list[str]:
        """The names in a folder; nothing where there is no folder."""
        return [name for name, _ in self.retry(folder, lambda: self.entries(folder))]

    def read(self, path: Path) -> bytes | None:
        """All of a small file; None where there is none.

        Raises:
            DriveGone: the storage does not answer.
        """
        return self.retry(path, lambda: self.read_once(path))

    def read_once(self, path: Path) -> bytes | None:
        """All of a small file, in one try; None where there is none.

        Raises:
            OSError: as the storage answers; that passes, too, where the file grew while it was read.
        """
        try:
            with self.open(path, "rb") as file:
                data = b"".join(iter(lambda: file.read(CHUNK), b""))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if self.size(path) not in (len(data), None):
            raise Unverified(path)  # the read ended early
        return data

    def content(self, path: Path) -> Content | None:
        """Size and SHA-256 as read back, in one try; None where there is no file."""
        digest, size = hashlib.sha256(), 0
        try:
            with self.open(path, "rb") as file:
                while piece := file.read(CHUNK):
                    self.tick()
                    digest.update(piece)
                    size += len(piece)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Content(size, digest.hexdigest()) if size == self.size(path) else None

    def write(self, path: Path, data: bytes, mode: str = "wb") -> None:
        """Write a small file in one try, to the disk."""
        with self.open(path, mode) as file:
            write_all(file, data)
            self.sync(file)

    def remove_tree(self, folder: Path, first: tuple[str, ...] = ()) -> None:
        """Remove a folder and all in it.

        Args:
            folder: what to remove; fine where there is none.
            first: names of the files without which the rest is worth nothing: these go first.

        Raises:
            DriveGone: the storage does not answer.
        """
        found = self.retry(folder, lambda: self.entries(folder))
        for name, inner in sorted(found, key=lambda entry: entry[0] not in first):
            path = folder / name
            if inner:
                self.remove_tree(path, first)
            else:
                self.retry(path, lambda path=path: self.remove(path))  # type: ignore[misc]
        self.retry(folder, lambda: self.rmdir(folder))


LOCAL = Files()


def files_for(folder: Path) -> Files:
    """The door to what lies in a folder: anchored to its mount where that may come and go."""
    return Files(folder) if is_mounted_remote(folder) else LOCAL


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write every byte: an unbuffered file may take fewer than it is given."""
    view = memoryview(data)
    while view:
        taken = file.write(view)
        view = view[taken or 0 :]


def refused(path: Path, error: OSError, kept: str = "") -> FramelaneError:
    """The sentence for an error of storage that waiting does not cure."""
    if error.errno in _FULL:
        why = f"The storage of {path.parent} is full: {path.name} could not be written. Free some space there"
    else:
        why = f"{path} could not be written ({chain(error)}). See to it that the folder is writable"
    return FramelaneError(f"{why}, and run the same command again.{' ' if kept else ''}{kept}")


def _gone(path: Path, error: OSError, kept: str) -> str:
    return (
        f"The storage of {path.parent} does not answer ({path.name}: {error.strerror or chain(error)}). "
        f"{kept + ' ' if kept else ''}Mount it again and run the same command; what is finished is kept."
    )
