"""Dual-channel attention: where a vision transformer looks (channel A), and which tracked objects are there (B)."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import floor
from typing import Any

from framelane.perception.detectors import Detector
from framelane.perception.lanes import BoxLane, Pending, fill_maps
from framelane.perception.motion import Step, steps
from framelane.perception.schedule import duties, history
from framelane.perception.trackers import load_tracker
from framelane.processors.attention.maps import Maps
from framelane.processors.attention.memory import ObjectMaps, Paths, Smoother
from framelane.processors.attention.metrics import cumulative, fold, row, share
from framelane.processors.attention.picture import Picture
from framelane.processors.attention.sources import open_maps
from framelane.processors.base import Context, OutputSpec, Processor, Snapshot
from framelane.processors.opening import open_detector
from framelane.sections.attention import AttentionSettings
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch

_LONGEST_WAIT = 32  # frames from one sample to the next at most: frames wait for it in memory
_OWN = "own: the detector's cross-attention for each object"
_SHARE = "share of channel A inside the box; the detector has no attention of its own"


@dataclass(frozen=True)
class Inferred:
    """What was found in a frame batch, by position in it.

    Attributes:
        steps: how each frame relates to the one before.
        looked: what the maps' source made of sampled frames, see :meth:`Maps.look`.
        detections: ``supervision.Detections`` at detected frames.
        same_as: at frames where nothing has changed since a detected one, the index in the clip of that one.
    """

    steps: list[Step]
    looked: dict[int, Any]
    detections: dict[int, Any]
    same_as: dict[int, int]


def thinned(context: Context) -> Context:
    """The context with ``hardware.stride`` worked into how often models run."""
    stride, options = context.settings.hardware.stride, context.settings.attention
    if stride == 1:
        return context
    rarer = options.model_copy(
        update={
            "sample_fps": options.sample_fps / stride,
            "detect_every": options.detect_every * stride,
            "overlap": options.overlap / stride,
        }
    )
    return replace(context, settings=context.settings.model_copy(update={"attention": rarer}))


class Attention(Processor):
    """The ``attention`` processor; see the module's docstring and ``attention.*`` in the settings."""

    name = "attention"
    version = 3

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Load the backbone and the detector that the channels need."""
        context = thinned(context)
        self.options: AttentionSettings = context.settings.attention
        options = self.options
        self.maps: Maps | None = None
        self.detector: Detector | None = None
        self.frame = clip.display_size[::-1]
        self.rate = float(clip.rate)
        if "a" in options.channels:
            self.maps = open_maps(context, self.rate, clip.display_size)
        if "b" in options.channels:
            self.detector = open_detector(context, "attention")
            self.history = history(options.detect_every)
        self.boxes = BoxLane(
            load_tracker(options.tracker, rate=self.rate / options.detect_every, threshold=options.detection_threshold),
            self.frame,
        )
        self.smoother = Smoother(options.smoothing_s)
        self.object_maps = ObjectMaps(options.smoothing_s, self.frame)
        self.paths = Paths(options.trail_s, options.gap_s, self.frame)
        self.picture = Picture(
            options,
            self.frame,
            backbone=self.maps.name if self.maps else "",
            detector=self.detector,
        )
        self.waiting: deque[Pending] = deque()
        self.released = -1
        self.samples: deque[int] = deque()
        return OutputSpec(touches=True)

    # -- pure --------------------------------------------------------------------------------------------------------

    def infer(self, batch: FrameBatch) -> Inferred:
        """Flow, cuts, maps and detections. Models see one frame at a time, so the cutting into batches is not seen."""
        options = self.options
        camera = self.detector is not None and self.boxes.tracker.wants_camera
        found = steps(batch, options.cut_threshold, camera=camera)
        every = options.detect_every
        duty = duties(batch, found, every, options.cut_threshold) if self.detector else None
        looked, detections, same_as = {}, {}, {}
        for index, step in enumerate(found):
            if self.maps and (step.cut or self._is_sample(batch, index, self.maps.rate)):
                looked[index] = self.maps.look(batch.rgb[index : index + 1])
            if self.detector and duty and duty[index] == "detect":
                detections[index] = self.detector.detect(batch.rgb[index : index + 1])[0]
            elif duty and duty[index] == "repeat":
                same_as[index] = batch.first_index + index - every
        return Inferred(found, looked, detections, same_as)

    def _is_sample(self, batch: FrameBatch, index: int, rate: float) -> bool:
        """A frame is sampled when a tick of ``rate`` falls on it, or lies between it and the frame before."""
        before_pts = batch.pts[index - 1] if index else batch.before_pts
        if before_pts is None:
            return True
        before, here = (
            float((pts - batch.layout.start_pts) * batch.layout.time_base) for pts in (before_pts, batch.pts[index])
        )
        return self._ticks(before, rate) != self._ticks(here, rate)

    def _ticks(self, time: float, rate: float) -> tuple[int, int]:
        """Ticks up to a time; and, where they lie far apart, how often the longest wait has passed since the last one."""
        tick = floor(time * rate + 1e-6)
        return tick, floor((time - tick / rate) * self.rate / _LONGEST_WAIT + 1e-6)

    # -- in order ----------------------------------------------------------------------------------------------------

    def commit(self, batch: FrameBatch, inferred: Inferred) -> list[FrameBatch]:
        """Queue the frames and give back those whose maps and boxes are known."""
        for index, step in enumerate(inferred.steps):
            frame = batch.alone(index)
            sampled, same_as = index in inferred.looked, inferred.same_as.get(index)
            item = Pending(frame, step, sampled, inferred.detections.get(index), same_as)
            self.waiting.append(item)
            if self.maps and item.sampled:
                self.samples.append(item.index)
                self.maps.add(item.index, inferred.looked[index], cut=step.cut)
            self.boxes.track(item)
        return self._release(ended=False)

    def flush(self) -> list[FrameBatch]:
        """Give back what still waits: the last map is carried forward, the last boxes stay."""
        if self.maps:
            self.maps.finish()
        return self._release(ended=True)

    def _release(self, *, ended: bool) -> list[FrameBatch]:
        if self.maps:
            known = self.maps.take()
            for item in self.waiting:
                item.seen = known.get(item.index, item.seen)
            fill_maps(self.waiting, ended=ended)
        self.boxes.fill(self.waiting, ended=ended or not self.detector)
        done = []
        while self.waiting and self._is_ready(self.waiting[0]):
            item = self.waiting.popleft()
            if item.index > self.released:  # else: replayed after a resume only to carry its map on
                done.append(self._finish(item))
                self.released = item.index
        self.boxes.forget_before(self.released + 1)
        return done

    def _is_ready(self, item: Pending) -> bool:
        return item.tracks is not None and (item.field is not None or not self.maps)

    def _finish(self, item: Pending) -> FrameBatch:
        """Smooth, measure and draw one frame."""
        field, flicker = None, (0.0, 0.0)
        if item.field is not None:
            field, *both = self.smoother.update(item.field, item.step, item.time)
            flicker = (both[0], both[1])
        tracks = self.object_maps.update(item.tracks or [], item.time, cut=item.step.cut)
        tracks = self.paths.update(tracks, item.time, cut=item.step.cut)
        table = None if field is None else cumulative(field)
        shares = [(track, None if table is None else share(table, track.box, self.frame)) for track in tracks]
        drawn = self.picture.draw(item.frame.rgb[0], field, shares, self.paths.trails(), item.action)
        data = row(item.index, item.time, field, flicker, shares, cut=item.step.cut)
        if item.action is not None and item.moment is not None:
            data |= {"action": item.action[0], "probability": round(item.action[1], 4), "moment": round(item.moment, 4)}
        return item.frame.replace(rgb=drawn[None], rows=[data])

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The state after the last commit; the tracker is rebuilt from it, just as a resume rebuilds it."""
        replay_from, maps = self._replay()
        state = {
            "released": self.released,
            "boxes": self.boxes.snapshot(),
            "smoother": self.smoother.snapshot(),
            "object_maps": self.object_maps.snapshot(),
            "paths": self.paths.snapshot(),
            "maps": maps,
        }
        self._take(json.loads(json.dumps(state)))
        return Snapshot(state, replay_from)

    def _replay(self) -> tuple[int | None, dict[str, Any]]:
        """The first frame needed again, and what the maps' source must know of it.

        The first waiting frame's map is made of the sample at or before it.
        """
        if not self.waiting:
            return None, {}
        first = self.waiting[0].index
        while len(self.samples) > 1 and self.samples[1] <= first:
            self.samples.popleft()
        if not self.maps:
            return first, {}
        index, state = self.maps.replay(self.samples[0])
        return min(first, index), state

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.released = state["released"]
        if self.maps:
            self.maps.restore(state["maps"])
        self._take(state)

    def _take(self, state: dict[str, Any]) -> None:
        self.boxes.restore(state["boxes"])
        self.smoother.restore(state["smoother"])
        self.object_maps.restore(state["object_maps"])
        self.paths.restore(state["paths"])

    def report(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Entropy, shares per class and track, flicker and cuts; with what they were made with."""
        made_with: dict[str, Any] = {}
        if self.maps:
            made_with = {"method": self.options.method, "backbone": self.maps.name, **self.maps.describe(self.rate)}
        if self.detector:
            made_with["object_attention"] = _OWN if self.detector.has_attention else _SHARE if self.maps else None
        return {**made_with, **fold(rows)}

    def close(self) -> None:
        """Release the models."""
        self.maps = self.detector = None
        self.waiting = deque()
