"""From sparse results (maps at samples, boxes at detections) to a map and boxes for every frame, offline.

Frames wait in order until the results around them are known. Both lanes work frame by frame, so what comes out does not
depend on how the input is cut into batches.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.perception.camera import Motion, compose, from_json, to_json
from framelane.perception.detectors import Family, family_of
from framelane.processors.attention.motion import Step, between, to_field
from framelane.processors.attention.schedule import Given
from framelane.video.frames import FrameBatch

if TYPE_CHECKING:
    import supervision

    from framelane.perception.trackers import Tracker


@dataclass(frozen=True)
class Track:
    """One tracked object in one frame.

    Attributes:
        index: the object's lasting id, from 1.
        name: COCO class name.
        box: x1, y1, x2, y2 in pixels of the displayed frame.
        score: confidence of the detection it rests on, 0 to 1.
        seen: 1 where it is seen or interpolated; falls to 0 while it is only remembered.
    """

    index: int
    name: str
    box: tuple[float, float, float, float]
    score: float
    seen: float = 1.0

    @property
    def family(self) -> Family:
        """The class family, which decides the colour."""
        return family_of(self.name)

    def to_json(self) -> list[Any]:
        """As plain data."""
        return [self.index, self.name, list(self.box), self.score]

    @classmethod
    def from_json(cls, data: list[Any]) -> Track:
        """The inverse of :meth:`to_json`."""
        return cls(data[0], data[1], tuple(data[2]), data[3])


@dataclass
class Pending:
    """A frame on its way through the lanes.

    Attributes:
        frame: a frame batch of one.
        step: how it relates to the frame before.
        grid: the map sampled here, ``(gh, gw)``; None between samples.
        detections: what was detected here; None between detections.
        same_as: index of an earlier frame, if a detector would find here what it found there; None if it would not.
        field: its own map, once known.
        tracks: its own boxes, once known.
    """

    frame: FrameBatch
    step: Step
    grid: np.ndarray | None
    detections: supervision.Detections | None
    same_as: int | None = None
    field: np.ndarray | None = None
    tracks: list[Track] | None = None

    @property
    def index(self) -> int:
        """Index of the frame in the clip."""
        return self.frame.first_index

    @property
    def time(self) -> float:
        """Seconds from the clip's first frame."""
        return self.frame.times[0]


def fill_maps(waiting: deque[Pending], *, ended: bool) -> None:
    """Give a field to every frame whose next sample is known; at the end of the clip to all.

    Args:
        waiting: frames in order; the first without a field is a sampled one.
        ended: no more frames will come.
    """
    open_ = [item for item in waiting if item.field is None]
    while open_:
        stop = next((i for i, item in enumerate(open_) if i and item.grid is not None), None)
        if stop is None and not ended:
            return
        group, following = open_[:stop], None if stop is None else open_[stop]
        grid = group[0].grid
        assert grid is not None
        size = group[0].step.size
        steps = [item.step for item in group[1:]]
        ahead = None
        if following is not None and not following.step.cut and following.grid is not None:
            ahead = to_field(following.grid, size)
            steps.append(following.step)
        for item, found in zip(group, between((to_field(grid, size), ahead), steps), strict=True):
            item.field = found
        open_ = open_[len(group) :]


@dataclass
class BoxLane:
    """Tracks at detections, interpolated between them.

    Attributes:
        tracker: gives lasting ids.
        tracked: tracks at detected frames, by frame index: the last one that may still be interpolated from, and later.
        until: index of the last frame looked at.
        camera: the camera's motion since the frame that was last given to the tracker.
        given: what the tracker was given last, of this scene: at the last turn, and at the frame after a cut.
    """

    tracker: Tracker
    tracked: dict[int, list[Track]] = field(default_factory=dict)
    until: int = -1
    camera: Motion | None = None
    given: list[Given] = field(default_factory=list)

    def track(self, item: Pending) -> None:
        """Give a frame's detections to the tracker, once; a replayed frame keeps the answer of the first time."""
        if item.index <= self.until:
            return
        self.until = item.index
        self.camera = compose(self.camera, item.step.camera)
        if item.step.cut:
            self.camera, self.given = None, []
            self.tracker.forget()
        detections = item.detections
        if detections is None:
            detections = next((old.detections() for old in self.given if old.index == item.same_as), None)
        if detections is None:
            return
        answer = self.tracker.update(detections, item.time, self.camera)
        self.camera, self.given = None, [*self.given[-1:], Given.of(item.index, detections)]
        names = answer.data.get("class_name", ())
        self.tracked[item.index] = [
            Track(int(i), str(name), tuple(float(v) for v in box), float(score))  # type: ignore[arg-type]
            for i, name, box, score in zip(answer.tracker_id, names, answer.xyxy, answer.confidence, strict=True)
        ]

    def fill(self, waiting: deque[Pending], *, ended: bool) -> None:
        """Give boxes to every frame whose next detection is known; at the end of the clip to all."""
        known = sorted(self.tracked)
        cuts = {item.index for item in waiting if item.step.cut}
        for item in waiting:
            if item.tracks is not None:
                continue
            before = next((i for i in reversed(known) if i <= item.index), None)
            after = next((i for i in known if i >= item.index), None)
            if after is None and not ended:
                return
            item.tracks = self._at(item.index, before, None if after in cuts and after != item.index else after)

    def _at(self, index: int, before: int | None, after: int | None) -> list[Track]:
        if before is None or index == before:
            return self.tracked[before] if before is not None else []
        if after is None:
            return self.tracked[before]
        near = (index - before) / (after - before)
        ahead = {track.index: track for track in self.tracked[after]}
        here = [_blend(track, ahead.pop(track.index, None), near) for track in self.tracked[before]]
        # A track needs two detections to be believed, so a new one was there already: it fades in.
        return here + [replace(track, seen=near) for track in ahead.values()]

    def forget_before(self, index: int) -> None:
        """Drop what no frame from ``index`` on needs."""
        oldest = max((i for i in self.tracked if i <= index), default=0)
        self.tracked = {i: tracks for i, tracks in self.tracked.items() if i >= oldest}

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data."""
        return {
            "tracker": self.tracker.snapshot(),
            "tracked": [[i, [track.to_json() for track in tracks]] for i, tracks in self.tracked.items()],
            "until": self.until,
            "camera": to_json(self.camera),
            "given": [[old.index, old.rows] for old in self.given],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.tracker.restore(state["tracker"])
        self.tracked = {i: [Track.from_json(track) for track in tracks] for i, tracks in state["tracked"]}
        self.until, self.camera = state["until"], from_json(state["camera"])
        self.given = [Given(index, rows) for index, rows in state["given"]]


def _blend(track: Track, ahead: Track | None, near: float) -> Track:
    if ahead is None:
        return track
    x1, y1, x2, y2 = ((1 - near) * a + near * b for a, b in zip(track.box, ahead.box, strict=True))
    return replace(track, box=(x1, y1, x2, y2))
