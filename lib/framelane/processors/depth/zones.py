"""Zones with hysteresis, and alerts with a cooldown for each track."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from framelane.processors.depth.fusion import Measured
from framelane.sections.depth import DepthSettings

Zone = Literal["safe", "warning", "danger"]
RANK: dict[Zone, int] = {"safe": 0, "warning": 1, "danger": 2}
PATIENCE_S = 0.3
"""How long an object that is first seen inside a zone may take to show that it goes away; it then does not alert."""
_FORGET_S = 3.0  # seconds after which an unseen track's zone is forgotten; its cooldown may be longer


@dataclass(frozen=True)
class Alert:
    """An object that came too near.

    Attributes:
        frame: index in the clip.
        time: seconds from the clip's first frame.
        zone: which it entered.
        measured: the object.
    """

    frame: int
    time: float
    zone: Zone
    measured: Measured


@dataclass
class _State:
    """Of one track: its zone, since when, and its last alert."""

    zone: Zone = "safe"
    since: float = 0.0
    seen: float = 0.0
    alerted: float | None = None
    alerted_zone: Zone = "safe"
    entered: bool = False


@dataclass
class Zones:
    """Which zone every track is in.

    Attributes:
        options: limits, hysteresis, cooldown.
        height: of the frame in pixels.
        states: by track.
    """

    options: DepthSettings
    height: int
    states: dict[int, _State] = field(default_factory=dict)

    def update(self, measured: list[Measured], frame: int, time: float) -> tuple[list[Zone], list[Alert]]:
        """The zones of a frame's objects, and the alerts that they raise."""
        zones, alerts = [], []
        for item in measured:
            state = self.states.setdefault(item.track.index, _State(since=time))
            zone = self._zone(item, state.zone)
            if zone != state.zone:
                state.entered = state.entered or RANK[zone] > RANK[state.zone]
                state.zone, state.since = zone, time
            state.seen = time
            if self._alerts(item, state, time):
                state.alerted, state.alerted_zone, state.entered = time, zone, False
                alerts.append(Alert(frame, time, zone, item))
            zones.append(zone)
        kept = max(_FORGET_S, self.options.cooldown_s)
        self.states = {i: state for i, state in self.states.items() if time - state.seen <= kept}
        return zones, alerts

    def _zone(self, item: Measured, before: Zone) -> Zone:
        for zone in ("danger", "warning"):
            slack = 1 + self.options.hysteresis if RANK[before] >= RANK[zone] else 1.0
            if self._within(item, zone, slack):
                return zone
        return "safe"

    def _within(self, item: Measured, zone: Literal["danger", "warning"], slack: float) -> bool:
        metres = getattr(self.options, f"{zone}_m")
        seconds = getattr(self.options, f"{zone}_s")
        share = getattr(self.options, f"{zone}_share")
        if item.ttc is not None and item.ttc <= seconds * slack:
            return True
        if item.distance is not None:
            return bool(item.distance <= metres * slack)
        top, bottom = max(0.0, item.track.box[1]), min(float(self.height), item.track.box[3])
        return bool((bottom - top) / self.height >= share / slack)

    def _alerts(self, item: Measured, state: _State, time: float) -> bool:
        """Whether an object alerts: in the zone, not going away, and not having alerted a moment ago."""
        if RANK[state.zone] < RANK[self.options.alert_on] or item.recedes or item.track.seen < 1:
            return False
        unknown = (item.closing if item.distance is not None else item.growth) is None
        if unknown and time - state.since < PATIENCE_S:
            return False
        if state.alerted is None:
            return True
        if RANK[state.zone] > RANK[state.alerted_zone]:
            return True
        return time - state.alerted >= self.options.cooldown_s and (state.entered or item.comes)

    def clear(self) -> None:
        """At a cut."""
        self.states = {}

    def snapshot(self) -> list[Any]:
        """The state as plain data."""
        return [[i, vars(state)] for i, state in self.states.items()]

    def restore(self, state: list[Any]) -> None:
        """Take over a snapshot."""
        self.states = {i: _State(**values) for i, values in state}
