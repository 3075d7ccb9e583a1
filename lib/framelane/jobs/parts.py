"""``.part`` files: what is on its way to its final name, and how left-over ones are told from those at work.

The name says for which target and by which process: ``.framelane-TARGET-PLACE-PID-START.part``. It does not hold the
target's own name, which may be as long as a name can be.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from framelane.jobs.files import Content, Files, T, Unverified
from framelane.jobs.owner import Owner, tag_is_dead

_NAME = re.compile(r"\.framelane-([0-9a-f]{16})-([0-9a-f]{10}-\d+-\d+(?:\.\d+)?)\.part")


_busy: set[str] = set()  # parts that this process is writing


@contextmanager
def part_of(target: Path) -> Iterator[Path]:
    """Where this process writes what is to become ``target``."""
    path = target.with_name(f".framelane-{_key(target)}-{Owner.here().tag}.part")
    _busy.add(os.path.abspath(path))
    try:
        yield path
    finally:
        _busy.discard(os.path.abspath(path))


def remove_parts(target: Path, files: Files) -> None:
    """Remove every part on its way to ``target``, whoever left it: only the holder of the job's claim comes here.

    Raises:
        OSError: as the storage answers; one try.
    """
    for name, _ in files.entries(target.parent):
        found = _NAME.fullmatch(name)
        if found and found[1] == _key(target):
            files.remove(target.with_name(name))


def put(path: Path, data: bytes, files: Files) -> None:
    """Write a small file so that it is there whole or not at all, and read it back. What has its name is replaced.

    Raises:
        DriveGone: the storage does not answer, or does not keep it.
        OSError: the storage is full or not writable.
    """
    wanted = Content(len(data), hashlib.sha256(data).hexdigest())

    def once() -> None:
        files.mkdir(path.parent)
        if files.content(path) != wanted:
            with part_of(path) as part:
                files.write(part, data)
                if files.content(part) != wanted:
                    raise Unverified(part)
                files.rename(part, path)
            if files.content(path) != wanted:
                raise Unverified(path)
        remove_parts(path, files)

    try:
        files.retry(path, passing(once))
    except OSError:
        with suppress(OSError):
            remove_parts(path, files)  # on a full disk it would stay, and keep what little room there is
        raise


def passing(action: Callable[[], T]) -> Callable[[], T]:
    """``action``, for which a file or folder of the storage that vanishes between two steps is an error that passes."""

    def tried() -> T:
        try:
            return action()
        except FileNotFoundError as error:
            raise OSError(errno.EIO, "a file or folder vanished from it") from error

    return tried


def _key(target: Path) -> str:
    return hashlib.sha256(target.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Sweeper:
    """Removes parts that nobody works on.

    Those of dead processes of this machine go at once, and those that this process failed to remove. Of another
    machine's nothing is known but whether they change: they go once they have been the same for long enough by this
    machine's own clock.

    Args:
        folder: searched with everything below it.
        files: the storage.
        expiry_s: seconds without a change after which another machine's part is given up.
        clock: seconds that never jump.
    """

    def __init__(
        self, folder: Path, files: Files, expiry_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder, self.files, self.expiry_s, self.clock = folder, files, expiry_s, clock
        self._seen: dict[Path, tuple[int | None, float]] = {}

    def sweep(self) -> int:
        """Look once through the folder; returns how many parts were removed.

        Raises:
            DriveGone: the storage does not answer.
        """
        return self._sweep(self.folder)

    def _sweep(self, folder: Path) -> int:
        removed = 0
        for name, inner in self.files.retry(folder, lambda: self.files.entries(folder)):
            path = folder / name
            if inner:
                try:
                    removed += self._sweep(path)
                except PermissionError:
                    continue  # a folder of somebody else: no part of ours is in it
            elif (found := _NAME.fullmatch(name)) and self._stale(path, found[2]):
                self.files.retry(path, lambda path=path: self.files.remove(path))  # type: ignore[misc]
                removed += 1
        return removed

    def _stale(self, path: Path, tag: str) -> bool:
        if tag == Owner.here().tag:
            return os.path.abspath(path) not in _busy
        dead = tag_is_dead(tag)
        if dead is not None:
            return dead
        size = self.files.retry(path, lambda: self.files.size(path))
        known, since = self._seen.get(path, (None, 0.0))
        if known != size or path not in self._seen:
            self._seen[path] = (size, self.clock())
            return False
        return self.clock() - since >= self.expiry_s
