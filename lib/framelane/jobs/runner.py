"""One job of a batch, from the claim on it to the record of it."""

from __future__ import annotations

import shlex
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from framelane.engine.checkpoint import WorkFolder
from framelane.engine.events import Event
from framelane.errors import FramelaneError, chain
from framelane.jobs.admission import Admissions, Trace
from framelane.jobs.carry import owner
from framelane.jobs.ledger import JobRecord, Ledger
from framelane.jobs.shipping import Shipper
from framelane.jobs.spec import Executor, JobSpec, Outcome
from framelane.jobs.state import CLAIMED, DONE_BEFORE, JobState, State
from framelane.jobs.storage import DriveGone, Files
from framelane.video.clip import fingerprint

GOES_ON = "finished segments are kept, and the same command goes on"
_ATTEMPTS = 2
_CHANGED = "The clip was changed after the folder was searched. Run the same command again."
_CHANGED_MEANWHILE = "The clip was changed while it was worked on. Run the same command again with --restart"


@dataclass
class Running:
    """What can be done to a job from outside while it runs.

    Attributes:
        cancel: stops it.
        because: why it was stopped, for its reason.
        closed: segments that it has finished in this run.
        closed_at: when the last of them closed, by ``time.monotonic``; before that, when it started.
        trace: its events.
        rests_since: when its present pause began, by ``time.monotonic``; None while it works.
    """

    cancel: threading.Event = field(default_factory=threading.Event)
    because: str = ""
    closed: int = 0
    closed_at: float = field(default_factory=time.monotonic)
    trace: Trace = field(default_factory=Trace)
    rests_since: float | None = None

    def rest(self, begins: bool) -> None:
        """Note a pause: it is no part of the segment's time."""
        now = time.monotonic()
        if begins and self.rests_since is None:
            self.rests_since = now
        elif not begins and self.rests_since is not None:
            self.closed_at += now - max(self.rests_since, self.closed_at)
            self.rests_since = None

    def stop(self, because: str) -> None:
        """Stop it; the first reason stays."""
        self.because = self.because or because
        self.cancel.set()


