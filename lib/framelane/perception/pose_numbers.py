"""The numbers of people: a tracker's ids, and the old number again for somebody who was hidden for a while.

A tracker of boxes finds a lost person again where its Kalman filter expects the box. Where two people cross, the last
boxes of the hidden one are pulled towards the other: the filter believes that he stood still, and he comes out behind her
as a stranger. Over a longer stretch his pace was known all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framelane.perception.smoothing import theil_sen

Box = tuple[float, float, float, float]
Floats = NDArray[np.float64]

_PACE_S = 1.0  # a pace is measured over so long: what pulled at the last boxes is the smaller part of it
_NEAR = 0.35  # of a person's height: how far from where he is expected he may come out
_SIZES = 1.4  # times taller or shorter


@dataclass
class _Trace:
    """Where somebody was of late: the tracker's id, and rows of time, x and y of the box's middle, and its height."""

    own: int
    seen: list[list[float]]

    def add(self, time: float, box: Box) -> None:
        x1, y1, x2, y2 = box
        recent = [row for row in self.seen if time - row[0] <= _PACE_S and row[0] < time]
        self.seen = [*recent, [time, (x1 + x2) / 2, (y1 + y2) / 2, max(y2 - y1, 1.0)]]

    def away(self, time: float, box: Box) -> float:
        """How far a box lies from where this one would be at his pace, in heights; infinite for another size."""
        rows = np.array(self.seen)
        tall = float(np.median(rows[:, 3]))
        x1, y1, x2, y2 = box
        if not 1 / _SIZES < max(y2 - y1, 1.0) / tall < _SIZES:
            return float("inf")
        expected = _straight_on(rows[:, 0], rows[:, 1:3], time)
        return float(np.linalg.norm(np.array([(x1 + x2) / 2, (y1 + y2) / 2]) - expected)) / tall


def _straight_on(times: Floats, places: Floats, moment: float) -> Floats:
    """Where a straight line through places, (n, 2), leads; up to a quarter of them may lie anywhere."""
    start: Floats = np.median(places - theil_sen(times, places) * (times - moment)[:, None], axis=0)
    return start


class Numbers:
    """Numbers from 1, in the order of first appearance.

    Args:
        lost_s: seconds that somebody who is not seen is waited for.
    """

    def __init__(self, lost_s: float) -> None:
        self.lost_s = lost_s
        self.next = 1
        self.traces: dict[int, _Trace] = {}

    def of(self, time: float, own: Sequence[int], boxes: Sequence[Box]) -> tuple[list[int], set[int]]:
        """The numbers of the people in one look.

        Args:
            time: seconds, rising.
            own: ids of the tracker, each once.
            boxes: of the same people.

        Returns:
            Their numbers; and which of these the tracker has begun a track for, so that its first sight went without one.
        """
        # A tracker may still know somebody for as long as he is waited for, counted from its own last sight of him.
        self.traces = {n: trace for n, trace in self.traces.items() if time - trace.seen[-1][0] <= 2 * self.lost_s}
        known = {trace.own: number for number, trace in self.traces.items()}
        numbers = {each: known[each] for each in own if each in known}
        strangers = [place for place, each in enumerate(own) if each not in known]
        begun = self._found_again(time, own, boxes, strangers, set(numbers.values()))
        for place in strangers:
            if own[place] not in begun:
                begun[own[place]] = self.next
                self.traces[self.next] = _Trace(own[place], [])
                self.next += 1
        numbers |= begun
        for each, box in zip(own, boxes, strict=True):
            self.traces[numbers[each]].add(time, box)
        return [numbers[each] for each in own], set(begun.values())

    def _found_again(
        self, time: float, own: Sequence[int], boxes: Sequence[Box], strangers: Sequence[int], present: set[int]
    ) -> dict[int, int]:
        """Numbers of people who were lost, by the tracker's new id; the best fits first."""
        fits = sorted(
            (trace.away(time, boxes[place]), number, own[place])
            for number, trace in self.traces.items()
            if number not in present and time - trace.seen[-1][0] <= self.lost_s
            for place in strangers
        )
        found: dict[int, int] = {}
        for away, number, each in fits:
            if away <= _NEAR and each not in found and number not in found.values():
                found[each] = number
                self.traces[number].own = each
        return found

    def forget(self) -> None:
        """Nobody goes on, as at a cut; numbers go on counting."""
        self.traces = {}

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data; bounded by the people of the last seconds."""
        return {"next": self.next, "traces": [[n, trace.own, trace.seen] for n, trace in self.traces.items()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.next = state["next"]
        self.traces = {n: _Trace(own, [list(row) for row in seen]) for n, own, seen in state["traces"]}
