"""From sparse results (maps at samples, boxes at detections) to a map and boxes for every frame, offline.

Frames wait in order until the results around them are known. Both lanes work frame by frame, so what comes out does not
depend on how the input is cut into batches.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.perception.arrays import follow, normalised_grid, pack, unpack
from framelane.perception.camera import Motion, compose, from_json, to_json
from framelane.perception.detectors import Family, family_of
from framelane.perception.motion import Step, between, to_field
from framelane.perception.schedule import Given
from framelane.perception.waiting import Held

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
        attention: its own attention over the frame, float32 ``(gh, gw)`` summing to 1; None where the detector has none.
    """

    index: int
    name: str
    box: tuple[float, float, float, float]
    score: float
    seen: float = 1.0
    attention: np.ndarray | None = field(default=None, compare=False)

    @property
    def family(self) -> Family:
        """The class family, which decides the colour."""
        return family_of(self.name)

    def to_json(self) -> list[Any]:
        """As plain data."""
        own = [] if self.attention is None else [pack(self.attention, "float16")]
        return [self.index, self.name, list(self.box), self.score, *own]

    @classmethod
    def from_json(cls, data: list[Any]) -> Track:
        """The inverse of :meth:`to_json`."""
        return cls(data[0], data[1], tuple(data[2]), data[3], attention=unpack(data[4]) if len(data) > 4 else None)


@dataclass(frozen=True)
class Seen:
    """What a backbone says of a sampled frame.

    Attributes:
        grid: its map, float32 ``(gh, gw)``, of any scale; of a video backbone its sum is the frame's moment.
        action: the most likely class and its probability; None for image backbones.
    """

    grid: np.ndarray
    action: tuple[str, float] | None = None


@dataclass
class Pending(Held):
    """A frame on its way through the lanes.

    Attributes:
        step: how it relates to the frame before.
        sampled: a map is, or will be, computed here.
        detections: what was detected here; None between detections.
        seen: what the backbone says of a sampled frame, once known.
        same_as: index of an earlier frame, if a detector would find here what it found there; None if it would not.
        field: its own map, once known.
        moment: how much of the attention of its windows falls on it, 1 is its even share; None for image backbones.
        action: the most likely class and its probability; None for image backbones.
        tracks: its own boxes, once known.
    """

    step: Step
    sampled: bool
    detections: supervision.Detections | None
    same_as: int | None = None
    seen: Seen | None = None
    field: np.ndarray | None = None
    moment: float | None = None
    action: tuple[str, float] | None = None
    tracks: list[Track] | None = None


def fill_maps(waiting: deque[Pending], *, ended: bool) -> None:
    """Give a field to every frame whose next sample is known; at the end of the clip to all.

    Args:
        waiting: frames in order; the first without a field is a sampled one.
        ended: no more frames will come.
    """
    open_ = [item for item in waiting if item.field is None]
    while open_ and open_[0].seen is not None:
        stop = next((i for i, item in enumerate(open_) if i and item.sampled), None)
        if stop is None and not ended:
            return
        group, following = open_[:stop], None if stop is None or open_[stop].step.cut else open_[stop]
        if following is not None and following.seen is None:
            return
        _fill(group, following)
        open_ = open_[len(group) :]


def _fill(group: list[Pending], following: Pending | None) -> None:
    """Fields of a sampled frame and of those up to the next sampled one, which is None where nothing leads to it."""
    seen, size = group[0].seen, group[0].step.size
    assert seen is not None
    steps = [item.step for item in group[1:]]
    ahead, there = None, seen
    if following is not None and following.seen is not None:
        there = following.seen
        ahead = to_field(there.grid, size)
        steps.append(following.step)
    fields = between((to_field(seen.grid, size), ahead), steps)
    for place, (item, found) in enumerate(zip(group, fields, strict=True)):
        item.field = found
        if seen.action is not None:
            near = place / len(group)
            item.moment = (1 - near) * float(seen.grid.sum()) + near * float(there.grid.sum())
            item.action = seen.action


@dataclass
class BoxLane:
    """Tracks at detections, interpolated between them.

    Attributes:
        tracker: gives lasting ids.
        frame: (height, width) in pixels.
        tracked: tracks at detected frames, by frame index: the last one that may still be interpolated from, and later.
        until: index of the last frame looked at.
        camera: the camera's motion since the frame that was last given to the tracker.
        given: what the tracker was given last, of this scene: at the last turn, and at the frame after a cut.
    """

    tracker: Tracker
    frame: tuple[int, int]
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
        # Rounded as a snapshot rounds them, so that frames that wait see the same maps before and after a resume.
        own = [unpack(pack(grid, "float16")) for grid in answer.data.get("attention", [None] * len(answer))]
        rows = zip(answer.tracker_id, names, answer.xyxy, answer.confidence, own, strict=True)
        self.tracked[item.index] = [
            Track(int(i), str(name), tuple(float(v) for v in box), float(score), attention=attention)  # type: ignore[arg-type]
            for i, name, box, score, attention in rows
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
        here = [_blend(track, ahead.pop(track.index, None), near, self.frame) for track in self.tracked[before]]
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
            "given": [[old.index, old.rows, old.maps] for old in self.given],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.tracker.restore(state["tracker"])
        self.tracked = {i: [Track.from_json(track) for track in tracks] for i, tracks in state["tracked"]}
        self.until, self.camera = state["until"], from_json(state["camera"])
        self.given = [Given(*old) for old in state["given"]]


def _blend(track: Track, ahead: Track | None, near: float, frame: tuple[int, int]) -> Track:
    if ahead is None:
        return track
    x1, y1, x2, y2 = ((1 - near) * a + near * b for a, b in zip(track.box, ahead.box, strict=True))
    box = (x1, y1, x2, y2)
    if track.attention is None or ahead.attention is None:
        return replace(track, box=box)
    both = follow(track.attention, track.box, box, frame), follow(ahead.attention, ahead.box, box, frame)
    return replace(track, box=box, attention=normalised_grid((1 - near) * both[0] + near * both[1]))
