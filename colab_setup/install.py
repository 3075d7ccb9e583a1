"""``python colab_setup/install.py``: install framelane on this machine and verify it by doing.

Exit codes: 0 everything works, 1 something does not, 2 wrong options, 130 cancelled.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file alone is read by an older Python, which must hear a sentence
    sys.exit("framelane needs Python 3.11 or newer; this is Python " + sys.version.split()[0] + ".")

import os

if not __package__:  # run as a script: the folder above holds the package; this folder must not hide pip or ffmpeg
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    __package__ = "colab_setup"
    import colab_setup  # noqa: F401

import argparse

from . import pins, table
from .errors import SetupError
from .pipcall import Source
from .work import Work


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="install.py", description="Install framelane here: what is missing, verified by doing. Safe to run again."
    )
    known = ", ".join([*pins.COMPONENTS, *pins.PLANNED])
    parser.add_argument("--with", dest="components", default="", metavar="NAMES", help=f"also: {known}, or all")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.add_argument("--offline", action="store_true", help="never open the network; say what is missing")
    parser.add_argument("--find-links", metavar="FOLDER", help="take wheels from this folder too")
    parser.add_argument("--index-url", metavar="URL", help="another package index than pip's own")
    parser.add_argument("--no-torch", action="store_true", help="leave torch out where it is missing")
    parser.add_argument("--build", action="store_true", help="build an FFmpeg with NVDEC and NVENC, whatever works")
    parser.add_argument(
        "--cache", metavar="FOLDER", help="keep the built FFmpeg in this folder, on a Drive for instance"
    )
    parser.add_argument(
        "--tune", action="store_true", help="measure for a minute, write what was fastest on this machine"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Install.

    Args:
        arguments: of the command line; None is ``sys.argv``.

    Returns:
        The exit code.
    """
    chosen = options(arguments)
    try:
        return _install(chosen)
    except SetupError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("Cancelled. The next run goes on from what is there.", file=sys.stderr)
        return 130


def _install(chosen: argparse.Namespace) -> int:
    source = Source(chosen.offline, os.path.abspath(chosen.find_links) if chosen.find_links else None, chosen.index_url)
    work = Work(
        source, pins.components(chosen.components), _say, _never if chosen.yes else _ask, torch=not chosen.no_torch
    )
    machine = work.look()
    if not work.install(machine):
        _say("Nothing was installed.")
        return 130
    work.loader(machine)
    verdicts = work.verify(machine)
    closing = [work.profile(verdicts)]
    failed = any(verdict.status == "fails" for verdict in verdicts)
    works_already = any(verdict.told.get("nvenc") for verdict in verdicts)
    if chosen.build or (machine.driver.usable and not works_already and not chosen.offline and not failed):
        failed |= _build(work, chosen)
    if chosen.tune:
        failed |= work.tune() != 0
    _say("")
    _say(table.table(verdicts))
    for line in (table.steps(work.times), *closing):
        _say(line)
    _say(work.restart(machine) or "No restart is needed.")
    return 1 if failed else 0


def _build(work: Work, chosen: argparse.Namespace) -> bool:
    """Build an FFmpeg, or restore one that was built; whether it failed."""
    from . import ffmpeg

    arguments = [*(["--cache", chosen.cache] if chosen.cache else []), *(["--offline"] if chosen.offline else [])]
    with work.step("ffmpeg"):
        return ffmpeg.main(arguments) != 0


def _never() -> bool:
    return True


def _ask() -> bool:
    """Ask where somebody is there to answer; a notebook's cell cannot, and running it was the answer."""
    if not sys.stdin.isatty():
        return True
    return input("Go on? [Y/n] ").strip().lower() in ("", "y", "yes")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
