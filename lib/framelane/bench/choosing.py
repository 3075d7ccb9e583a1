"""What measured speeds say: which of several settings to take. Pure functions; the measuring is in ``tuning``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

LEAST = 1.05
"""By what factor a setting must be faster to be worth a change, however quiet the machine was."""
REPEATS = 2
"""Measurements that a setting needs at least to be compared at all."""
HEADROOM = 1.2
"""How much faster than the rest of the pipeline an encoder should be, so that it never holds it up."""


@dataclass(frozen=True)
class Speeds:
    """What was measured of one candidate.

    Attributes:
        value: of the setting.
        fps: frames per second, one figure for each repeat.
        refused: why it does not work here; "" where it does.
    """

    value: Any
    fps: tuple[float, ...] = ()
    refused: str = ""

    @property
    def median(self) -> float:
        """Frames per second; 0 where nothing was measured."""
        return median(self.fps) if self.fps else 0.0

    @property
    def spread(self) -> float:
        """Half the range of the repeats, as a share of their median; 0 where there are fewer than two."""
        return (max(self.fps) - min(self.fps)) / 2 / self.median if len(self.fps) > 1 and self.median else 0.0

    def __str__(self) -> str:
        if self.refused or not self.fps:
            return f"{self.value}: -"
        return f"{self.value}: {self.median:.3g} ±{100 * self.spread:.0f} %"


@dataclass(frozen=True)
class Choice:
    """What to take.

    Attributes:
        value: of the setting.
        changed: whether it is another than the default.
        why: a clause.
    """

    value: Any
    changed: bool
    why: str


def beats(one: Speeds, other: Speeds) -> bool:
    """Whether one is faster beyond the noise: every repeat of it above every repeat of the other, and by 5 %."""
    if min(len(one.fps), len(other.fps)) < REPEATS:
        return False
    return min(one.fps) > max(other.fps) and one.median >= LEAST * other.median


def fastest(measured: Sequence[Speeds], default: Any) -> Choice:
    """The fastest value, where it beats the default's; else the default.

    Args:
        measured: the candidates, the cheapest (in memory) first: of several that are equally fast it is taken.
        default: the value that is taken without any measurement.
    """
    by_value = {each.value: each for each in measured}
    usual = by_value.get(default)
    if usual is None or len(usual.fps) < REPEATS:
        return Choice(default, False, "measured too seldom to say")
    better = [each for each in measured if beats(each, usual)]
    if not better:
        return Choice(default, False, "nothing else was faster beyond the noise")
    best = max(better, key=lambda each: each.median)
    taken = next(each for each in better if not beats(best, each))
    return Choice(taken.value, True, f"{taken.median:.3g} frames/s; {default} gave {usual.median:.3g}")


def preset(measured: Sequence[Speeds], default: Any, needed: float) -> Choice:
    """The best preset that does not hold the pipeline up: a faster one costs quality or size, and is no gain by itself.

    Args:
        measured: from the best and slowest to the fastest.
        default: the preset that is taken without any measurement; no slower one is.
        needed: frames per second that the rest of the pipeline reaches.
    """
    values = [each.value for each in measured]
    if default not in values:
        return Choice(default, False, "not measured")
    candidates = [each for each in measured[values.index(default) :] if each.fps]
    if not candidates or candidates[0].value != default or len(candidates[0].fps) < REPEATS:
        return Choice(default, False, "measured too seldom to say")
    usual = candidates[0]
    enough = next((each for each in candidates if each.median >= HEADROOM * needed), None)
    if enough is usual:
        return Choice(default, False, f"{usual.median:.3g} frames/s; the rest of the pipeline reaches {needed:.3g}")
    best = enough or max(candidates, key=lambda each: each.median)
    taken = enough or next(each for each in candidates if not beats(best, each))  # the best of those equally fast
    if not beats(taken, usual):
        return Choice(default, False, "nothing else was faster beyond the noise")
    figures = f"{taken.median:.3g} frames/s; {default} gave {usual.median:.3g}"
    return Choice(taken.value, True, f"{figures}, and the rest of the pipeline reaches {needed:.3g}")


def rounds(values: Sequence[Any], count: int) -> list[list[Any]]:
    """In which order to measure: every value once a round, each round beginning one further, so that drift hits all."""
    return [[*values[i % len(values) :], *values[: i % len(values)]] for i in range(count)] if values else []


def batch_sizes(default: int, frames: int) -> list[int]:
    """The batch sizes worth trying around a default: half, itself, and twice or four times as long as three fit a clip.

    Args:
        default: taken without any measurement; always among them.
        frames: of the clip that is measured with.
    """
    more = {size for size in (2 * default, 4 * default) if 3 * size <= frames and size <= 64}
    return sorted({max(1, default // 2), default} | more)


def thread_counts(default: int, cores: int) -> list[int]:
    """The thread counts worth trying: the default first, one, half the cores, one more than the cores (of a few).

    Args:
        default: taken without any measurement; 0 is one for each core.
        cores: that may be used.
    """
    worth = {1, max(1, cores // 2), cores, *([cores + 1] if cores <= 4 else [])}
    return [default, *sorted(worth - {default or cores})]


def winners(choices: Mapping[str, Choice]) -> dict[str, Any]:
    """What to write, by dotted key: the value where it changed, None (take it out) where the default stays."""
    return {key: choice.value if choice.changed else None for key, choice in choices.items()}
