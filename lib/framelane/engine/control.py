"""What the guard decides, done to a running pipeline: smaller batches, a slower pace, pauses, flushed caches.

The monitor's thread steps the guard with every sample. The process stage asks between two frame batches
(:meth:`Control.breathe`) and at every segment's start (:meth:`Control.segment_start`). Every action is an event
``degraded`` or ``recovered``, a sentence with its time among the report's degradations, and a row of ``guard.actions``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from framelane.engine.controls import PAUSED, RESUMED
from framelane.engine.events import Event
from framelane.engine.guard import Guard
from framelane.engine.monitor import Monitor, Source
from framelane.engine.rungs import Action, Held
from framelane.memory import free_memory, trim_memory
from framelane.sections.guard import GuardSettings

_SAID = 200  # actions kept for the report; a job of days on a hot machine must not grow without bound
_WAIT_S = 0.1
_KEYS = {"batch": "batch_size", "height": "working_height"}  # as the settings call them
_FLUSH_EVERY = 8  # frame batches between two times that memory is given back in an emergency


class Control:
    """A guard, the monitor that feeds it, and what they have set.

    Args:
        guard: the rules; None acts on nothing.
        sources: what is sampled.
        period_s: seconds between samples; 0 leaves it to the caller to call ``monitor.tick()``.
        clock: seconds that never go back.
        user_pause: set while the user wants the work to wait.
    """

    def __init__(
        self,
        guard: Guard | None = None,
        sources: Sequence[Source] = (),
        *,
        period_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        user_pause: threading.Event | None = None,
    ) -> None:
        self.user_pause = user_pause or threading.Event()
        self.guard = guard or Guard(GuardSettings(enabled=False), 1)
        self.acts = guard is not None and guard.settings.enabled
        self.clock, self.period_s = clock, period_s
        self.monitor = Monitor(sources, period_s or 1.0, clock, self._sampled)
        self.emit: Callable[[Event], None] = lambda _event: None
        self.notes: dict[str, Any] = {}
        self.actions: list[dict[str, Any]] = []
        self.count = 0
        self.paused_s = 0.0
        self._lock = threading.RLock()
        self._begun = clock()
        self._flushed = 0
        self._rested: float | None = None
        self._user_paused_s = 0.0
        self._user_pause_began: float | None = None

    def start(self, emit: Callable[[Event], None], notes: dict[str, Any], held: Held) -> None:
        """Begin to sample.

        Args:
            emit: takes events, from any thread.
            notes: the job's notes, which sentences are added to.
            held: what the last finished segment, or the clip before, had set.
        """
        self.emit, self.notes, self._begun = emit, notes, self.clock()
        with self._lock:
            self.guard.resume(held, self._begun)
        if self.period_s:
            self.monitor.start()

    def stop(self) -> None:
        """End sampling."""
        self.monitor.stop()

    # -- what the pipeline asks --------------------------------------------------------------------------------------

    def batch_size(self, limit: int) -> int:
        """Frames that ``infer`` may be given at once, where nothing else allows more than ``limit``."""
        return min(limit, int(self.guard.value("batch"))) if self.acts else limit

    @property
    def emergency(self) -> bool:
        """Whether memory is so short that queues must hold one frame batch."""
        return self.acts and bool(self.guard.value("emergency"))

    def breathe(self, stopped: Callable[[], bool]) -> None:
        """Between two frame batches: wait as pace and pause want it, and flush caches in an emergency.

        A pace of 0.7 rests for 0.3 of the time, counted over the whole cycle: a rest that a slower encoder catches up
        with would cool nothing.

        Args:
            stopped: whether the job is being ended; no wait outlasts that.
        """
        if self.acts:
            self._restrain(stopped)
        self._wait_for_user(stopped)
        self._rested = time.monotonic()

    def _restrain(self, stopped: Callable[[], bool]) -> None:
        if self.emergency:
            if self._flushed % _FLUSH_EVERY == 0:
                free_memory()
                trim_memory()
            self._flushed += 1
        else:
            self._flushed = 0
        if (pace := self.guard.value("pace")) < 1 and self._rested is not None:
            self._sleep((time.monotonic() - self._rested) * (1 / pace - 1), stopped)
        begun = self.clock()
        while self.guard.value("pause") and not stopped():
            self._sleep(_WAIT_S, stopped)
            if not self.monitor.newest():  # the sensors hang: a pause ends all the same
                self._step({}, self.clock())
        self.paused_s += self.clock() - begun

    def _wait_for_user(self, stopped: Callable[[], bool]) -> None:
        if not self.user_pause.is_set() or stopped():
            return
        with self._lock:
            self._user_pause_began = self.clock()
            self.emit(Event(event="paused", pause=1, message=PAUSED))
        while self.user_pause.is_set() and not stopped():
            self._sleep(_WAIT_S, stopped)
        with self._lock:
            self._user_paused_s, self._user_pause_began = self.user_paused_s, None
            still = self.acts and bool(self.guard.value("pause"))
            why = f"; the guard's pause lasts: {self.guard.reason('pause', self.monitor.newest())}" if still else ""
            self.emit(Event(event="resumed", pause=int(still), message=f"{RESUMED}{why}"))

    @property
    def user_paused_s(self) -> float:
        """Seconds for which the user had the work wait, up to now."""
        with self._lock:
            began = self._user_pause_began
            return self._user_paused_s + (0.0 if began is None else self.clock() - began)

    def _sleep(self, seconds: float, stopped: Callable[[], bool]) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not stopped():
            time.sleep(min(left, _WAIT_S))

    def segment_start(self) -> Held:
        """Let what can change a frame move, now that a segment has ended; returns what its record is to keep."""
        with self._lock:
            self._step(self.monitor.newest(), self.clock(), segment_start=True)
            return self.guard.held

    @property
    def must_stop(self) -> str | None:
        """Why the job has to end after this segment, in words; None where it has not."""
        if not (self.acts and self.guard.value("stop")):
            return None
        return self.guard.reason("stop", self.monitor.newest())

    # -- what it says ------------------------------------------------------------------------------------------------

    def _sampled(self, sample: dict[str, float], now: float) -> None:
        self._step(sample, now)

    def _step(self, sample: dict[str, float], now: float, segment_start: bool = False) -> None:
        with self._lock:
            for action in self.guard.step(sample, now, segment_start):
                self._say(action, now)

    def _say(self, action: Action, now: float) -> None:
        after = round(now - self._begun, 1)
        value = action.value
        if action.kind == "pause" and self._user_pause_began is not None:
            value = 1  # whatever the guard does: the user's pause lasts
        self.count += 1
        if self.count <= _SAID:
            self.actions.append({"after_s": after, **asdict(action)})
            self.notes.setdefault("degradations", []).append(f"After {after:g} s: {action.sentence}")
        self.emit(
            Event(
                event="degraded" if action.worse else "recovered",
                message=action.sentence,
                **{_KEYS.get(action.kind, action.kind): value, "rule": action.rule, "after_s": after},
            )
        )

    def report(self) -> dict[str, Any]:
        """For the report: what the sensors saw, what was done, and what the next clip should begin with."""
        return {
            "sensors": self.monitor.summary(),
            "paused_by_user_s": round(self.user_paused_s, 1),
            "guard": {
                "actions": self.actions,
                "actions_in_all": self.count,
                "paused_s": round(self.paused_s, 1),
                "held": self.guard.held,
            },
        }
