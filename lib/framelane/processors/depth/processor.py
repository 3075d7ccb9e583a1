"""Depth and detections together: how far every tracked object is, zones around the camera, and alerts."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from framelane.perception.depths import DepthEstimator
from framelane.perception.detectors import Detector
from framelane.perception.lanes import BoxLane, Pending
from framelane.perception.motion import Step, steps
from framelane.perception.schedule import duties, history
from framelane.perception.trackers import load_tracker
from framelane.processors.base import Context, OutputSpec, Processor, Snapshot
from framelane.processors.depth.field import DepthLane, Frame, field_size, to_field
from framelane.processors.depth.fusion import MARGIN, Histories, Measured, measure
from framelane.processors.depth.picture import Picture
from framelane.processors.depth.sources import both, open_estimator
from framelane.processors.depth.tables import alert_row, fold, row, sentence, tones_of, write_alerts, write_objects
from framelane.processors.depth.zones import Alert, Zones
from framelane.processors.opening import open_detector
from framelane.sections.depth import DepthSettings
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch
from framelane.video.scale import at_size
from framelane.video.tones import Tone

_MOST_EVERY = 30  # frames from one depth frame to the next at most: frames wait for it in memory
_MOST_DETECT = 10


@dataclass(frozen=True)
class Inferred:
    """What was found in a frame batch, by position in it.

    Attributes:
        steps: how each frame relates to the one before.
        depths: fields as the model gave them, at depth frames.
        detections: ``supervision.Detections`` at detected frames.
        same_as: at frames where nothing has changed since a detected one, the index in the clip of that one.
    """

    steps: list[Step]
    depths: dict[int, np.ndarray]
    detections: dict[int, Any]
    same_as: dict[int, int]


def thinned(options: DepthSettings, stride: int) -> DepthSettings:
    """The options with ``hardware.stride`` worked into how often models run."""
    if stride == 1:
        return options
    every = {
        "every": min(_MOST_EVERY, options.every * stride),
        "detect_every": min(_MOST_DETECT, options.detect_every * stride),
    }
    return options.model_copy(update=every)


class Depth(Processor):
    """The ``depth`` processor; see the module's docstring and ``depth.*`` in the settings.

    Models see a size of their own, and everything else of it works on thumbnails: so it is never given smaller frames.
    """

    name = "depth"
    version = 2
    scalable = False
    exports = (".objects.csv", ".alerts.csv")

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Load the detector and, where it can be had, the depth model."""
        self.options = options = thinned(context.settings.depth, context.settings.hardware.stride)
        self.tell, self.device = context.tell, context.device
        width, height = clip.display_size
        self.frame = (height, width)
        self.size = field_size(self.frame)
        self.detector: Detector | None = open_detector(context, "depth")
        self.estimator: DepthEstimator | None = open_estimator(context)
        self.kind = self.estimator.kind if self.estimator else None
        self.history = history(options.detect_every)
        rate = float(clip.rate) / options.detect_every
        self.boxes = BoxLane(
            load_tracker(options.tracker, rate=rate, threshold=options.detection_threshold), self.frame
        )
        self.lane = DepthLane(self.kind, options.consistency_s) if self.kind else None
        self.histories = Histories(options.window_s)
        self.zones = Zones(options, height)
        self.model = Path(options.model).stem if self.estimator else ""
        self.picture = Picture(options, self.frame, self.kind, (self.model, self.detector.name))
        self.waiting: deque[tuple[Pending, Frame]] = deque()
        self.released = -1
        return OutputSpec(touches=True, size=self.picture.size)

    # -- pure --------------------------------------------------------------------------------------------------------

    def infer(self, batch: FrameBatch) -> Inferred:
        """Flow, cuts, detections and depth. Models see one frame at a time, so the cutting into batches is not seen."""
        assert self.detector is not None
        threshold = self.options.cut_threshold
        found = steps(batch, threshold, camera=self.boxes.tracker.wants_camera, sharp=True)
        every = self.options.detect_every
        duty = duties(batch, found, every, threshold)
        seen = [i for i, kind in enumerate(duty) if kind == "detect"]
        keys = [i for i, step in enumerate(found) if step.cut or (batch.first_index + i) % self.options.every == 0]
        rgb = batch.rgb
        detector, estimator = self.detector, self.estimator

        def detect() -> dict[int, Any]:
            return {i: detector.detect(rgb[i : i + 1])[0] for i in seen}

        def estimate() -> dict[int, np.ndarray]:
            if estimator is None:
                return {}
            return {i: to_field(estimator.estimate(rgb[i : i + 1])[0], self.size) for i in keys}

        detections, depths = both(self.device, detect, estimate)
        same_as = {i: batch.first_index + i - every for i, kind in enumerate(duty) if kind == "repeat"}
        return Inferred(found, depths, detections, same_as)

    # -- in order ----------------------------------------------------------------------------------------------------

    def commit(self, batch: FrameBatch, inferred: Inferred) -> list[FrameBatch]:
        """Queue the frames and give back those whose depth and boxes are known."""
        for index, step in enumerate(inferred.steps):
            if step.cut:
                self._end_scene()
            frame = batch.alone(index)
            item = Pending(frame, step, False, inferred.detections.get(index), inferred.same_as.get(index))
            self.waiting.append((item, Frame(item.index, item.time, step, inferred.depths.get(index))))
            self.boxes.track(item)
        return self._release(ended=False)

    def flush(self) -> list[FrameBatch]:
        """Give back what still waits, up to a last depth frame; the last boxes stay."""
        self._end_scene()
        return self._release(ended=True)

    def _end_scene(self) -> None:
        """Make a scene's last frame a depth frame: else those before it kept a distance from up to N frames ago.

        Only here, in order, is it known to be the last: in :meth:`infer` that would depend on how batches are cut.
        """
        if self.estimator is None or not self.waiting:
            return
        item, last = self.waiting[-1]
        if last.raw is None and last.depth is None:
            last.raw = to_field(self.estimator.estimate(item.frame.rgb[:1])[0], self.size)

    def _release(self, *, ended: bool) -> list[FrameBatch]:
        if self.lane:
            self.lane.fill([depth for _, depth in self.waiting], ended=ended)
        self.boxes.fill(deque(item for item, _ in self.waiting), ended=ended)
        done = []
        while self.waiting and self._is_ready(*self.waiting[0]):
            item, depth = self.waiting.popleft()
            if item.index > self.released:  # else: replayed after a resume only to carry its depth on
                done.append(self._finish(item, depth))
                self.released = item.index
        self.boxes.forget_before(self.released + 1)
        if self.lane:
            self.lane.forget_before(self.released + 1)
        return done

    def _is_ready(self, item: Pending, depth: Frame) -> bool:
        return item.tracks is not None and (depth.depth is not None or not self.lane)

    def _finish(self, item: Pending, depth: Frame) -> FrameBatch:
        """Measure, judge and draw one frame."""
        if item.step.cut:
            self.histories.clear()
            self.zones.clear()
        options = self.options
        measured: list[Measured] = [
            measure(
                track, depth.depth, self.histories, item.time,
                frame=self.frame, kind=self.kind, percentile=options.percentile, fov=options.fov,
            )
            for track in item.tracks or []
        ]  # fmt: skip
        self.histories.forget(item.time)
        zones, alerts = self.zones.update(measured, item.index, item.time)
        for alert in alerts:
            self._say(alert)
        found = list(zip(measured, zones, strict=True))
        drawn = self.picture.draw(item.frame.rgb[0], depth.depth, found)
        scale = self.lane.scales.get(item.index) if self.lane else None
        data = row(item.index, item.time, found, alerts, cut=item.step.cut, scale=scale)
        frame = item.frame.replace(rows=[data])
        return at_size(frame, drawn[None]) if self.picture.size else frame.replace(rgb=drawn[None])

    def _say(self, alert: Alert) -> None:
        said = {"frame": alert.frame, "time": round(alert.time, 3), **alert_row(alert)}
        self.tell({"event": "alert", "message": sentence(alert), **said})

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The state after the last commit; the tracker is rebuilt from it, just as a resume rebuilds it."""
        state = {
            "released": self.released,
            "boxes": self.boxes.snapshot(),
            "lane": self.lane.snapshot() if self.lane else None,
            "histories": self.histories.snapshot(),
            "zones": self.zones.snapshot(),
        }
        self._take(json.loads(json.dumps(state)))
        if not self.waiting:
            return Snapshot(state, None)
        first = self.waiting[0][0].index
        return Snapshot(state, self.lane.begins_at(first) if self.lane else first)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.released = state["released"]
        self._take(state)

    def _take(self, state: dict[str, Any]) -> None:
        self.boxes.restore(state["boxes"])
        self.histories.restore(state["histories"])
        self.zones.restore(state["zones"])
        if self.lane and state["lane"]:
            self.lane.restore(state["lane"])

    # -- results -----------------------------------------------------------------------------------------------------

    def report(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Distances, zones and alerts; with what they were made with."""
        made_with = {
            "distance": "metres" if self.kind == "metric" else "unknown",
            "depth_model": self.model or None,
            "depth_kind": self.kind,
            "depth_every": self.options.every,
            "zones_from": "distance and time to collision" if self.kind == "metric" else "box size and growth",
            "distance_is": f"percentile {self.options.percentile:g} of the middle {1 - 2 * MARGIN:.0%} of the box",
        }
        return {**made_with, **fold(rows)}

    def export(self, suffix: str, rows: Iterable[dict[str, Any]], path: Path) -> None:
        """``.objects.csv`` and ``.alerts.csv``."""
        {".objects.csv": write_objects, ".alerts.csv": write_alerts}[suffix](rows, path)

    def tones(self, rows: Iterable[dict[str, Any]]) -> list[Tone]:
        """One at every alert, where ``depth.tones`` asks for it."""
        return tones_of(rows) if self.options.tones else []

    def close(self) -> None:
        """Release the models."""
        self.detector = self.estimator = None
        self.waiting = deque()
