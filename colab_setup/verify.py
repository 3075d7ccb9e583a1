"""Verifying by doing: a child process for each component imports it and does something real with it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata

from . import checks

LIMIT_S = 300.0


@dataclass(frozen=True)
class Verdict:
    """What became of a check.

    Attributes:
        status: ``"works"``, ``"limited"`` (works, with something the user should know) or ``"fails"``.
        how: what was done, in words.
        do: what the user can do about it; empty where nothing is to be done.
        told: what else the check printed.
    """

    component: str
    version: str
    status: str
    how: str
    do: str
    seconds: float
    told: Mapping[str, object]


def verify(names: Iterable[str], environment: Mapping[str, str], workers: int = 2) -> list[Verdict]:
    """Run the checks, a few side by side, and keep their order.

    Args:
        names: of :data:`.checks.CHECKS`.
        environment: of the children.
        workers: how many at a time.
    """
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda name: one(name, environment), names))


def one(name: str, environment: Mapping[str, str]) -> Verdict:
    """Run one check in a fresh Python."""
    check = checks.CHECKS[name]
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", checks.PRELUDE + check.code], capture_output=True, text=True, timeout=LIMIT_S,
            env=dict(environment), cwd=tempfile.gettempdir(), stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        told, reason = read(done.stdout, done.stderr, done.returncode)
    except subprocess.TimeoutExpired:
        told, reason = {}, f"it did not end within {LIMIT_S:.0f} s"
    seconds = time.perf_counter() - begun
    if reason:
        status = "limited" if check.optional else "fails"
        return Verdict(name, _version(check.packages), status, f"{check.how}: {reason}", check.do, seconds, told)
    limit = str(told.get("limit", ""))
    how = str(told.get("how", check.how)) + (f"; {limit}" if limit else "")
    version = str(told.get("version", ""))
    return Verdict(name, version, "limited" if limit else "works", how, str(told.get("do", "")), seconds, told)


def _version(packages: Iterable[str]) -> str:
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return ""


def read(out: str, err: str, code: int) -> tuple[dict[str, object], str]:
    """(what the child told as JSON in its last line, why it failed or "").

    Args:
        out: its standard output.
        err: its standard error.
        code: its exit status.
    """
    lines = [line for line in out.splitlines() if line.startswith("{")]
    try:
        told = json.loads(lines[-1]) if lines else {}
    except ValueError:
        told = {}
    if code == 0 and told:
        return told, ""
    if code < 0:
        return told, f"it was ended by signal {-code}"
    last = [line.strip() for line in err.splitlines() if line.strip()]
    return told, last[-1] if last else f"it ended with {code} and said nothing"


def environment(library_dir: str | None, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The children's environment: with the driver's libraries where the loader does not find them by itself."""
    found = dict(os.environ if base is None else base)
    found.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # checks are tiny and run side by side: more threads only wait for each other
    if library_dir:
        rest = [part for part in found.get("LD_LIBRARY_PATH", "").split(":") if part and part != library_dir]
        found["LD_LIBRARY_PATH"] = ":".join([library_dir, *rest])
    return found
