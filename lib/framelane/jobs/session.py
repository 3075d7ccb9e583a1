"""How much time there is: budgets as people write them, and when the session's clock began to run."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framelane.errors import UsageError

DEFAULT_BUDGET = "80m"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_TIME = re.compile(r"(?:\d+(?:\.\d+)?[hms])+")
_HOSTED = ("COLAB_RELEASE_TAG", "COLAB_GPU", "KAGGLE_KERNEL_RUN_TYPE")
_KERNELS = ("ipykernel", "colab_kernel_launcher")
RUNTIME_START = "FRAMELANE_RUNTIME_START"


def parse_budget(text: str | float | None) -> float | None:
    """A budget in seconds: ``"80m"``, ``"1h30m"``, ``"90"`` (minutes); ``"none"`` is no limit.

    Raises:
        UsageError: it is no time, or no time at all.
    """
    if text is None or (isinstance(text, str) and text.strip().lower() == "none"):
        return None
    plain = str(text).strip().lower().replace(" ", "")
    try:
        seconds = float(plain) * 60
    except ValueError:
        if not _TIME.fullmatch(plain):
            raise UsageError(
                f"The budget {text!r} is not a time; write it as 80m, 1h30m or 90 (minutes), or none for no limit."
            ) from None
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([hms])", plain))
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"The budget {text!r} leaves no time; write it as 80m, 1h30m or 90 (minutes).")
    return seconds


@dataclass(frozen=True)
class Clock:
    """Since when the session runs.

    Attributes:
        started: seconds since 1970.
        since: from what on, in words, as in ``"the start of the notebook's kernel"``.
    """

    started: float
    since: str

    def elapsed(self, now: float | None = None) -> float:
        """Seconds of the session that are gone.

        Args:
            now: seconds since 1970; None is this moment.
        """
        return max(0.0, (time.time() if now is None else now) - self.started)


def session_clock(
    budget_s: float | None, *, environment: Mapping[str, str] = os.environ, system: Any = None, now: float | None = None
) -> Clock:
    """When the runtime that will be taken away was started.

    What the launcher says (``FRAMELANE_RUNTIME_START``, seconds since 1970) comes first; then the start of a hosted
    notebook's machine; then that of the notebook's kernel; then that of the machine or container. A machine that has run
    for longer than the budget, with nothing that says it is a session, is none: there the command is the start. So it is in
    a notebook that has outlived the budget: somebody who begins a batch there expects that it works, and not that 0 s
    are left. What the launcher says holds all the same.

    Args:
        budget_s: the budget in seconds; None is no limit.
        environment: variables, as in ``os.environ``.
        system: gives ``boot_time()`` and ``Process(pid)``; None is ``psutil``.
        now: seconds since 1970; None is this moment.

    Raises:
        UsageError: ``FRAMELANE_RUNTIME_START`` is no number.
    """
    import psutil

    system, now = system or psutil, time.time() if now is None else now
    if given := environment.get(RUNTIME_START):
        try:
            return Clock(float(given), RUNTIME_START)
        except ValueError as error:
            raise UsageError(f"{RUNTIME_START} is {given!r}; it must be seconds since 1970.") from error
    machine = _machine_start(system)
    if any(environment.get(name) for name in _HOSTED):
        return _not_outlived(Clock(machine, "the start of the runtime"), budget_s, now)
    if (kernel := _kernel_start(system)) is not None:
        return _not_outlived(Clock(kernel, "the start of the notebook's kernel"), budget_s, now)
    if budget_s is not None and now - machine >= budget_s:
        return Clock(now, f"this command: this machine has run for {spoken(now - machine)}, so it is no such session")
    return Clock(machine, "the start of this machine")


def _not_outlived(session: Clock, budget_s: float | None, now: float) -> Clock:
    """A session's clock; this command's where the budget is over and the session is still there: it lasts longer then."""
    if budget_s is None or session.elapsed(now) < budget_s:
        return session
    return Clock(now, f"this command: the session has run for {spoken(session.elapsed(now))}, longer than the budget")


def _machine_start(system: Any) -> float:
    """The later of the two: inside a container the first process is younger than the host."""
    boot = float(system.boot_time())
    try:
        return max(boot, float(system.Process(1).create_time()))
    except (system.Error, OSError):
        return boot


def _kernel_start(system: Any) -> float | None:
    try:
        for process in [system.Process(), *system.Process().parents()]:
            if any(kernel in part for part in process.cmdline() for kernel in _KERNELS):
                return float(process.create_time())
    except (system.Error, OSError):
        pass
    return None


def spoken(seconds: float) -> str:
    """A span of time for people: ``45 s``, ``12 min``, ``1 h 05 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
