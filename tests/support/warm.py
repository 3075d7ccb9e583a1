"""The command line in processes of its own that need not import everything first: each is forked from one that has.

What runs is the real command, with an exit code and streams of its own, and it can be killed. Where the start itself is
what is tested, and in the long forms, a new Python is started instead.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
PROCESSORS = ("attention", "depth", "faceswap", "follow", "pose")
COMMANDS = (
    "support.cli", "framelane.cli.app", "framelane.run", "framelane.progress",
    *(f"framelane.processors.{name}.processor" for name in PROCESSORS),
)  # fmt: skip
"""What every command imports."""
MODELS = (*COMMANDS, "torch", "cv2", "support.warm_models")
"""What the processors with models import too."""


@contextmanager
def preloaded(modules: Sequence[str]) -> Iterator[None]:
    """As long as it lasts, commands are forked from a process that has imported the modules."""
    paths = os.environ.get("PYTHONPATH")
    # The server takes its path from here, and not in every version of Python from this process.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), *([paths] if paths else [])])
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    forkserver.ensure_running()
    os.environ.pop("PYTHONPATH") if paths is None else os.environ.update(PYTHONPATH=paths)
    try:
        yield
    finally:
        forkserver._forkserver._stop()


class Command:
    """``python -m support.cli …`` as :class:`subprocess.Popen` has it.

    Args:
        arguments: of the command.
        variables: the whole environment; None is that of this process.
    """

    def __init__(self, arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        self.args = list(arguments)
        self.stdout, self.stderr = (tempfile.NamedTemporaryFile("r", errors="replace") for _ in range(2))  # noqa: SIM115
        streams = (self.stdout.name, self.stderr.name)
        self._process = multiprocessing.get_context("forkserver").Process(
            target=_run, args=(self.args, dict(variables or os.environ), streams), daemon=False
        )
        self._process.start()
        self.pid: int = self._process.pid  # type: ignore[assignment]

    @property
    def returncode(self) -> int | None:
        """As of a process that was waited for; the signal that ended it, negative."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, at the end."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode


def run(arguments: Sequence[str], timeout: float, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = Command(arguments, {**os.environ, **variables})
    try:
        command.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(command.args, command.wait(), command.stdout.read(), command.stderr.read())


def _run(arguments: list[str], variables: dict[str, str], streams: tuple[str, str]) -> None:
    os.setsid()
    os.chdir(TESTS)
    os.environ.clear()
    os.environ.update(variables)
    for number, path in enumerate(streams, 1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [str(TESTS / "support" / "cli.py"), *arguments]
    import support.processors  # noqa: F401  (they register themselves)
    from framelane.cli import main
    from framelane.jobs import executors

    executors.WORKER = "support.worker"
    _exit(main)


def _exit(main: Any) -> None:
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    else:
        code = 0
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    sys.exit(code)
