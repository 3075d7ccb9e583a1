"""What a session has time for: :func:`make_plan`, and what the batch asks before each job.

A job is admitted if all of it fits into what is left of the budget; else as many of its segments as fit, for finished
segments are kept and the next session goes on after them. The order is that of the clips: a job that does not fit does not
keep a later, shorter one out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Protocol

from framelane.jobs.discover import Discovery, Found
from framelane.jobs.figures import Figures
from framelane.jobs.session import spoken
from framelane.jobs.walk import Skipped
from framelane.settings import Loaded
from framelane.video.scale import working_size

_Z = 1.64  # 90 % of a normal distribution lie within


class State(StrEnum):
    """What becomes of a job in this session."""

    DONE = "done already"
    FITS = "fits"
    PART = "fits in part"
    NEXT = "next time"


class Known(Protocol):
    """What a plan asks a ledger."""

    def finished(self, identity: str) -> Any:
        """The record of a job that is done, or None."""


@dataclass(frozen=True)
class PlannedJob:
    """One clip in the plan. Times are wall seconds on this machine.

    Attributes:
        found: the clip.
        frames: that are expected.
        segments: of output.
        segments_done: of those, what an earlier session finished.
        working_size: displayed (width, height) at which frames are worked on; None is the clip's own.
        segment_s: seconds for one whole segment.
        work_s: seconds for all segments that are not done; None where the clip's length is unknown.
        fixed_s: seconds for opening and sealing.
        spread: relative standard deviation of ``work_s``.
        state: what becomes of it.
        segments_now: segments that fit, where only a part does.
    """

    found: Found
    frames: int
    segments: int
    segments_done: int
    working_size: tuple[int, int] | None
    segment_s: float
    work_s: float | None
    fixed_s: float
    spread: float
    state: State = State.NEXT
    segments_now: int = 0

    @property
    def seconds(self) -> float | None:
        """Seconds for all that is left of it; 0 where it is done, None where that is unknown."""
        if self.state is State.DONE:
            return 0.0
        return None if self.work_s is None else self.work_s + self.fixed_s

    @property
    def seconds_now(self) -> float:
        """Seconds that it takes of this session."""
        if self.state is State.FITS:
            return self.seconds or 0.0
        return self.part_s(self.segments_now) if self.state is State.PART else 0.0

    @property
    def interval(self) -> tuple[float, float] | None:
        """Between which seconds nine of ten such jobs should end."""
        if self.seconds is None:
            return None
        width = _Z * self.spread * self.seconds
        return max(0.0, self.seconds - width), self.seconds + width

    def part_s(self, segments: int) -> float:
        """Seconds for the next ``segments`` segments, without sealing."""
        whole = segments * self.segment_s
        return whole if self.work_s is None else min(whole, self.work_s)


@dataclass(frozen=True)
class Admission:
    """The answer to "may this job start now?"; true where at least a part of it may.

    Attributes:
        state: :attr:`State.FITS`, :attr:`State.PART` or :attr:`State.NEXT`.
        segments: how many segments may be made before it has to stop; None is all, and sealing.
        seconds: that this should take.
        reason: a sentence.
    """

    state: State
    segments: int | None
    seconds: float
    reason: str

    def __bool__(self) -> bool:
        return self.state in (State.FITS, State.PART)


@dataclass(frozen=True)
class Plan:
    """Jobs in order, and what becomes of each in this session.

    Attributes:
        jobs: all of them, those done already too.
        skipped: what could not be taken, as found.
        processor: what happens to the clips.
        budget_s: seconds of the session in all; None is no limit.
        elapsed_s: seconds of it that were gone when the plan was made.
        since: since when they are counted, in words.
        startup_s: seconds for starting a worker and loading the models, once.
        figures: what the times come from.
        others: how many files in the folder are no clips.
    """

    jobs: tuple[PlannedJob, ...]
    processor: str
    budget_s: float | None
    elapsed_s: float
    startup_s: float
    figures: Figures
    skipped: tuple[Skipped, ...] = ()
    since: str = ""
    others: int = 0

    @cached_property
    def _by_relative(self) -> dict[PurePosixPath, PlannedJob]:
        return {job.found.relative: job for job in self.jobs}

    @property
    def total_s(self) -> float:
        """Seconds for everything that is not done, starting included; clips of unknown length not."""
        work = [job.seconds or 0.0 for job in self.jobs if job.state is not State.DONE]
        return sum(work) + (self.startup_s if work else 0.0)

    @property
    def admitted_s(self) -> float:
        """Seconds of what fits into this session, starting included."""
        work = [job.seconds_now for job in self.jobs if job.state in (State.FITS, State.PART)]
        return sum(work) + (self.startup_s if work else 0.0)

    @property
    def left_over_s(self) -> float:
        """Seconds that are left for next time."""
        return max(0.0, self.total_s - self.admitted_s)

    def count(self, state: State) -> int:
        """How many jobs are in a state."""
        return sum(job.state is state for job in self.jobs)

    def room_s(self, now: float) -> float:
        """Seconds of the budget that are left.

        Args:
            now: seconds of the session that are gone, counted as ``elapsed_s`` is.
        """
        return math.inf if self.budget_s is None else max(0.0, self.budget_s - now)

    def admits(self, job: PlannedJob | Found | PurePosixPath, now: float, *, pace: float = 1.0) -> Admission:
        """Whether a job may start now.

        Args:
            job: of this plan.
            now: seconds of the session that are gone, counted as ``elapsed_s`` is.
            pace: how many times as long as planned the jobs so far took.

        Raises:
            KeyError: it is no job of this plan.
        """
        found = job.found if isinstance(job, PlannedJob) else job
        planned = self._by_relative[found.relative if isinstance(found, Found) else found]
        if planned.state is State.DONE:
            return Admission(State.DONE, 0, 0.0, "It is done already.")
        slower = _paced(planned, pace)
        state, segments = _admit(slower, self.room_s(now))
        decided = replace(slower, state=state, segments_now=segments)
        return Admission(state, None if state is State.FITS else segments, decided.seconds_now, _reason(decided))


def make_plan(
    discovery: Discovery,
    loaded: Loaded,
    processor: str,
    *,
    budget_s: float | None,
    elapsed_s: float,
    figures: Figures,
    ledger: Known | None = None,
    identify: Callable[[Found, Loaded], str] | None = None,
    own: Mapping[PurePosixPath, tuple[Loaded, Figures]] | None = None,
    segments_done: Mapping[PurePosixPath, int] | None = None,
    started: bool = False,
    since: str = "",
) -> Plan:
    """Plan a session. The same arguments give the same plan.

    Args:
        discovery: the clips, in the order in which they are to be processed.
        loaded: the settings of all clips but those in ``own``.
        processor: what happens to them.
        budget_s: seconds of the session in all; None is no limit.
        elapsed_s: seconds of it that are gone.
        figures: what jobs cost.
        ledger: knows the jobs that are done; None knows none.
        identify: the identity under which the ledger knows a clip's job; needed with a ledger.
        own: settings and figures of clips that have their own.
        segments_done: of clips that an earlier session began.
        started: whether a worker runs already, with its models loaded.
        since: since when ``elapsed_s`` is counted, in words.

    Returns:
        Every clip, in the order given; what fits never takes longer than what is left of the budget.
    """
    room = math.inf if budget_s is None else max(0.0, budget_s - elapsed_s)
    startup = 0.0 if started else figures.startup_s
    jobs, running = [], started
    for found in discovery.found:
        settings, cost = (own or {}).get(found.relative, (loaded, figures))
        job = _estimated(found, settings, cost, (segments_done or {}).get(found.relative, 0))
        if ledger is not None and identify is not None and ledger.finished(identify(found, settings)) is not None:
            jobs.append(replace(job, state=State.DONE))
            continue
        here = room if running else room - startup
        state, segments = _admit(job, here)
        job = replace(job, state=state, segments_now=segments)
        if state is not State.NEXT:
            room, running = here - job.seconds_now, True
            if job.work_s is None and budget_s is not None:
                room = 0.0  # nobody knows what it leaves
        jobs.append(job)
    return Plan(
        tuple(jobs), processor, budget_s, elapsed_s, startup, figures, tuple(discovery.skipped), since, discovery.others
    )


def _estimated(found: Found, loaded: Loaded, cost: Figures, done: int) -> PlannedJob:
    clip, length = found.clip, loaded.settings.engine.segment_seconds
    frames = clip.expected_frames
    seconds = frames / float(clip.rate)
    segments = max(1, math.ceil(round(seconds / length, 6)))
    done = min(done, segments)
    per_segment = cost.work_s(clip, round(min(length, seconds or length) * float(clip.rate)) or 1)
    left = max(0.0, cost.work_s(clip) - done * per_segment)
    size = working_size(clip, loaded.settings.hardware.working_height)
    if size is not None and clip.orientation.swaps_sides:
        size = size[1], size[0]
    return PlannedJob(
        found, frames, segments, done, size, per_segment, left if frames else None,
        cost.open_s + cost.seal_s(clip, loaded), cost.spread,
    )  # fmt: skip


def _admit(job: PlannedJob, room: float) -> tuple[State, int]:
    """Whether a job fits into ``room`` seconds, and how many of its segments do where not all of it does."""
    if job.seconds is not None and job.seconds <= room:
        return State.FITS, 0
    if job.work_s is None and room == math.inf:
        return State.FITS, 0
    left = job.segments - job.segments_done
    most = math.floor(room / job.segment_s) if room > 0 and job.segment_s > 0 and room < math.inf else 0
    if job.work_s is not None:
        # All segments without sealing is a part too; the last one may be short.
        most = left if 0 < job.work_s <= room else min(most, left - 1)
    return (State.PART, most) if most > 0 else (State.NEXT, 0)


def _paced(job: PlannedJob, pace: float) -> PlannedJob:
    work = None if job.work_s is None else job.work_s * pace
    return replace(job, segment_s=job.segment_s * pace, work_s=work, fixed_s=job.fixed_s * pace)


def _reason(job: PlannedJob) -> str:
    if job.state is State.FITS:
        return "It fits." if job.seconds is None else f"It fits: about {spoken(job.seconds)}."
    if job.state is State.PART and job.work_s is None:
        return f"Its length is unknown; {job.segments_now} segments fit."
    if job.state is State.PART:
        return f"{job.segments_now} of {job.segments - job.segments_done} segments fit."
    return f"Next time: not even one segment (about {spoken(job.segment_s)}) fits any more."
