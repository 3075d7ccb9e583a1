"""A camera that knows no future, for live pictures: the same limits, the same dead zone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from framelane.processors.follow.crop import Window
from framelane.processors.follow.framing import Framing
from framelane.processors.follow.path import ZOOM, Limits
from framelane.sections.follow import FollowSettings

_HASTE = 2.5  # 1/s: how quickly a distance is made up
_BRAKE_S = 0.8
_ZOOM_S = 2.0  # time constant of coming closer
_TRUST_S = 0.25  # of the speed that is measured


@dataclass
class _Axis:
    """Position, speed and acceleration of one axis in window widths, or of the zoom in its logarithm.

    Each changes only as fast as the next allows.
    """

    limits: Limits
    place: float = 0.0
    speed: float = 0.0
    push: float = 0.0

    def step(self, target: float, drift: float, dt: float, low: float, high: float, closing: float = 0.0) -> None:
        """Move for ``dt`` seconds towards ``target``, which itself moves at ``drift``, short of ``low`` and ``high``.

        Those come nearer to each other, at ``closing`` each, where the window grows.
        """
        limits = self.limits
        gap = target - self.place
        # As fast as it can still brake, v = sqrt(2 a d), with some of the acceleration kept back; and the same a level
        # down: as hard as the push can still be taken back before the speed is reached.
        wanted = drift + _towards(gap, _HASTE, 0.5 * limits.acceleration)
        wanted = float(np.clip(wanted, -limits.speed, limits.speed))
        push = _towards(wanted - self.speed, 2 * _HASTE, 0.7 * limits.jerk)
        push = float(np.clip(push, -limits.acceleration, limits.acceleration))
        jerk = float(np.clip((push - self.push) / dt, -limits.jerk, limits.jerk))
        jerk = self._stopping(jerk, dt, high, 1, closing)
        jerk = self._stopping(jerk, dt, low, -1, closing)
        self.place, self.speed, self.push = self._after(jerk, dt)

    def stop_at(self, low: float, high: float, closing: float = 0.0) -> None:
        """The frame's edge itself, where it comes nearer faster than the camera can give way: it moves with the edge."""
        if not low <= self.place <= high:
            side = 1 if self.place > high else -1
            self.place, self.speed, self.push = min(max(self.place, low), max(low, high)), -side * closing, 0.0

    def _after(self, jerk: float, dt: float) -> tuple[float, float, float]:
        push = self.push + jerk * dt
        speed = float(np.clip(self.speed + push * dt, -self.limits.speed, self.limits.speed))
        return self.place + speed * dt, speed, push

    def _stopping(self, jerk: float, dt: float, edge: float, side: int, closing: float) -> float:
        """The jerk nearest to the wanted one after which the camera can still stop before an edge; else it brakes."""
        hardest = -side * self.limits.jerk
        if self._stops(jerk, dt, edge, side, closing):
            return jerk
        if not self._stops(hardest, dt, edge, side, closing):
            return hardest
        safe = hardest
        for _ in range(8):
            tried = (safe + jerk) / 2
            safe, jerk = (tried, jerk) if self._stops(tried, dt, edge, side, closing) else (safe, tried)
        return safe

    def _stops(self, jerk: float, dt: float, edge: float, side: int, closing: float) -> bool:
        place, speed, push = (side * value for value in self._after(jerk, dt))
        speed += max(0.0, closing)  # as seen from the edge, which need not go on receding
        return place + _stopping_distance(speed, push, self.limits) + max(0.0, speed) * dt <= side * edge


def _towards(gap: float, haste: float, brake: float) -> float:
    """A rate at which a gap is closed, and from which ``brake`` can still bring it to rest there."""
    return float(np.sign(gap) * min(haste * abs(gap), np.sqrt(2 * brake * abs(gap))))


def _stopping_distance(speed: float, push: float, limits: Limits) -> float:
    """How far it goes on, upwards, if it brakes as hard as jerk and acceleration allow."""
    disc = push**2 + 2 * limits.jerk * speed
    if disc < 0 or (speed <= 0 and push <= 0):
        return 0.0
    first = (push + limits.acceleration) / limits.jerk  # until it brakes fully
    rest = (push + float(np.sqrt(disc))) / limits.jerk  # until it stands
    t = min(first, rest)
    far = speed * t + push * t**2 / 2 - limits.jerk * t**3 / 6
    left = speed + push * t - limits.jerk * t**2 / 2
    return max(0.0, far + (left**2 / (2 * limits.acceleration) if rest > first else 0.0))


