"""Figures of the poses: a row a frame, folded into the report's metrics in one pass and bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framelane.perception.pose_tracks import Person
from framelane.perception.skeleton import COCO17

ANGLES = {
    f"{side}_{name}": tuple(COCO17.index(f"{side}_{joint}") for joint in joints)
    for side in ("left", "right")
    for name, joints in {
        "knee": ("hip", "knee", "ankle"),
        "elbow": ("shoulder", "elbow", "wrist"),
        "hip": ("shoulder", "hip", "knee"),
    }.items()
}
"""The angles that are reported, at the middle one of three joints; 180 degrees is stretched."""

_HIPS = [COCO17.index("left_hip"), COCO17.index("right_hip")]
_SPEED_S = 0.5  # a speed is measured over at least so long: what jitters by a pixel a frame does not run
_MOST = 512  # numbers kept per track for a percentile
_TALL = 90  # percentile of a person's extent taken for the height: one who bends is not smaller
_CURVE = 120


def row(index: int, time: float, people: Sequence[Person], *, cut: bool) -> dict[str, Any]:
    """What is written of a frame.

    Args:
        index: of the frame in the clip.
        time: seconds from the clip's first frame.
        people: everybody in it.
        cut: True at a cut.
    """
    return {
        "frame": index,
        "time": round(time, 4),
        "cut": cut,
        "people": [
            {
                "id": person.track,
                "score": round(person.score, 4),
                "joints": [[round(x, 2), round(y, 2), round(s, 3), int(b)] for x, y, s, b in person.joints.tolist()],
            }
            for person in people
        ],
    }


def angle(one: NDArray[np.float64], at: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The angle in degrees, 0 to 180, at ``at`` between two other points, each (2,), as it lies in the picture.

    Example:
        >>> round(angle(np.array([1.0, 0.0]), np.zeros(2), np.array([0.0, 2.0])))
        90
    """
    a, b = one - at, other - at
    return float(np.degrees(np.arctan2(abs(a[0] * b[1] - a[1] * b[0]), float(a @ b))))


@dataclass
class _Thinned:
    """Numbers in bounded memory: every time it is full, every other one goes."""

    most: int
    values: list[Any] = field(default_factory=list)
    every: int = 1
    skipped: int = 0

    def add(self, value: Any) -> None:
        self.skipped += 1
        if self.skipped < self.every:
            return
        self.skipped = 0
        self.values.append(value)
        if len(self.values) >= 2 * self.most:
            self.values, self.every = self.values[::2], 2 * self.every


@dataclass
class _Range:
    """Smallest, mean and largest of a series."""

    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.total, self.count = self.total + value, self.count + 1

    def to_json(self) -> dict[str, float] | None:
        if not self.count:
            return None
        return {"min": round(self.low, 1), "mean": round(self.total / self.count, 1), "max": round(self.high, 1)}


@dataclass
class _Track:
    """What is kept of one person."""

    first: float
    last: float
    frames: int = 0
    joints_seen: int = 0
    joints_bridged: int = 0
    heights: _Thinned = field(default_factory=lambda: _Thinned(_MOST))
    speeds: _Thinned = field(default_factory=lambda: _Thinned(_MOST))
    curve: _Thinned = field(default_factory=lambda: _Thinned(_CURVE))
    path: deque[tuple[float, NDArray[np.float64]]] = field(default_factory=deque)
    angles: dict[str, _Range] = field(default_factory=lambda: {name: _Range() for name in ANGLES})

    def add(self, joints: NDArray[np.float64], time: float) -> None:
        """One frame's joints, (17, 4)."""
        self.last, self.frames = time, self.frames + 1
        there = joints[:, 2] > 0
        seen = there & (joints[:, 3] == 0)
        self.joints_seen += int(seen.sum())
        self.joints_bridged += int((there & ~seen).sum())
        if there.sum() >= 8:
            points = joints[there, :2]
            self.heights.add(float((points.max(axis=0) - points.min(axis=0)).max()))
        for name, places in ANGLES.items():
            if seen[list(places)].all():
                self.angles[name].add(angle(*(joints[place, :2] for place in places)))
        if there[_HIPS].all():
            self._move(joints[_HIPS, :2].mean(axis=0), time)
        else:
            self.path.clear()

    def _move(self, hips: NDArray[np.float64], time: float) -> None:
        if self.path and time - self.path[-1][0] > _SPEED_S:  # away for a while: nobody knows by which way
            self.path.clear()
        self.path.append((time, hips))
        while len(self.path) > 2 and time - self.path[1][0] >= _SPEED_S:
            self.path.popleft()
        span = time - self.path[0][0]
        if span >= _SPEED_S - 1e-6:
            speed = float(np.linalg.norm(hips - self.path[0][1])) / span
            self.speeds.add(speed)
            self.curve.add((time, speed))

    def to_json(self, index: int, frames: int) -> dict[str, Any]:
        height = float(np.percentile(self.heights.values, _TALL)) if self.heights.values else None
        speeds = self.speeds.values
        mean, top = (float(np.mean(speeds)), float(np.max(speeds))) if speeds else (None, None)
        return {
            "id": index,
            "first_s": self.first,
            "last_s": self.last,
            "frames": self.frames,
            "share_of_clip": round(self.frames / frames, 4),
            "joints_seen": round(self.joints_seen / (17 * self.frames), 4),
            "joints_bridged": round(self.joints_bridged / (17 * self.frames), 4),
            "height_px": None if height is None else round(height, 1),
            "speed_px_s": {"mean": _rounded(mean), "max": _rounded(top)},
            "speed_heights_s": {"mean": _rounded(_by(mean, height)), "max": _rounded(_by(top, height))},
            "angles_deg": {name: found.to_json() for name, found in self.angles.items()},
            "speed_over_time": [[time, round(speed, 1)] for time, speed in self.curve.values],
        }


def _by(value: float | None, height: float | None) -> float | None:
    return None if value is None or not height else value / height


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


class Fold:
    """The report's metrics, from the rows of all frames."""

    def __init__(self) -> None:
        self.tracks: dict[int, _Track] = {}

    def over(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Fold.

        Returns:
            ``frames``, ``people_per_frame`` (mean), ``most_people`` (in one frame), ``cuts`` (times), and per track in
            ``tracks``: first and last second, frames, the share of the clip in which it is there, of its joints the shares
            seen and bridged, the height in pixels, the speed of the hips in the picture (pixels and body heights a second,
            measured over half a second), and of every angle of :data:`ANGLES` min, mean and max where its joints were seen.
        """
        frames = total = most = 0
        cuts: list[float] = []
        for data in rows:
            frames += 1
            total, most = total + len(data["people"]), max(most, len(data["people"]))
            if data["cut"] and data["frame"] > 0:
                cuts.append(data["time"])
            for person in data["people"]:
                known = self.tracks.setdefault(person["id"], _Track(data["time"], data["time"]))
                known.add(np.array(person["joints"], np.float64), data["time"])
        return {
            "frames": frames,
            "people_per_frame": round(total / frames, 3) if frames else 0.0,
            "most_people": most,
            "cuts": cuts,
            "tracks": [track.to_json(index, frames) for index, track in sorted(self.tracks.items())],
        }
