"""Dual-channel attention: where a vision transformer looks (channel A), and which tracked objects are there (B)."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np

from framelane.models import catalog, store
from framelane.perception.detectors import Detector, load_detector
from framelane.perception.trackers import load_tracker
from framelane.processors.attention.backbone import Backbone, load_backbone
from framelane.processors.attention.lanes import BoxLane, Pending, fill_maps
from framelane.processors.attention.memory import Paths, Smoother
from framelane.processors.attention.methods import Method, get_method
from framelane.processors.attention.metrics import cumulative, fold, row, share
from framelane.processors.attention.motion import Step, steps
from framelane.processors.attention.picture import Picture
from framelane.processors.attention.schedule import duties, history
from framelane.processors.base import Context, OutputSpec, Processor, Snapshot
from framelane.settings import AttentionSettings
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch

_LONGEST_WAIT = 32  # frames from one sample to the next at most: frames wait for it in memory


@dataclass(frozen=True)
class Inferred:
    """What was found in a frame batch, by position in it.

    Attributes:
        steps: how each frame relates to the one before.
        grids: maps ``(gh, gw)`` at sampled frames.
        detections: ``supervision.Detections`` at detected frames.
        same_as: at frames where nothing has changed since a detected one, the index in the clip of that one.
    """

    steps: list[Step]
    grids: dict[int, np.ndarray]
    detections: dict[int, Any]
    same_as: dict[int, int]


class Attention(Processor):
    """The ``attention`` processor; see the module's docstring and ``attention.*`` in the settings."""

    name = "attention"
    version = 2

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Load the backbone and the detector that the channels need."""
        self.options: AttentionSettings = context.settings.attention
        options = self.options
        self.backbone: Backbone | None = None
        self.detector: Detector | None = None
        self.method: Method | None = None
        self.frame = clip.display_size[::-1]
        rate = float(clip.rate)
        if "a" in options.channels:
            self._load_backbone(context)
        if "b" in options.channels:
            self._load_detector(context)
            self.history = history(options.detect_every)
        self.boxes = BoxLane(
            load_tracker(options.tracker, rate=rate / options.detect_every, threshold=options.detection_threshold)
        )
        self.smoother = Smoother(options.smoothing_s)
        self.paths = Paths(options.trail_s, options.gap_s)
        self.picture = Picture(options, self.frame)
        self.waiting: deque[Pending] = deque()
        self.released = -1
        self.samples: deque[int] = deque()
        return OutputSpec(touches=True)

    def _load_backbone(self, context: Context) -> None:
        import torch

        options = self.options
        if context.device == "cpu":
            torch.set_num_threads(context.threads)
        _note_model(options.backbone, context)
        self.backbone = load_backbone(
            options.backbone, context.device, options.spatial_resolution, context.settings.hardware.mixed_precision
        )
        wanted = options.start_layer
        self.start_layer = self.backbone.usual_start if wanted is None else wanted
        self.backbone.check_layer(self.start_layer)
        method_options = {"norm": options.gmar_norm} if options.method == "gmar" else {}
        self.method = get_method(options.method, **method_options)

    def _load_detector(self, context: Context) -> None:
        options = self.options
        _note_model(options.detector, context)
        self.detector = load_detector(
            options.detector,
            device=context.device,
            threads=context.threads,
            threshold=options.detection_threshold,
            classes=options.classes,
        )
        if downgrade := getattr(self.detector, "downgrade", None):
            context.degrade(downgrade)

    # -- pure --------------------------------------------------------------------------------------------------------

    def infer(self, batch: FrameBatch) -> Inferred:
        """Flow, cuts, maps and detections. Models see one frame at a time, so the cutting into batches is not seen."""
        options = self.options
        camera = self.detector is not None and self.boxes.tracker.wants_camera
        found = steps(batch, options.cut_threshold, camera=camera)
        every = options.detect_every
        duty = duties(batch, found, every, options.cut_threshold) if self.detector else None
        grids, detections, same_as = {}, {}, {}
        for index, step in enumerate(found):
            if self.backbone and self.method and (step.cut or self._is_sample(batch, index)):
                capture = self.backbone.capture(
                    self.backbone.prepare(batch.rgb[index : index + 1]),
                    self.method.needs_gradients,
                    self.start_layer,
                )
                grids[index] = self.method.maps(capture)[0].cpu().numpy()
            if self.detector and duty and duty[index] == "detect":
                detections[index] = self.detector.detect(batch.rgb[index : index + 1])[0]
            elif duty and duty[index] == "repeat":
                same_as[index] = batch.first_index + index - every
        return Inferred(found, grids, detections, same_as)

    def _is_sample(self, batch: FrameBatch, index: int) -> bool:
        """A frame is sampled when a tick of ``sample_fps`` falls on it, or lies between it and the frame before."""
        if (batch.first_index + index) % _LONGEST_WAIT == 0:
            return True
        before_pts = batch.pts[index - 1] if index else batch.before_pts
        if before_pts is None:
            return True
        ticks = [
            floor(float((pts - batch.layout.start_pts) * batch.layout.time_base) * self.options.sample_fps + 1e-6)
            for pts in (before_pts, batch.pts[index])
        ]
        return ticks[0] != ticks[1]

    # -- in order ----------------------------------------------------------------------------------------------------

    def commit(self, batch: FrameBatch, inferred: Inferred) -> list[FrameBatch]:
        """Queue the frames and give back those whose maps and boxes are known."""
        for index, step in enumerate(inferred.steps):
            item = Pending(
                batch.slice(index, index + 1),
                step,
                inferred.grids.get(index),
                inferred.detections.get(index),
                inferred.same_as.get(index),
            )
            self.waiting.append(item)
            if item.grid is not None:
                self.samples.append(item.index)
            self.boxes.track(item)
        return self._release(ended=False)

    def flush(self) -> list[FrameBatch]:
        """Give back what still waits: the last map is carried forward, the last boxes stay."""
        return self._release(ended=True)

    def _release(self, *, ended: bool) -> list[FrameBatch]:
        if self.backbone:
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
        return item.tracks is not None and (item.field is not None or not self.backbone)

    def _finish(self, item: Pending) -> FrameBatch:
        """Smooth, measure and draw one frame."""
        field, flicker = None, (0.0, 0.0)
        if item.field is not None:
            field, *both = self.smoother.update(item.field, item.step, item.time)
            flicker = (both[0], both[1])
        tracks = self.paths.update(item.tracks or [], item.time, cut=item.step.cut)
        table = None if field is None else cumulative(field)
        shares = [(track, None if table is None else share(table, track.box, self.frame)) for track in tracks]
        drawn = self.picture.draw(item.frame.rgb[0], field, shares, self.paths.trails())
        data = row(item.index, item.time, field, flicker, shares, cut=item.step.cut)
        return item.frame.replace(rgb=drawn[None], rows=[data])

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The state after the last commit; the tracker is rebuilt from it, just as a resume rebuilds it."""
        state = {
            "released": self.released,
            "boxes": self.boxes.snapshot(),
            "smoother": self.smoother.snapshot(),
            "paths": self.paths.snapshot(),
        }
        self._take(json.loads(json.dumps(state)))
        return Snapshot(state, self._replay_from())

    def _replay_from(self) -> int | None:
        """The first frame needed again: the sample whose map the first waiting frame's own is made of."""
        if not self.waiting:
            return None
        first = self.waiting[0].index
        while len(self.samples) > 1 and self.samples[1] <= first:
            self.samples.popleft()
        return min(first, self.samples[0]) if self.samples else first

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.released = state["released"]
        self._take(state)

    def _take(self, state: dict[str, Any]) -> None:
        self.boxes.restore(state["boxes"])
        self.smoother.restore(state["smoother"])
        self.paths.restore(state["paths"])

    def report(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Entropy, shares per class and track, flicker and cuts; with what they were made with."""
        made_with: dict[str, Any] = {}
        if self.backbone:
            made_with = {**self.options.model_dump(include={"method", "backbone"}), "start_layer": self.start_layer}
        if self.method and self.method.needs_gradients and self.backbone:
            from framelane.processors.attention.backbone import TARGET

            made_with["target"] = TARGET
        return {**made_with, **fold(rows)}

    def close(self) -> None:
        """Release the models."""
        self.backbone = self.detector = None
        self.waiting = deque()


def _note_model(name: str, context: Context) -> None:
    store.resolve(name, notify=context.warn)
    entry = catalog.get(name)
    context.models.append({"name": entry.name, "sha256": entry.sha256, "licence": entry.licence})
