"""How long a running job will still take: :class:`Estimator`.

What was measured of whole jobs, and what it says of jobs to come, is in ``jobs.figures``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

_PIECES = 16  # equal pieces of work into which what is done is cut
_MOST_POINTS = 512
_FILLED = 4  # points of progress from which on the first is left out
_REST = 2  # at least a half of them counts
_TRUSTED, _TRUSTED_S = 0.05, 10.0  # share of the job, and seconds, after which what was expected no longer counts
_Z = 1.64  # 90 % of a normal distribution lie within
_LEAST_SPREAD, _UNTRIED_SPREAD = 0.04, 0.3  # relative


@dataclass(frozen=True)
class Eta:
    """An estimate at one moment.

    Attributes:
        left_s: seconds until the output is sealed.
        low_s: the estimate's lower end; meant to hold for nine of ten steady jobs.
        high_s: its upper end.
    """

    left_s: float
    low_s: float
    high_s: float


@dataclass
class Estimator:
    """Seconds left of one job, from its progress. Pure: it never looks at a clock.

    The rate is the mean over what is done, without its warm-up (:func:`warm_up`; a lasting change of pace is left behind
    in the same way) and without one accident (:func:`without_an_accident`): one stall is an accident, two are a pattern.
    Pauses that the guard made do not count. In the first seconds, what was expected beforehand has its share.

    Args:
        total: the job's work, in any unit that grows evenly: frames, or seconds of the clip.
        expected_s: seconds per unit of work expected beforehand; None where nothing is known.
        startup_s: expected seconds from the start to the first work.
        seal_s: expected seconds from the last work to the sealed output.
        done: work that an earlier run has done.
    """

    total: float
    expected_s: float | None = None
    startup_s: float = 0.0
    seal_s: float = 0.0
    done: float = 0.0
    _points: list[tuple[float, float]] = field(default_factory=list)
    _paused_s: float = 0.0
    _pause_began: float | None = None
    _sealing: float | None = None
    _now: float = 0.0
    _first: float | None = None

    def __post_init__(self) -> None:
        self._first = self.done
        self._points = []

    def update(self, done: float, wall_s: float) -> None:
        """Note progress.

        Args:
            done: work done so far, with that of earlier runs.
            wall_s: seconds since the start of the job.
        """
        self._now = max(self._now, wall_s)
        if self._pause_began is not None or self._sealing is not None:
            return
        active = self._now - self._paused_s
        if done > self.done:
            self.done = done
            self._points.append((done, active))
            self._thin()
        elif not self._points:
            self._points.append((self.done, active))
        self.total = max(self.total, self.done)

    def pause(self, wall_s: float) -> None:
        """The guard pauses the job from here on."""
        self._now = max(self._now, wall_s)
        if self._pause_began is None:
            self._pause_began = self._now

    def resume(self, wall_s: float) -> None:
        """The pause is over."""
        self._now = max(self._now, wall_s)
        if self._pause_began is not None:
            self._paused_s += self._now - self._pause_began
            self._pause_began = None

    def sealing(self, wall_s: float) -> None:
        """All work is done; joining begins."""
        self._now = max(self._now, wall_s)
        self._sealing = self._now if self._sealing is None else self._sealing

    def feed(self, event: Mapping[str, Any], wall_s: float) -> None:
        """Take an event of a job; what does not concern the estimate is ignored."""
        kind = event["event"]
        if kind == "start":
            self.total = max(self.total, event["frames"])
            self._first = self.done = float(event["resumed_at_frame"])
            self.update(self.done, wall_s)
        elif kind == "progress":
            self.total = max(self.total, event["frames"])
            self.update(event["frame"], wall_s)
        elif "pause" in event:  # the guard's: degraded, and later recovered
            (self.pause if event["pause"] else self.resume)(wall_s)
        elif kind == "sealing":
            self.sealing(wall_s)

    @property
    def worked_s(self) -> float:
        """Seconds since the start that were no pause, at the last moment heard of."""
        pausing = self._now - self._pause_began if self._pause_began is not None else 0.0
        return self._now - self._paused_s - pausing

    def eta(self, wall_s: float | None = None) -> Eta | None:
        """Seconds left.

        Args:
            wall_s: seconds since the start of the job; None is the last moment heard of.

        Returns:
            None where nothing is known yet, neither of this job nor beforehand.
        """
        now = self._now if wall_s is None else max(self._now, wall_s)
        if self._sealing is not None:
            left = max(0.0, self.seal_s - (now - self._sealing))
            return Eta(left, left / 2, left * 1.5)
        unit = self._unit_s()
        if unit is None:
            return None
        seconds, spread = unit
        work = max(0.0, self.total - self.done) * seconds
        # Time since the newest progress was spent on what comes next, but never on more than all of it.
        since = 0.0 if self._pause_began is not None or not self._points else now - self._paused_s - self._points[-1][1]
        startup = 0.0 if self._points else max(0.0, self.startup_s - now)
        work = max(0.0, work - min(since, seconds * self._step()))
        fixed = startup + self.seal_s
        width = _Z * math.hypot(spread * work, 0.3 * fixed)
        return Eta(work + fixed, max(0.0, work + fixed - width), work + fixed + width)

    # -- the rate ----------------------------------------------------------------------------------------------------

    def _thin(self) -> None:
        """Keep memory flat: of very many points, every second one of the older half goes."""
        if len(self._points) > _MOST_POINTS:
            half = len(self._points) // 2
            self._points = self._points[:half:2] + self._points[half:]

    def _step(self) -> float:
        return self._points[-1][0] - self._points[-2][0] if len(self._points) > 1 else 0.0

    def _unit_s(self) -> tuple[float, float] | None:
        """Seconds per unit of work and their relative spread; measured, expected, or between the two."""
        measured = self._measured()
        if self.expected_s is None:
            return measured
        if measured is None:
            return self.expected_s, _UNTRIED_SPREAD
        seconds, spread = measured
        seen = self._points[-1][1] - self._points[0][1]
        work = self.total - self._points[0][0]
        trust = min(1.0, seen / max(_TRUSTED_S, _TRUSTED * work * self.expected_s))
        return trust * seconds + (1 - trust) * self.expected_s, trust * spread + (1 - trust) * _UNTRIED_SPREAD

    def _measured(self) -> tuple[float, float] | None:
        # Until the first work comes out, the pipeline fills and looks ahead: that is no pace.
        points = without_an_accident(self._points[1:] if len(self._points) > _FILLED else self._points)
        count = min(_PIECES, len(points) - 1)
        if count < 1:
            return None
        begin, end = points[0][0], points[-1][0]
        times = _times(points, [begin + (end - begin) * i / count for i in range(count + 1)])
        pieces = [b - a for a, b in pairwise(times)]
        pieces = pieces[warm_up(pieces) :]
        mean = statistics.fmean(pieces)
        if mean <= 0:
            return None
        error = statistics.stdev(pieces) / mean / math.sqrt(len(pieces)) if len(pieces) > 2 else _UNTRIED_SPREAD
        return mean * count / (end - begin), max(error, _LEAST_SPREAD)


def without_an_accident(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Progress with its one longest delay made as long as its second longest.

    Args:
        points: (work done, seconds), ascending.
    """
    if len(points) < 4:
        return points
    steps = [(b - a, u - t) for (a, t), (b, u) in pairwise(points)]
    usual = statistics.median(time / work for work, time in steps)
    late = [time - work * usual for work, time in steps]
    second, longest = sorted(late)[-2:]
    where = late.index(longest) + 1
    return points[:where] + [(work, time - longest + second) for work, time in points[where:]]


def warm_up(pieces: list[float]) -> int:
    """How many pieces at the beginning are of another time than the rest: the marginal standard error rule.

    White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6), 1997: of all
    beginnings that could be left out, that whose rest has the least variance over its length (equation 3).

    Args:
        pieces: seconds of equal pieces of work, in order.
    """
    count = len(pieces)

    def error(left_out: int) -> float:
        rest = pieces[left_out:]
        return statistics.pvariance(rest) / len(rest)

    return min(range(count - count // _REST + 1), key=error) if count >= 2 * _REST else 0


def _times(points: list[tuple[float, float]], marks: list[float]) -> list[float]:
    """When each mark of work was reached, between two points in proportion; marks ascend."""
    times, index = [], 1
    for mark in marks:
        while index < len(points) - 1 and points[index][0] < mark:
            index += 1
        (a, t), (b, u) = points[index - 1], points[index]
        times.append(t + (u - t) * min(1.0, max(0.0, (mark - a) / (b - a))))
    return times
