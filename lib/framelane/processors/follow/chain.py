"""From stretches of observations (tracklets) to the one subject of a scene: the best chain of them (Viterbi)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_REACH = 0.5  # frame heights: further from where it should be a ball has not got, unseen
_WALK = 0.5  # the same of a person whose track is taken up again
_AGILITY = 4.0  # frame heights a second squared: how a ball may be turned
_COAST_S = 0.6  # for so long an unseen ball is believed to go on as it went
_NEAR = 0.12  # frame heights: a new track that begins so near the end of an old one may be the same thing
_HANDOVER = 0.6  # of the strongest track's appeal: seconds of it that following somebody else must be worth
_DULL = 0.3  # of the strongest track's appeal: a ball's candidates with less speak against themselves
_LEAP = 3.0  # of the price: a ball somewhere else
_UNSEEN = 0.4  # of the price, a second that a ball is unseen for longer than it coasts
_BLUR, _DRIFT = 0.03, 0.1  # frame heights, and per second squared: how far off an undisturbed ball may come out
_SPEED_BLUR, _PULL = 0.2, 2.0  # frame heights a second, and per second: how its speed may have changed
_ODD = 8.0  # squares of the above, added: from here on something else must have turned it
_OVERLAP_S = 0.2  # a ball's piece may begin before the one before it is known to have ended
_BACK_S = 60.0  # of the predecessors that ended longer ago, only the best counts


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
    def covered(self) -> float:
        """Seconds in which it was seen."""
        usual = float(np.median(np.diff(self.times))) if len(self.times) > 1 else 1 / 30
        return len(self.times) * usual

    @property
    def worth(self) -> float:
        """Its appeal over its time, in seconds."""
        return float(self.appeal.mean()) * self.covered

    def before(self, frame: int) -> Tracklet:
        """What of it lies before a frame; it begins there or earlier."""
        if int(self.frames[-1]) < frame:
            return self
        kept = self.frames < frame
        names = ("frames", "times", "places", "sizes", "scores", "appeal")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    def leaving(self) -> Array:
        """Its speed at the end, pixels a second: over the last five observations."""
        last = slice(-5, None)
        span = float(self.times[last][-1] - self.times[last][0])
        return np.asarray((self.places[last][-1] - self.places[last][0]) / span) if span > 0 else np.zeros(2)

    def arriving(self) -> Array:
        """Its speed at the beginning, likewise."""
        span = float(self.times[:5][-1] - self.times[0])
        return np.asarray((self.places[:5][-1] - self.places[0]) / span) if span > 0 else np.zeros(2)

    def weighed(self, appeal: Array) -> Tracklet:
        """The same with another appeal."""
        return replace(self, appeal=appeal)


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
    typical = max(float(np.mean(part.appeal)) for part in parts)
    price = _HANDOVER * typical
    starts, ends = (np.array([part.times[place] for part in parts]) for place in (0, -1))
    heads, tails = (np.array([part.places[place] for part in parts]) / height for place in (0, -1))
    away, come = (np.array([speed(part) for part in parts]) / height for speed in (Tracklet.leaving, Tracklet.arriving))
    dull = 0.0 if steady else _DULL * typical
    worth = np.array([part.worth - dull * part.covered for part in parts])
    best, link = worth.copy(), np.full(len(parts), -1)
    for j in range(len(parts)):
        overlap = 0.0 if steady else _OVERLAP_S
        fits = (ends[:j] < starts[j] + overlap) & (starts[:j] < starts[j] - overlap)
        old = np.flatnonzero(fits & (ends[:j] <= starts[j] - _BACK_S))
        if len(old):
            fits[old] = False
            fits[old[int(best[old].argmax())]] = True
        earlier = np.flatnonzero(fits)
        if not len(earlier):
            continue
        end, tail, leave = ends[earlier], tails[earlier], away[earlier]
        for n in np.flatnonzero(end >= starts[j]):  # its last steps went astray when the ball got a tracklet of its own
            cut = parts[earlier[n]].before(int(parts[j].frames[0]))
            end[n], tail[n], leave[n] = cut.times[-1], cut.places[-1] / height, cut.leaving() / height
        gap = starts[j] - end
        if steady:
            strange = np.linalg.norm(tail - heads[j], axis=1) / (_NEAR + _WALK * gap)
            cost = np.where(strange > 1, 1.0, 0.1 + 0.3 * strange**2)
        else:
            strange = _strange(heads[j], tail, leave, gap)
            cost = np.where(strange > 1, _LEAP, 0.3 * strange**2 + _UNSEEN * np.maximum(0, gap - _COAST_S))
            cost = np.minimum(cost, _LEAP) - typical / price * _explained(heads[j] - tail, leave, come[j], gap)
        total = best[earlier] + worth[j] - price * cost
        k = int(total.argmax())
        if total[k] > best[j]:
            best[j], link[j] = total[k], int(earlier[k])
    chain: list[Tracklet] = []
    place = int(best.argmax())
    while place >= 0:
        before = int(link[place])
        own = parts[place].before(int(chain[-1].frames[0])) if chain else parts[place]
        leaps = before >= 0 and _leaps(parts[before].before(int(own.frames[0])), own, height, steady)
        chain.append(replace(own, leaps=leaps))
        place = before
    return chain[::-1]


def _strange(head: Array, tails: Array, away: Array, gap: Array) -> Array:
    """How far a thing begins from where others would be by now, in units of what is still likely; above 1 it is not.

    A ball may have gone on, or been stopped.
    """
    went_on = np.linalg.norm(tails + away * np.minimum(gap, _COAST_S)[:, None] - head, axis=1)
    stopped = np.linalg.norm(tails - head, axis=1)
    turned = (0.3 + 0.7 * np.linalg.norm(away, axis=1)) * gap  # a bounce turns it at once
    allowed = 0.05 + np.minimum(0.5 * _AGILITY * gap**2 + turned, _REACH)
    return np.asarray(np.minimum(went_on, stopped) / allowed)


def _explained(way: Array, leave: Array, arrive: Array, gap: Array) -> Array:
    """Seconds of a gap that a ball's own motion explains; they count as if it had been seen.

    A ball that is left alone speeds up evenly: it covers the mean of its two speeds times the gap, and the speeds differ by
    no more than gravity makes of them. A bounce breaks that on one axis; so does, on both, a kick, or taking something
    else for the ball.

    Args:
        way: ``(k, 2)``: from the end of one tracklet to the beginning of another, in frame heights.
        leave: ``(k, 2)``: the speed before.
        arrive: ``(2,)``: the speed after.
        gap: ``(k,)``: seconds.
    """
    span = gap[:, None]
    lag = (way - span * (leave + arrive) / 2) / (_BLUR + _DRIFT * span**2)
    turn = (arrive - leave) / (_SPEED_BLUR + _PULL * span)
    explained = 1 - np.minimum(1, (lag**2 + turn**2) / _ODD).mean(axis=1)
    return np.asarray(explained * np.clip(gap, 0, _COAST_S))


def _leaps(before: Tracklet, here: Tracklet, height: int, steady: bool) -> bool:
    gap = np.array([here.times[0] - before.times[-1]])
    head, tail = here.places[0] / height, before.places[-1:] / height
    if steady:
        return float(np.linalg.norm(tail[0] - head)) > _NEAR + _WALK * float(gap[0])
    return float(_strange(head, tail, before.leaving()[None] / height, gap)[0]) > 1
