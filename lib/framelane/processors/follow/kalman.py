"""Where a subject is in every frame, from where it was seen in some: a gated Kalman filter, smoothed backwards.

Constant velocity with white acceleration (Bar-Shalom, Li, Kirubarajan 2001, section 6.2.2); observations further off than
the gate allows (Mahalanobis distance) are left out; a Rauch-Tung-Striebel pass lets every frame know the future too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

GATE = 13.8
"""Squared Mahalanobis distance that 99.9 % of true observations stay below (chi-square, two degrees of freedom)."""
_AGREE = 2  # observations in a row outside the gate that agree with each other: it bounced, and the filter was wrong
_DAMP_S = 0.25  # beyond the first and last observation, speed dies away with this time constant
_OBSERVE = np.eye(2, 4)


@dataclass(frozen=True)
class Smoothed:
    """Of n frames.

    Attributes:
        place: float64 ``(n, 2)``: x, y.
        speed: float64 ``(n, 2)``, per second.
        spread: float64 ``(n,)``: standard deviation of the place.
        used: bool ``(k,)``: the observations that passed the gate.
    """

    place: Array
    speed: Array
    spread: Array
    used: npt.NDArray[np.bool_]


def step_matrices(dt: float, agility: float) -> tuple[Array, Array]:
    """The transition of (x, y, vx, vy) over ``dt`` seconds, and its noise for accelerations of ``agility`` (1 sigma)."""
    move = np.eye(4)
    move[0, 2] = move[1, 3] = dt
    q = agility**2 * dt  # spectral density times a second, so that a second of it changes the speed by ``agility``
    noise = np.zeros((4, 4))
    for axis in (0, 1):
        noise[axis, axis] = q * dt**2 / 3
        noise[axis, axis + 2] = noise[axis + 2, axis] = q * dt / 2
        noise[axis + 2, axis + 2] = q
    return move, noise


def smooth(
    times: Array,
    frames: Array,
    seen: Array,
    noise: Array,
    agility: float,
    jumps: Iterable[int] = (),
    gate: float = GATE,
) -> Smoothed:
    """The subject's way through a scene.

    Args:
        times: seconds of the scene's n frames, rising.
        frames: positions in ``times`` of the k observations, rising; k is at least 1.
        seen: observed places, ``(k, 2)``.
        noise: their standard deviation, ``(k,)``.
        agility: typical change of speed in a second (for a person, or a ball).
        jumps: observations at which it is known to be elsewhere of a sudden: another subject is followed from there.
        gate: squared Mahalanobis distance.
    """
    first, last = int(frames[0]), int(frames[-1])
    at = {int(frame): k for k, frame in enumerate(frames)}
    leaps = {int(frames[k]) for k in jumps}
    count = last - first + 1
    ahead, behind = np.zeros((count, 4)), np.zeros((count, 4))
    cov_ahead, cov_behind = np.zeros((count, 4, 4)), np.zeros((count, 4, 4))
    moves = np.zeros((count, 4, 4))
    used = np.zeros(len(frames), bool)
    out: list[int] = []  # frames of observations outside the gate, in a row
    wide = np.diag([1.0, 1.0, agility**2, agility**2]) * 4
    i = 0
    while i < count:
        frame = first + i
        k = at.get(frame)
        if i == 0:
            state, cov = np.array([*seen[0], 0, 0], np.float64), np.diag([noise[0] ** 2] * 2 + [agility**2] * 2)
            moves[0] = np.eye(4)
        else:
            moves[i], spread = step_matrices(max(1e-4, float(times[frame] - times[frame - 1])), agility)
            state, cov = moves[i] @ behind[i - 1], moves[i] @ cov_behind[i - 1] @ moves[i].T + spread
        if frame in leaps and k is not None:
            cov = cov + wide * (1 + float(np.abs(seen[k] - state[:2]).max()) ** 2)
        ahead[i], cov_ahead[i] = state, cov
        if k is not None:
            innovation = seen[k] - state[:2]
            inside = cov[:2, :2] + np.eye(2) * noise[k] ** 2
            if frame in leaps or float(innovation @ np.linalg.solve(inside, innovation)) <= gate:
                gain = cov[:, :2] @ np.linalg.inv(inside)
                state, cov = state + gain @ innovation, cov - gain @ cov[:2]
                used[k], out = True, []
            else:
                out.append(frame)
                if len(out) >= _AGREE and _agree(out, at, seen, times, agility):
                    leaps.add(out[-_AGREE])
                    i, out = out[-_AGREE] - first, []
                    continue
        behind[i], cov_behind[i] = state, (cov + cov.T) / 2
        i += 1
    place, cov_place = _back(ahead, behind, cov_ahead, cov_behind, moves)
    return _whole(times, first, place, cov_place, used)


def _agree(out: list[int], at: dict[int, int], seen: Array, times: Array, agility: float) -> bool:
    one, other = out[-2], out[-1]
    apart = float(np.linalg.norm(seen[at[other]] - seen[at[one]]))
    return apart <= 1.5 * agility * float(times[other] - times[one]) + 0.02


def _back(ahead: Array, behind: Array, cov_ahead: Array, cov_behind: Array, moves: Array) -> tuple[Array, Array]:
    """Rauch, Tung, Striebel 1965."""
    place, cov = behind.copy(), cov_behind.copy()
    for i in range(len(place) - 2, -1, -1):
        gain = np.linalg.solve(cov_ahead[i + 1] + np.eye(4) * 1e-12, moves[i + 1] @ cov_behind[i]).T
        place[i] = behind[i] + gain @ (place[i + 1] - ahead[i + 1])
        cov[i] = cov_behind[i] + gain @ (cov[i + 1] - cov_ahead[i + 1]) @ gain.T
    return place, cov


def _whole(times: Array, first: int, inner: Array, cov: Array, used: npt.NDArray[np.bool_]) -> Smoothed:
    """From the observed stretch to the whole scene: before and after it, the motion comes to rest."""
    n, last = len(times), first + len(inner) - 1
    place, speed, spread = np.zeros((n, 2)), np.zeros((n, 2)), np.zeros(n)
    place[first : last + 1], speed[first : last + 1] = inner[:, :2], inner[:, 2:]
    spread[first : last + 1] = np.sqrt(np.maximum(0, (cov[:, 0, 0] + cov[:, 1, 1]) / 2))
    for part, edge in ((slice(0, first), first), (slice(last + 1, n), last)):
        away = times[part] - times[edge]
        rest = _DAMP_S * (1 - np.exp(-np.abs(away) / _DAMP_S)) * np.sign(away)
        place[part] = place[edge] + rest[:, None] * speed[edge]
        speed[part] = speed[edge] * np.exp(-np.abs(away) / _DAMP_S)[:, None]
        spread[part] = spread[edge] + np.abs(away)
    return Smoothed(place, speed, spread, used)
