"""What the cells have in common: errors that are sentences, the reader's language, commands in processes of their own."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

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


def asked(arguments: Sequence[str], meanwhile: str) -> str:
    """What a command of framelane prints, in a process of its own; interrupting the cell ends it.

    Raises:
        FramelaneError: it failed; the text is its own.
    """
    print(meanwhile, flush=True)
    command = [sys.executable, "-m", "framelane", *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace",
            check=False, timeout=_PATIENCE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise FramelaneError(
            _("framelane {command} has not answered for {minutes} minutes. Restart the session and try again.").format(
                command=arguments[0], minutes=f"{_PATIENCE_S / 60:.0f}"
            )
        ) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].removeprefix("framelane: ")
        raise (UsageError if done.returncode == UsageError.exit_code else FramelaneError)(last)
    return done.stdout


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
