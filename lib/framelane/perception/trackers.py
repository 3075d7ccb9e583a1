"""Object trackers: detections in, the same detections with a lasting ``tracker_id`` out.

The trackers of the ``trackers`` package cannot be serialised. So :class:`Tracker` logs the boxes of the last seconds
with the ids it gave, and :meth:`Tracker.restore` replays that log into a fresh one. A replay knows less than the tracker
that it replaces (what is older than the log is gone), hence the engine restores at *every* checkpoint, also in a run
that nothing interrupts: then an interrupted run and an uninterrupted one take the same path and end in equal frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from framelane.errors import UsageError
from framelane.perception.camera import Motion, from_json, moved, to_json
from framelane.perception.detectors import FAMILIES, Family, family_of

if TYPE_CHECKING:
    import supervision

Box = list[float]
Seen = list[tuple[int, Family, Box]]
"""The boxes of one update that belong to a track: public id (0: not confirmed yet), family, x1, y1, x2, y2."""

_WEAKEST = 0.5  # of the threshold: NanoDet scores litter and bollards up to 0.15, and these kept ghosts alive
_HISTORY_S = 2.0  # a Kalman filter that has seen a track for so long no longer remembers how it started


class Tracker(ABC):
    """Gives objects lasting ids. A subclass with a ``name`` can be loaded by it.

    Association never crosses class families (a low-scored bag must not continue a person's track), and the class of a
    track is the one that its detections vote for, weighed by confidence, so that labels do not flicker.
    """

    name: ClassVar[str] = ""
    wants_camera: ClassVar[bool] = False  # whether an update's camera motion is of use
    _registry: ClassVar[dict[str, type[Tracker]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            Tracker._registry[cls.name] = cls

    def __init__(self, *, rate: float, threshold: float, lost_s: float) -> None:
        """Take the options of :func:`load_tracker`."""
        self.rate = rate
        self.threshold = threshold
        self.lost_s = lost_s
        self._clear()

    def _clear(self) -> None:
        self._next_id = 1
        self._last_s: float | None = None
        self._log: list[tuple[float, Motion | None, Seen]] = []
        self._votes: dict[int, dict[int, float]] = {}
        self._class_names: dict[int, str] = {}
        self._public: dict[tuple[Family, int], int] = {}

    @abstractmethod
    def _associate(
        self, family: Family, detections: supervision.Detections, time_s: float, camera: Motion | None
    ) -> supervision.Detections:
        """The detections in any order with ``tracker_id``: the tracker's own, -1 where unconfirmed or of no track."""

    @abstractmethod
    def _alive(self) -> set[int]:
        """The public ids that may still be seen again."""

    @abstractmethod
    def _replay(self) -> None:
        """Build fresh tracks from the log."""

    def update(
        self, detections: supervision.Detections, frame_time_s: float, camera: Motion | None = None
    ) -> supervision.Detections:
        """Take the detections of the next frame that has any (every frame, or every N-th).

        Args:
            detections: boxes with ``confidence``, ``class_id`` and ``data["class_name"]``, the weak ones included.
            frame_time_s: presentation time in seconds, later than the one before.
            camera: the camera's motion since the update before, see :mod:`framelane.perception.camera`; None where it
                stood still. Only a tracker that ``wants_camera`` looks at it.

        Returns:
            The detections of confirmed tracks, by rising id, with ``tracker_id`` int64 from 1 in order of first
            appearance, and ``class_id`` and ``data["class_name"]`` as voted by the track; other fields of ``data`` as
            given, such as ``"attention"``.
        """
        # Two frames with one timestamp exist in the wild; the trackers would ignore the second.
        time_s = frame_time_s if self._last_s is None else max(frame_time_s, self._last_s + 1e-3)
        self._last_s = time_s
        given = detections
        if len(detections):
            detections = _where(detections, detections.confidence >= _WEAKEST * self.threshold)
        families = np.array([family_of(str(name)) for name in _names(detections)], dtype=np.str_)
        tracked, seen, first_new = [], [], self._next_id
        for family in FAMILIES:
            answer = self._associate(family, _where(detections, families == family), time_s, camera)
            own = [] if answer.tracker_id is None else answer.tracker_id.tolist()
            answer.tracker_id = np.array([self._public_id(family, index) for index in own], dtype=np.int64)
            tracked.append(_where(answer, answer.tracker_id > 0))
            seen.extend(_loggable(answer, family, self.threshold))
        self._remember((time_s, camera if self.wants_camera else None, seen), first_new)
        return self._vote(_merge(tracked, given))

    def forget(self) -> None:
        """Drop all tracks, as at a cut; ids go on counting."""
        next_id, last_s = self._next_id, self._last_s
        self._clear()
        self._next_id, self._last_s = next_id, last_s

    def _public_id(self, family: Family, own: int) -> int:
        if own == -1:
            return 0
        if (family, own) not in self._public:
            self._public[family, own] = self._next_id
            self._next_id += 1
        return self._public[family, own]

    def _remember(self, entry: tuple[float, Motion | None, Seen], first_new: int) -> None:
        if self._log:
            last_s, motion, last = self._log[-1]
            confirmed = [row for row in entry[2] if row[0] >= first_new]
            self._log[-1] = (last_s, motion, _claimed(last, confirmed, entry[1]))
        oldest = entry[0] - self.lost_s - _HISTORY_S
        self._log = [known for known in self._log if known[0] >= oldest] + [entry]

    def _vote(self, tracked: supervision.Detections) -> supervision.Detections:
        if not len(tracked):
            return tracked
        names = _names(tracked)
        for index, class_id, name, score in zip(
            tracked.tracker_id.tolist(), tracked.class_id.tolist(), names, tracked.confidence.tolist(), strict=True
        ):
            votes = self._votes.setdefault(index, {})
            votes[class_id] = votes.get(class_id, 0.0) + score
            self._class_names[class_id] = str(name)
        alive = self._alive()
        self._votes = {index: votes for index, votes in self._votes.items() if index in alive}
        self._public = {key: index for key, index in self._public.items() if index in alive}
        winners = [
            max(self._votes[index].items(), key=lambda vote: (vote[1], -vote[0]))[0] for index in tracked.tracker_id
        ]
        tracked.class_id = np.array(winners, dtype=np.int64)
        tracked.data["class_name"] = np.array([self._class_names[winner] for winner in winners], dtype=np.str_)
        return tracked

    def snapshot(self) -> dict[str, Any]:
        """The state as plain JSON data; its size is bounded by the objects of the last seconds, not by the clip."""
        return {
            "tracker": self.name,
            "next_id": self._next_id,
            "last_s": self._last_s,
            "log": [
                [time_s, to_json(camera), [[index, family, *box] for index, family, box in seen]]
                for time_s, camera, seen in self._log
            ],
            "votes": [[index, [list(vote) for vote in votes.items()]] for index, votes in self._votes.items()],
            "class_names": [list(item) for item in self._class_names.items()],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Continue from a snapshot, which may have been through JSON; whatever was before is forgotten.

        Two trackers with the same options that restore the same snapshot answer the same from then on.

        Raises:
            UsageError: the snapshot was taken from another tracker.
        """
        if snapshot["tracker"] != self.name:
            raise UsageError(f"The checkpoint was written with the tracker {snapshot['tracker']!r}, not {self.name!r}.")
        self._clear()
        self._next_id, self._last_s = int(snapshot["next_id"]), snapshot["last_s"]
        self._log = [
            (time_s, from_json(camera), [(index, family, list(box)) for index, family, *box in seen])
            for time_s, camera, seen in snapshot["log"]
        ]
        self._votes = {index: dict(votes) for index, votes in snapshot["votes"]}
        self._class_names = dict(snapshot["class_names"])
        self._replay()


def tracker_names() -> list[str]:
    """The names that :func:`load_tracker` knows."""
    from framelane.perception import botsort, bytetrack  # noqa: F401  (register themselves)

    return sorted(Tracker._registry)


def load_tracker(name: str, *, rate: float, threshold: float = 0.35, lost_s: float = 1.5) -> Tracker:
    """Open a tracker.

    Args:
        name: one of :func:`tracker_names`.
        rate: detections per second (the clip's frame rate divided by the stride).
        threshold: the score from 0 to 1 that starts a track; weaker ones, down to half of it, only continue one.
        lost_s: seconds that an unseen track waits to be found again.

    Raises:
        UsageError: an unknown tracker, or a rate or time that is not positive.
    """
    if name not in (known := tracker_names()):
        raise UsageError(f"attention.tracker: {name!r} is unknown; allowed are {', '.join(known)}.")
    if not (rate > 0 and lost_s > 0):
        raise UsageError(f"A tracker needs a positive rate and lost time, not {rate} per second and {lost_s} seconds.")
    return Tracker._registry[name](rate=rate, threshold=threshold, lost_s=lost_s)


def _names(detections: supervision.Detections) -> Sequence[object]:
    names: Sequence[object] = detections.data.get("class_name", ()) if len(detections) else ()
    return names


def _where(detections: supervision.Detections, mask: npt.NDArray[np.bool_]) -> supervision.Detections:
    import supervision as sv

    return detections[mask] if mask.any() else sv.Detections.empty()


def _loggable(answer: supervision.Detections, family: Family, threshold: float) -> Seen:
    """Boxes of tracks, and of those that have just been started."""
    if not len(answer):
        return []
    rows = zip(answer.tracker_id.tolist(), answer.confidence.tolist(), answer.xyxy.tolist(), strict=True)
    return [(i, family, [round(side, 3) for side in box]) for i, score, box in rows if i or score >= threshold]


def _claimed(last: Seen, confirmed: Seen, camera: Motion | None) -> Seen:
    """The update before, where the first box of a track that is confirmed now gets its id; other young ones go."""
    import supervision as sv

    kept = [row for row in last if row[0]]
    for index, family, box in confirmed:
        young = [row for row in last if not row[0] and row[1] == family]
        if young:
            then = moved(np.array([row[2] for row in young]), camera)
            overlap = sv.box_iou_batch(then, np.array([box]))[:, 0]
            kept.append((index, family, young[int(overlap.argmax())][2]))
    return kept


def _merge(parts: Sequence[supervision.Detections], given: supervision.Detections) -> supervision.Detections:
    """One of all parts; without any, an empty one that still has the fields of what was given."""
    import supervision as sv

    filled = [part for part in parts if len(part)]
    if not filled:
        nothing = sv.Detections.empty()
        nothing.tracker_id = np.zeros(0, dtype=np.int64)
        nothing.data = {name: values[:0] for name, values in given.data.items()}
        nothing.data["class_name"] = np.zeros(0, dtype=np.str_)
        return nothing
    merged = sv.Detections.merge(filled)
    return merged[np.argsort(merged.tracker_id, kind="stable")]
