"""The first pass: who and what is where in each frame, and where the clip cuts.

Its rows are all that the camera is planned from: plain numbers, a few a frame.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from framelane.perception.detectors import Detector, family_of
from framelane.perception.motion import LONG_SIDE, way_back
from framelane.perception.trackers import Tracker, load_tracker
from framelane.processors.base import Context, OutputSpec, Processor, Snapshot
from framelane.processors.follow.cue import Blob, Cue
from framelane.processors.opening import open_detector
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch, thumbnail

_MOST = 12  # candidates of a frame that are kept
_CLASSES = ("person", "sports ball", "frisbee")


@dataclass(frozen=True)
class Sighting:
    """What was found in a frame batch, by position in it."""

    cuts: list[bool]
    detections: dict[int, Any]
    blobs: dict[int, list[Blob]]


class Scout(Processor):
    """Detections with tracks, the ball's cue, and cuts; a row a frame. Its frames go nowhere.

    Row: ``frame``, ``time``, ``cut``; at frames that were looked at, ``tracks`` (id, person or ball, x1, y1, x2, y2,
    score; id 0 is a ball that no tracker knows, -1 somebody it does not know yet) and ``blobs`` (see
    :class:`framelane.processors.follow.cue.Blob`).
    """

    def __init__(self, clip: Clip, context: Context) -> None:
        self.open(clip, context)

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Load the detector, unless the cue alone is asked for."""
        options = context.settings.follow
        self.every = options.detect_every * context.settings.hardware.stride
        self.threshold, self.score = options.cut_threshold, options.detection_threshold
        self.wants_balls = options.subject == "ball"
        self.detector: Detector = open_detector(context, "follow", _CLASSES)
        rate = float(clip.rate)
        with_cue = options.cue == "on" or (options.cue == "auto" and self.detector.name == "nanodet")
        self.cue = Cue(rate) if self.wants_balls and with_cue else None
        self.history = max(1, self.cue.reach if self.cue else 1)
        self.tracker: Tracker = load_tracker(
            "bytetrack", rate=rate / self.every, threshold=options.detection_threshold, lost_s=min(5.0, options.lost_s)
        )
        return OutputSpec(touches=False)

    # -- pure --------------------------------------------------------------------------------------------------------

    def infer(self, batch: FrameBatch) -> Sighting:
        """Cuts, detections and the ball's cue."""
        cuts = self._cuts(batch)
        detections, blobs = {}, {}
        for index in range(len(batch)):
            if (batch.first_index + index) % self.every == 0 or cuts[index]:
                detections[index] = self.detector.detect(batch.rgb[index : index + 1])[0]
        if self.cue:
            blobs = dict(enumerate(self.cue.find(batch)))
        return Sighting(cuts, detections, blobs)

    def _cuts(self, batch: FrameBatch) -> list[bool]:
        before = None if batch.before is None else thumbnail(batch.before, batch.layout, LONG_SIDE)
        cuts = []
        for plane in batch.planes:
            here = thumbnail(plane, batch.layout, LONG_SIDE)
            cuts.append(before is None or way_back(before, here, self.threshold) is None)
            before = here
        return cuts

    # -- in order ----------------------------------------------------------------------------------------------------

    def commit(self, batch: FrameBatch, inferred: Sighting) -> list[FrameBatch]:
        """Track, and make the rows."""
        rows = []
        for index, time in enumerate(batch.times):
            row: dict[str, Any] = {
                "frame": batch.first_index + index,
                "time": round(time, 6),
                "cut": inferred.cuts[index],
            }
            if inferred.cuts[index]:
                self.tracker.forget()
            if index in inferred.detections:
                row["tracks"] = self._tracked(inferred.detections[index], time)
            if inferred.blobs.get(index):
                row["blobs"] = [blob.to_json() for blob in inferred.blobs[index]]
            rows.append(row)
        return [batch.replace(rows=rows)]

    def _tracked(self, detections: Any, time: float) -> list[list[Any]]:
        answer = self.tracker.update(detections, time)
        ids: Sequence[int] = [] if answer.tracker_id is None else answer.tracker_id.tolist()
        rows = _rows(answer, ids)
        if self.wants_balls:  # a ball that flies is no box for a tracker of boxes: all of them are candidates
            rows = [row for row in rows if row[1] != "ball"]
            rows += [row for row in _rows(detections, [0] * len(detections)) if row[1] == "ball"]
        if not any(row[1] == "person" for row in rows):  # a scene may be too short for the tracker to confirm anybody
            strangers = _rows(detections, [-1] * len(detections))
            rows += [row for row in strangers if row[1] == "person" and row[-1] >= self.score]
        return rows[:_MOST] if self.wants_balls else rows

    def snapshot(self) -> Snapshot:
        """The tracker, which is rebuilt from it, just as a resume rebuilds it."""
        state = {"tracker": self.tracker.snapshot()}
        self.restore(json.loads(json.dumps(state)))
        return Snapshot(state)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.tracker.restore(state["tracker"])

    def close(self) -> None:
        """Release the detector."""
        self.__dict__.pop("detector", None)


def _rows(detections: Any, ids: Sequence[int]) -> list[list[Any]]:
    if not len(detections):
        return []
    names = detections.data["class_name"]
    rows = [
        [int(i), family_of(str(name)), *(round(float(side), 2) for side in box), round(float(score), 3)]
        for i, name, box, score in zip(ids, names, detections.xyxy, detections.confidence, strict=True)
    ]
    return [row for row in rows if row[1] in ("person", "ball")]
