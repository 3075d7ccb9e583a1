"""The guard: what slows work down before the machine breaks. A pure state machine: it reads no sensor and no clock.

Every rule of ``guard.*`` watches one quantity of the monitor's samples and has a ladder. A rung is taken when the quantity
has been bad for ``dwell_s``, and given back when it has been good for ``recover_s``; between two rungs lie at least
``dwell_s`` seconds, so a rule switches at most ``60 / dwell_s + 1`` times a minute, whatever its sensor says. A rule that
relapses soon after it gave a rung back waits twice as long the next time, up to sixteen times: a limit that lies between
two rungs ends in a rare try and not in an oscillation.

What can change a frame (batch size, working size, stride) and what ends the job moves at segment starts only, and is stored
with the segment; what changes time or memory alone (pace, pause, emergency) moves at once. Working size and stride never
change within a clip, for a processor's state (tracks, smoothed maps) is in pixels and steps of what it was opened with:
they are for the next one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from framelane.engine.rungs import QUANTITIES, Action, Held, Rung, Sample
from framelane.sections.guard import GuardRule, GuardSettings

LOST_S = 30.0
"""A rule whose sensor has been silent for so long counts as good: nothing is slowed down for a reason that nobody sees."""

_KEPT = ("batch", "height", "stride")
_AT_SEGMENTS = (*_KEPT, "stop")
_MOST_RELAPSES = 4
_QUIET = 10  # times recover_s without a switch, and relapses are forgotten


@dataclass
class _State:
    """Where a rule stands. Times are those of ``now``, or None."""

    rungs: list[Rung]
    level: int = 0
    bad_since: float | None = None
    good_since: float | None = None
    unseen_since: float | None = None
    changed: float = -math.inf
    gave_back: bool = False
    relapses: int = 0
    pause_spent: bool = False

    @property
    def on(self) -> list[Rung]:
        return self.rungs[: self.level]

    @property
    def paused(self) -> bool:
        return bool(self.level) and self.rungs[self.level - 1].kind == "pause"


@dataclass
class Guard:
    """The rules and where each of them stands.

    Args:
        settings: the rules.
        batch_size: frames per batch where nothing is wrong.
        height: lines of the frames as worked on where nothing is wrong; rungs that are not below it are left out.
        stride: as set where nothing is wrong.
    """

    settings: GuardSettings
    batch_size: int
    height: int = 0
    stride: int = 1
    _states: dict[str, _State] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for name in QUANTITIES if self.settings.enabled else ():
            self._states[name] = _State(self._expand(self._rule(name).ladder))

    def _rule(self, name: str) -> GuardRule:
        rule: GuardRule = getattr(self.settings, name)
        return rule

    def _expand(self, ladder: list[str]) -> list[Rung]:
        """The ladder's rungs that change something for this clip; ``batch`` becomes one rung for each halving."""
        rungs = []
        for text in ladder:
            kind, _, number = text.partition(" ")
            value = float(number or 1)
            if kind == "batch":
                size = self.batch_size
                while size > 1:
                    size //= 2
                    rungs.append(Rung("batch", size))
            elif not (kind == "height" and value >= (self.height or math.inf)) and not (
                kind == "stride" and value <= self.stride
            ):
                rungs.append(Rung(kind, value))
        return rungs

    # -- what holds now ----------------------------------------------------------------------------------------------

    def value(self, kind: str) -> float:
        """What holds of a kind, over all rules: the smallest batch, height and pace, the largest stride, else 1 or 0."""
        on = [rung.value for state in self._states.values() for rung in state.on if rung.kind == kind]
        if kind == "stride":
            return max([self.stride, *on])
        if kind in ("pause", "emergency", "stop"):
            return float(any(self._holds(state, kind) for state in self._states.values()))
        whole = {"batch": float(self.batch_size), "height": float(self.height), "pace": 1.0}[kind]
        return min([whole, *on]) if whole else min(on, default=0.0)

    @staticmethod
    def _holds(state: _State, kind: str) -> bool:
        return state.paused if kind == "pause" else any(rung.kind == kind for rung in state.on)

    @property
    def held(self) -> Held:
        """What a resume has to repeat, and what the next clip begins with: by rule, the batch, height and stride it set."""
        found = {name: {r.kind: r.value for r in state.on if r.kind in _KEPT} for name, state in self._states.items()}
        return {name: kept for name, kept in found.items() if kept}

    def reason(self, kind: str, sample: Sample) -> str:
        """Why a kind holds, in the words of the rules that hold it."""
        names = [name for name, state in self._states.items() if self._holds(state, kind)]
        return "; ".join(self._words(name, sample) for name in names)

    def resume(self, held: Held, now: float) -> None:
        """Begin where an earlier segment, or the clip before, ended: every rule on the rung that it had reached.

        Args:
            held: as :attr:`held` was.
            now: the time; the way back needs ``recover_s`` from here.
        """
        for name, kept in held.items():
            state = self._states.get(name)
            if state is None:
                continue
            reached = [index for index, rung in enumerate(state.rungs, 1) if rung.covered_by(kept.get(rung.kind))]
            if reached:
                state.level, state.changed = reached[-1], now

    # -- a step ------------------------------------------------------------------------------------------------------

    def step(self, sample: Sample, now: float, segment_start: bool = False) -> list[Action]:
        """Take a sample in and say what changes.

        Args:
            sample: the quantities that could be read.
            now: seconds on a clock that never goes back.
            segment_start: True where a segment ends and the next begins: only then does what can change a frame move.

        Returns:
            Rungs taken and given back, at most one a rule.
        """
        actions = []
        for name, state in self._states.items():
            rule = self._rule(name)
            value = sample.get(QUANTITIES[name][0], math.nan)
            self._look(rule, state, value, now)
            if action := self._move(name, rule, state, sample, now, segment_start):
                actions.append(action)
        return actions

    @staticmethod
    def _bad(rule: GuardRule, value: float) -> bool:
        return value < rule.enter if rule.low else value >= rule.enter

    @staticmethod
    def _good(rule: GuardRule, value: float) -> bool:
        return value >= rule.leave if rule.low else value < rule.leave

    def _look(self, rule: GuardRule, state: _State, value: float, now: float) -> None:
        """Since when the quantity has been bad (it stays so until it is good) or good without a break."""
        if math.isnan(value):
            state.unseen_since = now if state.unseen_since is None else state.unseen_since
            if now - state.unseen_since < LOST_S:
                return
        else:
            state.unseen_since = None
        if math.isnan(value) or self._good(rule, value):
            state.bad_since = None
            state.good_since = now if state.good_since is None else state.good_since
            return
        state.good_since = None
        if self._bad(rule, value) and state.bad_since is None:
            state.bad_since = now

    def _move(
        self, name: str, rule: GuardRule, state: _State, sample: Sample, now: float, segment_start: bool
    ) -> Action | None:
        if state.paused:
            return self._end_of_pause(name, rule, state, sample, now)
        value = sample.get(QUANTITIES[name][0], math.nan)
        good = now - state.good_since if state.good_since is not None else 0.0
        self._forget(rule, state, good)
        if self._up(rule, state, value, now):
            rung = state.rungs[state.level]
            if rung.kind in _AT_SEGMENTS and not segment_start:
                return None
            if state.gave_back and now - state.changed < _QUIET * rule.recover_s:
                state.relapses = min(state.relapses + 1, _MOST_RELAPSES)
            bad = now - (state.bad_since or now)
            return self._change(name, state, +1, now, f"{self._words(name, sample)} for {bad:.0f} s")
        patience = max(rule.dwell_s, rule.recover_s * 2**state.relapses)
        if not state.level or min(good, now - state.changed) < patience:
            return None
        if state.rungs[state.level - 1].kind in _AT_SEGMENTS and not segment_start:
            return None
        return self._change(name, state, -1, now, f"{self._words(name, sample)} for {good:.0f} s")

    def _up(self, rule: GuardRule, state: _State, value: float, now: float) -> bool:
        """Whether the next rung is due."""
        if state.level == len(state.rungs) or state.bad_since is None or not self._bad(rule, value):
            return False
        if state.rungs[state.level].kind == "pause" and state.pause_spent:
            return False
        return min(now - state.bad_since, now - state.changed) >= rule.dwell_s

    @staticmethod
    def _forget(rule: GuardRule, state: _State, good: float) -> None:
        """After a good time: a pause may come again; after a long one without any rung taken, relapses are forgotten."""
        if good >= rule.recover_s:
            state.pause_spent = False
        if good >= _QUIET * rule.recover_s and not state.level:
            state.relapses = 0

    def _end_of_pause(self, name: str, rule: GuardRule, state: _State, sample: Sample, now: float) -> Action | None:
        """Out of a pause: as soon as it is good (but never a mere blink), or when the pause is as long as it may be."""
        waited = now - state.changed
        longest = self.settings.max_pause_s
        if state.good_since is not None and waited >= min(rule.dwell_s * 2**state.relapses, longest):
            return self._change(name, state, -1, now, self._words(name, sample))
        if waited < longest:
            return None
        state.pause_spent = True
        why = f"{self._words(name, sample)} after the longest pause of {longest:g} s, so it goes on at the lowest pace"
        return self._change(name, state, -1, now, why)

    def _change(self, name: str, state: _State, step: int, now: float, reason: str) -> Action:
        rung = state.rungs[state.level - (step < 0)]
        state.level += step
        state.changed, state.gave_back = now, step < 0
        return Action(name, rung.kind, self.value(rung.kind), step > 0, reason)

    @staticmethod
    def _words(name: str, sample: Sample) -> str:
        quantity, words = QUANTITIES[name]
        return words.format(sample[quantity]) if quantity in sample else "its sensor does not answer any more"
