"""What a batch has time for: its plan, asked before each job and corrected by the jobs that were done."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from framelane.engine.events import Event, Listener
from framelane.errors import Cancelled, FramelaneError
from framelane.jobs.carry import Process
from framelane.jobs.discover import Discovery, Found
from framelane.jobs.figures import observe
from framelane.jobs.files import Files
from framelane.jobs.plan import Admission, Plan
from framelane.jobs.planning import Wanted, plan_found
from framelane.jobs.remembered import kind_of_job, remember
from framelane.jobs.session import parse_budget, session_clock
from framelane.jobs.spec import JobSpec
from framelane.jobs.standing import segments_done
from framelane.jobs.state import JobState


class Admissions:
    """Says before each job how much of it still fits. Threads may ask at once.

    Args:
        plan: of the session.
        wanted: the settings, for what is remembered of jobs.
    """

    def __init__(self, plan: Plan, wanted: Wanted) -> None:
        self.plan, self.wanted = plan, wanted
        self.clock = session_clock(plan.budget_s)
        # Counted on from what the plan itself saw, wherever the clock of this call would begin.
        self._offset = plan.elapsed_s - self.clock.elapsed()
        self._planned = self._took = 0.0
        self._lock = threading.Lock()

    def ask(self, found: Found) -> Admission:
        """How much of a job fits into what is left of the session."""
        with self._lock:
            pace = self._took / self._planned if self._planned else 1.0
            return self.plan.admits(found, self.clock.elapsed() + self._offset, pace=pace)

    def goes_on(self, found: Found, closed: int, took_s: float) -> bool:
        """Whether a running job's next segment closes within the session's time, if it takes as long as its last one.

        Args:
            found: its clip.
            closed: segments that it has finished in this run; after the last one only sealing is left, and it goes on.
            took_s: seconds that the last of them took.
        """
        job = next((job for job in self.plan.jobs if job.found.relative == found.relative), None)
        if job is None or (job.frames and closed >= job.segments - job.segments_done):
            return True
        return self.plan.room_s(self.clock.elapsed() + self._offset) >= took_s

    def planned_s(self, found: Found) -> float | None:
        """Seconds that the plan gave a job; None where it knew none."""
        return next((job.seconds for job in self.plan.jobs if job.found.relative == found.relative), None)

    def done(self, found: Found, trace: Iterable[tuple[float, Mapping[str, Any]]], processor: str) -> None:
        """Learn from a job that has come to its end in one piece.

        Args:
            found: its clip.
            trace: its events, by seconds since its beginning.
            processor: its name.
        """
        rows = list(trace)
        loaded = self.wanted.loaded_for(found)
        seen = observe(rows, found.clip, loaded, fresh=False)
        if seen is None:
            return
        remember(kind_of_job(loaded, processor), seen)
        with self._lock:
            self._planned += self.plan.figures.work_s(found.clip, seen.frames)
            self._took += seen.work_s


def make_admissions(
    discovery: Discovery,
    jobs: Iterable[JobState],
    processor: str,
    wanted: Wanted,
    *,
    budget: str | float,
    process: Process,
    files: Files,
    listener: Listener,
    cancel: threading.Event,
) -> Admissions | None:
    """Plan what waits; None where there is no limit, or no clip could be measured, which is then said.

    Args:
        discovery: of the batch, in its order.
        jobs: of the batch; those that do not wait are left out.
        processor: its name.
        wanted: the settings.
        budget: of the session.
        process: processes the head of a clip where that is needed, so that models are loaded once.
        files: the way to the storage of the output folder, where another machine's segments may lie.
        listener: takes events.
        cancel: set by anyone to stop.
    """
    if parse_budget(budget) is None:
        return None
    waiting = {job.name: job for job in jobs if job.state == "waiting"}
    found = [one for one in discovery.found if str(one.output) in waiting]
    begun = {one.relative: _begun(waiting[str(one.output)], files) for one in found}
    try:
        plan = plan_found(
            Discovery(found, discovery.skipped, discovery.others), processor, wanted, budget=budget, segments_done=begun,
            listener=lambda event: _told(event, listener), cancel=cancel, run=_measured_by(process),
        )  # fmt: skip
    except Cancelled:
        raise
    except FramelaneError as error:
        listener(Event(event="warning", message=f"There is no plan: no clip could be measured. {error}"))
        return None
    return Admissions(plan, wanted)


def _begun(job: JobState, files: Files) -> int:
    return segments_done(Path(job.spec.out), job.spec.identity, files) if job.spec else 0


def _told(event: Event, listener: Listener) -> None:
    """Of measuring only what people must know: it is no job."""
    if event["event"] in ("warning", "degraded", "paused", "resumed"):
        listener(event)
    elif event["event"] == "measuring":
        listener(Event(event="batch", phase="measuring", message=event["message"]))


def _measured_by(process: Process) -> Callable[..., None]:
    """Something that is called like ``process_video`` and has the worker do it."""

    def run(
        clip: Path,
        processor: str,
        *,
        output: Path,
        overrides: Mapping[str, Any],
        progress: Listener,
        cancel: threading.Event,
    ) -> None:
        job = JobSpec("measuring", str(clip), processor, str(output.parent), f"measure-{secrets.token_hex(8)}",
                      overrides=overrides)  # fmt: skip
        try:
            outcome = process(job, progress, cancel)
        finally:
            shutil.rmtree(job.work, ignore_errors=True)
        if outcome.state == "cancelled":
            raise Cancelled(outcome.reason)
        if outcome.state != "done":
            raise FramelaneError(outcome.reason)

    return run


class Trace:
    """A job's events with their times, without the progress that newer progress has overtaken."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.rows: list[tuple[float, Event]] = []

    def add(self, event: Event) -> None:
        """Note an event that comes now."""
        kind = event["event"]
        if kind in ("segment", "preview"):
            return
        if kind == "progress" and self.rows and self.rows[-1][1]["event"] == "progress":
            self.rows.pop()
        self.rows.append((time.monotonic() - self.started, event))

    @property
    def whole(self) -> bool:
        """Whether the job went from its first frame to its end in one piece."""
        kinds = [event["event"] for _, event in self.rows]
        return kinds.count("start") == 1 and kinds[-1:] == ["done"] and not self._resumed()

    def _resumed(self) -> bool:
        return any(event.get("resumed_at_frame") for _, event in self.rows if event["event"] == "start")
