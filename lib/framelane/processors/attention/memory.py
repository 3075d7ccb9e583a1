"""What the processor remembers from frame to frame: the smoothed map, the paths of objects, and who was just lost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from framelane.perception.arrays import follow, normalised_grid, pack, unpack
from framelane.perception.lanes import Track
from framelane.perception.motion import Step, normalised, warp

_AROUND = 5  # pixels of the field, less than a patch of the transformer


@dataclass
class Smoother:
    """Exponential smoothing along the motion; nothing survives a cut.

    The map of the frame before is first moved to where its pixels are now, and then clamped to the values that the new
    map has nearby (neighbourhood clamping of temporal anti-aliasing: Karis, "High-Quality Temporal Supersampling",
    SIGGRAPH 2014). Flow alone would leave a trail: what lies around an object, and the ground it uncovers, stands still.

    Attributes:
        time_constant: seconds after which a change has come through to 63 %; 0 smooths nothing.
        shown: the smoothed field of the last frame.
        raw: the field of the last frame as it came.
        time: seconds of the last frame.
    """

    time_constant: float
    shown: np.ndarray | None = None
    raw: np.ndarray | None = None
    time: float = 0.0

    def update(self, field_: np.ndarray, step: Step, time: float) -> tuple[np.ndarray, float, float]:
        """The next frame's field, smoothed.

        Returns:
            The smoothed field, and the flicker before and after smoothing: half the sum of absolute changes that the
            motion does not explain, 0 to 1.
        """
        if step.cut or step.back is None or self.shown is None or self.raw is None:
            self.shown, self.raw, self.time = field_, field_, time
            return field_, 0.0, 0.0
        was_raw, was_shown = normalised(warp(self.raw, step.back)), normalised(warp(self.shown, step.back))
        keep = math.exp(-(time - self.time) / self.time_constant) if self.time_constant > 0 else 0.0
        shown = normalised(keep * clamped(was_shown, field_) + (1 - keep) * field_)
        flicker = (0.5 * float(np.abs(field_ - was_raw).sum()), 0.5 * float(np.abs(shown - was_shown).sum()))
        self.shown, self.raw, self.time = shown, field_, time
        return shown, *flicker

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data: two fields of thumbnail size."""
        return {"shown": pack(self.shown), "raw": pack(self.raw), "time": self.time}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.shown, self.raw, self.time = unpack(state["shown"]), unpack(state["raw"]), state["time"]


def clamped(history: np.ndarray, field_: np.ndarray) -> np.ndarray:
    """``history`` held between the least and the greatest value that ``field_`` has around each place."""
    import cv2

    around = np.ones((_AROUND, _AROUND), np.uint8)
    return np.asarray(np.clip(history, cv2.erode(field_, around), cv2.dilate(field_, around)))


@dataclass
class ObjectMaps:
    """Each object's own attention, smoothed exponentially while it follows the object's box; nothing survives a cut.

    Attributes:
        time_constant: seconds after which a change has come through to 63 %; 0 smooths nothing.
        frame: (height, width) in pixels.
        last: per object (time, track) when it was last seen, with its smoothed map.
    """

    time_constant: float
    frame: tuple[int, int]
    last: dict[int, tuple[float, Track]] = field(default_factory=dict)

    def update(self, tracks: list[Track], time: float, *, cut: bool) -> list[Track]:
        """The tracks of the next frame with smoothed maps; those without a map stay as they are."""
        if cut:
            self.last = {}
        smoothed = [self._smooth(track, time) for track in tracks]
        self.last = {track.index: (time, track) for track in smoothed if track.attention is not None}
        return smoothed

    def _smooth(self, track: Track, time: float) -> Track:
        if track.attention is None or track.index not in self.last:
            return track
        when, before = self.last[track.index]
        keep = math.exp(-(time - when) / self.time_constant) if self.time_constant > 0 else 0.0
        assert before.attention is not None
        moved = follow(before.attention, before.box, track.box, self.frame)
        return replace(track, attention=normalised_grid(keep * moved + (1 - keep) * track.attention))

    def snapshot(self) -> list[Any]:
        """The state as plain data; its size is bounded by the objects of one frame."""
        return [[when, track.to_json()] for when, track in self.last.values()]

    def restore(self, state: list[Any]) -> None:
        """Take over a snapshot."""
        tracks = [(when, Track.from_json(data)) for when, data in state]
        self.last = {track.index: (when, track) for when, track in tracks}


