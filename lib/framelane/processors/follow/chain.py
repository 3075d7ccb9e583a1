"""From stretches of observations (tracklets) to the one subject of a scene: the best chain of them (Viterbi)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_REACH = 2.5  # frame heights a second: what a ball or a runner may cover unseen
_NEAR = 0.12  # frame heights: a new track that begins so near the end of an old one may be the same thing
_HANDOVER = 0.6  # of the strongest track's appeal: seconds of it that following somebody else must be worth
_BACK_S = 30.0  # how far back a predecessor is looked for


@dataclass(frozen=True)
class Tracklet:
    """One thing, seen in k frames of a scene.

    Attributes:
        frames: int ``(k,)``, rising.
        times: their seconds.
        places: ``(k, 2)``: middle, in pixels.
        sizes: ``(k, 2)``: width and height.
        scores: ``(k,)``: how sure each observation is, 0 to 1.
        appeal: ``(k,)``: how much each speaks for this being the subject.
        index: the tracker's id; 0 for none.
        leaps: it is another thing than the tracklet before it in its chain, which the filter must be told.
    """

    frames: npt.NDArray[np.int64] | Any
    times: Array
    places: Array
    sizes: Array
    scores: Array
    appeal: Array
    index: int = 0
    leaps: bool = False

    @property
    def seconds(self) -> float:
        """From the first observation to the last."""
        return float(self.times[-1] - self.times[0])

    @property
    def worth(self) -> float:
        """Its appeal over its time, in seconds."""
        usual = float(np.median(np.diff(self.times))) if len(self.times) > 1 else 1 / 30
        return float(self.appeal.sum()) * usual

    def weighed(self, appeal: Array) -> Tracklet:
        """The same with another appeal."""
        return replace(self, appeal=appeal)

    def after(self, frame: int) -> Tracklet | None:
        """What of it lies behind a frame."""
        kept = self.frames > frame
        if not kept.any():
            return None
        rest = (part[kept] for part in (self.frames, self.times, self.places, self.sizes, self.scores, self.appeal))
        return Tracklet(*rest, self.index, self.leaps)


def best_chain(tracklets: Sequence[Tracklet], height: int, *, steady: bool) -> list[Tracklet]:
    """The tracklets that are most likely the subject, one after the other.

    Args:
        tracklets: of one scene.
        height: of the frame in pixels.
        steady: the subject is somebody: another one is followed only where that is worth it, and the filter is told. Else
            (a ball) pieces belong together if the ball could have got from one to the next.

    Returns:
        In order of time, without overlap; empty where there is none.
    """
    parts = sorted((part for part in tracklets if len(part.frames)), key=lambda part: (int(part.frames[0]), part.index))
    if not parts:
        return []
    price = _HANDOVER * max(float(np.mean(part.appeal)) for part in parts)
    starts, ends = (np.array([part.times[place] for part in parts]) for place in (0, -1))
    heads, tails = (np.array([part.places[place] for part in parts]) / height for place in (0, -1))
    worth = np.array([part.worth for part in parts])
    best, link = worth.copy(), np.full(len(parts), -1)
    for j in range(len(parts)):
        earlier = np.flatnonzero((ends[:j] < starts[j]) & (starts[:j] > starts[j] - 2 * _BACK_S))
        if not len(earlier):
            continue
        gap = starts[j] - ends[earlier]
        far = np.linalg.norm(tails[earlier] - heads[j], axis=1)
        close = far <= _NEAR + 0.5 * gap if steady else far <= _NEAR + _REACH * gap
        cost = np.where(close, price * 0.1 * far / _NEAR * (1 if steady else 0.2), price * (1.0 if steady else 2.0))
        total = best[earlier] + worth[j] - cost
        k = int(total.argmax())
        if total[k] > best[j]:
            best[j], link[j] = total[k], int(earlier[k])
    place, chain = int(best.argmax()), []
    while place >= 0:
        before = int(link[place])
        leaps = before >= 0 and not _joined(tails[before], heads[place], starts[place] - ends[before], steady)
        chain.append(replace(parts[place], leaps=leaps))
        place = before
    return chain[::-1]


def _joined(tail: Array, head: Array, gap: float, steady: bool) -> bool:
    return float(np.linalg.norm(tail - head)) <= _NEAR + (0.5 if steady else _REACH) * gap
