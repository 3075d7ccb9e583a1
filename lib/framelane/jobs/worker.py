"""The process that does jobs: one for each device, for as long as the batch lasts, so that models stay loaded.

``python -m framelane.jobs.worker`` reads JSON lines from its standard input: ``{"job": …, "id": n}``, ``{"cancel": n}``,
and ``{"pause": true}`` or false, for whatever it does. It writes ``{"ready": pid}``, ``{"event": …, "id": n}`` and
``{"outcome": …, "id": n}`` to its standard output. It ends when its input ends, which the kernel sees to however the
parent died: also in the middle of a job, at once, for finished segments survive anything.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import traceback
from dataclasses import replace
from typing import IO, Any

from framelane.engine.events import Event, Listener
from framelane.errors import Cancelled, FramelaneError, OutOfMemory, chain
from framelane.jobs.spec import JobSpec, Outcome, finished
from framelane.models import kept

_DYING_S = 20.0  # how long another process that worked on the same job may take to be gone
_guarded: dict[str, Any] = {}
"""What the guard held at the end of the job before: the next one begins there, for it is the same machine."""
_Job = tuple[int, JobSpec, threading.Event]


def process(job: JobSpec, listener: Listener, cancel: threading.Event, pause: threading.Event | None = None) -> Outcome:
    """Process one clip here, into the job's work folder. Never raises but for Ctrl-C.

    Args:
        job: its clip is read, its ``local`` output is made.
        listener: takes events, in this thread.
        cancel: set by anyone to stop.
        pause: set while it is to wait.
    """
    kept.opened_since()
    try:
        outcome = _process(job, listener, cancel, pause)
    except Cancelled as error:
        outcome = Outcome("cancelled", str(error))
    except FramelaneError as error:
        if isinstance(error, OutOfMemory):
            kept.forget()
        outcome = Outcome("failed", str(error))
    except Exception as error:
        traceback.print_exc()
        outcome = Outcome("failed", f"Something unforeseen happened ({chain(error)}).")
    return replace(outcome, opened=kept.opened_since())


def _process(job: JobSpec, listener: Listener, cancel: threading.Event, pause: threading.Event | None) -> Outcome:
    from framelane.engine.checkpoint import WorkFolder
    from framelane.run import process_video

    WorkFolder(job.local).wait(_DYING_S)
    if finished(job):  # it got its name last, by a process that died before it could say so
        return Outcome("done")
    result = process_video(
        job.clip, job.processor, output=job.local, mode=job.mode, profile=job.profile, overrides=job.overrides,
        progress=listener, cancel=cancel, held=_guarded.get("held"), pause=pause,
        restart=True,  # whose output it is was looked at before
    )  # fmt: skip
    _guarded["held"] = (result.report.get("guard") or {}).get("held")
    return Outcome("done", seconds=result.processing_time, frames=int(result.report["frames"]), avg_fps=result.avg_fps)


class _Worker:
    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self.requests, self.answers = requests, answers
        self.jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self.cancels: dict[int, threading.Event] = {}
        self.pause = threading.Event()

    def run(self) -> None:
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        self._say(ready=os.getpid())
        with kept.keeping():
            while True:
                number, job, cancel = self.jobs.get()

                def tell(event: Event, number: int = number) -> None:
                    self._say(event=event, id=number)

                outcome = process(job, tell, cancel, self.pause)
                del self.cancels[number]
                self._say(outcome=outcome.to_json(), id=number)

    def _listen(self) -> None:
        for line in self.requests:
            message = json.loads(line)
            if "job" in message:
                cancel = self.cancels[message["id"]] = threading.Event()
                self.jobs.put((message["id"], JobSpec.from_json(message["job"]), cancel))
            elif "pause" in message:
                (self.pause.set if message["pause"] else self.pause.clear)()
            elif cancelled := self.cancels.get(message["cancel"]):
                cancelled.set()
        os._exit(0)  # the parent is gone: what is not finished is worth nothing

    def _say(self, **message: Any) -> None:
        try:
            self.answers.write(json.dumps(message) + "\n")
            self.answers.flush()
        except BrokenPipeError:
            os._exit(0)


def private_pipes() -> tuple[IO[str], IO[str]]:
    """Standard input and output for the protocol alone: what libraries print goes to standard error."""
    requests, answers = os.fdopen(os.dup(0), "r", encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def main() -> None:
    """Serve until the standard input ends."""
    pipes = private_pipes()
    # Ctrl-C is the parent's to hear; it cancels by a message.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable(file=sys.stderr)
    _Worker(*pipes).run()


if __name__ == "__main__":
    main()
