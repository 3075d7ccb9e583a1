"""What a dashboard knows: events in, plain state out. No widget, no process; memory does not grow with time."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.notebook.entries import Line, Mark, Row
from framelane.notebook.markup import state_word

SPAN_S = 300
"""Seconds that the charts look back."""
CHARTED = ("gpu_load", "encoder_load", "decoder_load", "gpu_memory", "vram", "gpu_temperature", "ram", "cpu")
"""Sensors of which the last minutes are kept."""
_LOG, _FAILED, _FINISHED, _NEXT, _REASONS, _MARKS = 200, 50, 4, 3, 6, 40
_SAMPLE_S = 0.95  # the monitor reads once a second; progress comes more often
_STAMP = "%H:%M:%S"


@dataclass
class Model:
    """The state of a batch as its events tell it.

    Attributes:
        jobs: how many there are.
        counts: how many are in each state.
        running: rows by job, those that are paused among them.
        failed: the first rows that failed; ``counts`` has how many there are.
        back: rows that wait again, and why.
        finished: the newest rows that are done.
        skipped: how many were skipped, by reason.
        upcoming: names of the next few jobs.
        phase: ``starting``, ``measuring``, ``running``, ``paused``, ``stopping`` or ``ended``.
        plan: what the batch has planned.
        start: the newest ``start``: device, decoder, encoder and so on.
        sensors: the newest values.
        tracks: (seconds, value) of the last minutes by sensor.
        limits: the guard's thresholds by rule.
        marks: when the guard acted.
        stage_ms: milliseconds a frame by stage.
        preview: the newest ``preview``.
        log: sentences, the newest last.
        said: how many sentences there have been; it tells whether ``log`` has changed.
        ended: the last event, when it has come.
    """

    jobs: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    running: dict[str, Row] = field(default_factory=dict)
    failed: dict[str, Row] = field(default_factory=dict)
    back: dict[str, Row] = field(default_factory=dict)
    finished: deque[Row] = field(default_factory=lambda: deque(maxlen=_FINISHED))
    skipped: Counter[str] = field(default_factory=Counter)
    _passed: set[str] = field(default_factory=set)  # names of those: a job may be listed, and then told of
    upcoming: dict[str, None] = field(default_factory=dict)
    phase: str = "starting"
    plan: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    sensors: dict[str, float] = field(default_factory=dict)
    tracks: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)
    marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=_MARKS))
    stage_ms: dict[str, float] = field(default_factory=dict)
    preview: dict[str, Any] = field(default_factory=dict)
    log: deque[Line] = field(default_factory=lambda: deque(maxlen=_LOG))
    said: int = 0
    ended: dict[str, Any] | None = None
    _planned: dict[str, float] = field(default_factory=dict)  # of jobs that wait, seconds by name
    _running_s: dict[str, float] = field(default_factory=dict)
    _done_planned: float = 0.0
    _took: tuple[float, float] = (0.0, 0.0)  # seconds of finished jobs: as planned, and in truth
    _began: dict[str, float] = field(default_factory=dict)

    def take_all(self, events: Iterable[Mapping[str, Any]], now: float) -> None:
        """Take events in their order.

        Args:
            events: as of :class:`framelane.notebook.session.Session`.
            now: seconds that never go back.
        """
        for event in events:
            self.take(event, now)

    def take(self, event: Mapping[str, Any], now: float) -> None:
        """Take one event; one of an unknown kind that has a message is a sentence of the log."""
        taker = getattr(self, f"_on_{event['event']}", None)
        if taker is not None:
            taker(event, now)
        elif event.get("message"):
            self.say(sentence(str(event["message"])))

    def say(self, text: str, level: str = "info") -> None:
        """A sentence for the log; one that was the last one already is not repeated."""
        if not self.log or self.log[-1].text != text:
            self.log.append(Line(level, text, time.strftime(_STAMP)))
            self.said += 1

    # -- what is derived ---------------------------------------------------------------------------------------------

    @property
    def share(self) -> float:
        """Of the whole batch, 0 to 1: by planned time where there is a plan, else by jobs."""
        if self.ended is not None and not self.waiting and not self.running:
            return 1.0
        if self.total_s:
            begun = sum(seconds * self._share_of(name) for name, seconds in self._running_s.items())
            return min(1.0, (self._done_planned + begun) / self.total_s)
        over = self.jobs - self.waiting - len(self.running)
        return min(1.0, (over + sum(row.share for row in self.running.values())) / self.jobs) if self.jobs else 0.0

    @property
    def total_s(self) -> float:
        """Planned seconds of everything that this run is to do; 0 without a plan."""
        return self._done_planned + sum(self._running_s.values()) + sum(self._planned.values())

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return self.counts.get("waiting", 0)

    @property
    def eta_s(self) -> float | None:
        """Seconds until the end of what fits into this session; None where nobody knows."""
        known = [row.eta_s for row in self.running.values() if row.eta_s is not None]
        if self.running and not known:
            begun = sum(seconds * (1 - self._share_of(name)) for name, seconds in self._running_s.items())
            if not begun:
                return None
            known = [begun * self._pace]
        if self.waiting and not self.total_s:
            return None
        return max(known, default=0.0) + sum(self._planned.values()) * self._pace if self.jobs else None

    @property
    def slowest(self) -> str:
        """The stage that everything waits for, as the engine calls it; empty where none has been timed."""
        timed = {stage: ms for stage, ms in self.stage_ms.items() if ms}
        return max(timed, key=timed.__getitem__) if timed else ""

    @property
    def paused(self) -> bool:
        """Whether the user has it wait."""
        return self.phase == "paused"

    @property
    def _pace(self) -> float:
        planned, took = self._took
        return min(5.0, max(0.2, took / planned)) if planned and took else 1.0

    def _share_of(self, name: str) -> float:
        row = self.running.get(name)
        return row.share if row else 0.0

    # -- events ------------------------------------------------------------------------------------------------------

    def _on_batch(self, event: Mapping[str, Any], now: float) -> None:
        if "jobs" in event:
            self.jobs = int(event["jobs"])
            self.counts = {key: int(event[key]) for key in _STATES if key in event}
        if "job" in event:
            self._moved(event, now)
            return
        phase = event.get("phase")
        if "list" in event:
            self._listed(event["list"])
        if phase in ("measuring", "paused", "stopping"):
            self.phase = phase
        elif phase in ("begins", "resumed"):
            self.phase = "running"
        if "list" in event:
            states = ((int(event.get(state) or 0), state) for state in _STATES)
            said = ", ".join(f"{number} {state_word(state)}" for number, state in states if number)
            self.say(_("{jobs} clips: {states}.").format(jobs=event["jobs"], states=said))
        elif event.get("message"):
            self.say(sentence(str(event["message"])))

    def _listed(self, listed: Iterable[Mapping[str, Any]]) -> None:
        self.skipped.clear()
        self._passed.clear()
        for job in listed:
            name, state, reason = str(job["job"]), str(job["state"]), str(job.get("reason") or "")
            if state == "failed":
                if name not in self.failed and len(self.failed) < _FAILED:
                    self._say_failed(name, reason)
                self._fail(name, reason)
            elif state == "skipped":
                self._skip(name, reason)
            elif state == "waiting" and len(self.upcoming) < 10 * _NEXT:
                self.upcoming[name] = None

    def _moved(self, event: Mapping[str, Any], now: float) -> None:
        name, state, reason = str(event["job"]), str(event.get("state", "")), str(event.get("reason") or "")
        self.upcoming.pop(name, None)
        if state in ("running", "paused"):
            row = self.running.setdefault(name, Row(name, state))
            row.state, row.reason = state, reason
            self._running_s.setdefault(name, self._planned.pop(name, 0.0))
            self._began.setdefault(name, now)
            self.phase = "running" if state == "running" and self.phase in ("starting", "measuring") else self.phase
            return
        row = self.running.pop(name, Row(name, state))
        row.state, row.reason, row.eta_s = state, reason, None
        planned = self._running_s.pop(name, self._planned.pop(name, 0.0))
        row.seconds = row.seconds or now - self._began.pop(name, now)
        self._began.pop(name, None)
        self._over(row, planned)

    def _over(self, row: Row, planned: float) -> None:
        """A job has left the running ones."""
        if row.state == "waiting":
            self.back[row.job] = row
            while len(self.back) > _REASONS:
                self.back.pop(next(iter(self.back)))
            self._planned[row.job] = planned * (1 - row.share)
            self._done_planned += planned * row.share
            return
        self._done_planned += planned
        if row.state == "failed":
            self._fail(row.job, row.reason)
            self._say_failed(row.job, row.reason)
        elif row.state == "skipped":
            self._skip(row.job, row.reason)
        else:
            self.finished.append(row)
            self._took = (self._took[0] + planned, self._took[1] + row.seconds) if planned else self._took

    def _say_failed(self, name: str, reason: str) -> None:
        self.say(_("{job} failed: {why}").format(job=name, why=sentence(reason)), "bad")

    def _fail(self, name: str, reason: str) -> None:
        if name in self.failed or len(self.failed) < _FAILED:
            self.failed[name] = Row(name, "failed", reason)

    def _skip(self, name: str, reason: str) -> None:
        if name in self._passed:
            return
        self._passed.add(name)
        known = reason in self.skipped or len(self.skipped) < _REASONS
        self.skipped[reason if known else ""] += 1

    def _on_plan(self, event: Mapping[str, Any], now: float) -> None:
        self.plan = {
            key: value for key, value in event["plan"].items() if key not in ("jobs", "skipped", "other_files")
        }
        begun = {*self.running, *self.failed}
        self._planned = {
            str(job["output"]): float(job["seconds_now"])
            for job in event["plan"].get("jobs", ())
            if job.get("seconds_now") and str(job["output"]) not in begun
        }
        if event.get("message"):
            self.say(sentence(str(event["message"])))

    def _on_start(self, event: Mapping[str, Any], now: float) -> None:
        self.start = {key: value for key, value in event.items() if key not in ("models", "guard")}
        self.limits = dict(event.get("guard") or {})
        row = self._row(event)
        row.frame, row.frames = int(event.get("resumed_at_frame") or 0), int(event.get("frames") or 0)
        row.fps, row.eta_s, self.stage_ms = 0.0, None, {}
        words = {"job": row.job, "device": event["device"], "encoder": event["encoder"], "frame": row.frame}
        self.say(
            _("{job} goes on at frame {frame}, on {device}, encoded by {encoder}.").format(**words)
            if row.frame
            else _("{job} begins, on {device}, encoded by {encoder}.").format(**words)
        )

    def _on_progress(self, event: Mapping[str, Any], now: float) -> None:
        row = self._row(event)
        row.frame, row.frames = int(event["frame"]), int(event["frames"])
        row.fps, row.eta_s = float(event["fps"]), event.get("eta_s")
        self.stage_ms = dict(event["stage_ms"])
        sensors = event.get("sensors")
        if not sensors:
            return
        self.sensors = dict(sensors)
        for name in CHARTED:
            if name in sensors:
                track = self.tracks.setdefault(name, deque(maxlen=SPAN_S + 10))
                if not track or now - track[-1][0] >= _SAMPLE_S:
                    track.append((now, float(sensors[name])))

    def _on_preview(self, event: Mapping[str, Any], now: float) -> None:
        self.preview = dict(event)

    def _on_segment(self, event: Mapping[str, Any], now: float) -> None:
        row = self._row(event)
        row.frame = max(row.frame, int(event["frame"]))

    def _on_sealing(self, event: Mapping[str, Any], now: float) -> None:
        self._row(event).eta_s = 0.0

    def _on_degraded(self, event: Mapping[str, Any], now: float) -> None:
        self._acted(event, now, True)

    def _on_recovered(self, event: Mapping[str, Any], now: float) -> None:
        self._acted(event, now, False)

    def _acted(self, event: Mapping[str, Any], now: float, worse: bool) -> None:
        text = sentence(str(event["message"]))
        self.marks.append(Mark(now, str(event.get("rule", "")), worse, text))
        self.say(text, "warning" if worse else "good")

    def _on_warning(self, event: Mapping[str, Any], now: float) -> None:
        self.say(sentence(str(event["message"])), "warning")

    def _on_died(self, event: Mapping[str, Any], now: float) -> None:
        self.say(sentence(str(event["message"])), "bad")

    def _on_paused(self, event: Mapping[str, Any], now: float) -> None:
        self.say(sentence(str(event["message"])))  # the batch has said the same, where nothing else is to be known

    def _on_resumed(self, event: Mapping[str, Any], now: float) -> None:
        self.say(sentence(str(event["message"])))

    def _on_done(self, event: Mapping[str, Any], now: float) -> None:
        row = self._row(event)
        row.seconds = float(event["seconds"])
        words = {"job": row.job, "frames": event["frames"], "seconds": f"{row.seconds:.1f}"}
        self.say(_("{job} is done: {frames} frames in {seconds} s.").format(**words), "good")

    def _on_failed(self, event: Mapping[str, Any], now: float) -> None:
        """The batch says it once more, with the job's new state."""

    def _on_cancelled(self, event: Mapping[str, Any], now: float) -> None:
        """The end says it for all clips."""

    def _on_ended(self, event: Mapping[str, Any], now: float) -> None:
        self.ended, self.phase = dict(event), "ended"
        code = event.get("exit_code")
        text = sentence(str(event["message"]))
        level = {0: "good", 3: "warning", 130: "info"}.get(code, "bad") if isinstance(code, int) else "bad"
        if level == "bad":  # nobody said what became of them
            for row in self.running.values():
                row.state, row.reason, row.eta_s = "failed", str(event["message"]), None
        self.say(text, level)

    def _row(self, event: Mapping[str, Any]) -> Row:
        name = str(event.get("job") or event.get("output") or "")
        return self.running.setdefault(name, Row(name, "running"))

    def next_jobs(self) -> list[str]:
        """Names of the next few jobs."""
        return list(islice(self.upcoming, _NEXT))


_STATES = ("done", "failed", "skipped", "waiting", "running", "paused")
