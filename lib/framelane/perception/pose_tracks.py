"""People followed through a clip by their poses: lasting ids, and every joint at any moment, smoothed and bridged."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from framelane.perception.camera import Motion
from framelane.perception.pose_numbers import Numbers
from framelane.perception.skeleton import oks
from framelane.perception.smoothing import weights
from framelane.perception.trackers import load_tracker

if TYPE_CHECKING:
    import supervision

Floats = NDArray[np.float64]
LOST_S = 1.5
"""Seconds that somebody who is not seen is waited for."""
_FIRST_LIKE = 0.1  # OKS from which a pose seen once before a track began is its first: two frames of a walker give 0.3


@dataclass
class Sight:
    """A person as found in one frame.

    Attributes:
        track: lasting id from 1; 0 as long as no track has it.
        joints: float64 (17, 3): x, y in pixels, score; as found, not smoothed.
        box: x1, y1, x2, y2 in pixels.
        score: of the person.
    """

    track: int
    joints: Floats
    box: tuple[float, float, float, float]
    score: float

    def to_json(self) -> list[Any]:
        """As plain data."""
        return [self.track, self.joints.tolist(), list(self.box), self.score]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Sight:
        """The inverse of :meth:`to_json`."""
        x1, y1, x2, y2 = data[2]
        return cls(data[0], np.array(data[1], np.float64), (x1, y1, x2, y2), data[3])


@dataclass
class Look:
    """A frame in which people were looked for, and who was found.

    Attributes:
        index: of the frame in the clip.
        time: seconds from the clip's first frame.
        scene: index of the frame at which its scene begins.
        sights: the people.
    """

    index: int
    time: float
    scene: int
    sights: list[Sight]

    def sight(self, track: int) -> Sight | None:
        """The person of a track, if seen."""
        return next((sight for sight in self.sights if sight.track == track), None)


@dataclass(frozen=True)
class Person:
    """A person in one frame, as shown and written.

    Attributes:
        track: lasting id from 1.
        joints: float64 (17, 4): x, y in pixels, score (0: not there), and 1 where bridged, else 0.
        score: of the person.
    """

    track: int
    joints: Floats
    score: float


class PoseTracks:
    """Ids for people, look by look, and what is known of the frames between looks.

    Args:
        tracker: its name, see :func:`framelane.perception.trackers.load_tracker`.
        rate: looks per second.
        threshold: score of a person that starts a track.
    """

    def __init__(self, tracker: str, *, rate: float, threshold: float) -> None:
        self.tracker = load_tracker(tracker, rate=rate, threshold=threshold, lost_s=LOST_S)
        self.numbers = Numbers(LOST_S)
        self.looks: deque[Look] = deque()
        self.until = -1

    def update(
        self, index: int, time: float, scene: int, found: supervision.Detections, camera: Motion | None = None
    ) -> None:
        """The people of the next frame that was looked at; a frame that is replayed after a resume is known already.

        Args:
            index: of the frame in the clip, rising.
            time: seconds.
            scene: index of the frame at which its scene begins; no track goes on into another one.
            found: see :func:`framelane.perception.poses.people`.
            camera: its motion since the look before.
        """
        if index <= self.until:
            return
        self.until = index
        if self.looks and self.looks[-1].scene != scene:
            self.tracker.forget()
            self.numbers.forget()
        look = Look(index, time, scene, _sights(found))
        self._join(look, self._track(look, found, camera))
        self.looks.append(look)

    def _track(self, look: Look, found: supervision.Detections, camera: Motion | None) -> set[int]:
        """Number the people of a look; returns the numbers for which the tracker has just begun a track."""
        if look.sights:
            found.data["place"] = np.arange(len(look.sights))
        answer = self.tracker.update(found, look.time, camera)
        tracked = [look.sights[int(place)] for place in answer.data["place"]] if len(answer) else []
        own = answer.tracker_id.tolist() if len(answer) else []
        numbers, begun = self.numbers.of(look.time, own, [sight.box for sight in tracked])
        for sight, number in zip(tracked, numbers, strict=True):
            sight.track = number
        return begun

    def repeat(self, index: int, time: float, same_as: int, camera: Motion | None = None) -> None:
        """A frame in which nothing has changed since an earlier one that was looked at: the same people stand there."""
        old = next((look for look in self.looks if look.index == same_as), None)
        if index <= self.until or old is None:
            return
        self.update(index, time, old.scene, _found(old), camera)

    def end_scene(self) -> None:
        """No look of the last scene is to come. If it had but one, such as a clip of one frame, that one has to do.

        A tracker believes in somebody at the second sight: so it is shown the only one twice.
        """
        if not self.looks or any(look.scene == self.looks[-1].scene for look in list(self.looks)[:-1]):
            return
        self._track(self.looks[-1], _found(self.looks[-1]), None)

    def _join(self, look: Look, begun: set[int]) -> None:
        """A tracker believes in somebody at the second sight: the first one, in the look before, gets the id as well."""
        if not self.looks or self.looks[-1].scene != look.scene:
            return
        before = self.looks[-1]
        for sight in look.sights:
            young = [old for old in before.sights if old.track == 0]
            if sight.track not in begun or not young:
                continue
            alike = oks(sight.joints, np.stack([old.joints for old in young]), _area(sight))
            if alike.max() >= _FIRST_LIKE:
                young[int(alike.argmax())].track = sight.track

    def forget_before(self, index: int) -> None:
        """Drop looks that no frame from ``index`` on needs; the last two stay, for a picture that stands still."""
        while len(self.looks) > 2 and self.looks[0].index < index:
            self.looks.popleft()

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data; bounded by the people of the last second."""
        return {
            "tracker": self.tracker.snapshot(),
            "numbers": self.numbers.snapshot(),
            "until": self.until,
            "looks": [[k.index, k.time, k.scene, [sight.to_json() for sight in k.sights]] for k in self.looks],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.tracker.restore(state["tracker"])
        self.numbers.restore(state["numbers"])
        self.until = state["until"]
        self.looks = deque(
            Look(index, time, scene, [Sight.from_json(sight) for sight in sights])
            for index, time, scene, sights in state["looks"]
        )


def _sights(found: supervision.Detections) -> list[Sight]:
    """Rounded as a checkpoint keeps them, so that a resumed job sees the same."""
    if not len(found):
        return []
    columns = zip(found.data["joints"], found.xyxy.tolist(), found.confidence.tolist(), strict=True)
    sights = []
    for joints, box, score in columns:
        x1, y1, x2, y2 = (round(value, 2) for value in box)
        sights.append(Sight(0, np.round(joints.astype(np.float64), 3), (x1, y1, x2, y2), round(score, 4)))
    return sights


def _found(look: Look) -> supervision.Detections:
    """The inverse of :func:`_sights`."""
    from framelane.perception.poses import people

    joints = np.array([sight.joints for sight in look.sights], np.float32).reshape(-1, 17, 3)
    boxes = np.array([sight.box for sight in look.sights], np.float32).reshape(-1, 4)
    return people(joints, np.array([sight.score for sight in look.sights], np.float32), boxes)


def _area(sight: Sight) -> float:
    return max(1.0, (sight.box[2] - sight.box[0]) * (sight.box[3] - sight.box[1]))


@dataclass
class Filling:
    """From looks to the people of any frame.

    Attributes:
        lowest: score from which a joint counts as seen.
        gap: longest time in seconds between two sights that is bridged.
        width: seconds of smoothing to either side; 0 smooths nothing.
    """

    lowest: float
    gap: float
    width: float
    _shares: dict[tuple[float, ...], Floats] = field(default_factory=dict, repr=False)

    def people_at(self, looks: Sequence[Look], index: int, time: float, *, last: int) -> list[Person]:
        """Everybody in one frame.

        Args:
            looks: of the scene around the frame, in order.
            index: of the frame.
            time: seconds of the frame.
            last: index of the last look before the scene ends: what was seen there stays for the few frames behind it,
                which nobody looked at.

        Returns:
            By rising id.
        """
        self._shares.clear()
        tracks = sorted({sight.track for look in looks for sight in look.sights if sight.track > 0})
        found = (self._person(track, looks, index, time, last) for track in tracks)
        return [person for person in found if person is not None]

    def _person(self, track: int, looks: Sequence[Look], index: int, time: float, last: int) -> Person | None:
        sights = [look.sight(track) for look in looks]
        stacked = np.stack([np.zeros((17, 3)) if sight is None else sight.joints for sight in sights])
        seen = stacked[..., 2] >= self.lowest
        joints = np.zeros((17, 4))
        for joint in range(17):
            joints[joint] = self._joint(stacked[:, joint], seen[:, joint], looks, index, time, last)
        if not (joints[:, 2] > 0).any():
            return None
        # Sure of somebody as a whole only where seen: between two sights as of the nearer one.
        near = min((abs(look.time - time), place) for place, look in enumerate(looks) if sights[place] is not None)[1]
        sight = sights[near]
        assert sight is not None
        return Person(track, joints, sight.score)

    def _joint(
        self, values: Floats, seen: NDArray[np.bool_], looks: Sequence[Look], index: int, time: float, last: int
    ) -> tuple[float, float, float, float]:
        """x, y, score and whether bridged, of one joint of one track."""
        own = np.flatnonzero(seen).tolist()
        before = next((k for k in reversed(own) if looks[k].index <= index), None)
        after = next((k for k in own if looks[k].index >= index), None)
        if before is not None and after is None and looks[before].index == last:
            after = before
        if before is None or after is None:
            return 0.0, 0.0, 0.0, 0.0
        # Of two looks without another between, both saw it: however long a frame lasts (VFR), it was not lost.
        if after > before + 1 and looks[after].time - looks[before].time > self.gap + 1e-6:
            return 0.0, 0.0, 0.0, 0.0
        near = _unbroken(own, [look.time for look in looks], before, after, self.gap)
        shares = self._weights(tuple(looks[k].time for k in near), min(time, looks[near[-1]].time))
        x, y = shares @ values[near, :2]
        span = looks[after].time - looks[before].time
        part = (time - looks[before].time) / span if span > 0 else 0.0
        score = (1 - part) * values[before, 2] + part * values[after, 2]
        return float(x), float(y), float(score), float(after > before + 1)

    def _weights(self, times: tuple[float, ...], moment: float) -> Floats:
        if times not in self._shares:
            if self.width > 0:
                self._shares[times] = weights(times, moment, self.width)
            else:
                self._shares[times] = _linear(times, moment)
        return self._shares[times]


def _linear(times: Sequence[float], moment: float) -> Floats:
    """The weights of linear interpolation between the neighbours."""
    return np.array([np.interp(moment, times, row) for row in np.eye(len(times))])


def _unbroken(own: list[int], times: Sequence[float], before: int, after: int, gap: float) -> list[int]:
    """The sights around a moment that hang together: without those beyond a longer loss."""
    low, high = own.index(before), own.index(after)
    while low > 0 and times[own[low]] - times[own[low - 1]] <= gap + 1e-6:
        low -= 1
    while high < len(own) - 1 and times[own[high + 1]] - times[own[high]] <= gap + 1e-6:
        high += 1
    return own[low : high + 1]
