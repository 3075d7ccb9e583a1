"""``python colab_setup/uninstall.py``: undo what the installer did here, and nothing else.

Exit codes: 0 undone, 1 something could not be undone, 2 wrong options, 130 cancelled.
"""

from __future__ import annotations

import os
import sys

if not __package__:  # see install.py
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    __package__ = "colab_setup"
    import colab_setup  # noqa: F401

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import kernel, pipcall, state
from .detect import look
from .errors import SetupError
from .pipcall import Source
from .versions import RUNTIMES, Package, applies, live, normal, packaging


@dataclass(frozen=True)
class Undo:
    """What undoing takes.

    Attributes:
        remove: names of packages.
        restore: exact requirements that were there before.
        leave: sentences about what stays.
    """

    remove: tuple[str, ...]
    restore: tuple[str, ...]
    leave: tuple[str, ...]


def plan(record: state.State, packages: Mapping[str, Package]) -> Undo:
    """Decide what goes, what comes back and what stays.

    Args:
        record: what the installer noted.
        packages: what is installed now.
    """
    ours, leave = {}, []
    for name, one in record.installed.items():
        there = packages.get(name)
        if there is None:
            continue
        if there.version != one["version"] and there.whole:
            leave.append(f"{name} stays: {there.version} is there, and {one['version']} is what the installer brought.")
        else:
            ours[name] = one
    new = {name for name, one in ours.items() if one["was"] is None}
    while wanted := _wanted_by_others(new, packages):
        leave += [f"{name} stays: {', '.join(users)} needs it." for name, users in sorted(wanted.items())]
        new -= set(wanted)
    restore = [f"{name}=={one['was']}" for name, one in ours.items() if one["was"] and one["was"] != one["version"]]
    restore += [f"{name}=={version}" for name, version in record.removed.items() if name not in packages or name in new]
    return Undo(tuple(sorted(new)), tuple(restore), tuple(leave))


def _wanted_by_others(names: set[str], packages: Mapping[str, Package]) -> dict[str, list[str]]:
    """Which of the names are required by packages that stay, and by which."""
    parse = packaging().requirements.Requirement
    found: dict[str, list[str]] = {}
    for name, package in packages.items():
        if name in names:
            continue
        for text in package.requires:
            wanted = parse(text)
            if normal(wanted.name) in names and applies(wanted):
                found.setdefault(normal(wanted.name), []).append(package.name)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Undo.

    Args:
        arguments: of the command line; None is ``sys.argv``.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="uninstall.py", description="Undo what the installer of framelane did here.")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.add_argument("--offline", action="store_true", help="never open the network")
    parser.add_argument("--find-links", metavar="FOLDER", help="take wheels from this folder too")
    chosen = parser.parse_args(arguments)
    try:
        return _undo(chosen)
    except SetupError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("Cancelled. The next run goes on from what is there.", file=sys.stderr)
        return 130


def _undo(chosen: argparse.Namespace) -> int:
    record, packages = state.read(), live()
    todo, source = plan(record, packages), Source(chosen.offline, chosen.find_links)
    for line in todo.leave:
        print(f"- {line}")
    if not (todo.remove or todo.restore or record.files):
        print("The installer has nothing to undo here.")
        state.path().unlink(missing_ok=True)
        return 0
    print(f"Removing {', '.join(todo.remove) or 'no package'}; bringing back {', '.join(todo.restore) or 'none'}.")
    if not chosen.yes and sys.stdin.isatty() and input("Go on? [Y/n] ").strip().lower() not in ("", "y", "yes"):
        return 130
    kernels = look(packages).kernels
    if todo.remove:
        pipcall.run(pipcall.uninstall(pipcall.PYTHON, todo.remove), source)
    _restore(todo, source)
    _files(record)
    state.path().unlink(missing_ok=True)
    print("Left: models and builds in framelane's cache (~/.cache/framelane), and your results.")
    print(
        kernel.restart([*todo.remove, *(one.partition("==")[0] for one in todo.restore)], kernels)
        or "No restart is needed."
    )
    return 0


def _restore(todo: Undo, source: Source) -> None:
    """Bring back what was there. A flavour of ONNX Runtime is laid over again: removing its sibling broke it."""
    runtimes = [one for one in todo.restore if one.partition("==")[0] in RUNTIMES]
    others = [one for one in todo.restore if one not in runtimes]
    for exact, again in ((others, False), (runtimes, True)):
        if exact:
            pipcall.run(pipcall.install(pipcall.PYTHON, exact, source, again), source)


def _files(record: state.State) -> None:
    for name, digest in record.files.items():
        path = Path(name)
        if not path.is_file():
            continue
        if state.digest(path) == digest:
            path.unlink()
        else:
            print(f"- {path} stays: it was changed since.")


if __name__ == "__main__":
    sys.exit(main())
