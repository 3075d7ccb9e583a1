"""From depth on every N-th frame to depth on every frame: steady in time, carried along the motion.

A depth field is float32 ``(h, w)`` that covers the displayed frame: metres (metric), or inverse depth from about 0 to 1
(relative). Frames wait until the depth frame after them is known; a frame between two is the mean of both, each carried
to it along the optical flow, weighed by nearness in time. At a cut everything begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from framelane.perception.arrays import pack, unpack
from framelane.perception.depths import Kind
from framelane.perception.motion import Step, compose, warp

LONG_SIDE = 384
"""Pixels of a field's longer side: twice the flow's, so that edges stay sharper than what carries them."""
_STILL, _STILL_RATE = 0.3, 2.5  # pixels of the flow since the depth frame before, at most; and a second: what moves
# less stands still. Without the second, a walking camera's far wall would stand still from one frame to the next.
_FEWEST = 0.4  # share of the picture that must stand still: else the camera moves, and what is still is just far away
_LARGEST = 0.2  # a change of scale beyond this share is no flicker of the model and is left alone
_APART = {"metric": 1.0, "relative": 0.12}
"""Where both ways disagree by more (share of the nearer depth; inverse depth) one saw something else; the nearer in time
counts. Metric: twice as far. What comes is far nearer from one depth frame to the next, too, and its mean is right: at an
even speed the distance falls in a line. A quarter took that for an edge, and the distance went in steps."""
_PERCENTILES = (2, 98)
_ABSOLUTE, _TUKEY = 25, 5  # rounds of reweighing
_ENOUGH = 8000  # pixels that a fit looks at


def field_size(frame: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of the field of a frame (H, W)."""
    scale = min(1.0, LONG_SIDE / max(frame))
    return max(8, round(frame[0] * scale)), max(8, round(frame[1] * scale))


