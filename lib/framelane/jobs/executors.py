"""Where jobs run on this machine: one worker process for each device, each replaced when it dies."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import IO, Any

from framelane.engine.events import Event, Listener
from framelane.gpu import find_gpu
from framelane.jobs.carry import carry_out
from framelane.jobs.spec import JobSpec, Outcome
from framelane.jobs.storage import Files
from framelane.memory import oom_kills
from framelane.obituary import cause_of_death

WORKER = "framelane.jobs.worker"
"""The module that is run as the worker."""
_GRACE_S = 30.0  # from the wish to cancel to the end of a worker that does not hear it
_LAST_WORDS = 2000  # bytes of a dead worker's standard error that are looked at


class LocalExecutor:
    """Runs jobs in worker processes on this machine.

    Args:
        devices: for each worker what ``CUDA_VISIBLE_DEVICES`` is to be; None leaves it as it is. One worker for each GPU
            where nothing is said.
        files: the way to storage that may be Drive; None finds it.
    """

    def __init__(self, devices: Sequence[str | None] | None = None, files: Files | None = None) -> None:
        chosen = local_devices() if devices is None else list(devices)
        self.slots = len(chosen)
        self.files = files
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        self._workers = [WorkerProcess(device) for device in chosen]
        for worker in self._workers:
            self._idle.put(worker)

    def run(self, job: JobSpec, listener: Listener, cancel: threading.Event) -> Outcome:
        """See :class:`framelane.jobs.spec.Executor`. Copying is done here, processing by the worker."""
        return carry_out(job, self.process, files=self.files, listener=listener, cancel=cancel)

    def wait_while(self, pause: threading.Event) -> None:
        """Have the workers wait while ``pause`` is set, also in the middle of a clip."""
        for worker in self._workers:
            worker.pause = pause

    def process(self, job: JobSpec, listener: Listener, cancel: threading.Event) -> Outcome:
        """Have the clip processed by the next worker that is free, and no more."""
        worker = self._idle.get()
        try:
            return worker.process(job, listener, cancel)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()


def local_devices() -> list[str | None]:
    """One entry a GPU, as ``CUDA_VISIBLE_DEVICES`` would name it; ``[None]`` where there is one or none."""
    gpu, _ = find_gpu()
    if gpu is None or gpu.count < 2:
        return [None]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name.strip() for name in visible.split(",")] if visible else [str(index) for index in range(gpu.count)]


class WorkerProcess:
    """A worker process as its parent sees it: started when there is something to do, and again after it died.

    Args:
        device: for ``CUDA_VISIBLE_DEVICES``; None leaves that as it is.

    Attributes:
        pause: set while its work is to wait.
    """

    def __init__(self, device: str | None = None) -> None:
        self.device, self.pause = device, threading.Event()
        self._pausing = False  # as the process was told
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  as long as the worker
        self._oom_kills = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now; None where none does."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def process(self, job: JobSpec, listener: Listener, cancel: threading.Event) -> Outcome:
        """Have a job processed; see :func:`framelane.jobs.worker.process`."""
        number = next(self._numbers)
        if self.pid is None:
            self._start()
        self._tell_pause()
        self._send(job=job.to_json(), id=number)
        asked: float | None = None
        while True:
            if cancel.is_set() and asked is None:
                self._send(cancel=number)
                asked = time.monotonic()
            self._tell_pause()
            if asked is not None and time.monotonic() - asked > _GRACE_S:
                self._kill()
                return Outcome("cancelled", "Cancelled; finished segments are kept, and the same command goes on.")
            try:
                answer = self._answers.get(timeout=0.1)
            except queue.Empty:
                continue
            if answer is None:
                return Outcome("died", self._obituary())
            if answer.get("id") != number:
                continue
            if "event" in answer:
                listener(Event(answer["event"]))
            elif "outcome" in answer:
                return Outcome.from_json(answer["outcome"])

    def close(self) -> None:
        """End the process: its input ends, and it with it."""
        if self._process is not None:
            self._kill()
        self._errors.close()

    # -- the process -------------------------------------------------------------------------------------------------

    def _tell_pause(self) -> None:
        wanted = self.pause.is_set()
        if wanted != self._pausing:
            self._pausing = wanted
            self._send(pause=wanted)

    def _start(self) -> None:
        self._reap()
        self._pausing = False
        environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": self.device} if self.device is not None else {})}
        self._errors.seek(0)
        self._errors.truncate()
        self._oom_kills = oom_kills()
        self._answers = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in a terminal is for the parent alone
        )
        assert self._process.stdout is not None
        threading.Thread(
            target=_read, args=(self._process.stdout, self._answers), name="worker answers", daemon=True
        ).start()

    def _send(self, **message: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has died; the end of its answers says so

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._reap()

    def _reap(self) -> None:
        if self._process is None:
            return
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process = None

    def _obituary(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _LAST_WORDS))
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        killed = oom_kills() > self._oom_kills
        self._reap()
        return cause_of_death(code, said[-1] if said else "", out_of_memory=killed)


def _read(pipe: IO[str], answers: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    try:
        for line in pipe:
            try:
                answers.put(json.loads(line))
            except ValueError:  # cut off by its death
                break
    except ValueError:  # closed while it was read
        pass
    answers.put(None)
