"""A probe in a process of its own, with a time limit: a driver that hangs or crashes must not take the doctor along.

``python -m framelane.doctor.child SUBJECT JSON`` imports ``framelane.doctor.SUBJECT``, calls its ``probe(**arguments)``
and prints the findings as one line of JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from framelane.doctor.finding import Finding
from framelane.errors import chain

_MARK = "framelane-findings:"
_PATIENCE_S = 2.0  # for a killed process to be gone; one that waits for a dead mount cannot be killed at all


def in_child(subject: str, limit_s: float, fix: str, name: str = "", **arguments: Any) -> list[Finding]:
    """The findings of a subject, looked at in a fresh interpreter.

    Args:
        subject: a module beside this one with a ``probe`` that returns findings.
        limit_s: seconds after which it is killed.
        fix: what to do where it hangs or crashes.
        name: of the finding that then says so; else the subject's.
        **arguments: for ``probe``; JSON-able.

    Returns:
        What it found. Where it crashed, hung or broke, one finding that says so.
    """
    command = [sys.executable, "-m", "framelane.doctor.child", subject, json.dumps(arguments)]
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        return [Finding(name or subject, "error", f"The probe could not be started ({chain(error)}).", fix)]
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        return [Finding(name or subject, "error", f"The probe did not answer within {limit_s:g} s and was ended.", fix)]
    except BaseException:
        _kill(process)
        raise
    line = next((line for line in _text(out).splitlines() if line.startswith(_MARK)), None)
    if line is not None and process.returncode == 0:
        return [Finding(**found) for found in json.loads(line.removeprefix(_MARK))]
    return [Finding(name or subject, "error", _end(process.returncode, _text(err)), fix)]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started; give up on one that the kernel does not let go."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_PATIENCE_S)


def _end(code: int, said: str) -> str:
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"The probe crashed ({signal.Signals(-code).name}); its last line: {last}"
    return f"The probe ended with code {code}; its last line: {last}"


def main(arguments: list[str]) -> None:
    """Look at the subject that is named first, with the second as its arguments."""
    subject, given = arguments
    probe = importlib.import_module(f"framelane.doctor.{subject}").probe
    found = json.dumps([finding.plain() for finding in probe(**json.loads(given))])
    print(f"\n{_MARK}{found}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
