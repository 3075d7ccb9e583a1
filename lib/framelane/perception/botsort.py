"""The adapter of ``trackers.BoTSORTTracker``, with the camera's motion taken from whoever has measured it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from framelane.perception.camera import Motion
from framelane.perception.families import FamilyTracker

if TYPE_CHECKING:
    import supervision


class BoTSORT(FamilyTracker):
    """BoT-SORT (Aharon et al. 2022) of the ``trackers`` package without appearance features, one per class family.

    Before detections are matched, the predicted tracks are moved along with the camera (section 3.2 of the paper). The
    package would look for that motion in full frames, by sparse optical flow; here it comes ready with the update.
    It shifts and turns a track's centre and velocity. The package leaves width and height as they are, so a zoom is
    taken up by the Kalman filter over the next updates.
    """

    name = "botsort"
    wants_camera = True
    # Overlap times score here, where the published values (0.2, 0.3) expect scores near 1: NanoDet's are 0.35 to 0.8,
    # and people who walk across the frame overlap little with themselves at five detections a second.
    lowest_similarity = 0.1
    lowest_iou_of_weak = 0.3

    def _fresh(self, *, alone: bool = False) -> Any:
        from trackers import BoTSORTTracker

        # Alone any overlap, also none, is a match: which boxes belong together is known.
        similarity = 0.0 if alone else self.lowest_similarity
        tracker = BoTSORTTracker(
            lost_track_buffer=max(1, round(self.lost_s * 30)),  # counted there in frames of 1/30 s
            frame_rate=self.rate,
            track_activation_threshold=self.threshold,
            high_conf_det_threshold=self.threshold,
            minimum_iou_threshold_first_assoc=similarity,
            minimum_iou_threshold_second_assoc=0.0 if alone else self.lowest_iou_of_weak,
            minimum_iou_threshold_unconfirmed_assoc=similarity,
            minimum_consecutive_frames=1 if alone else self.confirm,
            # Else whatever a clip's first frame shows would be believed at once, and after every checkpoint again.
            instant_first_frame_activation=False,
        )
        tracker.cmc = _Known()
        return tracker

    def _feed(self, tracker: Any, detections: supervision.Detections, time_s: float, camera: Motion | None) -> Any:
        return tracker.update(detections, frame=camera, timestamp=time_s)


class _Known:
    """Stands in for the package's camera motion estimator (``trackers/utils/cmc.py``): the "frame" is the answer.

    ``BoTSORTTracker.update`` calls ``estimate(frame, boxes)`` if it is given a frame, and applies the 2x3 affine that
    comes back to the predicted tracks.
    """

    def estimate(self, frame: Motion, boxes: object = None) -> Motion:
        return frame

    def reset(self) -> None:
        pass
