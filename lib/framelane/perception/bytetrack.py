"""The adapter of ``trackers.ByteTrackTracker``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from framelane.perception.detectors import FAMILIES, Family
from framelane.perception.trackers import Box, Tracker

if TYPE_CHECKING:
    import supervision


class ByteTrack(Tracker):
    """ByteTrack (Zhang et al. 2022) of the ``trackers`` package, one per class family."""

    name = "bytetrack"
    confirm = 2  # detections in a row that make a track
    # People who walk across the frame overlap little with themselves at five detections a second.
    lowest_iou = 0.15

    def _clear(self) -> None:
        super()._clear()
        self._trackers: dict[Family, Any] = {}

    def _fresh(self, **options: Any) -> Any:
        from trackers import ByteTrackTracker

        given = {"minimum_iou_threshold": self.lowest_iou, "minimum_consecutive_frames": self.confirm, **options}
        return ByteTrackTracker(
            lost_track_buffer=max(1, round(self.lost_s * 30)),  # counted there in frames of 1/30 s
            frame_rate=self.rate,
            track_activation_threshold=self.threshold,
            high_conf_det_threshold=self.threshold,
            **given,
        )

    def _associate(self, family: Family, detections: supervision.Detections, time_s: float) -> supervision.Detections:
        if family not in self._trackers:
            if not len(detections):
                return detections
            self._trackers[family] = self._fresh()
        return self._trackers[family].update(detections, timestamp=time_s)

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
        times = [time_s for time_s, _ in self._log]
        histories: dict[tuple[Family, int], list[Box | None]] = {}
        for step, (_, seen) in enumerate(self._log):
            for index, family, box in seen:
                if index:
                    histories.setdefault((family, index), [None] * len(times))[step] = box
        for family in FAMILIES:
            young = [box for index, kind, box in self._log[-1][1] if kind == family and not index] if self._log else []
            known = sorted((index, boxes) for (kind, index), boxes in histories.items() if kind == family)
            if young or known:
                self._trackers[family] = self._rebuilt(family, known, young, times)

    def _rebuilt(
        self,
        family: Family,
        known: Sequence[tuple[int, list[Box | None]]],
        young: Sequence[Box],
        times: Sequence[float],
    ) -> Any:
        tracker = self._fresh()
        tracker.update(_boxes(young), timestamp=times[-1])
        confirmed = []
        for index, boxes in known:
            for track in self._alone(boxes, times):
                track.tracker_id = -1 - index
                self._public[family, track.tracker_id] = index
                confirmed.append(track)
        tracker.tracks = confirmed + tracker.tracks
        return tracker

    def _alone(self, boxes: Sequence[Box | None], times: Sequence[float]) -> list[Any]:
        """The one track of these boxes, or none if it has been lost for too long."""
        # Any overlap, also none, is a match: which boxes belong together is known.
        single = self._fresh(minimum_iou_threshold=0.0, minimum_consecutive_frames=1)
        for box, time_s in zip(boxes, times, strict=True):
            single.update(_boxes([box] if box else []), timestamp=time_s)
            for track in single.tracks:
                track.tracker_id = 0  # confirmed, so that it survives a gap
        return list(single.tracks)


def _boxes(boxes: Sequence[Box]) -> supervision.Detections:
    import supervision as sv

    xyxy: npt.NDArray[np.float64] = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return sv.Detections(xyxy=xyxy, confidence=np.ones(len(xyxy)))
