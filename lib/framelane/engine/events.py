"""What a job says while it runs: one JSON-able dict an event.

``start`` (clip, output, frames, resumed_at_frame, device, decoder, encoder, profile, mode, …), ``progress`` (frame,
frames, fps, eta_s, stage_ms; ``ram`` in %, and ``gpu`` with load and memory in %, °C and W where there is one),
``segment`` (index, frames), ``sealing``, ``degraded``, ``recovered`` and ``warning`` (message), ``done`` (output, …),
``failed`` and ``cancelled`` (message). ``paused`` and ``resumed`` (message) are the user's. Whatever pauses the work or
ends that has ``pause``: 1 or 0, whether it rests from here on.
A processor may add its own, with a message: ``alert`` (frame, time, track, class, zone, distance, ttc) of ``depth``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Event(dict[str, Any]):
    """An event: a dict to machines, and a plain line to people, so that ``progress=print`` is useful."""

    def __str__(self) -> str:
        return describe(self)


Listener = Callable[[Event], None]

STAGES = ("decode", "process", "encode")


@dataclass
class Meter:
    """Counts frames and the busy time of each stage; each stage writes only its own numbers."""

    frames: int
    first: int = 0
    written: int = 0
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    seen: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    started: float = field(default_factory=time.monotonic)
    paused_s: float = 0.0

    def add(self, stage: str, seconds: float, frames: int) -> None:
        """Note that ``stage`` was busy for ``seconds`` with ``frames`` frames."""
        self.busy[stage] += seconds
        self.seen[stage] += frames

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds a frame in each stage, waiting not counted."""
        return {s: round(1000 * self.busy[s] / self.seen[s], 2) if self.seen[s] else 0.0 for s in STAGES}

    def progress(self) -> Event:
        """A ``progress`` event for this moment, without the time that is left."""
        elapsed = time.monotonic() - self.started - self.paused_s
        fps = self.written / elapsed if elapsed > 0 else 0.0
        frame = self.first + self.written
        return Event(
            event="progress",
            frame=frame,
            frames=max(self.frames, frame),
            fps=round(fps, 2),
            eta_s=None,
            stage_ms=self.stage_ms(),
        )


def describe(event: Mapping[str, Any]) -> str:
    """One plain line for an event, for terminals and logs that cannot draw."""
    kind = event["event"]
    if kind == "progress":
        eta = f", {event['eta_s']:.0f} s left" if event.get("eta_s") is not None else ""
        times = " ".join(f"{stage} {ms:.1f}" for stage, ms in event["stage_ms"].items())
        return f"frame {event['frame']}/{event['frames']} at {event['fps']:.1f} fps{eta} (ms a frame: {times})"
    if kind == "start":
        mode = event.get("mode")
        resumed = f", going on at frame {event['resumed_at_frame']}" if event.get("resumed_at_frame") else ""
        return (
            f"{event['clip']}: {event['processor']}{f' in mode {mode}' if mode else ''} on {event['device']} "
            f"(decoder {event['decoder']}, encoder {event['encoder']}){resumed}"
        )
    if kind == "segment":
        return f"segment {event['index']} is safe (frames up to {event['frame']})"
    if kind == "done":
        return f"{event['output']}: {event['frames']} frames in {event['seconds']:.1f} s"
    return str(event.get("message", kind))
