"""What the cells have in common: errors that are sentences, the reader's language, commands in processes of their own."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

from framelane.errors import FramelaneError, UsageError
from framelane.i18n import choose, sentence
from framelane.i18n import gettext as _
from framelane.notebook import host as hosts

_PATIENCE_S = 900.0

P = ParamSpec("P")
R = TypeVar("R")

kept: dict[str, Any] = {}
"""What later cells of this kernel want to know: ``language``, and ``last``, the newest batch."""


def cell(call: Callable[P, R]) -> Callable[P, R]:
    """For what a cell calls: an error of ours is its sentence alone, and texts are in the reader's language."""

    @functools.wraps(call)
    def wrapped(*arguments: P.args, **named: P.kwargs) -> R:
        if "language" not in kept:
            kept["language"] = choose(hosts.language())
        try:
            return call(*arguments, **named)
        except FramelaneError as error:
            said = sentence(str(error))
            error._render_traceback_ = lambda: [said]  # type: ignore[attr-defined]  # IPython asks it
            raise

    return wrapped


def asked(arguments: Sequence[str], meanwhile: str, wait: Callable[[], object] = lambda: time.sleep(0.1)) -> str:
    """What a command of framelane prints, in a process of its own, which ends where the cell is interrupted.

    Args:
        arguments: of ``framelane``.
        meanwhile: is printed first.
        wait: is called again and again until it has ended.

    Raises:
        FramelaneError: it failed; the text is its own.
    """
    print(meanwhile, flush=True)
    until = time.monotonic() + _PATIENCE_S
    command = [sys.executable, "-m", "framelane", *arguments]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=complained) as process:
            try:
                while process.poll() is None and time.monotonic() < until:
                    wait()
            finally:
                late = process.poll() is None
                process.kill()
        out, errors = (_text(stream) for stream in (said, complained))
    if late:
        raise FramelaneError(
            _("framelane {command} has not answered for {minutes} minutes. Restart the session and try again.").format(
                command=arguments[0], minutes=f"{_PATIENCE_S / 60:.0f}"
            )
        )
    if process.returncode:
        last = (errors.strip().splitlines() or [""])[-1].removeprefix("framelane: ")
        last = last or _("framelane {command} failed and said nothing.").format(command=arguments[0])
        raise (UsageError if process.returncode == UsageError.exit_code else FramelaneError)(last)
    return out


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def place_of(typed: str | os.PathLike[str]) -> Path:
    """A path as somebody typed it into a form: ``~`` is their home, and blanks around it are no part of it.

    Only a path that is there keeps its blanks. What cannot be a path comes back as it is, for whoever opens it to refuse.
    """
    path = Path(os.fspath(typed))
    with contextlib.suppress(RuntimeError):  # nobody of that name
        path = path.expanduser()
    with contextlib.suppress(ValueError):  # a NUL
        bare = str(typed).strip()
        return path if bare == str(typed) or not bare or os.path.lexists(path) else place_of(bare)
    return path


def displayed(piece: str) -> bool:
    """Show HTML in the cell; False where this is no notebook."""
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        return False
    if getattr(get_ipython(), "kernel", None) is None:  # type: ignore[no-untyped-call]
        return False
    display(HTML(piece))  # type: ignore[no-untyped-call]
    return True
