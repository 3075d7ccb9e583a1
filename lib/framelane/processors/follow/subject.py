"""Whom the camera follows: which tracks of a scene are the subject, and where it is in every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from framelane.processors.follow.balls import ball_tracklets
from framelane.processors.follow.chain import Tracklet, best_chain
from framelane.processors.follow.kalman import smooth
from framelane.processors.follow.sightings import PERSON, Sightings

Array = npt.NDArray[np.float64]

NOBODY, SEEN, BRIDGED, LOST = 0, 1, 2, 3
STATES = ("nobody", "seen", "bridged", "lost")
_AGILITY = {"ball": 3.0, "person": 0.6, "action": 0.4}
"""How much the speed changes in a second, in frame heights a second."""
_BRIEF_S = 0.25  # a track that lived for less is not believed
_SURE = 0.3  # half of a ball's observations are as sure, or there is no ball but the sun, or a shoe
_GLIMPSE_S = 1.0  # a scene so short may end before the tracker has given anybody a number


@dataclass(frozen=True)
class Subject:
    """The subject in the n frames of a scene, in pixels of the displayed frame.

    Attributes:
        place: ``(n, 2)``: its middle.
        speed: ``(n, 2)``: pixels a second.
        size: ``(n, 2)``: width and height.
        certainty: ``(n,)``, 0 to 1.
        state: int8 ``(n,)``, an index of :data:`STATES`.
        followed: ids of the tracks that it is made of; empty for a ball or the action.
        rejected: observations that the gate left out.
    """

    place: Array
    speed: Array
    size: Array
    certainty: Array
    state: npt.NDArray[np.int8]
    followed: tuple[int, ...] = ()
    rejected: int = 0


def nobody(count: int, frame: tuple[int, int]) -> Subject:
    """A scene without the subject: the middle of the frame."""
    middle = np.tile(np.array(frame, np.float64) / 2, (count, 1))
    zero = np.zeros((count, 2))
    return Subject(middle, zero, zero.copy(), np.zeros(count), np.zeros(count, np.int8))


def find_subject(
    scene: Sightings, wanted: str, frame: tuple[int, int], lost_s: float, colour: Array | None = None
) -> Subject:
    """The subject of a scene.

    Args:
        scene: what was found in it.
        wanted: ``"ball"``, ``"person"``, ``"action"`` or a track's number.
        frame: (width, height).
        lost_s: seconds without an observation until it counts as lost.
        colour: the ball's, in OpenCV's 8-bit Lab; None learns it.
    """
    tracklets = {
        "ball": lambda: ball_tracklets(scene, frame, colour),
        "action": lambda: _action(scene, frame),
        "person": lambda: people(scene, frame),
    }.get(wanted, lambda: _numbered(scene, int(wanted)))()
    chain = best_chain(tracklets, frame[1], steady=wanted != "ball")
    if not chain or (wanted == "ball" and not _sure(chain)):
        return nobody(len(scene.times), frame)
    return _estimate(scene, chain, frame, lost_s, _AGILITY.get(wanted, _AGILITY["person"]))


def _sure(chain: Sequence[Tracklet]) -> bool:
    return float(np.median(np.concatenate([part.scores for part in chain]))) >= _SURE


def people(scene: Sightings, frame: tuple[int, int]) -> list[Tracklet]:
    """A tracklet for everybody: large, central and lasting people weigh most.

    In a scene too short for tracks, down to a single frame, the largest and most central detections are one person.
    """
    everybody = scene.tracks[scene.tracks[:, 2] == PERSON]
    length = float(scene.times[-1] - scene.times[0])
    own = everybody[everybody[:, 1] > 0]
    found = []
    for index in np.unique(own[:, 1]):
        rows = own[own[:, 1] == index]
        made = _boxes(scene, rows, int(index))
        if made.seconds >= _BRIEF_S or length <= 2 * _BRIEF_S:
            found.append(made.weighed(_appeal(made, frame)))
    if found or length > _GLIMPSE_S or not len(everybody):
        return found
    glimpsed = _appeal(_boxes(scene, everybody, 0), frame)
    order = np.lexsort((-glimpsed, everybody[:, 0]))
    best = order[np.unique(everybody[order, 0], return_index=True)[1]]
    return [_boxes(scene, everybody[best], 0).weighed(glimpsed[best])]


def _appeal(made: Tracklet, frame: tuple[int, int]) -> Array:
    off = np.abs(made.places / np.array(frame) - 0.5).max(axis=1) * 2
    size = np.sqrt(np.prod(made.sizes, axis=1)) / frame[1]
    return np.asarray(made.scores * size * (0.4 + 0.6 * (1 - off)))


def _numbered(scene: Sightings, index: int) -> list[Tracklet]:
    rows = scene.tracks[scene.tracks[:, 1] == index]
    return [_boxes(scene, rows, index)] if len(rows) else []


def _boxes(scene: Sightings, rows: Array, index: int) -> Tracklet:
    frames = rows[:, 0].astype(int)
    places = np.stack([(rows[:, 3] + rows[:, 5]) / 2, (rows[:, 4] + rows[:, 6]) / 2], 1)
    sizes = np.stack([rows[:, 5] - rows[:, 3], rows[:, 6] - rows[:, 4]], 1)
    return Tracklet(frames, scene.times[frames], places, sizes, rows[:, 7], rows[:, 7].copy(), index)


def _action(scene: Sightings, frame: tuple[int, int]) -> list[Tracklet]:
    """The players' middle, weighed by score, size and how fast they move: where most happens."""
    own = scene.tracks[(scene.tracks[:, 2] == PERSON) & (scene.tracks[:, 1] > 0)]
    if not len(own):
        return []
    speed = np.zeros(len(own))
    for index in np.unique(own[:, 1]):
        mine = np.flatnonzero(own[:, 1] == index)
        if len(mine) > 1:
            middle = (own[mine, 3] + own[mine, 5]) / 2
            speed[mine] = np.abs(np.gradient(middle, np.maximum.accumulate(scene.times[own[mine, 0].astype(int)])))
    weight = own[:, 7] * np.sqrt((own[:, 5] - own[:, 3]) * (own[:, 6] - own[:, 4])) * (0.3 + speed / frame[1])
    frames, begins = np.unique(own[:, 0].astype(int), return_index=True)
    places, sizes, scores = [], [], []
    for begin, end in pairwise([*begins.tolist(), len(own)]):
        here = slice(begin, end)
        share = weight[here] / weight[here].sum()
        middles = np.stack([(own[here, 3] + own[here, 5]) / 2, (own[here, 4] + own[here, 6]) / 2], 1)
        middle = share @ middles
        wide = 2 * np.sqrt(share @ (middles - middle) ** 2)
        places.append(middle)
        sizes.append(wide + share @ np.stack([own[here, 5] - own[here, 3], own[here, 6] - own[here, 4]], 1))
        scores.append(float(own[here, 7].max()))
    score = np.array(scores)
    return [Tracklet(frames, scene.times[frames], np.array(places), np.array(sizes), score, score.copy())]


