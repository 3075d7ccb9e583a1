"""Which face of a frame gets which source: all, the largest, the one that is like a reference, or several pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Face, Floats
from framelane.perception.faces.tracks import Sight
from framelane.processors.faceswap.swapper import Source

Select = Literal["many", "largest", "like"]
_LARGER = 1.25  # so much larger another face must be, so that two of one size do not change places
_REMEMBERED_S = 30.0


@dataclass(frozen=True)
class Rule:
    """A source and whom it replaces.

    Attributes:
        source: whose face is put there.
        target: unit vector of who is replaced; None is anybody.
    """

    source: Source
    target: Floats | None = None


@dataclass
class _Known:
    """What is remembered of a track.

    Attributes:
        total: sum of its unit vectors; empty without any.
        count: how many.
        rule: index of the rule that it has been given; None while there is none.
        seen_s: when it was last seen.
    """

    total: NDArray[np.float64]
    count: int = 0
    rule: int | None = None
    seen_s: float = 0.0


class Chooser:
    """Gives sources to tracks. A track keeps the source that it has once been given, until it ends.

    Args:
        select: ``many`` and ``largest`` have one rule; ``like`` compares with the rules' targets.
        rules: at least one.
        distance: largest squared distance of two unit vectors that are the same person's.
    """

    def __init__(self, select: Select, rules: Sequence[Rule], distance: float) -> None:
        self.select, self.rules, self.distance = select, list(rules), distance
        self._tracks: dict[int, _Known] = {}
        self._largest: int | None = None

    def choose(self, index: int, time: float, faces: Mapping[int, Face], sights: Iterable[Sight]) -> dict[int, int]:
        """The rule of each face of a frame; faces that are left alone are missing.

        Args:
            index: of the frame, each but once and in order.
            time: seconds.
            faces: by track.
            sights: of the frames around, the later ones too: a face is known from its first frame on.
        """
        if self.select == "many":
            return dict.fromkeys(faces, 0)
        if self.select == "largest":
            return self._the_largest(faces)
        ahead = [sight for sight in sights if sight.index >= index]
        chosen = {}
        for track in faces:
            known = self._tracks.setdefault(track, _Known(np.zeros(0)))
            known.seen_s = time
            own = [sight for sight in ahead if sight.track == track]
            if known.rule is None:
                known.rule = self._like(_plus(known, own))
            for sight in own:
                if sight.index == index:
                    self._tracks[track] = known = _plus(known, [sight])
            if known.rule is not None:
                chosen[track] = known.rule
        self._tracks = {k: v for k, v in self._tracks.items() if v.seen_s >= time - _REMEMBERED_S and k > 0}
        return self._one_each(chosen)

    def _the_largest(self, faces: Mapping[int, Face]) -> dict[int, int]:
        if not faces:
            return {}
        best = max(faces, key=lambda track: (faces[track].size, -track))
        current = self._largest
        if current is not None and current in faces and faces[best].size < _LARGER * faces[current].size:
            best = current
        self._largest = best
        return {best: 0}

    def _like(self, known: _Known) -> int | None:
        """The rule whose target is nearest, where it is near enough."""
        away = [self._away(known, rule) for rule in range(len(self.rules))]
        nearest = int(np.argmin(away))
        return nearest if away[nearest] <= self.distance else None

    def _away(self, known: _Known, rule: int) -> float:
        """Squared distance of a track's mean vector, made a unit vector, from a rule's target."""
        target = self.rules[rule].target
        if target is None:
            return 0.0
        length = float(np.linalg.norm(known.total))
        if not known.count or not length:
            return float("inf")
        return float(((known.total / length - target) ** 2).sum())

    def _one_each(self, chosen: dict[int, int]) -> dict[int, int]:
        """One person is in a frame but once: of several faces that are like one target, the nearest."""
        best: dict[int, int] = {}
        for track, rule in sorted(chosen.items()):
            if rule not in best or self._distance_of(track, rule) < self._distance_of(best[rule], rule):
                best[rule] = track
        return {track: rule for rule, track in best.items()}

    def _distance_of(self, track: int, rule: int) -> float:
        known = self._tracks.get(track)
        return float("inf") if known is None else self._away(known, rule)

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data; bounded by the tracks of the last half minute."""
        tracks = [[i, k.total.tolist(), k.count, k.rule, k.seen_s] for i, k in self._tracks.items()]
        return {"tracks": tracks, "largest": self._largest}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self._largest = state["largest"]
        self._tracks = {
            i: _Known(np.array(total, np.float64), count, rule, seen) for i, total, count, rule, seen in state["tracks"]
        }


def _plus(known: _Known, sights: Sequence[Sight]) -> _Known:
    total, count = known.total, known.count
    for sight in sights:
        if sight.face.embedding is not None:
            vector = sight.face.embedding.astype(np.float64)
            total, count = (total + vector if count else vector), count + 1
    return _Known(total, count, known.rule, known.seen_s)
