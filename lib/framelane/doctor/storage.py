"""Storage: a Drive proven by writing a file and reading it back, and the speed of the disk that output is written to."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import BinaryIO

from framelane.doctor.finding import Figure, Finding
from framelane.errors import chain

_BLOCK = 1 << 22  # 4 MiB
_SMALL = 1 << 20  # what is written to a Drive
_DISK_BLOCKS = 16
_SLOW_DISK_MBS = 30.0  # an hour of 1080p at CRF 20 is about 3 GB; below this, writing competes with encoding
_MOUNT_AGAIN = (
    "Mount it again (in Colab: drive.mount('/content/drive', force_remount=True)), then run the doctor again."
)


def probe(what: str, folder: str, named: bool = False) -> list[Finding]:
    """Prove a Drive, or measure a disk.

    Args:
        what: ``"drive"`` or ``"disk"``.
        folder: on it.
        named: whether the user named it: then a Drive that refuses is an error, else a note.
    """
    return [drive(Path(folder), named) if what == "drive" else disk(Path(folder))]


def places(named: list[str]) -> list[tuple[str, bool]]:
    """(folder, named by the user) of everything to be written to: what was named, then every Drive that is mounted.

    Of Google's Drive that is the folder "MyDrive" (its mount point itself takes no files).
    """
    from framelane.jobs.mounts import remote_mounts

    found = dict.fromkeys((str(Path(folder).absolute()) for folder in named), True)
    for point in remote_mounts():
        mine = Path(point) / "MyDrive"
        found.setdefault(str(mine) if os.path.lexists(mine) else point, False)
    return list(found.items())


def drive(folder: Path, named: bool) -> Finding:
    """Write a small file, read it back, compare, remove: under a passing name, synced and renamed, as results are.

    Args:
        folder: on the Drive.
        named: whether the user named it: then a refusal is an error.
    """
    name = "Drive"
    bad, data = ("error" if named else "note"), secrets.token_bytes(_SMALL)
    if not folder.is_dir():
        fix = "Name a folder that exists: framelane doctor --path FOLDER."
        return Finding(name, "error", f"There is no folder {folder}.", fix, {"folder": str(folder)})
    target = folder / f".framelane-doctor-{secrets.token_hex(6)}"
    part = target.with_name(f"{target.name}.part")
    try:
        write_s, synced = _written(part, data)
        part.rename(target)
        started = time.perf_counter()
        with target.open("rb") as file:
            _forget_cached(file)
            back = file.read()
        read_s = time.perf_counter() - started
        size = target.stat().st_size
    except OSError as error:
        reason = f"{error.strerror or chain(error)} (Errno {error.errno})"
        said = f"A small file could not be written to and read back from {folder}: {reason}."
        return Finding(name, bad, said, _MOUNT_AGAIN, {"folder": str(folder), "errno": error.errno})  # type: ignore[arg-type]
    finally:
        for path in (part, target):
            with contextlib.suppress(OSError):
                path.unlink()
    return _compared(folder, data, back, size, (write_s, read_s, synced))


def _compared(folder: Path, data: bytes, back: bytes, size: int, times: tuple[float, float, bool]) -> Finding:
    write_s, read_s, synced = times
    figures: dict[str, Figure] = {
        "folder": str(folder), "bytes": len(data), "write_s": round(write_s, 3), "read_s": round(read_s, 3),
        "synced": synced, "same": back == data and size == len(data),
    }  # fmt: skip
    if not figures["same"]:
        said = f"Of {len(data)} bytes written to {folder}, {len(back)} came back, and they are not the same."
        return Finding("Drive", "error", said, "Write results to a local disk until this works.", figures)
    said = f"{len(data) >> 20} MiB written to {folder} ({write_s:.2f} s, renamed) came back the same ({read_s:.2f} s)"
    return Finding("Drive", "ok", f"{said}{'' if synced else '; it does not sync on demand'}.", figures=figures)


def _written(path: Path, data: bytes) -> tuple[float, bool]:
    """Seconds to write and sync a new file, and whether the file system syncs on demand."""
    started, synced = time.perf_counter(), True
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        try:
            os.fsync(file.fileno())
        except OSError as error:
            import errno

            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
                raise
            synced = False
    return time.perf_counter() - started, synced


def disk(folder: Path, blocks: int = _DISK_BLOCKS) -> Finding:
    """Write and read a file on the disk of a folder.

    Args:
        folder: on the disk; nothing is left there.
        blocks: of 4 MiB; fewer where space is short.
    """
    blocks = min(blocks, shutil.disk_usage(folder).free // (4 * _BLOCK))
    if not blocks:
        return Finding("disk speed", "warning", "The disk is too full to be measured.", "Make room for output.")
    try:
        write, reads = next(_measured(folder, blocks, 0.0))
    except OSError as error:
        said = f"Nothing could be written to {folder} ({error.strerror or chain(error)})."
        return Finding(
            "disk speed", "error", said, "Choose a folder that can be written to: framelane doctor --path FOLDER."
        )
    figures: dict[str, Figure] = {
        "folder": str(folder),
        "mib": blocks * _BLOCK >> 20,
        "write_mbs": round(write, 1),
        "read_mbs": round(reads, 1),
    }
    said = (
        f"{figures['mib']} MiB written to {folder} and synced at {write:.0f} MB/s, read back at {reads:.0f} MB/s "
        "(after asking the system to forget it; a cache may still help)."
    )
    if write < _SLOW_DISK_MBS:
        fix = "Let the work be done on a faster disk (TMPDIR), and close what else writes."
        return Finding("disk speed", "warning", said, fix, figures)
    return Finding("disk speed", "ok", said, figures=figures)


def sustained(folder: Path, seconds: float, blocks: int = 4 * _DISK_BLOCKS) -> dict[str, float | int]:
    """The disk for longer: the same file written and read again and again.

    Args:
        folder: on the disk.
        seconds: about how long.
        blocks: of 4 MiB in the file; fewer where space is short.

    Returns:
        ``rounds, mib``, and the median and slowest of the rounds: ``write_mbs, slowest_write_mbs, read_mbs``.
    """
    blocks = max(1, min(blocks, shutil.disk_usage(folder).free // (4 * _BLOCK)))
    found = list(_measured(folder, blocks, seconds))
    writes, reads = [w for w, _ in found], [r for _, r in found]
    return {
        "rounds": len(found), "mib": blocks * _BLOCK >> 20, "write_mbs": round(median(writes), 1),
        "slowest_write_mbs": round(min(writes), 1), "read_mbs": round(median(reads), 1),
    }  # fmt: skip


def _measured(folder: Path, blocks: int, seconds: float) -> Iterator[tuple[float, float]]:
    """(write, read) in MB/s of every round: a fresh file each, of noise that cannot be compressed; at least one."""
    block, begun = secrets.token_bytes(_BLOCK), time.perf_counter()
    path = folder / f".framelane-doctor-{secrets.token_hex(6)}"
    size = blocks * _BLOCK / 1e6
    while True:
        try:
            started = time.perf_counter()
            with path.open("xb") as file:
                for _ in range(blocks):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
                _forget_cached(file)
            written = time.perf_counter() - started
            started = time.perf_counter()
            with path.open("rb") as file:
                while file.read(_BLOCK):
                    pass
            yield size / written, size / (time.perf_counter() - started)
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
        if time.perf_counter() - begun >= seconds:
            return


def _forget_cached(file: BinaryIO) -> None:
    """Ask the kernel to drop a file's pages, so that reading it reads the disk; it need not obey."""
    with contextlib.suppress(AttributeError, OSError):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
