"""Depth and boxes together: how far an object is, where it stands, how fast it comes, and when it would be here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from framelane.perception.lanes import Track
from framelane.perception.smoothing import theil_sen

Side = Literal["left", "centre", "right"]
MARGIN = 0.2
"""Share of a box's side that is left away on each side: a box holds ground and background along its border."""
_EDGE = 0.01  # share of the frame within which a box touches its border, so that its height is not the object's
_SAMPLES = 24  # of a track's past, at most; closer ones are left out
_LEAST_S, _FEWEST = 0.2, 4  # of the past that a slope needs
_GROWTH_S = 0.6  # of the past that a box's growth needs: detectors' boxes breathe
_SURE = 3.0  # times the spread around its line that a change must be, to be believed
_TALLEST_FAR = 0.12  # share of the frame's height; the growth of smaller boxes is their detector's
_SLOWEST = 0.1  # metres a second; slower is standing
_SOONEST_S = 0.05
_LEAST_GROWTH = 0.05  # share a second; a box that grows slower is not said to come nearer


@dataclass(frozen=True)
class Measured:
    """What is known of an object in one frame; None is what is not known, and never guessed.

    Attributes:
        track: the object.
        distance: metres along the camera's axis.
        nearness: of a relative model, 0 (far) to 1 (near) within the scene.
        side: of the picture, in thirds.
        angle: degrees from the camera's axis, right is positive; None without ``depth.fov``.
        closing: metres a second at which it comes nearer; negative where it goes.
        growth: share a second by which its box grows.
        ttc: seconds to collision if both go on like this.
    """

    track: Track
    distance: float | None
    nearness: float | None
    side: Side
    angle: float | None
    closing: float | None
    growth: float | None
    ttc: float | None

    @property
    def recedes(self) -> bool:
        """Whether it is known to go away."""
        if self.closing is not None:
            return self.closing < -_SLOWEST
        return self.distance is None and self.growth is not None and self.growth < -_LEAST_GROWTH / 2

    @property
    def comes(self) -> bool:
        """Whether it is known to come nearer."""
        return self.ttc is not None


def inside(depth: np.ndarray, box: tuple[float, float, float, float], frame: tuple[int, int]) -> np.ndarray:
    """The field in the middle of a box: :data:`MARGIN` of each side left away, at least one pixel; empty off the frame.

    Args:
        depth: field ``(h, w)``.
        box: x1, y1, x2, y2 in pixels of the frame.
        frame: (H, W).
    """
    x1, y1, x2, y2 = box
    left, right = max(0.0, x1), min(float(frame[1]), x2)
    top, bottom = max(0.0, y1), min(float(frame[0]), y2)
    if left >= right or top >= bottom:
        return depth[:0, :0]
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    columns = _pixels(left + across, right - across, depth.shape[1] / frame[1], depth.shape[1])
    rows = _pixels(top + down, bottom - down, depth.shape[0] / frame[0], depth.shape[0])
    return depth[rows, columns]


def _pixels(low: float, high: float, scale: float, count: int) -> slice:
    """The pixels whose centres lie within, or the one in the middle."""
    first, last = math.ceil(low * scale - 0.5), math.floor(high * scale - 0.5)
    if first > last:
        first = last = int((low + high) / 2 * scale)
    first = min(max(0, first), count - 1)
    return slice(first, min(max(first, last), count - 1) + 1)


def bearing(box: tuple[float, float, float, float], width: int, fov: float | None) -> tuple[Side, float | None]:
    """Where an object stands: the third of the picture that its middle lies in, and degrees where the lens is known.

    A pinhole camera: ``atan((2 x / W - 1) tan(fov / 2))`` (Hartley and Zisserman, *Multiple View Geometry*, 6.1).

    Args:
        box: x1, y1, x2, y2 in pixels.
        width: of the frame in pixels.
        fov: horizontal field of view in degrees, or None.
    """
    middle = min(1.0, max(-1.0, (box[0] + box[2]) / width - 1))
    side: Side = "left" if middle < -1 / 3 else "right" if middle > 1 / 3 else "centre"
    return side, None if fov is None else math.degrees(math.atan(middle * math.tan(math.radians(fov / 2))))


def slope(samples: list[tuple[float, float]]) -> float | None:
    """Change a second, see :func:`~framelane.perception.smoothing.theil_sen`.

    Args:
        samples: (seconds, value), oldest first.

    Returns:
        None where the past is too short.
    """
    if len(samples) < _FEWEST or samples[-1][0] - samples[0][0] < _LEAST_S - 1e-6:
        return None
    past = np.array(samples, np.float64)
    return float(theil_sen(past[:, 0], past[:, 1:])[0])


