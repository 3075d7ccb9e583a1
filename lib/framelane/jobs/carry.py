"""One job from end to end: staged in, processed on the local disk, verified, shipped to where it belongs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from framelane import report
from framelane.engine.checkpoint import WorkFolder
from framelane.engine.events import Event, Listener
from framelane.errors import Cancelled, FramelaneError, chain
from framelane.jobs.card import make_card
from framelane.jobs.shipping import Shipper
from framelane.jobs.spec import JobSpec, Outcome, finished
from framelane.jobs.storage import Files, files_for, ship, stage_in

Process = Callable[[JobSpec, Listener, threading.Event], Outcome]
_SPEEDS = 60  # points of a job's speed that are kept for the page


def carry_out(
    job: JobSpec, process: Process, *, listener: Listener, cancel: threading.Event, files: Files | None = None
) -> Outcome:
    """Run a job to its end on this machine. What is finished stays in the job's work folder until it is recorded.

    Args:
        job: what to do.
        process: makes the local output of the job.
        listener: takes the job's events, in this thread; they name the clip and the output as the user knows them.
        cancel: set by anyone to stop.
        files: the way to the storage of the clip and of the output; None finds it.
    """
    try:
        return _Carry(job, process, listener, cancel, files).run()
    except Cancelled as error:
        return Outcome("cancelled", str(error))
    except FramelaneError as error:
        return Outcome("gone" if type(error).__name__ == "DriveGone" else "failed", str(error))
    except OSError as error:
        return Outcome("failed", f"The work folder {job.work} cannot be used ({chain(error)}).")


@dataclass
class _Watch:
    """Passes a job's events on under the names that the user knows, and keeps how fast it went."""

    job: JobSpec
    listener: Listener
    shipper: Any = None
    speeds: list[list[float]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def __call__(self, event: Event) -> None:
        kind = event["event"]
        if kind == "segment" and self.shipper is not None:
            self.shipper.wake()
        elif kind == "progress":
            self._note(event)
        elif kind == "start":
            event = Event({**event, "clip": self.job.clip, "output": str(self.job.target)})
        elif kind == "done":
            event = Event({**event, "output": str(self.job.target)})
        self.listener(event)

    def _note(self, event: Event) -> None:
        seconds = time.monotonic() - self.started
        self.speeds.append([seconds, event["frame"], event["fps"], event.get("eta_s") or 0.0])
        if len(self.speeds) >= 2 * _SPEEDS:
            del self.speeds[::2]


class _Carry:
    def __init__(
        self, job: JobSpec, process: Process, listener: Listener, cancel: threading.Event, files: Files | None
    ) -> None:
        self.job, self.process, self.cancel, self.listener = job, process, cancel, listener
        self.watch = _Watch(job, listener)
        self.source = files or files_for(Path(job.clip).parent)
        self.storage = (files or files_for(Path(job.out))).but(tick=self._tick)

    def run(self) -> Outcome:
        job = self.job
        job.work.mkdir(parents=True, exist_ok=True)
        # An earlier run may have come as far as shipping.
        outcome = Outcome("done") if finished(job) else self._process()
        if outcome.state != "done":
            return outcome
        return self._ship(outcome)

    def _process(self) -> Outcome:
        job = self.job
        clip = stage_in(Path(job.clip), job.work / "clip", self.source.but(tick=self._tick))
        staged = replace(job, clip=str(clip))
        if not self.storage.remote(job.target):
            return self.process(staged, self.watch, self.cancel)
        shipper = Shipper(
            WorkFolder(job.local).path,
            Path(job.out),
            job.identity,
            self.storage.but(tick=lambda: None),
            warn=self._warn,
        )
        shipper.restore()
        self.watch.shipper = shipper.start()
        outcome = None
        try:
            outcome = self.process(staged, self.watch, self.cancel)
        finally:
            # A job that came to its end needs its segments no more; another session goes on with any other.
            shipper.close(flush=outcome is None or outcome.state != "done")
        return outcome

    def _warn(self, message: str) -> None:
        self.listener(Event(event="warning", message=message))

    def _ship(self, outcome: Outcome) -> Outcome:
        """The report first: it says whose the other two are."""
        job = self.job
        described = self._describe()
        ship(described, report.report_path(job.target), self.storage)
        for made, name in zip(report.beside(job.local)[1:], report.beside(job.target)[1:], strict=True):
            if made.exists():
                ship(made, name, self.storage)
        content = ship(job.local, job.target, self.storage)
        made = json.loads(described.read_text(encoding="utf-8"))
        return replace(
            outcome, frames=int(made["frames"]), size=content.size, sha256=content.sha256,
            seconds=outcome.seconds or made["seconds"], avg_fps=outcome.avg_fps or made["avg_fps"],
            card=make_card(job.local, made, self.watch.speeds),
        )  # fmt: skip

    def _describe(self) -> Path:
        """The report under the names that the user knows, and whose it is."""
        made = json.loads(report.report_path(self.job.local).read_text(encoding="utf-8"))
        made |= {"clip": self.job.clip, "output": str(self.job.target), "job": self.job.identity}
        path = self.job.work / "shipped.report.json"
        report.write_report(path, made)
        return path

    def _tick(self) -> None:
        if self.cancel.is_set():
            raise Cancelled("Cancelled; what is finished is kept, and the same command goes on from there.")


def owner(target: Path, files: Files) -> str | None:
    """The identity of the job that made what has the target's name.

    Returns:
        None where nothing has that name or that of its report or GIF, and ``""`` where it is somebody else's.

    Raises:
        DriveGone: the storage does not answer.
    """
    named = (target, *report.beside(target))
    if all(files.retry(path, lambda path=path: files.size(path)) is None for path in named):  # type: ignore[misc]
        return None
    try:
        made = json.loads(files.read(report.report_path(target)) or b"")
        return str(made["job"]) if Path(str(made["output"])).name == target.name else ""
    except (ValueError, KeyError, TypeError):
        return ""
