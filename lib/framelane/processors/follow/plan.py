"""The camera over a whole clip: for every frame a window, from what the first pass found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from framelane.processors.follow.crop import Window
from framelane.processors.follow.framing import Framing
from framelane.processors.follow.path import GRID_HZ, ZOOM, Limits, Wish, plan
from framelane.processors.follow.sightings import Sightings
from framelane.processors.follow.subject import LOST, NOBODY, Subject, find_subject
from framelane.sections.follow import FollowSettings

Array = npt.NDArray[np.float64]

_FILLS = 0.75  # of the window, by the subject, at most
_CALM, _FAST = (
    0.3,
    1.5,
)  # window widths a second: below the first the camera may come close, above the second it stays wide
_ZOOM_PLAY = 0.04  # of the logarithm: less is not worth a zoom
_MARGIN = 0.03  # of the window, around a subject that is to be inside


@dataclass(frozen=True)
class Camera:
    """The windows of n frames and what they rest on.

    Attributes:
        left: float32 ``(n,)``, pixels of the displayed frame; ``top``, ``width`` and ``height`` likewise.
        place: float32 ``(n, 2)``: the subject's middle.
        size: float32 ``(n, 2)``: its size.
        certainty: float32 ``(n,)``.
        state: int8 ``(n,)``, see :data:`framelane.processors.follow.subject.STATES`.
        cuts: bool ``(n,)``.
        followed: ids of the tracks.
        rejected: observations that the filter left out.
    """

    left: npt.NDArray[np.float32]
    top: npt.NDArray[np.float32]
    width: npt.NDArray[np.float32]
    height: npt.NDArray[np.float32]
    place: npt.NDArray[np.float32]
    size: npt.NDArray[np.float32]
    certainty: npt.NDArray[np.float32]
    state: npt.NDArray[np.int8]
    cuts: npt.NDArray[np.bool_]
    followed: tuple[int, ...] = ()
    rejected: int = 0

    def __len__(self) -> int:
        return len(self.left)

    def window(self, index: int) -> Window:
        """The window of a frame; the last one's beyond the end."""
        i = min(index, len(self) - 1)
        return Window(float(self.left[i]), float(self.top[i]), float(self.width[i]), float(self.height[i]))


def plan_clip(found: Sightings, frame: Framing, options: FollowSettings, colour: Array | None = None) -> Camera:
    """The camera of a clip, scene by scene: nothing is carried over a cut.

    Args:
        found: by the first pass.
        frame: sizes.
        options: the settings.
        colour: the ball's in OpenCV's 8-bit Lab; None learns it.
    """
    scenes, subjects, windows = list(found.scenes()), [], []
    for start, stop in scenes:
        scene = found.part(start, stop)
        subject = find_subject(scene, options.subject, frame.frame, options.lost_s, colour)
        subjects.append(subject)
        windows.append(plan_scene(scene.times, subject, frame, options))
    return _joined(subjects, windows, found.cuts)


def _joined(subjects: Sequence[Subject], windows: Sequence[Array], cuts: npt.NDArray[np.bool_]) -> Camera:
    left, top, width, height = np.concatenate(windows).astype(np.float32).T
    place, size, certainty = (
        np.concatenate([getattr(s, name) for s in subjects]).astype(np.float32)
        for name in ("place", "size", "certainty")
    )
    return Camera(
        left, top, width, height, place, size, certainty,
        state=np.concatenate([s.state for s in subjects]),
        cuts=cuts,
        followed=tuple(dict.fromkeys(index for s in subjects for index in s.followed)),
        rejected=sum(s.rejected for s in subjects),
    )  # fmt: skip


def plan_scene(times: Array, subject: Subject, frame: Framing, options: FollowSettings) -> Array:
    """Windows of one scene: ``(n, 4)``: left, top, width, height."""
    still = not np.any(subject.state != NOBODY)
    zoom = np.full(len(times), options.zoom_min) if still else _zoom(times, subject, frame, options)
    width, height = frame.widest[0] / zoom, frame.widest[1] / zoom
    size = np.stack([np.minimum(width, frame.frame[0]), np.minimum(height, frame.frame[1])], 1)
    edges = []
    for axis in (0, 1):
        room = frame.frame[axis] - size[:, axis]
        if still or room.max() < 0.5:
            edges.append(room / 2)
            continue
        middle = _axis(times, subject, size[:, axis], frame.frame[axis], axis, float(np.median(size[:, 0])), options)
        edges.append(np.clip(middle - size[:, axis] / 2, 0, room))
    return np.stack([*edges, size[:, 0], size[:, 1]], 1)


