"""The adapter of ``trackers.ByteTrackTracker``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from framelane.perception.camera import Motion
from framelane.perception.families import FamilyTracker

if TYPE_CHECKING:
    import supervision


class ByteTrack(FamilyTracker):
    """ByteTrack (Zhang et al. 2022) of the ``trackers`` package, one per class family.

    As published it knows nothing of the camera; where that moves fast, ``botsort`` is the tracker to take.
    """

    name = "bytetrack"
    # People who walk across the frame overlap little with themselves at five detections a second.
    lowest_iou = 0.15

    def _fresh(self, *, alone: bool = False) -> Any:
        from trackers import ByteTrackTracker

        return ByteTrackTracker(
            lost_track_buffer=max(1, round(self.lost_s * 30)),  # counted there in frames of 1/30 s
            frame_rate=self.rate,
            track_activation_threshold=self.threshold,
            high_conf_det_threshold=self.threshold,
            # Alone any overlap, also none, is a match: which boxes belong together is known.
            minimum_iou_threshold=0.0 if alone else self.lowest_iou,
            minimum_consecutive_frames=1 if alone else self.confirm,
        )

    def _feed(self, tracker: Any, detections: supervision.Detections, time_s: float, camera: Motion | None) -> Any:
        return tracker.update(detections, timestamp=time_s)