@dataclass
class CausalCamera:
    """One window a frame, from the past alone.

    Args:
        framing: sizes.
        limits: in window widths and seconds.
        options: dead zone and zoom.
    """

    framing: Framing
    limits: Limits
    options: FollowSettings
    _axes: list[_Axis] = field(default_factory=list)
    _zoom: _Axis = field(default_factory=lambda: _Axis(ZOOM))
    _close: float = 1.0
    _time: float | None = None
    _seen: tuple[float, tuple[float, float]] | None = None
    _drift: tuple[float, float] = (0.0, 0.0)

    def step(self, time: float, place: tuple[float, float] | None, certainty: float, *, cut: bool = False) -> Window:
        """The window of the next frame.

        Args:
            time: its seconds.
            place: the subject's middle in pixels of the displayed frame; None where it is not seen: the camera rests.
            certainty: 0 to 1.
            cut: another scene begins: the camera jumps.
        """
        unit = self.framing.widest[0] / self.options.zoom_min
        if cut or self._time is None or not self._axes:
            self._begin(place, unit)
        dt = 0.0 if self._time is None or cut else max(1e-3, time - self._time)
        self._time = time
        self._measure(time, place, unit)
        if dt:
            self._approach(certainty if place else 0.0, dt)
        size = tuple(side / float(np.exp(self._zoom.place)) for side in self.framing.widest)
        edges = []
        for axis in (0, 1):
            own = self._axes[axis]
            own.limits = self.limits.scaled(size[0] / unit)  # they are in widths of the window as it is
            low, high = size[axis] / 2 / unit, (self.framing.frame[axis] - size[axis] / 2) / unit
            closing = -low * self._zoom.speed
            if dt and high > low:
                target, drift = self._target(axis, size[axis] / unit, own.place, unit)
                held = min(max(target, low), high)
                own.step(held, drift if held == target else 0.0, dt, low, high, closing)
            own.stop_at(low, high, closing)
            edges.append(
                min(max(own.place * unit - size[axis] / 2, 0.0), max(0.0, self.framing.frame[axis] - size[axis]))
            )
        return Window(edges[0], edges[1], min(size[0], self.framing.frame[0]), min(size[1], self.framing.frame[1]))

    def _begin(self, place: tuple[float, float] | None, unit: float) -> None:
        middle = place or (self.framing.frame[0] / 2, self.framing.frame[1] / 2)
        self._axes = [_Axis(self.limits, value / unit) for value in middle]
        self._zoom = _Axis(ZOOM, float(np.log(self.options.zoom_min)))
        self._close = self.options.zoom_min
        self._seen, self._drift = None, (0.0, 0.0)

    def _measure(self, time: float, place: tuple[float, float] | None, unit: float) -> None:
        if place is None:
            return
        if self._seen is not None and time > self._seen[0]:
            before, old = self._seen
            share = 1 - float(np.exp(-(time - before) / _TRUST_S))
            speed = [(place[axis] - old[axis]) / unit / (time - before) for axis in (0, 1)]
            self._drift = tuple(d + share * (s - d) for d, s in zip(self._drift, speed, strict=True))  # type: ignore[assignment]
        self._seen = (time, place)

    def _target(self, axis: int, size: float, here: float, unit: float) -> tuple[float, float]:
        """Where to go: nowhere while the subject is inside the dead zone, else to where it is at the zone's edge."""
        if self._seen is None or self._time is None:
            return here, 0.0
        age = self._time - self._seen[0]
        fading = float(np.exp(-age / _BRAKE_S))
        subject = self._seen[1][axis] / unit + self._drift[axis] * _BRAKE_S * (1 - fading)
        half = self.options.dead_zone / 2 * size
        off = subject - here
        if abs(off) <= half:
            return here, 0.0
        return subject - float(np.sign(off)) * half, self._drift[axis] * fading

    def _approach(self, certainty: float, dt: float) -> None:
        fast = float(np.hypot(*self._drift))
        wanted = self.options.zoom_min + (self.options.zoom_max - self.options.zoom_min) * certainty * max(
            0.0, 1 - fast
        )
        # Away at once, closer only as it stays calm.
        share = 1.0 if wanted < self._close else 1 - float(np.exp(-dt / _ZOOM_S))
        self._close += share * (wanted - self._close)
        low, high = np.log([self.options.zoom_min, self.options.zoom_max]).tolist()
        self._zoom.step(float(np.log(self._close)), 0.0, dt, low, high)
        self._zoom.stop_at(low, high)
