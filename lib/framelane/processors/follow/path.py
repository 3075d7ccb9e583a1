"""The camera's path over a whole scene: as still as the subject allows (Grundmann, Kwatra, Essa, CVPR 2011).

A path p is chosen that minimises w1 |Dp| + w2 |D²p| + w3 |D³p| (their eq. 3, with the L1 norm, so that it is made of
stretches that stand still, move evenly, or speed up evenly), under linear constraints: the window stays inside the frame
(hard), and the subject inside the window (their inclusion constraints, section 3.1; here with slack that costs, as the
limits of speed, acceleration and jerk may forbid it). A linear programme per axis, solved in windows that overlap, so
that time and memory are linear in the length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

GRID_HZ = 15.0
"""Points of the path a second at most: a camera that obeys its limits has nothing finer."""
_AHEAD_S, _KEPT_S = 8.0, 4.0  # seconds solved at once, and kept of them
_STILL = (1.0, 0.15, 0.06)  # weights of speed, acceleration and jerk, per second of path
_COMFORT, _INSIDE, _LIMIT = (
    12.0,
    300.0,
    3000.0,
)  # cost a second of: out of the dead zone, out of the window; limits broken


@dataclass(frozen=True)
class Limits:
    """What a camera may do on one axis, in units of the path (window widths; of the zoom: its logarithm) and seconds."""

    speed: float
    acceleration: float
    jerk: float

    def scaled(self, factor: float) -> Limits:
        """The same in another unit."""
        return Limits(self.speed * factor, self.acceleration * factor, self.jerk * factor)


ZOOM = Limits(0.25, 0.35, 1.0)
"""Of the logarithm of the zoom: seen, but not noticed."""


@dataclass(frozen=True)
class Wish:
    """What a path is asked for, at the points of a grid.

    Attributes:
        low: the smallest position that the subject has around each point, ``(n,)``.
        high: the largest one.
        weight: how sure that is, 0 to 1; where 0, nothing is asked for.
        comfort: distance from the subject that costs nothing (half the dead zone).
        inside: distance beyond which the subject leaves the window, at least 0.
        floor: smallest position allowed: the window touches the frame's edge.
        ceiling: largest position allowed.
    """

    low: Array
    high: Array
    weight: Array
    comfort: Array
    inside: Array
    floor: Array
    ceiling: Array

    def part(self, start: int, stop: int) -> Wish:
        """The points ``start`` to ``stop`` (exclusive)."""
        return Wish(*(value[start:stop] for value in self.__dict__.values()))


def plan(wish: Wish, step: float, limits: Limits) -> Array:
    """The path of one axis over a scene.

    Args:
        wish: what is asked for at n points.
        step: seconds from one point to the next.
        limits: what the camera may do. They are kept wherever the frame's edges let them be.

    Returns:
        float64 ``(n,)`` within ``floor`` and ``ceiling``.
    """
    count = len(wish.low)
    ahead, kept = max(8, round(_AHEAD_S / step)), max(4, round(_KEPT_S / step))
    path = np.empty(count)
    done = 0
    while done < count:
        start = max(0, done - 3)  # three known points carry speed and acceleration on
        stop = min(count, done + ahead)
        solved = _solve(wish.part(start, stop), step, limits, path[start:done])
        last = count if stop == count else done + kept
        path[done:last] = solved[done - start : last - start]
        done = last
    return np.asarray(np.clip(path, wish.floor, wish.ceiling))


def _solve(wish: Wish, step: float, limits: Limits, known: Array) -> Array:
    """One window. Unknowns: p (n), |D| (n-1), |D²| (n-2), |D³| (n-3), two slacks a point, one slack a limit."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, hstack, vstack

    n = len(wish.low)
    middle = np.clip((wish.low + wish.high) / 2, wish.floor, wish.ceiling)
    if n < 2:
        return np.asarray(known if len(known) == n else middle)
    orders = [order for order in (1, 2, 3) if n > order]
    sizes = [n, *(n - order for order in orders), n, n, len(orders)]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    rows: list[Any] = []
    right: list[Array] = []

    def add(parts: dict[int, Any], bound: Array) -> None:
        blocks = [parts.get(place, csr_matrix((len(bound), size))) for place, size in enumerate(sizes)]
        rows.append(hstack(blocks, format="csr"))
        right.append(bound)

    eye = csr_matrix(np.eye(n))
    upper: list[Array] = [wish.ceiling]
    most = (limits.speed, limits.acceleration, limits.jerk)
    for place, order in enumerate(orders):
        derivative = csr_matrix(np.diff(np.eye(n), order, axis=0) / step**order)
        one = csr_matrix(np.eye(n - order))
        for sign in (1, -1):
            add({0: sign * derivative, place + 1: -one}, np.zeros(n - order))
        broken = csr_matrix((np.full(n - order, -most[order - 1]), (range(n - order), [place] * (n - order))),
                            shape=(n - order, len(orders)))  # fmt: skip
        add({place + 1: one, len(sizes) - 1: broken}, np.full(n - order, most[order - 1]))
        upper.append(np.full(n - order, np.inf))
    for slack, reach in ((len(orders) + 1, wish.comfort), (len(orders) + 2, np.maximum(wish.inside, wish.comfort))):
        asked = wish.weight > 0
        # The subject's two ends: both within reach where the window is wide enough for that.
        low, high = np.minimum(wish.low + reach, middle + reach), np.maximum(wish.high - reach, middle - reach)
        low, high = np.maximum(low, high), np.minimum(low, high)
        add({0: eye[asked], slack: -eye[asked]}, low[asked])
        add({0: -eye[asked], slack: -eye[asked]}, -high[asked])
    cost = np.concatenate([
        np.zeros(n), *(np.full(n - order, _STILL[order - 1] * step) for order in orders),
        _COMFORT * step * wish.weight, _INSIDE * step * wish.weight, np.full(len(orders), _LIMIT),
    ])  # fmt: skip
    lower = np.concatenate([wish.floor, np.zeros(offsets[-1] - n)])
    above = np.concatenate([*upper, np.full(2 * n + len(orders), np.inf)])
    held = min(len(known), n)
    lower[:held], above[:held] = known[:held], known[:held]
    found = linprog(
        cost, A_ub=vstack(rows), b_ub=np.concatenate(right), bounds=np.stack([lower, above], 1), method="highs"
    )
    if found.x is None:  # numerics: a camera that follows roughly is better than none
        return np.concatenate([known, middle[held:]])
    return np.asarray(found.x[:n], np.float64)
