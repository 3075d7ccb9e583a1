"""A batch behind a notebook: the process that does it, what it says, and what can be asked of it.

:class:`Session` runs the same ``framelane batch`` as anybody, with ``--events -`` and ``--controls -``, as a child of the
kernel. The child's standard input is held open by the kernel alone: it ends with the kernel, however that died, and the
batch with it. Nothing here raises because of what happens to the child: its end is an event like any other.

Events, as a notebook meets them (each is a flat dict; ``job`` names the clip's result where it is about one):

``batch``      ``jobs`` and how many are in each state (``done``, ``failed``, ``skipped``, ``waiting``, ``running``,
               ``paused``), ``message``; with ``job``, ``state`` and ``reason`` where one has changed; with ``phase``:
               ``begins`` and ``ends`` (both with a ``list`` of all jobs), ``measuring``, ``paused``, ``resumed``,
               ``stopping``
``plan``       ``plan``: what :func:`framelane.jobs.plan_view.plan_data` says; ``message``. Where a batch has planned
``start``      ``clip``, ``output``, ``frames``, ``resumed_at_frame``, ``processor``, ``device``, ``decoder``, ``encoder``,
               ``profile``, ``mode``, ``models``, …; ``guard``: its thresholds
``progress``   ``frame``, ``frames``, ``fps``, ``eta_s``, ``stage_ms``; ``sensors`` (see ``engine.sensors``)
``preview``    ``frame``, ``before`` and ``after``: JPEG data URIs; only where ``engine.preview_s`` asks for it
``paused``     ``resumed``: by the user; ``message``
``segment``    ``index``, ``frames``, ``frame``
``sealing``    ``degraded``, ``recovered``, ``warning``: ``message``
``died``       ``message``: the process that did a clip is gone; another one goes on with it where that helps
``done``       ``failed``, ``cancelled``: of a clip
``ended``      always the last: ``exit_code`` (None where it could not be started), ``message``
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any

from framelane.engine.events import Event
from framelane.memory import oom_kills
from framelane.obituary import cause_of_death

MODULE = "framelane"
"""What is run by ``python -m``."""
_LAST_WORDS = 4000  # bytes of standard error that are looked at
_CROWDED = 4000  # events that nobody has taken, from which on overtaken progress is let go
_OVERTAKEN = ("progress", "preview")
_ENDS_S = 5.0  # from the end of its output to its own


_running: list[Session] = []
"""The session of this kernel, if there is one."""


class Session:
    """A batch in a process of its own; one at a time in a kernel, for they would take the machine from each other.

    Starting one ends the one before: a cell that was interrupted and is run again must not find its clips taken by what it
    left behind.

    Args:
        arguments: of ``framelane``, as in ``["batch", "attention", "clips", "-o", "results"]``.
        environment: variables beside those of this process.
        preview_s: seconds between two previews; 0 has none.
    """

    def __init__(
        self, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None, preview_s: float = 1.0
    ) -> None:
        given = list(arguments[1:] if list(arguments[:1]) == ["framelane"] else arguments)
        shown = ["--set", f"engine.preview_s={preview_s:g}"] if preview_s else []
        command = [*given[:1], *shown, *given[1:]]  # what the user sets comes later, and is stronger
        self.command = [sys.executable, "-m", MODULE, *command, "--events", "-", "--controls", "-"]
        self._events: list[Event] = []
        self._fresh = threading.Condition()
        self._crowded = _CROWDED
        self._ended = False
        self._killed = False
        while _running:
            _running.pop().close()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  as long as the session
        self._oom_kills = oom_kills()
        self._process: subprocess.Popen[str] | None = None
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, **(environment or {})},
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # the notebook's interrupt is for the cell alone
            )
        except OSError as error:
            self._end(None, f"The process of the batch could not be started ({error.strerror or error}).")
            return
        _running.append(self)
        threading.Thread(target=self._read, args=(self._process,), name="events", daemon=True).start()

    def poll(self, timeout: float = 0.0) -> list[Event]:
        """What has happened since it was last asked.

        Args:
            timeout: seconds to wait for the first event; 0 waits for nothing.

        Returns:
            Events in their order; ``ended`` is the last one ever, and after it there is no waiting.
        """
        with self._fresh:
            if not self._events and not self._ended:
                self._fresh.wait(timeout)
            taken, self._events = self._events, []
            self._crowded = _CROWDED
            return taken

    # -- what can be asked -------------------------------------------------------------------------------------------

    def pause(self) -> bool:
        """Wait from the next frame batch on; True where it was heard, which a batch that has ended does not."""
        return self._ask("pause")

    def resume(self) -> bool:
        """Go on after a pause."""
        return self._ask("resume")

    def stop_after_clip(self) -> bool:
        """Finish the clips that are worked on, and begin no other."""
        return self._ask("stop_after")

    def cancel(self) -> bool:
        """End soon; finished segments are kept, and the same command goes on."""
        return self._ask("cancel")

    def kill(self) -> None:
        """End at once. Finished segments are kept all the same."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def close(self, grace_s: float = _ENDS_S) -> None:
        """Have it end, by its input and then by force, and let its pipes go.

        Args:
            grace_s: seconds that it may take.
        """
        process = self._process
        if process is None:
            return
        self._killed = self._killed or self.alive
        if process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                process.stdin.close()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with self._fresh:
            self._fresh.wait_for(lambda: self._ended, timeout=grace_s)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what is known -----------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the command; below 0 it is a signal, and None while it runs or where it could not be started."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int | None:
        """Of the process while it runs."""
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def last_words(self) -> str:
        """The end of what it wrote to its standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        # By position: the child appends through the same open file.
        return os.pread(self._errors.fileno(), _LAST_WORDS, max(0, size - _LAST_WORDS)).decode(errors="replace").strip()

    # -- the process -------------------------------------------------------------------------------------------------

    def _ask(self, wish: str) -> bool:
        if self._process is None or self._process.stdin is None or not self.alive:
            return False
        try:
            self._process.stdin.write(json.dumps({"control": wish}) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # it has died; the end of its events says so
            return False
        return True

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Take events as they come: a pipe that nobody empties would stop the batch."""
        assert process.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in process.stdout:
                with contextlib.suppress(ValueError):  # cut off by its death
                    said = json.loads(line)
                    if isinstance(said, dict) and "event" in said:
                        self._put(Event(said))
        try:
            code = process.wait(_ENDS_S)
        except subprocess.TimeoutExpired:  # it has closed its output and does not end
            process.kill()
            code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()
        self._end(code, self._sentence(code))

    def _sentence(self, code: int) -> str:
        lines = [line for line in self.last_words.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        said = {0: "The batch has ended.", 3: "The batch has ended; some of its clips failed."}.get(code)
        if said is None and self._killed:
            return "The batch was ended at once; finished segments are kept, and running it again goes on."
        if code < 0:
            killed = oom_kills() > self._oom_kills
            why = cause_of_death(code, last, out_of_memory=killed, what="batch's")
            return f"{why} Finished segments are kept, and running it again goes on."
        if said is None and last.startswith("framelane: "):  # how every error of the command ends
            said = last.removeprefix("framelane: ")
        return said or cause_of_death(code, last, out_of_memory=False, what="batch's")

    def _end(self, code: int | None, message: str) -> None:
        self._put(Event(event="ended", exit_code=code, message=message), last=True)

    def _put(self, event: Event, last: bool = False) -> None:
        with self._fresh:
            self._events.append(event)
            self._ended = self._ended or last
            if len(self._events) > self._crowded:
                self._events = _without_overtaken(self._events)
                self._crowded = max(_CROWDED, 2 * len(self._events))
            self._fresh.notify_all()


def _without_overtaken(events: list[Event]) -> list[Event]:
    """Events without progress and previews that newer ones of the same job have overtaken."""
    newest: dict[tuple[Any, Any], int] = {
        (event["event"], event.get("job")): index for index, event in enumerate(events)
    }
    return [
        event
        for index, event in enumerate(events)
        if event["event"] not in _OVERTAKEN or newest[event["event"], event.get("job")] == index
    ]