def to_field(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A model's map at the size of a field."""
    import cv2

    if depth.shape == size:
        return depth
    how = cv2.INTER_AREA if depth.shape[0] > size[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(depth, size[::-1], interpolation=how), np.float32)


def carried(depth: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """A field looked up along a displacement of the flow's size, float32 ``(h', w', 2)`` in pixels of that size."""
    import cv2

    if reach.shape[:2] != depth.shape:
        scale = np.array([depth.shape[1] / reach.shape[1], depth.shape[0] / reach.shape[0]], np.float32)
        reach = cv2.resize(reach, depth.shape[::-1], interpolation=cv2.INTER_LINEAR) * scale
    return warp(depth, np.asarray(reach, np.float32))


def normalised(depth: np.ndarray) -> np.ndarray:
    """Inverse depth of unknown scale and shift, so that nearly all of it lies from 0 to 1."""
    low, high = np.percentile(depth, _PERCENTILES)
    return np.asarray((depth - low) / max(float(high - low), 1e-6), np.float32)


def robust_fit(source: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Scale and shift that take ``source`` to ``target``: least squares, reweighed so that outliers lose their say.

    Least absolute deviations first, which the bulk decides (Schlossmacher, JASA 1973), then Tukey's weights, which leave
    out what is far off (Beaton and Tukey, Technometrics 1974; the constant is Holland and Welsch's, 1977).

    Args:
        source: float32 ``(n,)``.
        target: float32 ``(n,)``.

    Returns:
        Scale and shift; (1, 0) where the source has no spread.
    """
    every = max(1, source.size // _ENOUGH)
    x, y = source[::every].astype(np.float64), target[::every].astype(np.float64)
    weight, scale, shift = np.ones_like(x), 1.0, 0.0
    for turn in range(_ABSOLUTE + _TUKEY):
        total = weight.sum()
        mx, my = (weight * x).sum() / total, (weight * y).sum() / total
        spread = (weight * (x - mx) ** 2).sum()
        if spread < 1e-9 * total:
            return 1.0, 0.0
        scale = float((weight * (x - mx) * (y - my)).sum() / spread)
        shift = float(my - scale * mx)
        off = np.abs(y - scale * x - shift)
        spread_off = 1.4826 * float(np.median(off)) + 1e-9
        if turn < _ABSOLUTE:
            weight = 1 / np.maximum(off, 1e-4)
        else:
            weight = np.square(np.clip(1 - np.square(off / (4.685 * spread_off)), 0, None))
    return scale, shift


def aligned(
    depth: np.ndarray, before: np.ndarray, moved: np.ndarray, kind: Kind, keep: float, elapsed: float
) -> tuple[np.ndarray, float]:
    """A depth frame with its scale (relative: and shift) steadied by what stands still since the one before.

    Metric models flicker in scale only; their shift is theirs to say. What stands still is as far away as it was, so its
    change is the model's. Where too little stands still (a moving camera) a metric map is left as it is: a true change of
    distance must never be smoothed away. A relative map, which has no truth to lose, is then compared everywhere.

    Args:
        depth: the new field.
        before: the field of the depth frame before, carried to this one.
        moved: float32 ``(h', w')``: how far each place has moved in between, in pixels of the flow.
        kind: what the fields are.
        keep: 0 to 1, the share of the jump that is taken back.
        elapsed: seconds in between.

    Returns:
        The field, and the scale that was applied.
    """
    import cv2

    least = min(_STILL, _STILL_RATE * elapsed)
    still = cv2.resize((moved < least).astype(np.uint8), depth.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    enough = still.mean() >= _FEWEST
    if kind == "metric":
        if not enough:
            return depth, 1.0
        jump = float(np.median(np.log(before[still]) - np.log(depth[still])))
        scale = math.exp(keep * jump) if abs(jump) <= math.log(1 + _LARGEST) else 1.0
        return np.asarray(depth * np.float32(scale), np.float32), scale
    chosen = still if enough else np.ones_like(still)
    scale, shift = robust_fit(depth[chosen], before[chosen])
    scale, shift = 1 + keep * (min(2.0, max(0.5, scale)) - 1), keep * shift
    return np.asarray(scale * depth + shift, np.float32), scale


def blended(forward: np.ndarray, back: np.ndarray, near: float, kind: Kind) -> np.ndarray:
    """The field between two depth frames, each carried here.

    Args:
        forward: from the one before.
        back: from the one after.
        near: how far the frame lies from the one before to the one after, 0 to 1.
        kind: what the fields are.
    """
    mean = (1 - near) * forward + near * back
    apart = np.abs(forward - back) / (np.minimum(forward, back) if kind == "metric" else 1.0) > _APART[kind]
    return np.asarray(np.where(apart, back if near > 0.5 else forward, mean), np.float32)


def rounded(depth: np.ndarray) -> np.ndarray:
    """As a checkpoint keeps it (float16), so that what is resumed equals what was never interrupted."""
    return depth.astype(np.float16).astype(np.float32)


@dataclass
class Frame:
    """What the lane must know of a frame, and what it gives it.

    Attributes:
        index: of the frame in the clip.
        time: seconds from the clip's first frame.
        step: how it relates to the frame before.
        raw: the model's map at field size, on depth frames; else None.
        depth: the field, once known.
    """

    index: int
    time: float
    step: Step
    raw: np.ndarray | None
    depth: np.ndarray | None = None


@dataclass
class DepthLane:
    """Gives every frame a field.

    Attributes:
        kind: what the model gives.
        time_constant: seconds over which jumps of scale are evened out; 0 is off.
        known: steadied fields of depth frames, by index: those that a waiting frame may still need.
        scales: what scale was last applied to a depth frame, by index.
    """

    kind: Kind
    time_constant: float
    known: dict[int, np.ndarray] = field(default_factory=dict)
    scales: dict[int, float] = field(default_factory=dict)

    def fill(self, waiting: Sequence[Frame], *, ended: bool) -> None:
        """Give a field to every frame whose next depth frame is known; at the end of the clip to all.

        Args:
            waiting: frames in order; the first without a field is a depth frame.
            ended: no more frames will come.
        """
        open_ = [item for item in waiting if item.depth is None]
        while open_:
            stop = next((i for i, item in enumerate(open_) if i and item.raw is not None), None)
            if stop is None and not ended:
                return
            following = None if stop is None or open_[stop].step.cut else open_[stop]
            self._fill(open_[:stop], following)
            open_ = [] if stop is None else open_[stop:]

    def _fill(self, group: Sequence[Frame], following: Frame | None) -> None:
        """Fields of a depth frame and of those up to the next one, which is None where nothing leads to it."""
        first = self._begin(group[0])
        forward, reach = [first], None
        for item in group[1:]:
            reach = _further(item.step.back, reach)
            forward.append(carried(first, reach))
        if following is not None:
            reach = _further(following.step.back, reach)
            there = self._steadied(following, first, reach, following.time - group[0].time)
            forward = self._between(forward, there, [*group[1:], following])
        for item, depth in zip(group, forward, strict=True):
            item.depth = depth

    def _between(self, forward: list[np.ndarray], there: np.ndarray, steps: Sequence[Frame]) -> list[np.ndarray]:
        count, reach = len(forward), None
        for offset in range(count - 1, 0, -1):
            reach = _further(steps[offset].step.forth, reach)
            forward[offset] = blended(forward[offset], carried(there, reach), offset / count, self.kind)
        return forward

    def _begin(self, item: Frame) -> np.ndarray:
        """The field of a depth frame that was steadied when it ended the group before, or of a scene's first one."""
        if item.index not in self.known:
            assert item.raw is not None
            self.known[item.index] = rounded(normalised(item.raw) if self.kind == "relative" else item.raw)
            self.scales[item.index] = 1.0
        return self.known[item.index]

    def _steadied(self, item: Frame, before: np.ndarray, reach: np.ndarray, elapsed: float) -> np.ndarray:
        if item.index not in self.known:
            assert item.raw is not None
            raw = normalised(item.raw) if self.kind == "relative" else item.raw
            keep = math.exp(-elapsed / self.time_constant) if self.time_constant > 0 else 0.0
            moved = np.linalg.norm(reach, axis=2)
            found, scale = aligned(raw, carried(before, reach), moved, self.kind, keep, elapsed) if keep else (raw, 1.0)
            self.known[item.index], self.scales[item.index] = rounded(found), scale
        return self.known[item.index]

    def begins_at(self, index: int) -> int:
        """The depth frame that a frame's field is made of: the last one up to it."""
        return max((i for i in self.known if i <= index), default=index)

    def forget_before(self, index: int) -> None:
        """Drop what no frame from ``index`` on needs."""
        oldest = self.begins_at(index)
        self.known = {i: depth for i, depth in self.known.items() if i >= oldest}
        self.scales = {i: scale for i, scale in self.scales.items() if i >= oldest}

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data: one or two fields."""
        return {
            "known": [[i, pack(depth, "float16")] for i, depth in self.known.items()],
            "scales": [[i, scale] for i, scale in self.scales.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.known = {i: np.asarray(unpack(depth)) for i, depth in state["known"]}
        self.scales = {i: float(scale) for i, scale in state["scales"]}


def _further(step: np.ndarray | None, reach: np.ndarray | None) -> np.ndarray:
    assert step is not None, "a cut is a depth frame"
    return step if reach is None else compose(step, reach)
