"""What the guard watches, what it does about it, and how both are said: quantities, rungs, actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from framelane.sections.guard import GuardRule, GuardSettings

Sample = Mapping[str, float]
"""Quantities by name; one whose sensor does not answer is absent."""

QUANTITIES = {
    "vram": ("vram", "GPU memory in use: {:.0f} %"),
    "temperature": ("thermal_margin", "the device is {:.0f} °C below its slowdown point"),
    "ram": ("ram", "RAM in use: {:.0f} %"),
    "ceiling": ("process_ram", "the process uses {:.0f} % of hardware.ram_limit"),
    "disk": ("disk_spare_mb", "{:.0f} MB are free on the disk beyond engine.min_free_mb"),
}
"""For every rule of the settings: the quantity of a sample that it watches, and how that is said."""

Held = dict[str, dict[str, float]]
"""By rule and kind of rung, what the guard has set."""


def thresholds(settings: GuardSettings) -> dict[str, dict[str, float | str | bool]]:
    """For every rule, what it watches and where it acts, for whoever draws it; empty where the guard is off.

    Returns:
        By rule: ``sensor`` (its name in a sample), ``enter`` and ``leave``, and ``low``: whether it is low values that are
        bad. ``thermal_margin`` is °C below the slowdown point, so on a curve of temperatures the limit is at
        ``gpu_slowdown - enter``.
    """
    found: dict[str, dict[str, float | str | bool]] = {}
    for name, (sensor, _) in QUANTITIES.items() if settings.enabled else ():
        rule: GuardRule = getattr(settings, name)
        found[name] = {"sensor": sensor, "enter": rule.enter, "leave": rule.leave, "low": rule.low}
    return found


@dataclass(frozen=True)
class Rung:
    """One step of an expanded ladder: ``kind`` as in the settings, and its value (frames, lines, N, share of time)."""

    kind: str
    value: float = 0.0

    def covered_by(self, kept: float | None) -> bool:
        """Whether what was kept of its kind is at least as strict."""
        if kept is None:
            return False
        return kept >= self.value if self.kind == "stride" else kept <= self.value


@dataclass(frozen=True)
class Action:
    """A rung taken or given back.

    Attributes:
        rule: the rule's name in ``guard.*``.
        kind: the rung's kind.
        value: what now holds for that kind: frames, lines (0: the clip's own), N, share of time; 1 or 0 for the rest.
        worse: True where the guard restricts, False where it gives back.
        reason: why, without a full stop.
    """

    rule: str
    kind: str
    value: float
    worse: bool
    reason: str

    @property
    def sentence(self) -> str:
        """The action for people."""
        value = self.value
        text = {
            "batch": f"The batch size is {value:g} from here on",
            "height": f"From the next clip on, frames are worked on at {f'{value:g} lines' if value else 'their own size'}",
            "stride": f"From the next clip on, models run on {_every(value)} of their frames",
            "pace": f"Work goes on at {'full pace' if value >= 1 else f'{value:.0%} of the pace'}",
            "pause": "Work pauses" if value else "Work goes on after a pause",
            "emergency": (
                "Memory is short: caches are flushed and queues hold one frame batch"
                if value
                else "Memory suffices again: queues are as before"
            ),
            "stop": "The job stops after this segment" if value else "The job need not stop any more",
        }[self.kind]
        return f"{text}: {self.reason}."


def _every(stride: float) -> str:
    return "all" if stride <= 1 else f"every {stride:g}{ {2: 'nd', 3: 'rd'}.get(int(stride), 'th') }"
