"""Whose turn it is: the jobs of a batch in order, and those that another runner had claimed once that one is gone."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable

from framelane.jobs.claims import Claims
from framelane.jobs.state import CLAIMED, JobState, State

_POLL_S = 0.2
_WATCHED = "Another runner has claimed it. If it gives no sign of life within {:.0f} s, the job is done here."


class Turns:
    """Gives out jobs; several threads may ask.

    The claim of a session that was taken away looks just like that of one that works, until its signs of life fail to come:
    so a claimed job is put off and looked at again, and at the end it is waited for.

    Args:
        jobs: in their order.
        claims: on them.
        cancel: ends waiting.
        stopped: whether no further job is to be begun.
        changed: is told after a change of a job's state.
    """

    def __init__(
        self,
        jobs: Iterable[JobState],
        claims: Claims,
        cancel: threading.Event,
        stopped: Callable[[], bool],
        changed: Callable[[JobState], None],
    ) -> None:
        self.claims, self.cancel, self.stopped, self.changed = claims, cancel, stopped, changed
        self._waiting, self._claimed = deque(jobs), deque[JobState]()

    def next(self) -> JobState | None:
        """The next job: one that another runner has left behind, else one that waits; None where there is none.

        Raises:
            DriveGone: the storage does not answer.
        """
        while not self.stopped():
            if (job := self._left_behind()) is not None:
                return job
            with contextlib.suppress(IndexError):
                return self._waiting.popleft()
            if not self._claimed:
                return None
            self.cancel.wait(max(_POLL_S, self.claims.beat_s / 20))
        return None

    def done(self, job: JobState) -> None:
        """Take back a job that was given out: one that is claimed will be looked at again."""
        if job.reason == CLAIMED:
            self._claimed.append(job)

    def _left_behind(self) -> JobState | None:
        for _ in range(len(self._claimed)):
            try:
                job = self._claimed.popleft()
            except IndexError:  # another thread has it
                return None
            assert job.spec is not None
            standing = self.claims.standing(job.spec.identity)
            if standing == "free":
                return job
            if standing == "silent":
                self._claimed.append(job)
                self._set(job, "waiting", _WATCHED.format(self.claims.expiry_s))
            else:
                self._set(job, "skipped", CLAIMED)
        return None

    def _set(self, job: JobState, state: State, reason: str) -> None:
        if job.state != state:
            job.state, job.reason = state, reason
            self.changed(job)
