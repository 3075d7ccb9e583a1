"""Which file system a path lies on, read from the kernel's table of mounts."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "drvfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3",
    "smbfs", "vboxsf", "virtiofs",
}  # fmt: skip
_LOCAL_FUSE = {"fuseblk", "fuse.lxcfs", "fusectl", "fuse.snapfuse", "fuse.squashfuse"}  # disks behind a FUSE driver


def mount_of(path: Path, table: Path = MOUNTS) -> tuple[str, str]:
    """(mount point, file system type) of a path that need not exist; two empty strings where nothing is known."""
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "", ""
    place = Path(os.path.realpath(path))
    found = ("", "")
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _unescaped(fields[1])
        # The last of several mounts on one point is the one that is seen.
        if place.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, fields[2])
    return found


def remote_mounts(table: Path = MOUNTS) -> list[str]:
    """The folders where storage is mounted that may come and go, in the table's order; "/" is left out."""
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found: dict[str, str] = {}
    for line in lines:
        fields = line.split(" ")
        if len(fields) >= 4:
            found[_unescaped(fields[1])] = fields[2]
    # A dead mount cannot be asked whether it is a folder; what the kernel itself uses FUSE for lies below these.
    return [
        point
        for point, kind in found.items()
        if point != "/" and _is_remote(kind) and not point.startswith(("/sys/", "/proc/", "/run/", "/etc/", "/dev/"))
    ]


def is_mounted_remote(path: Path, table: Path = MOUNTS) -> bool:
    """True where a path lies on storage that may come and go: FUSE (Google Drive, sshfs, rclone) or a network share."""
    point, kind = mount_of(path, table)
    if point == "/":
        return False  # the root of a sandbox may be 9p or virtiofs: it is the machine's own disk all the same
    return _is_remote(kind)


def _is_remote(kind: str) -> bool:
    return kind in _NETWORK or (kind.startswith("fuse") and kind not in _LOCAL_FUSE)


def _unescaped(text: str) -> str:
    """Spaces and the like stand as three octal digits there (proc_pid_mounts(5), getmntent(3))."""
    raw = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")
