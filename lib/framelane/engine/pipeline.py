"""Decode, process and encode side by side: three threads, two bounded channels, segments as they close.

The caller's thread only passes events on, so callbacks run where the caller runs, Ctrl-C is heard at once, and an
error in any stage ends the other two.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framelane.engine.channel import Aborted, Channel
from framelane.engine.checkpoint import Record, Segment, WorkFolder
from framelane.engine.control import Control
from framelane.engine.events import Event, Listener, Meter
from framelane.engine.forecast import Forecast
from framelane.engine.guard import Held
from framelane.engine.positions import Positions
from framelane.engine.preview import Preview
from framelane.engine.room import check_room
from framelane.engine.streams import Stage, Streams
from framelane.errors import Cancelled, FramelaneError, OutOfMemory, chain
from framelane.memory import free_memory, is_out_of_memory
from framelane.processors.base import Processor
from framelane.video.frames import FrameBatch
from framelane.video.reader import Position, Reader
from framelane.video.writer import EncodeSpec, SegmentWriter, open_writer, write_error

_PROGRESS_EVERY_S = 0.25


@dataclass(frozen=True)
class _Checkpoint:
    """Travels behind the frame that closes a segment."""

    state: dict[str, Any]
    after: Position | None
    last: bool = False
    guard: dict[str, Any] = field(default_factory=dict)


@dataclass
class Plan:
    """What the pipeline is to do.

    Attributes:
        batch_size: frames per frame batch.
        queue_batches: frame batches that may wait between two stages.
        segment_seconds: seconds of output per segment.
        min_free: bytes of disk that must stay free.
        done: segments finished by an earlier run.
        frames: a guess at the number of frames.
        empty_cache_every: frame batches between two times that unused memory is given back; 0 is never.
        held: what the guard had set at the end of the clip before.
        device: where the job works, ``"cpu"`` or ``"cuda"``: there each stage has a stream of its own.
    """

    batch_size: int
    queue_batches: int
    segment_seconds: float
    min_free: int = 0
    done: list[Segment] = field(default_factory=list)
    frames: int = 0
    empty_cache_every: int = 0
    held: Held = field(default_factory=dict)
    device: str = "cpu"


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
        self.reader, self.processor, self.spec, self.work, self.plan = reader, processor, spec, work, plan
        self.listener, self.make_writer = listener, make_writer
        self.notes = notes if notes is not None else {}
        self.cancel = cancel or threading.Event()
        self.control, self.preview = control or Control(), preview or Preview()
        self.segments = list(plan.done)
        written = sum(s.record.info.frames for s in self.segments)
        self.meter = Meter(max(plan.frames, written), written)
        self.forecast = Forecast(self.meter.frames, written)
        self._decoded: Channel[FrameBatch] = Channel(plan.queue_batches)
        self._finished: Channel[FrameBatch | _Checkpoint] = Channel(plan.queue_batches)
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._failing = threading.Lock()
        self._positions = Positions()
        self._streams = Streams(plan.device)
        self._limit = plan.batch_size
        self._after: Position | None = None
        self._last_pts: int | None = None
        self._stopped: FramelaneError | None = None

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
            self._after, self._last_pts = record.after, record.info.last_pts
            self._limit = min(self._limit, record.guard.get("limit", record.guard.get("batch_size", self._limit)))
            held = record.guard.get("held", {})
            self.processor.restore(json.loads(json.dumps(record.state)))
        work: dict[Stage, Callable[[], None]] = {
            "decode": self._decode, "process": self._process, "encode": self._encode,
        }  # fmt: skip
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
                raise _no_memory(self._error) from self._error
            raise self._error
        if self._stopped is not None:
            raise self._stopped
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

    # -- stages ------------------------------------------------------------------------------------------------------

    def _decode(self) -> None:
        batches = self.reader.batches(self.plan.batch_size, self._after, self.processor.history)
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            self.meter.add("decode", time.perf_counter() - started, len(batch))
            self._decoded.put(self._streams.leave(batch))
            del batch  # here and below: a batch must not live on while its successor is awaited
        self._decoded.close()

    def _process(self) -> None:
        boundary: float | None = None
        base = self.reader.clip.time_base
        for count, decoded in enumerate(self._decoded, 1):
            self._breathe()
            batch = decoded.arrive()
            self._show(self.preview.before, batch)
            for done in self._commit(batch):
                boundary = self._forward(done, boundary)
                del done
            # Only between batches: the snapshot is then the state right after the segment's last frame.
            if boundary is not None and self._last_pts is not None and self._last_pts * float(base) >= boundary:
                self._finished.put(self._checkpoint())
                boundary = None
                if reason := self.control.must_stop:
                    self._stop(reason)
                    return
            del batch, decoded
            if self.plan.empty_cache_every and count % self.plan.empty_cache_every == 0:
                free_memory()
        for done in self.processor.flush():
            boundary = self._forward(done, boundary)
        if self._last_pts is None:
            raise FramelaneError(f"No frame of {self.reader.clip.path} could be decoded.")
        if boundary is not None:
            self._finished.put(_Checkpoint({}, None, last=True))
        self._finished.close()

    def _show(self, look: Callable[[FrameBatch], Event | None], batch: FrameBatch) -> None:
        if (event := self.preview.safely(look, batch)) is not None:
            self.emit(event)

    def _breathe(self) -> None:
        """What the guard wants between two frame batches."""
        self.control.breathe(lambda: self._error is not None)
        waiting = 1 if self.control.emergency else self.plan.queue_batches
        self._decoded.resize(waiting)
        self._finished.resize(waiting)

    def _stop(self, reason: str) -> None:
        """End the job behind the segment that was just closed."""
        self._stopped = FramelaneError(
            f"The guard stopped the job after a segment, before {self.work.output} could fail: {reason}. Make room and run "
            "the same command again; finished segments are kept."
        )
        self._decoded.abort()
        self._finished.close()

    def _commit(self, batch: FrameBatch) -> list[FrameBatch]:
        started = time.perf_counter()
        done = []
        start = 0
        while start < len(batch):  # after running out of memory: the same frames again, in smaller pieces
            piece = batch.slice(start, min(start + self.control.batch_size(self._limit), len(batch)))
            try:
                inferred = self.processor.infer(piece)
            except BaseException as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(error, len(piece))
                continue
            done += self.processor.commit(piece, inferred)
            start += len(piece)
        self._positions.note(batch)
        self.meter.add("process", time.perf_counter() - started, len(batch))
        return done

    def _shrink(self, error: BaseException, size: int) -> None:
        if size == 1:
            raise _no_memory(error) from error
        self._limit = max(1, size // 2)
        free_memory()
        message = f"Memory ran out; the batch size is {self._limit} from here on."
        self.notes.setdefault("degradations", []).append(message)
        self.emit(Event(event="degraded", message=message, batch_size=self._limit))

    def _forward(self, done: FrameBatch, boundary: float | None) -> float | None:
        """Send finished frames on, less those that an earlier run has written; returns the segment's end in seconds."""
        if self._last_pts is not None and done.pts[0] <= self._last_pts:
            fresh = sum(pts > self._last_pts for pts in done.pts)
            if not fresh:
                return boundary
            done = done.slice(len(done) - fresh, len(done))
        base = float(self.reader.clip.time_base)
        if boundary is None:
            boundary = done.pts[0] * base + self.plan.segment_seconds
        self._last_pts = done.pts[-1]
        self._finished.put(self._streams.leave(done))
        return boundary

    def _checkpoint(self) -> _Checkpoint:
        snapshot = self.processor.snapshot()
        held = self.control.segment_start()
        guard = {"batch_size": self.control.batch_size(self._limit), "limit": self._limit, "held": held}
        before = None if snapshot.replay_from is None else snapshot.replay_from - 1
        return _Checkpoint(snapshot.state, self._positions.at(before), guard=guard)

    def _encode(self) -> None:
        writer: SegmentWriter | None = None
        rows: Any = None
        try:
            for item in self._finished:
                started = time.perf_counter()
                if writer is None:
                    check_room(self.work, self.segments, self.plan.min_free)
                    folder = self.work.begin(len(self.segments))
                    writer = self.make_writer(folder / "video.nut", self.spec)
                    rows = (folder / "rows.jsonl").open("w", encoding="utf-8")
                if isinstance(item, _Checkpoint):
                    self._close_segment(writer, rows, item)
                    writer = None
                    self.meter.add("encode", time.perf_counter() - started, 0)
                    continue
                for row in item.rows:
                    rows.write(json.dumps(row) + "\n")
                writer.write(item.arrive())
                self.meter.add("encode", time.perf_counter() - started, len(item))
                self.meter.written += len(item)
                self._show(self.preview.after, item)
                del item
        except OSError as error:
            raise write_error(self.work.path, error) from error
        finally:
            if writer is not None:
                writer.abandon()
                rows.close()

    def _close_segment(self, writer: SegmentWriter, rows: Any, checkpoint: _Checkpoint) -> None:
        info = writer.close()
        rows.close()
        record = Record(
            info=info,
            last=checkpoint.last,
            state=checkpoint.state,
            after=checkpoint.after,
            guard=checkpoint.guard,
            notes=json.loads(json.dumps(self.notes)),
        )
        self.segments.append(self.work.finish(len(self.segments), record).light())
        frame = self.meter.first + self.meter.written
        self.emit(Event(event="segment", index=len(self.segments) - 1, frames=info.frames, frame=frame))


def _no_memory(error: BaseException) -> OutOfMemory:
    made = OutOfMemory(
        f"Memory ran out where nothing can be made smaller ({chain(error)}). Lower hardware.working_height or "
        "attention.spatial_resolution, or use a profile with smaller models; finished segments are kept."
    )
    made.__cause__ = error
    return made
