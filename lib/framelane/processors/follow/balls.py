"""The ball among its candidates: what a detector calls a ball, and small round things that move.

Candidates are joined to tracklets by gated nearest neighbours. The ball's colour is the setting's, or that of the
tracklet with the most appeal: round, moving, going places. Whatever looks otherwise then counts for less.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from framelane.processors.follow.chain import Tracklet
from framelane.processors.follow.sightings import BALL, Sightings

Array = npt.NDArray[np.float64]

_GATE, _AGILITY = 0.025, 4.0  # frame heights; frame heights a second squared
_WAIT_S = 0.25  # a tracklet without a candidate for so long has ended
_FEWEST = 4
_FAR = 0.08  # frame heights: a ball goes at least so far; litter stays
_COLOUR = 22.0  # of 8-bit Lab: a distance that halves the likeness, about
_CUE = 0.6  # what a perfect blob is worth beside a detector's ball


@dataclass
class _Growing:
    rows: list[Array] = field(default_factory=list)
    time: float = 0.0
    place: Array = field(default_factory=lambda: np.zeros(2))
    speed: Array = field(default_factory=lambda: np.zeros(2))

    def predicted(self, time: float) -> Array:
        return self.place + self.speed * (time - self.time)

    def reach(self, time: float) -> float:
        dt = time - self.time
        unsure = 0.5 * _AGILITY * dt**2 if len(self.rows) > 1 else 2.5 * dt
        return float(_GATE + unsure + 0.25 * np.linalg.norm(self.speed) * dt)

    def add(self, row: Array, time: float, place: Array) -> None:
        if self.rows:
            speed = (place - self.place) / max(1e-3, time - self.time)
            self.speed = speed if len(self.rows) == 1 else 0.4 * self.speed + 0.6 * speed
        self.rows.append(row)
        self.time, self.place = time, place


def ball_tracklets(scene: Sightings, frame: tuple[int, int], colour: Array | None) -> list[Tracklet]:
    """Everything that may be the ball.

    Args:
        scene: what was found.
        frame: (width, height).
        colour: the ball's in OpenCV's 8-bit Lab; None learns it.
    """
    grown = _grow(candidates(scene), scene.times, frame[1])
    parts = [_tracklet(rows, scene.times, frame[1]) for rows in grown]
    tables = [np.array(rows) for rows in grown]
    if not parts:
        return []
    if colour is None:
        colour = _learned(parts, tables)
    return [
        part if colour is None else part.weighed(part.appeal * _likeness(t, colour))
        for part, t in zip(parts, tables, strict=True)
    ]


def candidates(scene: Sightings) -> Array:
    """Rows: frame, x, y, width, height, score, L, a, b (of detections -1: nobody knows their colour)."""
    balls = scene.tracks[scene.tracks[:, 2] == BALL]
    found = np.full((len(balls), 9), -1.0)
    found[:, 0] = balls[:, 0]
    found[:, 1], found[:, 2] = (balls[:, 3] + balls[:, 5]) / 2, (balls[:, 4] + balls[:, 6]) / 2
    found[:, 3], found[:, 4], found[:, 5] = balls[:, 5] - balls[:, 3], balls[:, 6] - balls[:, 4], balls[:, 7]
    blobs = scene.blobs
    cued = np.concatenate(
        [blobs[:, [0, 1, 2, 3, 3]], (_CUE * blobs[:, 4] * np.sqrt(blobs[:, 5].clip(0.04)))[:, None], blobs[:, 6:9]], 1
    )
    both = np.concatenate([found, cued])
    return np.asarray(both[np.argsort(both[:, 0], kind="stable")])


def _grow(candidates: Array, times: Array, height: int) -> list[list[Array]]:
    alive: list[_Growing] = []
    done: list[list[Array]] = []
    bounds = np.flatnonzero(np.diff(candidates[:, 0])) + 1
    for group in np.split(candidates, bounds) if len(candidates) else []:
        time = float(times[int(group[0, 0])])
        ended = [track for track in alive if time - track.time > _WAIT_S]
        done += [track.rows for track in ended if len(track.rows) >= _FEWEST]
        alive = [track for track in alive if time - track.time <= _WAIT_S]
        places = group[:, 1:3] / height
        pairs = [
            (far / track.reach(time) - 0.002 * len(track.rows), t, c)
            for t, track in enumerate(alive)
            for c, far in enumerate(np.linalg.norm(places - track.predicted(time), axis=1).tolist())
            if far <= track.reach(time)
        ]
        taken_t: set[int] = set()
        taken_c: set[int] = set()
        for _, t, c in sorted(pairs):
            if t not in taken_t and c not in taken_c:
                taken_t.add(t)
                taken_c.add(c)
                alive[t].add(group[c], time, places[c])
        for c in range(len(group)):
            near_taken = any(np.linalg.norm(places[c] - places[o]) < 0.5 * group[o, 3] / height for o in taken_c)
            if c not in taken_c and not near_taken:  # a detection and a blob of one ball are one candidate
                fresh = _Growing()
                fresh.add(group[c], time, places[c])
                alive.append(fresh)
    return done + [track.rows for track in alive if len(track.rows) >= _FEWEST]


def _tracklet(rows: list[Array], times: Array, height: int) -> Tracklet:
    table = np.array(rows)
    frames = table[:, 0].astype(int)
    spread = float(np.ptp(table[:, 1:3], axis=0).max()) / height
    travelled = 0.15 + 0.85 * min(1.0, spread / _FAR)
    return Tracklet(
        frames, times[frames], table[:, 1:3], table[:, 3:5], table[:, 5].clip(0, 1), table[:, 5] * travelled
    )


def _learned(parts: list[Tracklet], tables: list[Array]) -> Array | None:
    """The colour of what has the most appeal, each tracklet supported by those of its colour."""
    with_colour = [(part.worth, np.median(t[t[:, 6] >= 0, 6:9], axis=0)) for part, t in zip(parts, tables, strict=True)
                   if (t[:, 6] >= 0).any()]  # fmt: skip
    if not with_colour:
        return None
    with_colour = sorted(with_colour, key=lambda item: -item[0])[:300]
    worth = np.array([item[0] for item in with_colour])
    colours = np.array([item[1] for item in with_colour])
    support = [float(worth @ np.exp(-np.square(_apart(colours, one) / _COLOUR))) for one in colours]
    return np.asarray(colours[int(np.argmax(support))])


def _apart(colours: Array, one: Array) -> Array:
    """Distance of colours, lightness counted half: a ball in the shade is the same ball."""
    return np.asarray(np.linalg.norm((colours - one) * np.array([0.5, 1, 1]), axis=-1))


def _likeness(table: Array, colour: Array) -> npt.NDArray[np.float64]:
    known = table[:, 6] >= 0
    likeness = np.ones(len(table))
    likeness[known] = 0.1 + 0.9 * np.exp(-np.square(_apart(table[known, 6:9], colour) / _COLOUR))
    if known.any():  # detections go by the colour of their neighbours
        likeness[~known] = float(likeness[known].mean())
    return likeness
