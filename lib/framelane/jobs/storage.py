"""Clips in, results out: copies between the local disk and storage that may be Google Drive."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import BinaryIO

from framelane.errors import FramelaneError
from framelane.jobs.files import (
    CHUNK,
    LOCAL,
    Content,
    DriveGone,
    Files,
    Unverified,
    files_for,
    refused,
    write_all,
)
from framelane.jobs.mounts import is_mounted_remote
from framelane.jobs.parts import part_of, passing, remove_parts
from framelane.video.clip import fingerprint
from framelane.video.writer import write_error

__all__ = [
    "LOCAL", "Content", "DriveGone", "Files", "fetch", "files_for", "is_mounted_remote", "refused", "ship", "stage_in",
]  # fmt: skip


def ship(local: Path, target: Path, files: Files = LOCAL) -> Content:
    """Bring a local file to its place: as ``.part``, read back, renamed, read back. May be repeated at any time.

    Only for the holder of the job's claim. What has the target's name already is replaced, unless it is equal: then
    nothing is copied.

    Args:
        local: the file; it stays.
        target: where it is to be.
        files: the storage of the target.

    Returns:
        Size and SHA-256 of what now has the target's name.

    Raises:
        DriveGone: the storage did not come back; ``local`` still holds everything.
        FramelaneError: the storage is full or not writable, or ``local`` is gone.
    """
    kept = f"What was made is safe in {local.parent}."
    wanted = LOCAL.but(tick=files.tick).content(local)
    if wanted is None:
        raise FramelaneError(f"{local} is gone; it should have been copied to {target}.")

    def once() -> Content:
        if not local.exists():
            raise FramelaneError(f"{local} vanished while it was copied to {target}.")
        files.mkdir(target.parent)
        if files.content(target) != wanted:
            with part_of(target) as part:
                _send(local, part, files)
                if files.content(part) != wanted:
                    raise Unverified(part)
                files.rename(part, target)
            if files.content(target) != wanted:
                raise Unverified(target)
        remove_parts(target, files)
        return wanted

    try:
        return files.retry(target, passing(once), kept)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove_parts(target, files)
        raise refused(target, error, kept) from error


def _send(local: Path, part: Path, files: Files) -> None:
    with local.open("rb") as source, files.open(part, "wb") as target:
        while piece := source.read(CHUNK):
            files.tick()
            write_all(target, piece)
        files.sync(target)


def stage_in(clip: Path, folder: Path, files: Files = LOCAL) -> Path:
    """A copy of a clip on the local disk, or the clip itself where it lies on one.

    Args:
        clip: the clip.
        folder: a local folder, of this job alone. A whole copy that an earlier run left there is used.
        files: the storage of the clip.

    Raises:
        DriveGone: the storage did not come back.
        FramelaneError: the clip is gone or unreadable, or the local disk is full.
    """
    if not files.remote(clip):
        return clip
    target = folder / clip.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        files.retry(clip, lambda: _stage(clip, target, files))
    except FileNotFoundError as error:
        raise FramelaneError(f"The clip {clip} is no longer there.") from error
    except OSError as error:
        raise FramelaneError(f"The clip {clip} cannot be read: {error.strerror}.") from error
    finally:
        (folder / _STAGING).unlink(missing_ok=True)
    return target


_STAGING = ".staging.part"


def _stage(clip: Path, target: Path, files: Files) -> None:
    size = files.size(clip)
    if size is None:
        raise FileNotFoundError(clip)
    if target.exists() and target.stat().st_size == size and fingerprint(target) == fingerprint(clip):
        return
    got = fetch(clip, target.with_name(_STAGING), files)
    if got.size != size or files.size(clip) != size:
        raise Unverified(clip)  # a short read, or the clip is still being written
    target.with_name(_STAGING).replace(target)


def fetch(source: Path, local: Path, files: Files = LOCAL) -> Content:
    """Copy a file from storage to the local disk, in one try.

    Returns:
        Size and SHA-256 of what lies on the local disk now.

    Raises:
        OSError: as the storage answers.
        FramelaneError: the local disk is full or not writable.
    """
    digest, size = hashlib.sha256(), 0
    try:
        file = LOCAL.open(local, "wb")
    except OSError as error:
        raise write_error(local, error) from error
    with file, files.open(source, "rb") as remote:
        while piece := remote.read(CHUNK):
            files.tick()
            digest.update(piece)
            size += len(piece)
            _keep(file, piece, local)
        _keep(file, b"", local, last=True)
    return Content(size, digest.hexdigest())


def _keep(file: BinaryIO, piece: bytes, local: Path, last: bool = False) -> None:
    """Write to the local disk, whose errors are not those of the storage and end the job."""
    try:
        write_all(file, piece)
        if last:
            LOCAL.sync(file)
    except OSError as error:
        raise write_error(local, error) from error
