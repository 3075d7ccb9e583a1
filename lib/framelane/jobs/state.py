"""What a batch knows of each of its jobs while it runs, and what is left of that at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from framelane.errors import FramelaneError
from framelane.jobs.spec import JobSpec, Outcome

State = Literal["waiting", "running", "paused", "done", "failed", "skipped"]
STATES: tuple[State, ...] = ("done", "failed", "skipped", "waiting", "running", "paused")
DONE_BEFORE = "It is done already."
CLAIMED = "Another runner works on it."
SOME_FAILED = 3


@dataclass
class JobState:
    """One job of a batch.

    Attributes:
        name: the output's path in the output folder.
        clip: the input.
        output: the file that the job makes.
        state: where it stands.
        reason: why, in words; empty where the state says it all.
        seconds: wall seconds in this batch, staging and shipping included.
        frames: of the output.
        fps: frames a second, as processed.
        opened: the models that were opened for it.
        spec: what is to be done; None where that cannot be known.
        found: the clip as it was found; None for what could not be taken.
        card: what the page shows beside the report.
        content: the fingerprint of the clip that the job's identity was made of.
    """

    name: str
    clip: Path
    output: Path
    state: State = "waiting"
    reason: str = ""
    seconds: float = 0.0
    frames: int = 0
    fps: float = 0.0
    opened: tuple[str, ...] = ()
    spec: JobSpec | None = None
    found: Any = field(default=None, repr=False)
    card: dict[str, Any] = field(default_factory=dict, repr=False)
    content: str = ""

    @property
    def finished(self) -> bool:
        """Whether its result is there: made now, or earlier."""
        return self.state == "done" or (self.state == "skipped" and self.reason == DONE_BEFORE)

    def take(self, outcome: Outcome) -> None:
        """Note what came of it."""
        self.frames, self.fps, self.opened, self.card = outcome.frames, outcome.avg_fps, outcome.opened, outcome.card


@dataclass(frozen=True)
class BatchResult:
    """What became of a folder.

    Attributes:
        out: the output folder.
        jobs: in the order in which they were taken; what could not be taken at the end.
        page: ``index.html``, or None where nothing was written.
        seconds: of this run.
        plan: what was planned, where a plan was made.
    """

    out: Path
    jobs: tuple[JobState, ...]
    page: Path | None = None
    seconds: float = 0.0
    plan: Any = None

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return counts(self.jobs)

    @property
    def exit_code(self) -> int:
        """0; or 3 where some jobs failed."""
        return SOME_FAILED if self.counts["failed"] else 0


def counts(jobs: Iterable[JobState]) -> dict[str, int]:
    """How many jobs are in each state."""
    found = Counter(job.state for job in jobs)
    return {state: found[state] for state in STATES}


class Stopped(FramelaneError):
    """The batch cannot go on: its storage is gone."""
