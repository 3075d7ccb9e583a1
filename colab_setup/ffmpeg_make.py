"""Running configure and make, with every word of theirs in a log and a line for people every ten percent."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from . import ffmpeg_recipe as recipe
from .ffmpeg_recipe import BuildError

Say = Callable[[str], None]


def compile_programs(
    tree: Path, stage: Path, parts: recipe.Parts, packages: tuple[Path, Path], jobs: int, log: IO[str], say: Say
) -> None:
    """Configure and make; the two programs and their licence go to ``stage``."""
    place = stage.parent / "build"
    place.mkdir()
    environment = recipe.build_environment(os.environ, *packages)
    say("FFmpeg: configuring.")
    try:
        run(recipe.configure_command(tree, parts), place, log, environment)
    finally:
        with contextlib.suppress(OSError):
            log.write((place / "ffbuild" / "config.log").read_text(errors="replace"))
    total = recipe.steps_in(run(["make", "-n", "ffmpeg", "ffprobe"], place, log, environment, quiet=True))
    _make(["make", f"-j{jobs}", "ffmpeg", "ffprobe"], place, environment, total, log, say)
    (stage / "bin").mkdir(parents=True)
    for name in ("ffmpeg", "ffprobe"):
        shutil.copy2(place / name, stage / "bin" / name)
    licence = "COPYING.GPLv2" if parts.x264 else "COPYING.LGPLv2.1"
    if (tree / licence).is_file():
        shutil.copyfile(tree / licence, stage / licence)


def _make(command: Sequence[str], place: Path, environment: dict[str, str], total: int, log: IO[str], say: Say) -> None:
    """Run ``make`` and say every ten percent how far it is."""
    begun, done, said = time.monotonic(), 0, -10
    with subprocess.Popen(
        list(command), cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                done += recipe.is_step(line)
                now = recipe.percent(done, total)
                if now >= said + 10:
                    said = now
                    say(f"FFmpeg: compiling, {now} % ({time.monotonic() - begun:.0f} s)")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise BuildError(f"Compiling FFmpeg failed{_log_hint(log)}")


def run(
    command: Sequence[str], place: Path, log: IO[str], environment: dict[str, str] | None = None, quiet: bool = False
) -> str:
    """Run a command; what it prints goes to the log.

    Raises:
        BuildError: it fails; the text holds its last line.
    """
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    env = environment or {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            list(command), cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run ({error.strerror}).") from error
    if not quiet:
        log.write(done.stdout)
        log.flush()
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        told = next((line for line in reversed(lines) if line.startswith(("E:", "ERROR"))), lines[-1] if lines else "")
        raise BuildError(f"{Path(command[0]).name} failed: {told.removeprefix('E: ')}{_log_hint(log)}")
    return done.stdout


def _log_hint(log: IO[str]) -> str:
    return f"; the log is {log.name}." if getattr(log, "name", None) else "."
