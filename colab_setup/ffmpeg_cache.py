"""A finished build as one archive in a folder of the user's (Drive), and back from there.

Drive is a FUSE cache that fails now and then (errno 5 and 107) and may never sync a file that is rewritten: an archive is
made locally, copied as ``.part``, compared, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path

from .ffmpeg_recipe import BuildError

_SUFFIX = ".tar.xz"


def archives(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """The archives of this machine in a folder, the newest version first; a folder that fails holds none."""
    try:
        found = [path for path in folder.iterdir() if path.name.endswith(_SUFFIX)]
    except OSError:
        return []
    fitting = [path for path in found if pattern.fullmatch(path.name.removesuffix(_SUFFIX))]
    return sorted(fitting, key=lambda path: path.name, reverse=True)


def store(build: Path, folder: Path) -> Path:
    """Pack a build into ``folder`` as ``KEY.tar.xz`` with ``KEY.tar.xz.sha256`` beside it.

    Args:
        build: the build's folder; its name is the key.
        folder: made where it is missing.

    Raises:
        BuildError: the folder cannot be written, or the disk is full; nothing half written keeps the archive's name.
    """
    target = folder / f"{build.name}{_SUFFIX}"
    part = target.with_name(f"{target.name}.part")
    try:
        with tempfile.TemporaryDirectory(dir=build.parent, prefix=".pack-") as place:
            packed = Path(place) / target.name
            with tarfile.open(packed, "w:xz", preset=3) as archive:
                archive.add(build, build.name)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(packed, part)
            digest = sha256(packed)
            if sha256(part) != digest:
                raise BuildError(f"The archive came to {folder} with other bytes than it left with; it was not kept.")
            _note(target).unlink(missing_ok=True)  # else an old digest could stand beside the new archive
            os.replace(part, target)
            _write(_note(target), f"{digest}  {target.name}\n")
    except OSError as error:
        raise BuildError(_write_trouble(error, folder)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def restore(archive: Path, builds: Path) -> Path:
    """Unpack an archive into a fresh folder beside the builds, after its digest was compared.

    Returns:
        The unpacked build, in a temporary folder below ``builds``: the caller runs it and moves it to its place.

    Raises:
        BuildError: it is damaged, incomplete, holds what is no build, or the disk is full.
    """
    try:
        noted = _note(archive).read_text(encoding="utf-8").split()
        found = sha256(archive)
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"The archive {archive.name} cannot be read ({_cause(error)}).") from error
    if not noted or noted[0] != found:
        raise BuildError(f"The archive {archive.name} is damaged: its SHA-256 is not the one noted beside it.")
    builds.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=builds, prefix=".restore-"))
    name = archive.name.removesuffix(_SUFFIX)
    try:
        with tarfile.open(archive, "r:xz") as packed:
            # "data" refuses links out of the folder, devices and absolute names.
            packed.extractall(place, filter="data")
        if not (place / name / "bin" / "ffmpeg").is_file():
            raise BuildError(f"The archive {archive.name} holds no bin/ffmpeg.")
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        if isinstance(error, (OSError, EOFError, tarfile.TarError)) or type(error).__name__ == "LZMAError":
            raise BuildError(f"The archive {archive.name} cannot be unpacked ({_cause(error)}).") from error
        raise
    return place / name


def move_in(build: Path, target: Path) -> None:
    """Move a finished build to its place; one that stands there is replaced."""
    aside = target.with_name(f".old-{target.name}-{os.getpid()}")
    if target.exists():
        os.replace(target, aside)
    os.replace(build, target)
    shutil.rmtree(aside, ignore_errors=True)
    if build.parent.name.startswith(".restore-"):
        shutil.rmtree(build.parent, ignore_errors=True)


def point_to(builds: Path, key: str) -> None:
    """Note which build is the one to use; ``framelane.video.ffmpeg`` reads it."""
    _write(builds / "current", f"{key}\n")


def sha256(path: Path) -> str:
    """A file's SHA-256 in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _note(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sha256")


def _write_trouble(error: OSError, folder: Path) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"The FFmpeg works, but its archive does not fit into {folder} or the local disk: no space is left. "
            "Free some, or name another folder with --cache."
        )
    kept = f"its archive cannot be kept in {folder} ({_cause(error)})"
    return f"The FFmpeg works, but {kept}. Name another folder with --cache."


def _cause(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