def wanted_zoom(subject: Subject, frame: Framing, options: FollowSettings) -> Array:
    """How close the camera would like to be: the surer and the slower, the closer; with room around the subject."""
    speed = np.linalg.norm(subject.speed, axis=1) / (frame.widest[0] / options.zoom_max)
    slow = np.clip((_FAST - speed) / (_FAST - _CALM), 0, 1)
    zoom = options.zoom_min + (options.zoom_max - options.zoom_min) * subject.certainty * slow
    fits = _FILLS * (np.array(frame.widest) / np.maximum(subject.size, 1)).min(axis=1)
    return np.asarray(np.clip(np.minimum(zoom, fits), options.zoom_min, options.zoom_max))


def _zoom(times: Array, subject: Subject, frame: Framing, options: FollowSettings) -> Array:
    if options.zoom_max <= options.zoom_min * 1.001:
        return np.full(len(times), options.zoom_min)
    log = np.log(wanted_zoom(subject, frame, options))
    grid, step = _grid(times)
    low, _ = _hull(times, log, grid, step)
    ones = np.ones(len(grid))
    wish = Wish(
        low, low, ones, _ZOOM_PLAY * ones, _ZOOM_PLAY * 3 * ones,
        np.log(options.zoom_min) * ones, np.log(options.zoom_max) * ones,
    )  # fmt: skip
    found = _dense(times, grid, plan(wish, step, ZOOM))
    return np.asarray(np.exp(np.clip(found, np.log(options.zoom_min), np.log(options.zoom_max))))


def _axis(
    times: Array, subject: Subject, size: Array, whole: int, axis: int, unit: float, options: FollowSettings
) -> Array:
    """The middle of the window on one axis, in pixels. The programme works in window widths."""
    grid, step = _grid(times)
    low, high = _hull(times, subject.place[:, axis] / unit, grid, step)
    room = np.interp(grid, times, size) / unit
    own = np.interp(grid, times, subject.size[:, axis]) / unit
    weight = np.interp(grid, times, subject.certainty)
    weight[np.interp(grid, times, (subject.state == LOST).astype(np.float64)) > 0.5] = 0
    inside = np.maximum(0.02 * room, room * (0.5 - _MARGIN) - np.minimum(own, room * 0.9) / 2)
    comfort = np.minimum(options.dead_zone / 2 * room, inside)
    wish = Wish(low, high, weight, comfort, inside, room / 2, whole / unit - room / 2)
    limits = Limits(options.max_speed, options.max_acceleration, options.max_jerk)
    return np.asarray(_dense(times, grid, plan(wish, step, limits)) * unit)


def _grid(times: Array) -> tuple[Array, float]:
    """Even points over a scene, no denser than its frames."""
    length = float(times[-1] - times[0])
    if len(times) < 2 or length <= 0:
        return times[:1], 1.0
    step = max(1 / GRID_HZ, length / (len(times) - 1))
    count = max(2, round(length / step) + 1)
    return np.linspace(times[0], times[-1], count), length / (count - 1)


def _hull(times: Array, values: Array, grid: Array, step: float) -> tuple[Array, Array]:
    """The smallest and the largest value around each point of the grid."""
    low, high = np.interp(grid, times, values), np.interp(grid, times, values)
    cell = np.clip(np.rint((times - grid[0]) / step).astype(int), 0, len(grid) - 1)
    np.minimum.at(low, cell, values)
    np.maximum.at(high, cell, values)
    return low, high


def _dense(times: Array, grid: Array, path: Array) -> Array:
    """The path at the frames' times: a uniform cubic B-spline whose control points are the path's.

    Its speed, acceleration and jerk are averages of the path's differences (de Boor 1978, chapter X), so the limits that
    the path keeps hold between its points, too, and it stays inside the frame where they do. A spline through the points
    would do neither. Before and after the path, its ends go on evenly.
    """
    if len(grid) < 4:
        return np.interp(times, grid, path)
    from scipy.interpolate import BSpline

    points = np.concatenate([[2 * path[0] - path[1]], path, [2 * path[-1] - path[-2]]])
    step = (grid[-1] - grid[0]) / (len(grid) - 1)
    knots = grid[0] + step * np.arange(-3, len(points) + 1)
    return np.asarray(BSpline(knots, points, 3)(np.clip(times, grid[0], grid[-1])))