@dataclass
class Paths:
    """Where objects were, for trails, and who was seen a moment ago, for short gaps.

    Attributes:
        trail_s: seconds of path kept.
        gap_s: seconds that an unseen object stays.
        frame: (height, width) in pixels.
        points: per object (time, x, y) of its ground point.
        last: per object (time, track) when it was last seen.
        speed: per object pixels per second (x, y) of its box's centre when it was last seen.
    """

    trail_s: float
    gap_s: float
    frame: tuple[int, int]
    points: dict[int, list[tuple[float, float, float]]] = field(default_factory=dict)
    last: dict[int, tuple[float, Track]] = field(default_factory=dict)
    speed: dict[int, tuple[float, float]] = field(default_factory=dict)

    def update(self, tracks: list[Track], time: float, *, cut: bool) -> list[Track]:
        """Note a frame's tracks.

        Returns:
            The tracks, and those lost a moment ago, moved on at their last speed and fading (``seen`` below 1).
        """
        if cut:
            self.points, self.last, self.speed = {}, {}, {}
        for track in tracks:
            self._note(track, time)
        here = {track.index for track in tracks}
        ghosts = [self._ghost(i, time) for i, (when, _) in self.last.items() if i not in here and when < time]
        for ghost in ghosts:
            self._point(ghost, time)
        self._forget(time)
        return tracks + [ghost for ghost in ghosts if ghost.seen > 0]

    def trails(self) -> dict[int, list[tuple[float, float]]]:
        """Per object its path, (x, y) in pixels, oldest first."""
        return {i: [(x, y) for _, x, y in points] for i, points in self.points.items()} if self.trail_s else {}

    def _note(self, track: Track, time: float) -> None:
        before = self.last.get(track.index)
        if before and time > before[0]:
            moved = [_centre(track.box)[k] - _centre(before[1].box)[k] for k in (0, 1)]
            new = [m / (time - before[0]) for m in moved]
            old = self.speed.get(track.index, (new[0], new[1]))
            self.speed[track.index] = (0.7 * old[0] + 0.3 * new[0], 0.7 * old[1] + 0.3 * new[1])
        self.last[track.index] = (time, track)
        self._point(track, time)

    def _point(self, track: Track, time: float) -> None:
        x1, _, x2, y2 = track.box
        self.points.setdefault(track.index, []).append((time, (x1 + x2) / 2, y2))

    def _ghost(self, index: int, time: float) -> Track:
        when, track = self.last[index]
        gone = time - when
        sx, sy = self.speed.get(index, (0.0, 0.0))
        x1, y1, x2, y2 = track.box
        left = 1 - gone / self.gap_s if self.gap_s > 0 else 0.0
        box = (x1 + sx * gone, y1 + sy * gone, x2 + sx * gone, y2 + sy * gone)
        attention = None if track.attention is None else follow(track.attention, track.box, box, self.frame)
        return replace(track, box=box, seen=max(0.0, left), attention=attention)

    def _forget(self, time: float) -> None:
        kept = {i for i, (when, _) in self.last.items() if time - when <= self.gap_s}
        self.last = {i: seen for i, seen in self.last.items() if i in kept}
        self.speed = {i: speed for i, speed in self.speed.items() if i in kept}
        self.points = {
            i: [p for p in points if time - p[0] <= self.trail_s] for i, points in self.points.items() if i in kept
        }

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data."""
        return {
            "points": [[i, [list(p) for p in points]] for i, points in self.points.items()],
            "last": [[i, when, track.to_json()] for i, (when, track) in self.last.items()],
            "speed": [[i, list(speed)] for i, speed in self.speed.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.points = {i: [tuple(p) for p in points] for i, points in state["points"]}
        self.last = {i: (when, Track.from_json(track)) for i, when, track in state["last"]}
        self.speed = {i: tuple(speed) for i, speed in state["speed"]}


def _centre(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
