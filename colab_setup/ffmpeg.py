"""An FFmpeg with NVENC and NVDEC, built from the distribution's own source package where no packaged one works.

``python -m colab_setup.ffmpeg [--cache FOLDER] [--rebuild] [--offline]``. The program goes to
``~/.cache/framelane/ffmpeg/KEY/bin/ffmpeg``; :func:`framelane.video.ffmpeg.ffmpeg_program` finds it there. Nothing is
installed into the system and no root is needed: packages are downloaded by apt and unpacked into a working folder.
Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import ffmpeg_cache as cache
from . import ffmpeg_check as checks
from . import ffmpeg_make as make
from . import ffmpeg_recipe as recipe
from . import ffmpeg_source as source
from .ffmpeg_recipe import BuildError, Target

Say = Callable[[str], None]

NEEDED_MB = 500
"""Free disk space to begin with; a build on Debian 12 took 230 MB at most, package lists included."""
_TOOLS = ("gcc", "make", "pkg-config", "apt-get", "dpkg-deb")


@dataclass(frozen=True)
class Outcome:
    """A program that works.

    Attributes:
        program: its path.
        key: the name of the build.
        how: ``"there"``, ``"restored"`` or ``"built"``.
        seconds: that it took.
        check: what the program does on this machine.
        notes: sentences on what is less than wished for.
    """

    program: Path
    key: str
    how: str
    seconds: float
    check: checks.Check
    notes: tuple[str, ...] = ()


def builds_dir() -> Path:
    """Where builds lie; the same folder as :func:`framelane.video.ffmpeg.builds_dir`."""
    if own := os.environ.get("FRAMELANE_CACHE"):
        return Path(own) / "ffmpeg"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "framelane" / "ffmpeg"


def ensure(
    *,
    archive_folder: Path | None = None,
    rebuild: bool = False,
    offline: bool = False,
    jobs: int | None = None,
    target: Target | None = None,
    say: Say = print,
) -> Outcome:
    """A working FFmpeg: the one that is there, else the archive's, else a new build.

    Args:
        archive_folder: where builds are kept as archives, such as a folder on Drive; None keeps none.
        rebuild: build even where one is there.
        offline: do not open the network.
        jobs: compilers side by side; None is one for each core.
        target: the machine; None looks.
        say: takes lines for people.

    Raises:
        BuildError: there is none and none can be built; the text says why.
    """
    begun = time.monotonic()
    target = target or recipe.detect_target()
    builds = builds_dir()
    notes: list[str] = []
    found = None if rebuild else _there(target, builds, say) or _restored(target, builds, archive_folder, notes, say)
    if found is None:
        if offline:
            raise BuildError(
                "No FFmpeg with NVENC is here yet, and building one needs the distribution's package archive; run the "
                "installer with --build where it may use the network."
            )
        found = _built(target, builds, jobs or os.cpu_count() or 1, notes, say)
    build, how, checked = found
    cache.point_to(builds, build.name)
    if archive_folder and (how == "built" or not (archive_folder / f"{build.name}.tar.xz").exists()):
        try:
            say(f"FFmpeg: kept as {cache.store(build, archive_folder)}.")
        except BuildError as error:  # the program works all the same
            notes.append(str(error))
    return Outcome(build / "bin" / "ffmpeg", build.name, how, time.monotonic() - begun, checked, tuple(notes))


def _there(target: Target, builds: Path, say: Say) -> tuple[Path, str, checks.Check] | None:
    """A build of this machine that still runs."""
    pattern = recipe.key_pattern(target)
    found = [path for path in builds.glob("*") if pattern.fullmatch(path.name)]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        checked = checks.check(path / "bin" / "ffmpeg")
        if checked.software.ok:
            return path, "there", checked
        say(f"FFmpeg: {path.name} is left aside. {checked.software.sentence}")
    return None


def _restored(
    target: Target, builds: Path, folder: Path | None, notes: list[str], say: Say
) -> tuple[Path, str, checks.Check] | None:
    """A build out of the archive, compared with its digest and run."""
    if folder is None:
        return None
    newest = source.candidate_version()
    for archive in cache.archives(folder, recipe.key_pattern(target)):
        version = recipe.key_pattern(target).fullmatch(archive.name.removesuffix(".tar.xz"))
        if newest and version and older(version[1], recipe.plain(newest)):
            say(f"FFmpeg: {archive.name} is of an older source package than {newest}; a new one is built.")
            continue
        try:
            unpacked = cache.restore(archive, builds)
        except BuildError as error:
            notes.append(f"{error} A new one is built.")
            say(f"FFmpeg: {notes[-1]}")
            continue
        checked = checks.check(unpacked / "bin" / "ffmpeg")
        if not checked.software.ok:
            shutil.rmtree(unpacked.parent, ignore_errors=True)
            notes.append(
                f"The archive {archive.name} does not run here: {checked.software.sentence} A new one is built."
            )
            say(f"FFmpeg: {notes[-1]}")
            continue
        place = builds / unpacked.name
        cache.move_in(unpacked, place)
        say(f"FFmpeg: restored from {archive}.")
        return place, "restored", checked
    return None


def older(one: str, other: str) -> bool:
    """Whether a package's version is lower than another, as dpkg orders them; False where dpkg is not there."""
    try:
        return subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False).returncode == 0
    except OSError:
        return False