def is_sure(samples: list[tuple[float, float]], slope_: float, span: float) -> bool:
    """Whether a past is long enough, and changes by clearly more than it scatters around its line.

    Args:
        samples: (seconds, value), oldest first.
        slope_: :func:`slope` of it.
        span: seconds that it must cover.
    """
    time, value = np.array(samples, np.float64).T
    off = value - slope_ * time
    spread = 1.4826 * float(np.median(np.abs(off - np.median(off))))
    covered = float(time[-1] - time[0])
    return covered >= span - 1e-6 and abs(slope_) * covered > _SURE * spread


@dataclass
class Histories:
    """The recent past of every object, for speeds.

    Attributes:
        window: seconds of past.
        distances: per track (seconds, metres).
        heights: per track (seconds, logarithm of the box's height).
    """

    window: float
    distances: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    heights: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def note(self, track: Track, distance: float | None, time: float, frame: tuple[int, int]) -> None:
        """Add what is seen of a track; a box that touches the frame's border says nothing of its object's height."""
        if distance is not None:
            self._add(self.distances.setdefault(track.index, []), time, distance)
        _, y1, _, y2 = track.box
        edge = _EDGE * frame[0]
        if y1 > edge and y2 < frame[0] - edge and y2 - y1 > _TALLEST_FAR * frame[0]:
            self._add(self.heights.setdefault(track.index, []), time, math.log(y2 - y1))

    def _add(self, samples: list[tuple[float, float]], time: float, value: float) -> None:
        while samples and time - samples[0][0] > self.window:
            samples.pop(0)
        if len(samples) > 1 and samples[-1][0] - samples[-2][0] < self.window / _SAMPLES - 1e-6:
            samples.pop()  # the newest always counts; those behind it keep their distance
        samples.append((time, value))

    def closing(self, index: int) -> float | None:
        """Metres a second at which a track comes nearer."""
        found = slope(self.distances.get(index, []))
        return None if found is None else -found

    def growth(self, index: int) -> float | None:
        """Share a second by which its box grows; None where it is too small, or too unsteady, to tell."""
        samples = self.heights.get(index, [])
        found = slope(samples)
        return found if found is not None and is_sure(samples, found, _GROWTH_S) else None

    def age(self, index: int) -> float:
        """Seconds since the middle of the past that a box's growth is taken from."""
        samples = self.heights[index]
        return (samples[-1][0] - samples[0][0]) / 2

    def comes(self, index: int) -> bool:
        """Whether a track surely comes nearer, by its distances."""
        samples = self.distances.get(index, [])
        found = slope(samples)
        return found is not None and -found > _SLOWEST and is_sure(samples, found, _LEAST_S)

    def forget(self, time: float) -> None:
        """Drop tracks that were not seen for longer than the window."""
        for known in (self.distances, self.heights):
            for index in [i for i, samples in known.items() if time - samples[-1][0] > self.window]:
                del known[index]

    def clear(self) -> None:
        """At a cut."""
        self.distances, self.heights = {}, {}

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data; bounded by the objects of the last window."""
        return {
            name: [[i, [list(sample) for sample in samples]] for i, samples in getattr(self, name).items()]
            for name in ("distances", "heights")
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        for name in ("distances", "heights"):
            setattr(self, name, {i: [(float(t), float(v)) for t, v in samples] for i, samples in state[name]})


def measure(
    track: Track,
    depth: np.ndarray | None,
    histories: Histories,
    time: float,
    *,
    frame: tuple[int, int],
    kind: str | None,
    percentile: float,
    fov: float | None,
) -> Measured:
    """Everything that is known of an object.

    Time to collision is distance over closing speed; without a distance it is the box's height over its growth, which needs
    none (Lee, "A theory of visual control of braking", Perception 1976, equation 1).

    Args:
        track: the object.
        depth: the frame's field; None where there is no depth model.
        histories: its past; this frame is added to it.
        time: seconds from the clip's first frame.
        frame: (H, W).
        kind: ``"metric"``, ``"relative"`` or None.
        percentile: of the depth inside the box that is its distance.
        fov: see :func:`bearing`.
    """
    values = inside(depth, track.box, frame) if depth is not None else np.zeros(0)
    distance = nearness = None
    if values.size and kind == "metric":
        distance = float(np.percentile(values, percentile))
    elif values.size and kind == "relative":
        nearness = min(1.0, max(0.0, float(np.percentile(values, 100 - percentile))))
    histories.note(track, distance, time, frame)
    closing, growth = histories.closing(track.index), histories.growth(track.index)
    ttc = None
    if distance is not None:
        ttc = distance / closing if closing is not None and histories.comes(track.index) else None
    elif growth is not None and growth > _LEAST_GROWTH:
        # The growth is that of the window's middle; at an even speed the time that was left then has run on since.
        ttc = max(_SOONEST_S, 1 / growth - histories.age(track.index))
    side, angle = bearing(track.box, frame[1], fov)
    return Measured(track, distance, nearness, side, angle, closing, growth, ttc)
