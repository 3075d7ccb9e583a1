"""Which ``ffmpeg`` program the rungs named ``ffmpeg`` run: the user's, the one the installer built, or the one on PATH.

The installer (``colab_setup/ffmpeg.py``) builds into ``CACHE/ffmpeg/KEY/bin/ffmpeg`` and, once it has run the program,
writes the KEY into ``CACHE/ffmpeg/current``; CACHE is :func:`framelane.resources.cache_dir`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from framelane.errors import UsageError
from framelane.resources import cache_dir

VARIABLE = "FRAMELANE_FFMPEG"
POINTER = "current"


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
