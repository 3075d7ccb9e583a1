"""Which ``ffmpeg`` program the rungs named ``ffmpeg`` run: the user's, the one the installer built, or the one on PATH.

The installer (``colab_setup/ffmpeg.py``) builds into ``CACHE/ffmpeg/KEY/bin/ffmpeg`` and, once it has run the program,
writes the KEY into ``CACHE/ffmpeg/current``; CACHE is :func:`framelane.resources.cache_dir`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from framelane.errors import FramelaneError, UsageError
from framelane.resources import cache_dir

VARIABLE = "FRAMELANE_FFMPEG"
POINTER = "current"
PATIENCE_S = 60.0
"""Seconds that a program at work may take neither a frame nor give one."""
_ANSWER_S = 20.0  # for a question about itself, on a busy machine
_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True)
class Program:
    """An ``ffmpeg`` program and how it was found.

    Attributes:
        path: absolute; None where there is none.
        origin: a sentence.
    """

    path: Path | None
    origin: str


def builds_dir() -> Path:
    """The folder that holds the FFmpegs built by the installer, one folder for each key."""
    return cache_dir() / "ffmpeg"


def ffmpeg_program() -> Path | None:
    """The program to run, as an absolute path; None where this machine has none.

    Raises:
        UsageError: ``FRAMELANE_FFMPEG`` names nothing that can be run.
    """
    return find().path


def find() -> Program:
    """The program to run, with where it was found: ``FRAMELANE_FFMPEG``, then the installer's, then PATH.

    Raises:
        UsageError: ``FRAMELANE_FFMPEG`` names nothing that can be run.
    """
    if named := os.environ.get(VARIABLE):
        return Program(_named(named), f"{VARIABLE} names {named}.")
    if built := self_built():
        return Program(built, f"The installer built {built}.")
    if found := shutil.which("ffmpeg"):
        return Program(Path(found).absolute(), f"{found} is on PATH.")
    return Program(
        None,
        "There is no ffmpeg program: none was built by the installer ('python colab_setup/install.py --build') and none "
        "is on PATH.",
    )


def self_built() -> Path | None:
    """The program that the installer built and last ran with success; None where there is none."""
    try:
        key = (builds_dir() / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    program = builds_dir() / key / "bin" / "ffmpeg"
    # A key is one folder's name: a pointer that was tampered with leads nowhere else.
    return program.absolute() if key and Path(key).name == key and _runs(program) else None


def _named(text: str) -> Path:
    """What the variable names: a path, or a name that is looked up on PATH."""
    found = shutil.which(Path(text).expanduser())
    if found is None:
        raise UsageError(
            f"{VARIABLE} names {text!r}, which is not a program that can be run. Name an ffmpeg there, or unset it."
        )
    return Path(found).absolute()


def _runs(program: Path) -> bool:
    return program.is_file() and os.access(program, os.X_OK)


@cache
def said(program: Path, option: str) -> str:
    """What a program answers to an option, as far as it comes within 20 s and 1 MiB; "" where it does not start.

    Args:
        program: an ``ffmpeg``.
        option: such as ``-version``.
    """
    try:
        process = subprocess.Popen(
            [str(program), "-hide_banner", option], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError:
        return ""
    assert process.stdout is not None
    timer = threading.Timer(_ANSWER_S, end, (process,))
    timer.start()
    try:
        return process.stdout.read(_ANSWER_BYTES).decode("utf-8", "replace")
    finally:
        timer.cancel()
        end(process)


def program_version(program: Path) -> tuple[int, int]:
    """Major and minor version; a build from a repository (``N-12345``) counts as new.

    Raises:
        FramelaneError: it is no ffmpeg, or does not answer.
    """
    text = said(program, "-version")
    if not text.startswith("ffmpeg version "):
        raise FramelaneError(f"{program} does not answer 'ffmpeg -version' as an ffmpeg does.")
    found = re.match(r"ffmpeg version n?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (99, 0)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program that has a session of its own, with what it started, and take its exit status."""
    _kill(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ANSWER_S)
    if process.stdout is not None:
        with contextlib.suppress(OSError):
            process.stdout.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # until its status is taken, its number is nobody else's
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


class Watch:
    """Ends a program that lets the caller wait too long, so that the caller's pipe breaks instead of blocking for ever.

    Args:
        process: with a session of its own.
        patience_s: seconds for each :meth:`waiting`.
    """

    def __init__(self, process: subprocess.Popen[bytes], patience_s: float | None = None) -> None:
        self._process, self._patience = process, PATIENCE_S if patience_s is None else patience_s
        self._since: float | None = None
        self._over = threading.Event()
        self.hung = ""
        threading.Thread(target=self._look, name="ffmpeg watch", daemon=True).start()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While it is entered, the program has something to do for the caller."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(min(1.0, self._patience / 4)):
            since = self._since
            if since is not None and time.monotonic() - since > self._patience:
                self.hung = f"it did nothing for {self._patience:g} s and was ended"
                _kill(self._process)
                return
