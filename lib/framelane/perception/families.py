"""What the trackers of the ``trackers`` package have in common: one per class family, rebuilt by a replay of the log."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from framelane.perception.camera import Motion
from framelane.perception.detectors import FAMILIES, Family
from framelane.perception.trackers import Box, Tracker

if TYPE_CHECKING:
    import supervision


class FamilyTracker(Tracker):
    """A tracker of the package per class family. A subclass builds them (:meth:`_fresh`) and feeds them (:meth:`_feed`).

    ``trackers`` shares one way of working: a track is an object in the list ``tracks``, with ``tracker_id`` -1 until it
    is confirmed, and ``update`` returns the detections with ids.
    """

    confirm = 2  # detections in a row that make a track

    def _clear(self) -> None:
        super()._clear()
        self._trackers: dict[Family, Any] = {}

    @abstractmethod
    def _fresh(self, *, alone: bool = False) -> Any:
        """A new tracker of the package; ``alone`` for a single object: any detection is its own, from the first on."""

    @abstractmethod
    def _feed(self, tracker: Any, detections: supervision.Detections, time_s: float, camera: Motion | None) -> Any:
        """One update of a tracker that :meth:`_fresh` built; returns the detections with the tracker's own ids."""

    def _associate(
        self, family: Family, detections: supervision.Detections, time_s: float, camera: Motion | None
    ) -> supervision.Detections:
        if family not in self._trackers:
            if not len(detections):
                return detections
            self._trackers[family] = self._fresh()
        return self._feed(self._trackers[family], detections, time_s, camera)

    def _alive(self) -> set[int]:
        return {
            self._public_id(family, track.tracker_id)
            for family, tracker in self._trackers.items()
            for track in tracker.tracks
            if track.tracker_id != -1
        }

    def _replay(self) -> None:
        """Replay every track by itself: alone it cannot be taken for another, whatever happened in a crowd.

        Tracks get their id from before as -1 - id, which a fresh tracker, counting up from 0, never gives.
        """
        histories: dict[tuple[Family, int], list[Box | None]] = {}
        for step, (_, _, seen) in enumerate(self._log):
            for index, family, box in seen:
                if index:
                    histories.setdefault((family, index), [None] * len(self._log))[step] = box
        for family in FAMILIES:
            young = [box for index, kind, box in self._log[-1][2] if kind == family and not index] if self._log else []
            known = sorted((index, boxes) for (kind, index), boxes in histories.items() if kind == family)
            if young or known:
                self._trackers[family] = self._rebuilt(family, known, young)

    def _rebuilt(self, family: Family, known: Sequence[tuple[int, list[Box | None]]], young: Sequence[Box]) -> Any:
        tracker = self._fresh()
        self._feed(tracker, _boxes(young), self._log[-1][0], None)
        confirmed = []
        for index, boxes in known:
            for track in self._alone(boxes):
                track.tracker_id = -1 - index
                self._public[family, track.tracker_id] = index
                confirmed.append(track)
        tracker.tracks = confirmed + tracker.tracks
        return tracker

    def _alone(self, boxes: Sequence[Box | None]) -> list[Any]:
        """The one track of these boxes, one an update of the log, or none if it has been lost for too long."""
        single = self._fresh(alone=True)
        for box, (time_s, camera, _) in zip(boxes, self._log, strict=True):
            self._feed(single, _boxes([box] if box else []), time_s, camera)
            for track in single.tracks:
                track.tracker_id = 0  # confirmed, so that it survives a gap
        return list(single.tracks)


def _boxes(boxes: Sequence[Box]) -> supervision.Detections:
    import supervision as sv

    xyxy: npt.NDArray[np.float64] = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return sv.Detections(xyxy=xyxy, confidence=np.ones(len(xyxy)))