def _estimate(
    scene: Sightings, chain: Sequence[Tracklet], frame: tuple[int, int], lost_s: float, agility: float
) -> Subject:
    """From observations to every frame."""
    frames = np.concatenate([part.frames for part in chain])
    places = np.concatenate([part.places for part in chain]) / frame[1]
    sizes = np.concatenate([part.sizes for part in chain])
    scores = np.concatenate([part.scores for part in chain])
    begins = np.cumsum([0, *(len(part.frames) for part in chain)])[:-1]
    jumps = [int(k) for k, part in zip(begins[1:], chain[1:], strict=True) if part.leaps]
    noise = 0.004 + 0.06 * np.sqrt(np.prod(sizes, axis=1)) / frame[1]
    found = smooth(scene.times, frames.astype(np.float64), places, noise, agility, jumps)
    used = found.used if found.used.any() else np.ones(len(frames), bool)
    seen_at = scene.times[frames[used]]
    away = _distance(scene.times, seen_at)
    usual = 1.5 * float(np.median(np.diff(seen_at))) if len(seen_at) > 1 else 0.1
    state = np.where(away <= usual, SEEN, np.where(away <= lost_s / 2, BRIDGED, LOST)).astype(np.int8)
    trust = np.interp(scene.times, seen_at, np.clip(scores[used] * 1.3, 0, 1))
    certainty = trust * np.exp(-np.maximum(0, away - usual) / (lost_s / 2)) * (state != LOST)
    wide = np.stack([_calm(scene.times, seen_at, sizes[used, axis]) for axis in (0, 1)], 1)
    place = np.clip(found.place * frame[1], 0, np.array(frame, np.float64))
    ids = tuple(dict.fromkeys(part.index for part in chain if part.index))
    return Subject(place, found.speed * frame[1], wide, certainty, state, ids, int((~found.used).sum()))


def _distance(times: Array, marks: Array) -> Array:
    """Seconds from each time to the nearest mark."""
    right = np.searchsorted(marks, times).clip(0, len(marks) - 1)
    left = (right - 1).clip(0)
    return np.asarray(np.minimum(np.abs(times - marks[right]), np.abs(times - marks[left])))


def _calm(times: Array, marks: Array, values: Array) -> Array:
    """Sizes at all times: the median of five, then the mean of half a second."""
    padded = np.pad(values, 2, mode="edge")
    median = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    dense = np.interp(times, marks, median)
    total = np.concatenate([[0], np.cumsum(dense)])
    low, high = np.searchsorted(times, times - 0.25), np.searchsorted(times, times + 0.25, side="right")
    return np.asarray((total[high] - total[low]) / (high - low))
