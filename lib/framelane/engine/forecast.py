"""What a running job says of its own end, and how far off that was."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from framelane.engine.eta import Estimator

_TENTH = 0.1
_LEAST = 3  # estimates, or there is nothing to judge
_MOST = 512


class Forecast:
    """Asks an estimator as the frames go by and remembers its answers.

    Args:
        frames: of the clip; a guess.
        done: frames that an earlier run has finished.
        clock: seconds that never go back.
    """

    def __init__(self, frames: int, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began, self._first = clock, clock(), done
        self._estimator = Estimator(frames, done=done)
        self._said: list[
            tuple[int, float, float]
        ] = []  # frames done, seconds worked, seconds worked at the end as told

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take an event of the job: pauses of the guard are no work."""
        if "pause" in event:
            self._estimator.feed(event, self._clock() - self._began)

    def left(self, frame: int, frames: int) -> float | None:
        """Seconds until the last frame is written; joining and a GIF come after it. None where nothing is known yet.

        Args:
            frame: frames done, with those of earlier runs.
            frames: of the clip; a guess.
        """
        now = self._clock() - self._began
        self._estimator.total = max(self._estimator.total, frames)
        self._estimator.update(frame, now)
        eta = self._estimator.eta(now)
        if eta is None:
            return None
        worked = self._estimator.worked_s
        if frame > self._first:
            self._said.append((frame, worked, worked + eta.left_s))
            if len(self._said) > _MOST:
                del self._said[: _MOST // 2 : 2]
        return eta.left_s

    def errors(self) -> dict[str, float] | None:
        """How far off the told end was, from the first tenth of the work on, as a share of the whole time.

        Returns:
            ``after_a_tenth`` (above 0: the job ended sooner than told), ``mean`` and ``worst`` (without sign); None where
            the job was over too soon to say.
        """
        if not self._said:
            return None
        last, end, _ = self._said[-1]
        since = self._first + _TENTH * (last - self._first)
        off = [(told - end) / end for frame, _, told in self._said if since <= frame < last] if end > 0 else []
        if len(off) < _LEAST:
            return None
        sizes = [abs(error) for error in off]
        figures = {"after_a_tenth": off[0], "mean": sum(sizes) / len(sizes), "worst": max(sizes)}
        return {name: round(value, 3) for name, value in figures.items()}
