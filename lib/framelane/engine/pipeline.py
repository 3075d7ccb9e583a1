"""Decode, process and encode side by side: three threads, two bounded channels, segments as they close.

The caller's thread only passes events on, so callbacks run where the caller runs, Ctrl-C is heard at once, and an
error in any stage ends the other two.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framelane.engine.channel import Aborted, Channel
from framelane.engine.checkpoint import Segment, WorkFolder
from framelane.engine.control import Control
from framelane.engine.encoding import Checkpoint, Encoding
from framelane.engine.events import Event, Listener, Meter
from framelane.engine.forecast import Forecast
from framelane.engine.plan import Plan
from framelane.engine.preview import Preview
from framelane.engine.processing import Processing, no_memory
from framelane.engine.streams import Stage, Streams
from framelane.errors import Cancelled, FramelaneError
from framelane.memory import is_out_of_memory
from framelane.processors.base import Processor
from framelane.video.frames import FrameBatch
from framelane.video.reader import Position, Reader
from framelane.video.writer import EncodeSpec, SegmentWriter, open_writer

_PROGRESS_EVERY_S = 0.25


class Pipeline:
    """One job's frames, from the reader through the processor into segments.

    Args:
        reader: gives frame batches.
        processor: already opened.
        spec: how to encode.
        work: the job's work folder, opened.
        plan: sizes and what is done already.
        listener: takes events, in the caller's thread.
        notes: degradations and warnings of the job, saved with every segment.
        cancel: set by anyone to stop; finished segments stay.
        make_writer: opens the writer of a segment.
        control: the guard and its sensors; None goes without.
        preview: shows frames before and after; None shows none.
    """

    def __init__(
        self,
        reader: Reader,
        processor: Processor,
        spec: EncodeSpec,
        work: WorkFolder,
        plan: Plan,
        *,
        listener: Listener = lambda _: None,
        notes: dict[str, Any] | None = None,
        cancel: threading.Event | None = None,
        make_writer: Callable[[Path, EncodeSpec], SegmentWriter] = open_writer,
        control: Control | None = None,
        preview: Preview | None = None,
    ) -> None:
        self.reader, self.processor, self.plan = reader, processor, plan
        self.listener = listener
        self.notes = notes if notes is not None else {}
        self.cancel = cancel or threading.Event()
        self.control, self.preview = control or Control(), preview or Preview()
        self.segments = list(plan.done)
        written = sum(s.record.info.frames for s in self.segments)
        self.meter = Meter(max(plan.frames, written), written)
        self.forecast = Forecast(self.meter.frames, written)
        self._decoded: Channel[FrameBatch] = Channel(plan.queue_batches)
        self._finished: Channel[FrameBatch | Checkpoint] = Channel(plan.queue_batches)
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._failing = threading.Lock()
        self._streams = Streams(plan.device)
        self._after: Position | None = None
        self._processing = Processing(
            reader.clip, work.output, processor, plan, self.control, self._streams, self.meter, self.notes, self.emit,
            show=lambda batch: self._show(self.preview.before, batch), failing=lambda: self._error is not None,
        )  # fmt: skip
        self._encoding = Encoding(
            work, spec, self.segments, plan.min_free, make_writer, self.meter, self.notes, self.emit,
            show=lambda batch: self._show(self.preview.after, batch),
        )  # fmt: skip

    def run(self) -> list[Segment]:
        """Process what is not done yet.

        Returns:
            All segments of the clip, in order.

        Raises:
            Cancelled: ``cancel`` was set, or Ctrl-C came; the same job can go on later.
            OutOfMemory: memory ran out in a stage, and smaller batches did not help.
            FramelaneError: a stage failed, or the guard had to stop the job after a segment.
        """
        held = self.plan.held
        if self.segments:
            record = self.segments[-1].record
            if record.last:
                return self.segments
            self._after, held = record.after, record.guard.get("held", {})
            self._processing.go_on_after(record)
        work: dict[Stage, Callable[[], None]] = {
            "decode": self._decode,
            "process": lambda: self._processing.run(self._decoded, self._finished),
            "encode": lambda: self._encoding.run(self._finished),
        }
        stages = [
            threading.Thread(target=self._guarded, args=(stage, run), name=stage, daemon=True)
            for stage, run in work.items()
        ]
        self.control.start(self.emit, self.notes, held)
        for thread in stages:
            thread.start()
        try:
            self._pass_events_on(stages)
        finally:
            self.control.stop()
            if any(thread.is_alive() for thread in stages):
                self._fail(Cancelled("Cancelled."))
            for thread in stages:
                thread.join()
        if self._error is not None:
            if is_out_of_memory(self._error) and not isinstance(self._error, FramelaneError):
                raise no_memory(self._error) from self._error
            raise self._error
        if self._processing.stopped is not None:
            raise self._processing.stopped
        return self.segments

    def emit(self, event: Event) -> None:
        """Queue an event for the listener; any thread may call this."""
        self._events.put(event)

    # -- supervision -------------------------------------------------------------------------------------------------

    def _pass_events_on(self, stages: list[threading.Thread]) -> None:
        shown = 0.0
        while any(thread.is_alive() for thread in stages):
            if self.cancel.is_set() and self._error is None:
                self._fail(Cancelled("Cancelled; finished segments are kept, and the same command goes on from there."))
            self._drain(timeout=0.05)
            if time.monotonic() - shown > _PROGRESS_EVERY_S:
                shown = time.monotonic()
                self._show_progress()
        self._drain(timeout=0)
        self._show_progress()

    def _show_progress(self) -> None:
        self.meter.paused_s = self.control.user_paused_s
        event = self.meter.progress()
        left = self.forecast.left(event["frame"], event["frames"])
        event["eta_s"] = None if left is None else round(left, 1)
        self.listener(Event({**event, **self.control.monitor.progress()}))

    def _drain(self, timeout: float) -> None:
        try:
            while True:
                event = self._events.get(timeout=timeout) if timeout else self._events.get_nowait()
                if event is not None:
                    self.forecast.hear(event)
                    self.listener(event)
        except queue.Empty:
            return

    def _guarded(self, stage: Stage, work: Callable[[], None]) -> None:
        try:
            with self._streams.of(stage):
                work()
        except Aborted:
            pass
        except BaseException as error:
            self._fail(error)
        finally:
            self._events.put(None)  # wakes the supervisor

    def _fail(self, error: BaseException) -> None:
        with self._failing:
            if self._error is None:
                self._error = error
        self._decoded.abort()
        self._finished.abort()

    def _decode(self) -> None:
        batches = self.reader.batches(self.plan.batch_size, self._after, self.processor.history)
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            self.meter.add("decode", time.perf_counter() - started, len(batch))
            self._decoded.put(self._streams.leave(batch))
            del batch  # here and in the other stages: a batch must not live on while its successor is awaited
        self._decoded.close()

    def _show(self, look: Callable[[FrameBatch], Event | None], batch: FrameBatch) -> None:
        if (event := self.preview.safely(look, batch)) is not None:
            self.emit(event)
