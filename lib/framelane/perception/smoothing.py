"""Positions smoothed in time: without lag where the future is known, and with little where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def theil_sen(times: Floats, values: Floats) -> Floats:
    """Change a second: the median of the slopes of all pairs, which outliers up to 29 % cannot move.

    Theil 1950; Sen 1968, JASA 63:1379. ``scipy.stats.theilslopes`` is the same for one column, with intervals that cost
    more than the slope.

    Args:
        times: seconds, rising, ``(n,)``.
        values: ``(n, k)``.

    Returns:
        ``(k,)``; zeros where no two observations lie apart in time.
    """
    earlier, later = np.triu_indices(len(times), 1)
    apart = times[later] - times[earlier]
    kept = apart > 1e-6
    if not kept.any():
        return np.zeros(values.shape[1])
    return np.asarray(np.median((values[later] - values[earlier])[kept] / apart[kept, None], axis=0))


def weights(times: Sequence[float], moment: float, width: float) -> Floats:
    """How much each observation counts in the smoothed value at a moment: LOESS (Cleveland 1979, JASA 74:829, eq. 2-4).

    A polynomial is fitted by least squares with tricube weights ``(1 - |d|^3)^3`` and read off at the moment. With as much
    before as after it is of degree 2: then it has no phase, hence no lag, and follows an even acceleration exactly. Where
    all lies on one side (the track begins or ends here) it is of degree 1, which does not overshoot.

    Args:
        times: seconds, rising; any spacing, also with gaps.
        moment: seconds; within or at the ends of ``times``.
        width: seconds from the moment at which the weight is 0. Made wider where fewer than two observations lie within.

    Returns:
        (n,) weights that sum to 1; some may be negative.
    """
    away = np.asarray(times, np.float64) - moment
    distances = np.sort(np.abs(away))
    reach = max(width, float(distances[min(1, len(distances) - 1)]) * 1.01, 1e-6)
    tricube = np.clip(1 - np.abs(away / reach) ** 3, 0, None) ** 3
    inside = tricube > 0
    both_sides = bool((away[inside] < -1e-9).any() and (away[inside] > 1e-9).any())
    degree = min(2 if both_sides and inside.sum() > 3 else 1, int(inside.sum()) - 1)
    powers = np.vander(away / reach, degree + 1, increasing=True)
    root = np.sqrt(tricube)[:, None]
    # The value at the moment is the constant term: first row of the weighted pseudo-inverse.
    row: Floats = np.linalg.pinv(root * powers)[0] * root[:, 0]
    return row


@dataclass
class OneEuro:
    """The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012, section 3): a low pass whose cutoff rises with speed.

    It looks at the past only, so it lags: the less the faster a thing moves, and the more it is smoothed at rest.

    Args:
        min_cutoff: Hz at rest; lower is steadier (eq. 7, f_cmin).
        beta: how fast the cutoff rises with speed, in Hz per unit a second; higher lags less (eq. 7).
        derivative_cutoff: Hz of the low pass on the speed itself; 1 in the paper.
    """

    min_cutoff: float = 1.0
    beta: float = 0.007
    derivative_cutoff: float = 1.0
    last_s: float | None = None
    value: Floats | None = None
    speed: Floats | None = None

    def __call__(self, value: Floats, time_s: float, scale: float = 1.0) -> Floats:
        """The next observation, filtered.

        Args:
            value: of any shape, the same each time.
            time_s: seconds, rising.
            scale: what counts as one unit, such as a person's height in pixels: speed is measured in it.
        """
        value = np.asarray(value, np.float64)
        if self.last_s is None or self.value is None or self.speed is None or time_s <= self.last_s:
            self.last_s, self.value, self.speed = time_s, value, np.zeros_like(value)
            return value
        step = time_s - self.last_s
        raw = (value - self.value) / step / scale
        self.speed = self.speed + _alpha(np.asarray(self.derivative_cutoff), step) * (raw - self.speed)
        cutoff = self.min_cutoff + self.beta * np.abs(self.speed)
        self.value = self.value + _alpha(cutoff, step) * (value - self.value)
        self.last_s = time_s
        return self.value

    def to_json(self) -> list[Any]:
        """The state as plain data."""
        if self.value is None or self.speed is None:
            return []
        return [self.last_s, self.value.tolist(), self.speed.tolist()]

    def take(self, state: list[Any]) -> None:
        """Take over what :meth:`to_json` gave."""
        if state:
            self.last_s = state[0]
            self.value, self.speed = np.array(state[1], np.float64), np.array(state[2], np.float64)


def _alpha(cutoff: Floats, step: float) -> Floats:
    """The share of a new observation in an exponential smoothing: eq. 4 and 5 of the paper."""
    return np.asarray(1 / (1 + 1 / (2 * pi * cutoff * step)), np.float64)
