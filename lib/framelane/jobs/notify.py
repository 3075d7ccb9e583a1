"""Telling somebody that a batch has ended: a command of theirs, or a web address. Never a shell."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from framelane.errors import UsageError, chain

_COMMAND_S, _ADDRESS_S = 60.0, 20.0
Hook = Callable[[Mapping[str, Any]], str | None]
"""Takes what became of the batch; gives a sentence where it did not work, else None."""


def hook(text: str) -> Hook:
    """What ``--on-done`` names.

    Args:
        text: a web address (``https://…`` or ``http://…``), which gets the summary as JSON by POST; or a command with its
            arguments, in which ``{done}``, ``{failed}``, ``{skipped}``, ``{waiting}``, ``{out}`` and ``{page}`` are filled
            in after it was split into words, so that no value becomes two arguments.

    Raises:
        UsageError: an empty command, an open quote, or a name in braces that there is not.
    """
    if text.startswith(("https://", "http://")):
        if not urlsplit(text).hostname:
            raise UsageError("--on-done: the web address names no host.")
        return lambda summary: _post(text, summary)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--on-done {text!r} cannot be split into a command and its arguments: {error}.") from error
    if not words:
        raise UsageError("--on-done needs a command or a web address.")
    command(words, dict.fromkeys(("done", "failed", "skipped", "waiting", "out", "page"), ""))
    return lambda summary: _run(words, summary)


def command(words: list[str], summary: Mapping[str, Any]) -> list[str]:
    """The argument list: every ``{name}`` replaced by its value.

    Raises:
        UsageError: there is no such name.
    """
    try:
        return [word.format_map({key: str(value) for key, value in summary.items()}) for word in words]
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        known = ", ".join(f"{{{key}}}" for key in summary)
        raise UsageError(f"--on-done knows {known}; a brace of your own is written {{{{ or }}}}.") from error


def _run(words: list[str], summary: Mapping[str, Any]) -> str | None:
    try:
        done = subprocess.run(
            command(words, summary), stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"The command of --on-done ({words[0]}) was still running after {_COMMAND_S:.0f} s and was ended."
    except (OSError, ValueError) as error:
        return f"The command of --on-done ({words[0]}) could not be run ({chain(error)})."
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return f"The command of --on-done ({words[0]}) ended with exit code {done.returncode}{f': {said[-1]}' if said else ''}."


class _NoRedirect(HTTPRedirectHandler):
    """A summary goes to the address that was named, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(address: str, summary: Mapping[str, Any]) -> str | None:
    request = Request(
        address, json.dumps(summary).encode(), {"Content-Type": "application/json", "User-Agent": "framelane"}
    )
    host = urlsplit(address).hostname  # the rest of the address may be a secret
    try:
        with build_opener(_NoRedirect).open(request, timeout=_ADDRESS_S):
            return None
    except (OSError, ValueError) as error:  # HTTPError and URLError are OSErrors
        return f"The web address of --on-done (host {host}) could not be told ({chain(error)})."
