"""One run over a folder: find, settle what is done, plan, do the rest, and say what became of it."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framelane.engine.controls import PAUSED, RESUMED, Controls
from framelane.engine.events import Event, Listener
from framelane.errors import Cancelled, FramelaneError, UsageError
from framelane.jobs.admission import Admissions, make_admissions
from framelane.jobs.discover import Discovery
from framelane.jobs.ledger import Ledger
from framelane.jobs.order import Order, jobs_of
from framelane.jobs.page import NAME, earlier, write_page
from framelane.jobs.plan import Plan
from framelane.jobs.planning import find
from framelane.jobs.runner import Runner, Running
from framelane.jobs.session import parse_budget
from framelane.jobs.spec import Executor, work_root
from framelane.jobs.state import BatchResult, JobState, counts
from framelane.jobs.storage import DriveGone, files_for, refused
from framelane.jobs.turns import Turns

STOPPED_AFTER = "Stopped by the user after a clip; the same command goes on"
_STOPPING = "It stops after the clips that are worked on now."
_ONLY_BETWEEN = (
    "Jobs on a cluster are not paused in the middle; those that run are finished, and no other one is begun."
)
_POLL_S = 0.2
_KEPT_DAYS = 30


@dataclass
class BatchRun:
    """One run.

    Attributes:
        order: what was asked for.
        listener: takes events, in the thread that calls :meth:`run`.
        controls: what people ask of it while it runs.
        jobs: all of them.
        running: those that run, by name.
        stopped: why no further job is begun; empty while they are.
        plan: of the session, where there is a budget.
    """

    order: Order
    listener: Listener
    controls: Controls
    jobs: list[JobState] = field(default_factory=list)
    running: dict[str, Running] = field(default_factory=dict)
    stopped: str = ""
    plan: Plan | None = None

    def run(self, make_executor: Callable[[], Executor]) -> BatchResult:
        """See :func:`process_folder`."""
        self.started, order = time.monotonic(), self.order
        self.cancel, self._paused, self._paused_only = self.controls.cancelled, False, ""
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        discovery = find(order.folder, order.out, include=order.include, exclude=order.exclude, order=order.order)
        self.files = order.files or files_for(order.out if order.out.exists() else order.out.parent)
        self.ledger = Ledger(order.out, self.files)
        self.jobs = jobs_of(order, discovery)
        self._settle()
        self._tell_batch("begins")
        if order.dry_run:
            return self._result(None)
        executor: Executor | None = None
        try:
            if any(job.state == "waiting" for job in self.jobs):
                self._prepare_folder()
                executor = make_executor()
                if wait_while := getattr(executor, "wait_while", None):
                    wait_while(self.controls.paused)
                else:
                    self._paused_only = _ONLY_BETWEEN
                admissions = self._admissions(discovery, executor)
                self.runner = self._runner(executor, admissions)
                self._work(executor)
                if not self.stopped:  # of another machine's left-overs it must see twice that they stand still
                    self._sweep()
        except KeyboardInterrupt:  # a second one: no waiting for what runs
            self.cancel.set()
        finally:
            if executor is not None:
                executor.close()
        return self._end()

    # -- before ------------------------------------------------------------------------------------------------------

    def _admissions(self, discovery: Discovery, executor: Executor) -> Admissions | None:
        order, process = self.order, getattr(executor, "process", None)
        if order.budget is None or parse_budget(order.budget) is None:
            return None
        if process is None:
            message = "Jobs on a cluster are not planned: what its machines take is not known here. There is no budget."
            self.listener(Event(event="warning", message=message))
            return None
        made = make_admissions(
            discovery, self.jobs, order.processor, order.wanted, budget=order.budget, process=process,
            files=self.files, listener=self.listener, cancel=self.cancel,
        )  # fmt: skip
        if made is not None:
            self.plan = made.plan
            order.planned(made.plan)
            self._tell_plan(made.plan)
        return made

    def _tell_plan(self, plan: Plan) -> None:
        from framelane.jobs.plan_view import plan_data, plan_sentence

        self.listener(Event(event="plan", plan=plan_data(plan), message=plan_sentence(plan)))

    def _runner(self, executor: Executor | None, admissions: Admissions | None = None) -> Runner:
        return Runner(
            executor, self.ledger, self.files, restart=self.order.restart, tell=self._queue, changed=self._changed,
            admissions=admissions,
        )  # fmt: skip

    def _settle(self) -> None:
        """Skip what is done, before anything is started."""
        runner = self._runner(None)
        for job in self.jobs:
            if job.state == "waiting":
                runner.settle(job)

    def _prepare_folder(self) -> None:
        try:
            self.files.retry(self.order.out, lambda: self.files.mkdir(self.order.out))
        except OSError as error:
            raise UsageError(f"The output folder {self.order.out} cannot be made ({error.strerror}).") from error
        self.ledger.sweep()
        forget_old_work()

    def _sweep(self) -> None:
        with contextlib.suppress(FramelaneError, OSError):  # the next batch does it: no reason to fail this one
            self.ledger.sweep()

    # -- while it runs -----------------------------------------------------------------------------------------------

    def _work(self, executor: Executor) -> None:
        """The jobs in turn, as many at once as the executor has room for; events pass through this thread."""
        waiting = [job for job in self.jobs if job.state == "waiting"]
        turns = Turns(waiting, self.ledger.claims, self.cancel, self._no_more, self._changed)
        threads = [
            threading.Thread(target=self._serve, args=(turns,), name=f"job {index}", daemon=True)
            for index in range(max(1, min(executor.slots, len(waiting))))
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            try:
                self._pump(_POLL_S)
                self._obey()
            except KeyboardInterrupt:
                if self.cancel.is_set():
                    raise
                self.cancel.set()
        self._obey()  # the last of them may have heard it first
        self._pump(0)

    def _pump(self, timeout: float) -> None:
        with contextlib.suppress(queue.Empty):
            self.listener(self.events.get(timeout=timeout) if timeout else self.events.get_nowait())
            while True:
                self.listener(self.events.get_nowait())

    def _serve(self, turns: Turns) -> None:
        try:
            while self._may_begin() and (job := turns.next()) is not None:
                running = self.running[job.name] = Running()
                try:
                    if self._no_more():
                        return
                    self.runner.run(job, running)
                finally:
                    del self.running[job.name]
                turns.done(job)
        except DriveGone:
            self._stop("The storage of the output folder does not answer")

    def _obey(self) -> None:
        """What people asked for since it was last looked at."""
        if self.cancel.is_set():
            self._stop("Cancelled")
        elif self.controls.stopping.is_set() and not self.stopped:
            self.stopped = STOPPED_AFTER
            self.listener(Event({**self._batch_event(message=_STOPPING), "phase": "stopping"}))
        if (paused := self.controls.paused.is_set()) != self._paused:
            self._paused = paused
            said = {"phase": "paused", "message": PAUSED} if paused else {"phase": "resumed", "message": RESUMED}
            self.listener(Event({**self._batch_event(), **said}))
            if paused and self._paused_only:
                self.listener(Event(event="warning", message=self._paused_only))

    def _no_more(self) -> bool:
        return bool(self.stopped) or self.controls.stopping.is_set()

    def _may_begin(self) -> bool:
        """Wait while it is paused; False where nothing more is to be begun."""
        while self.controls.paused.is_set() and not self._no_more() and not self.cancel.is_set():
            self.cancel.wait(_POLL_S)
        return not self._no_more()

    def _stop(self, because: str) -> None:
        self.stopped = self.stopped or because
        for running in list(self.running.values()):
            running.stop(because)

    # -- events ------------------------------------------------------------------------------------------------------

    def _queue(self, job: JobState, event: Event) -> None:
        self.events.put(Event({**event, "job": job.name}))

    def _changed(self, job: JobState) -> None:
        self.events.put(self._batch_event(job))

    def _batch_event(self, job: JobState | None = None, message: str = "") -> Event:
        about = {} if job is None else {"job": job.name, "state": job.state, "reason": job.reason}
        if job is not None:
            message = f"{job.name}: {job.state}{f' ({job.reason})' if job.reason else ''}"
        return Event(event="batch", jobs=len(self.jobs), **counts(self.jobs), **about, message=message)

    def _tell_batch(self, what: str) -> None:
        found = counts(self.jobs)
        said = ", ".join(f"{number} {state}" for state, number in found.items() if number)
        event = self._batch_event(message=f"{self.order.folder}: {len(self.jobs)} jobs, {said}")
        names = [{"job": job.name, "state": job.state, "reason": job.reason} for job in self.jobs]
        self.listener(Event({**event, "phase": what, "list": names}))

    # -- after -------------------------------------------------------------------------------------------------------

    def _end(self) -> BatchResult:
        self._pump(0)
        for job in self.jobs:
            if job.state in ("waiting", "running", "paused"):
                job.state, job.reason = "waiting", job.reason or self.stopped
        page = self._page()
        result = self._result(page)
        self._tell_batch("ends")
        if self.order.hook and (problem := self.order.hook(self._summary(result))):
            self.listener(Event(event="warning", message=problem))
        if self.cancel.is_set():
            raise Cancelled("Cancelled; what is finished is kept, and the same command goes on from there.")
        return result

    def _page(self) -> Path | None:
        """The page of the output folder: this batch's jobs, then what earlier ones finished there."""
        out = self.order.out
        try:
            return write_page(
                out, self.order.processor, [*self.jobs, *earlier(out, self.ledger, self.jobs)], self.files
            )
        except OSError as error:
            problem = str(refused(out / NAME, error))
        except FramelaneError as error:
            problem = f"The page of the batch could not be written ({error})."
        self.listener(Event(event="warning", message=problem))
        return None

    def _summary(self, result: BatchResult) -> dict[str, Any]:
        return {**dict(result.counts), "out": str(result.out), "page": str(result.page or "")}

    def _result(self, page: Path | None) -> BatchResult:
        return BatchResult(self.order.out, tuple(self.jobs), page, time.monotonic() - self.started, self.plan)


def forget_old_work(folder: Path | None = None, days: float = _KEPT_DAYS) -> None:
    """Remove the local work of jobs that nobody has gone on with for so long: their settings were changed, perhaps.

    Args:
        folder: where it lies.
        days: without any change.
    """
    for work in (folder or work_root()).glob("*/"):
        inside = (work, *work.glob("*"), *work.glob(".*.framelane/*"))
        newest = max((path.stat().st_mtime for path in inside if path.exists()), default=0)
        if time.time() - newest > days * 86_400:
            shutil.rmtree(work, ignore_errors=True)