class Runner:
    """Does jobs, one a call; several threads may call.

    Args:
        executor: where they run; None where nothing is run.
        ledger: what is done, and who does what.
        files: the storage of the output folder.
        restart: do what is done again, and replace what framelane made.
        tell: takes events; any thread calls it.
        changed: is told after each change of a job's state.
        admissions: says what there is time for; None is no limit.
    """

    def __init__(
        self,
        executor: Executor | None,
        ledger: Ledger,
        files: Files,
        *,
        restart: bool,
        tell: Callable[[JobState, Event], None],
        changed: Callable[[JobState], None],
        admissions: Admissions | None = None,
    ) -> None:
        self.executor, self.ledger, self.files, self.restart = executor, ledger, files, restart
        self.tell, self.changed, self.admissions = tell, changed, admissions

    def settle(self, job: JobState) -> bool:
        """Skip a job that is not to be done: done already, or its output is another's. True where that is so.

        Raises:
            DriveGone: the storage does not answer.
        """
        assert job.spec is not None
        if not self.restart and (record := self.ledger.finished(job.spec.identity)) is not None:
            job.card = record.details
            self._set(job, "skipped", DONE_BEFORE)
            return True
        theirs = owner(job.output, self.files)
        if theirs in (None, job.spec.identity) or job.spec.overrides.get("output.overwrite"):
            return False
        if theirs and self.restart:
            return False
        if theirs:
            self._set(
                job, "skipped",
                f"{job.name} is there, made of another clip or with other settings. Name another output folder, or add "
                "--restart to replace it.",
            )  # fmt: skip
        else:
            self._set(
                job, "failed",
                f"{job.name} is there and was not made by this batch. Name another output folder, or add --set "
                "output.overwrite=true to replace it.",
            )  # fmt: skip
        return True

    def run(self, job: JobState, running: Running) -> None:
        """Do a job, if there is time for it; never raises but for the end of its storage.

        Raises:
            DriveGone: the storage does not answer; what is finished lies on the local disk.
        """
        assert job.spec is not None
        started = time.monotonic()
        try:
            if self._admitted(job, running):
                self._claimed(job, job.spec, running)
        except DriveGone as error:
            self._set(job, "failed", str(error))
            raise
        except FramelaneError as error:
            self._set(job, "failed", str(error))
        except Exception as error:  # one bad job never stops a batch
            self._set(job, "failed", f"Something unforeseen happened ({chain(error)}).")
        finally:
            job.seconds = time.monotonic() - started if job.state != "skipped" else 0.0

    def _admitted(self, job: JobState, running: Running) -> bool:
        if self.admissions is None:
            return True
        answer = self.admissions.ask(job.found)
        if not answer:
            self._set(job, "waiting", answer.reason)
        return bool(answer)

    def _claimed(self, job: JobState, spec: JobSpec, running: Running) -> None:
        if self.restart:
            self.ledger.forget(spec.identity)
        claim = self.ledger.claim(spec.identity)
        if claim is None:
            done = self.ledger.finished(spec.identity)  # by another runner, since it was looked at before
            self._set(job, "skipped", DONE_BEFORE if done else CLAIMED)
            return
        with claim:
            if self.restart:
                self._forget(spec)
            if _changed(job):
                self._set(job, "failed", _CHANGED)
                return
            self._set(job, "running")
            outcome = self._attempts(job, spec, running)
            job.take(outcome)
            if claim.lost:
                self._set(job, "skipped", "Another runner took it over: this one had not been heard of for too long.")
            elif outcome.state == "done" and _changed(job):  # its result is there already
                self._set(
                    job, "failed", f"{_CHANGED_MEANWHILE} --include {shlex.quote(job.found.relative.as_posix())}."
                )
            elif outcome.state == "done":
                self._record(job, spec, outcome, running)
            elif outcome.state == "cancelled":
                self._set(job, "waiting", f"{running.because or 'Cancelled'}; {GOES_ON}.")
            elif outcome.state == "gone":
                raise DriveGone(outcome.reason)
            else:
                self._set(job, "failed", outcome.reason)

    def _attempts(self, job: JobState, spec: JobSpec, running: Running) -> Outcome:
        """The job, and once more from its finished segments where what did it died."""
        for attempt in range(1, _ATTEMPTS + 1):
            assert self.executor is not None
            outcome = self.executor.run(spec, lambda event: self._heard(job, running, event), running.cancel)
            if outcome.state != "died":
                return outcome
            if running.cancel.is_set():
                return Outcome("cancelled", outcome.reason)
            if attempt < _ATTEMPTS:
                message = f"{job.name}: {outcome.reason} A new one goes on from the finished segments."
                self.tell(job, Event(event="died", message=message))
        self.tell(job, Event(event="died", message=f"{job.name}: {outcome.reason}"))
        return Outcome("failed", f"{outcome.reason} It happened {_ATTEMPTS} times; the job is given up, and {GOES_ON}.")

    def _heard(self, job: JobState, running: Running, event: Event) -> None:
        kind = event["event"]
        running.trace.add(event)
        if "pause" in event:  # of the guard, which ends by itself, or of the user
            running.rest(bool(event["pause"]))
            self._set(job, "paused" if event["pause"] else "running", str(event["message"]) if event["pause"] else "")
        if kind == "start":
            running.rest(False)
            running.closed_at = time.monotonic()
            if job.state == "paused":  # what was paused died
                self._set(job, "running")
        elif kind == "segment":
            self._closed(job, running)
        self.tell(job, event)

    def _closed(self, job: JobState, running: Running) -> None:
        """A segment has closed: stop here if the next one would not, within the session's time."""
        now = time.monotonic()
        took, running.closed_at = now - running.closed_at, now
        running.closed += 1
        if self.admissions and not self.admissions.goes_on(job.found, running.closed, took):
            running.stop("The time of this session is used up")

    def _record(self, job: JobState, spec: JobSpec, outcome: Outcome, running: Running) -> None:
        assert job.found is not None
        planned = self.admissions.planned_s(job.found) if self.admissions and running.trace.whole else None
        details = {**outcome.card, "seconds": round(outcome.seconds, 2), "fps": outcome.avg_fps}
        if planned:
            details["planned_s"] = round(planned, 1)
        job.card = details
        self.ledger.record(
            JobRecord(
                identity=spec.identity, relative=job.found.relative.as_posix(), output=spec.name, size=outcome.size,
                sha256=outcome.sha256, processor=spec.processor, details=details,
            )
        )  # fmt: skip
        self._forget(spec)
        self._set(job, "done")
        if self.admissions and running.trace.whole:
            self.admissions.done(job.found, running.trace.rows, spec.processor)

    def _forget(self, spec: JobSpec) -> None:
        """Let go of what was kept for going on with the job."""
        if self.files.remote(Path(spec.out)):
            Shipper(WorkFolder(spec.local).path, Path(spec.out), spec.identity, self.files).forget()
        shutil.rmtree(spec.work, ignore_errors=True)

    def _set(self, job: JobState, state: State, reason: str = "") -> None:
        job.state, job.reason = state, reason
        self.changed(job)


def _changed(job: JobState) -> bool:
    """Whether the clip's content is not that which its identity was made of; one that is gone is for others to notice."""
    try:
        now = job.clip.stat()
        same = job.found is None or (now.st_size, now.st_mtime) == (job.found.size, job.found.modified)
        return not same and fingerprint(job.clip) != job.content
    except OSError:
        return False