def _built(target: Target, builds: Path, jobs: int, notes: list[str], say: Say) -> tuple[Path, str, checks.Check]:
    """Fetch, configure, compile, run, and move into place."""
    _require(builds)
    begun = time.monotonic()
    log_path = builds / "build.log"
    with _working_folder(builds) as work, log_path.open("w", encoding="utf-8") as log:

        def run(command: Sequence[str], place: Path) -> str:
            return make.run(command, place, log)

        say("FFmpeg: fetching the source and the headers from the distribution's archive.")
        tree, version = source.fetch_source(work, target.codename, run)
        root, packages = source.fetch_packages(work, target.codename, run)
        headers = source.prepare_pkgconfig(root, work / "pkgconfig")
        fit = recipe.fit(headers, target.driver)
        if not fit.nvenc:
            notes.append(fit.sentence)
        say(f"FFmpeg: {version}. {fit.sentence}")
        parts = recipe.Parts(fit.nvenc, source.X264 in packages, source.ASSEMBLER in packages)
        notes += _lacking(parts)
        stage = work / recipe.key(target, version, parts)
        make.compile_programs(tree, stage, parts, (root, work / "pkgconfig"), jobs, log, say)
        checked = checks.check(stage / "bin" / "ffmpeg")
        if not checked.software.ok:
            raise BuildError(
                f"The FFmpeg that was built does not work. {checked.software.sentence} The log is {log_path}."
            )
        seconds = time.monotonic() - begun
        about = {
            "version": version, "headers": headers, "parts": asdict(parts), "target": asdict(target),
            "options": recipe.configure_options(parts), "seconds": round(seconds, 1),
            "licence": "GPL-2.0-or-later" if parts.x264 else "LGPL-2.1-or-later",
            "built": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        (stage / "built.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        place = builds / stage.name
        cache.move_in(stage, place)
    say(f"FFmpeg: 100 % ({seconds:.0f} s). {checked.nvenc.sentence}")
    return place, "built", checked


def _lacking(parts: recipe.Parts) -> list[str]:
    return [
        *([] if parts.x264 else [f"The package {source.X264} could not be had: this FFmpeg has no software encoder."]),
        *([] if parts.assembler else ["The package nasm could not be had: decoding on the CPU is slower."]),
    ]


def _require(builds: Path) -> None:
    """Refuse before anything is downloaded where the tools or the space are missing."""
    missing = [name for name in _TOOLS if shutil.which(name) is None]
    if "apt-get" in missing or "dpkg-deb" in missing:
        raise BuildError(
            "FFmpeg is built from a Debian or Ubuntu source package, and this system has no apt. Name an ffmpeg that has "
            "h264_nvenc in FRAMELANE_FFMPEG."
        )
    if missing:
        raise BuildError(
            f"To build FFmpeg, {recipe.in_words(missing)} must be installed: apt-get install {' '.join(missing)}."
        )
    try:
        builds.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(
            f"{builds} cannot be made ({error.strerror}). FRAMELANE_CACHE names another folder."
        ) from error
    free = shutil.disk_usage(builds).free >> 20
    if free < NEEDED_MB:
        raise BuildError(
            f"To build FFmpeg, {NEEDED_MB} MB must be free in {builds}; there are {free}. FRAMELANE_CACHE names another "
            "folder."
        )


@contextlib.contextmanager
def _working_folder(builds: Path) -> Iterator[Path]:
    """A folder for the build, removed afterwards; a disk that fills up on the way is a sentence."""
    work = Path(tempfile.mkdtemp(dir=builds, prefix=".build-"))
    try:
        yield work
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise BuildError(
                f"The disk of {builds} became full while FFmpeg was built; about 300 MB are needed."
            ) from error
        raise BuildError(f"Building FFmpeg failed: {error}.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 cancelled."""
    parser = argparse.ArgumentParser(prog="python -m colab_setup.ffmpeg", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, help="folder that keeps the build as an archive, such as one on Drive")
    parser.add_argument("--rebuild", action="store_true", help="build even where one is there")
    parser.add_argument("--offline", action="store_true", help="do not open the network")
    parser.add_argument("--jobs", type=int, help="compilers side by side; one for each core else")
    given = parser.parse_args(arguments)
    try:
        outcome = ensure(
            archive_folder=given.cache, rebuild=given.rebuild, offline=given.offline, jobs=given.jobs,
            say=lambda line: print(line, flush=True),
        )  # fmt: skip
    except BuildError as error:
        print(f"framelane: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("framelane: Cancelled; nothing half built was kept.", file=sys.stderr)
        return 130
    for line in told(outcome):
        print(line)
    return 0


def told(outcome: Outcome) -> list[str]:
    """What came of it, in lines for people."""
    check = outcome.check
    return [
        f"Program   {outcome.program} ({outcome.how}, {outcome.seconds:.0f} s)",
        f"Version   {check.version}; {', '.join(check.lists)}",
        f"Software  {check.software.sentence}",
        f"NVENC     {check.nvenc.sentence}",
        f"NVDEC     {check.nvdec.sentence}",
        *(f"Note      {note}" for note in outcome.notes),
    ]


if __name__ == "__main__":
    sys.exit(main())
