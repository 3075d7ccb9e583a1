"""Pose: the skeleton of every person, tracked, smoothed, drawn; and as tables."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framelane.perception.motion import Step, bare_steps, steps
from framelane.perception.schedule import duties, history
from framelane.perception.waiting import Waiting
from framelane.processors.base import Context, OutputSpec, Processor, Snapshot
from framelane.processors.pose import tables
from framelane.processors.pose.figures import Fold, row
from framelane.processors.pose.lane import Lane
from framelane.processors.pose.picture import Picture
from framelane.processors.pose.sources import open_estimator
from framelane.sections.pose import PoseSettings
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch

_RAREST = 10  # frames between two looks; beyond that nothing can be interpolated


@dataclass(frozen=True)
class Inferred:
    """What was found in a frame batch, by position in it.

    Attributes:
        steps: how each frame relates to the one before.
        people: ``supervision.Detections`` with joints, at frames that were looked at.
        same_as: at frames where nothing has changed since a frame looked at, the index in the clip of that one.
    """

    steps: list[Step]
    people: dict[int, Any]
    same_as: dict[int, int]


class Pose(Processor):
    """The ``pose`` processor; see ``pose.*`` in the settings.

    Poses are found in :meth:`infer`. Frames then wait for ``ahead`` later ones: with them a joint is smoothed without
    lag, a person is known from the first frame on, and what is hidden for a moment is bridged.
    """

    name = "pose"
    version = 2
    scalable = False  # joints are written in the clip's own pixels; and the model sees a small picture in any case
    exports = (".coco.json", ".joints.csv")

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Load the model."""
        self.options: PoseSettings = context.settings.pose
        options = self.options
        self.estimator = open_estimator(context)
        rate = max(float(clip.rate), 1.0)
        self.every = max(options.every, min(options.every * context.settings.hardware.stride, _RAREST))
        self.history = history(self.every)
        self.lane = Lane(options, rate=rate, every=self.every)
        self.picture = Picture(options, clip.display_size[::-1], self.estimator.name)
        self.waiting: deque[Waiting] = deque()
        self.scene, self.released = 0, -1
        return OutputSpec(touches=True)

    # -- pure --------------------------------------------------------------------------------------------------------

    def infer(self, batch: FrameBatch) -> Inferred:
        """Cuts, and poses on the frames whose turn it is. A model sees one frame at a time."""
        threshold = self.options.cut_threshold
        wants_camera = self.lane.tracks.tracker.wants_camera
        found = steps(batch, threshold, camera=True) if wants_camera else bare_steps(batch, threshold)
        people, same_as = {}, {}
        for index, duty in enumerate(duties(batch, found, self.every, threshold)):
            if duty == "detect":
                people[index] = self.estimator.find(batch.rgb[index : index + 1])[0]
            elif duty == "repeat":
                same_as[index] = batch.first_index + index - self.every
        return Inferred(found, people, same_as)

    # -- in order ----------------------------------------------------------------------------------------------------

    def commit(self, batch: FrameBatch, inferred: Inferred) -> list[FrameBatch]:
        """Queue the frames and give back those that enough later ones are known of."""
        for place, step in enumerate(inferred.steps):
            frame = batch.alone(place)
            self.scene = frame.first_index if step.cut else self.scene
            item = Waiting(frame, self.scene)
            self.waiting.append(item)
            self.lane.give(
                item.index,
                item.time,
                item.scene,
                inferred.people.get(place),
                same_as=inferred.same_as.get(place),
                camera=step.camera,
            )
        return self._release(ended=False)

    def flush(self) -> list[FrameBatch]:
        """Give back what still waits."""
        self.lane.end()
        return self._release(ended=True)

    def _release(self, *, ended: bool) -> list[FrameBatch]:
        newest = self.waiting[-1].index if self.waiting else -1
        done = []
        while self.waiting and (ended or self.waiting[0].index + self.lane.ahead <= newest):
            item = self.waiting.popleft()
            done.append(self._finish(item))
            self.released = item.index
        return done

    def _finish(self, item: Waiting) -> FrameBatch:
        """Fill, smooth, draw and note one frame."""
        people = self.lane.take(item.index, item.time, item.scene)
        drawn = self.picture.draw(item.frame.rgb[0], people)
        return item.frame.replace(
            rgb=drawn[None], rows=[row(item.index, item.time, people, cut=item.index == item.scene)]
        )

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The state after the last commit; the tracker is rebuilt from it, just as a resume rebuilds it."""
        state = {
            "released": self.released,
            "scene": self.waiting[0].scene if self.waiting else self.scene,
            "lane": self.lane.snapshot(),
        }
        self.lane.restore(json.loads(json.dumps(state["lane"])))
        return Snapshot(state, self.waiting[0].index if self.waiting else None)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.released, self.scene = state["released"], state["scene"]
        self.lane.restore(state["lane"])

    # -- results -----------------------------------------------------------------------------------------------------

    def report(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Per track: how long and how well seen, how fast, how bent; and with what it was made."""
        return {
            "model": self.estimator.name,
            "looked_every": self.every,
            "smoothing": self.options.smoothing,
            **Fold().over(rows),
        }

    def export(self, suffix: str, rows: Iterable[dict[str, Any]], path: Path) -> None:
        """COCO keypoint results, or one line per joint."""
        if suffix == ".coco.json":
            tables.write_coco(rows, path)
        else:
            tables.write_joints(rows, path, self.options.layout)

    def close(self) -> None:
        """Release the model."""
        self.__dict__.pop("estimator", None)
        self.waiting = deque()
