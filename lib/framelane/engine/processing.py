"""The middle stage of the pipeline: frame batches through the processor, a checkpoint where a segment ends.

Where memory runs out, the same frames go through again in smaller pieces. Between two frame batches the guard has its way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framelane.engine.channel import Channel
from framelane.engine.checkpoint import Record
from framelane.engine.control import Control
from framelane.engine.encoding import Checkpoint
from framelane.engine.events import Event, Meter
from framelane.engine.plan import Plan
from framelane.engine.positions import Positions
from framelane.engine.streams import Streams
from framelane.errors import FramelaneError, OutOfMemory, chain
from framelane.memory import free_memory, is_out_of_memory
from framelane.processors.base import Processor
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch


@dataclass
class Processing:
    """The stage that processes.

    Attributes:
        clip: the input.
        output: the file that is to come of it, for sentences.
        processor: already opened.
        plan: sizes.
        control: the guard and its sensors.
        streams: a stream for each stage.
        meter: counts frames and time.
        notes: degradations and warnings of the job.
        emit: takes events.
        show: is given every frame batch before it is processed.
        failing: whether another stage has failed.
        limit: frames that the processor is given at once, at most.
        last_pts: timestamp of the newest finished frame.
        stopped: why the job ends after a segment; None where it does not.
    """

    clip: Clip
    output: Path
    processor: Processor
    plan: Plan
    control: Control
    streams: Streams
    meter: Meter
    notes: dict[str, Any]
    emit: Callable[[Event], None]
    show: Callable[[FrameBatch], None]
    failing: Callable[[], bool]
    limit: int = field(init=False)
    last_pts: int | None = None
    stopped: FramelaneError | None = None

    def __post_init__(self) -> None:
        self.limit = self.plan.batch_size
        self._positions = Positions()

    def go_on_after(self, record: Record) -> None:
        """Begin where a finished segment ended."""
        self.last_pts = record.info.last_pts
        self.limit = min(self.limit, record.guard.get("limit", record.guard.get("batch_size", self.limit)))
        self.processor.restore(json.loads(json.dumps(record.state)))

    def run(self, decoded: Channel[FrameBatch], finished: Channel[FrameBatch | Checkpoint]) -> None:
        """Process until the clip ends, or the guard has to stop the job after a segment (see :attr:`stopped`).

        Args:
            decoded: takes frame batches from here.
            finished: puts finished frames there, with a checkpoint behind the frame that closes a segment.

        Raises:
            OutOfMemory: a single frame does not fit.
            FramelaneError: nothing could be decoded, or the processor failed.
        """
        boundary: float | None = None
        base = self.clip.time_base
        for count, arriving in enumerate(decoded, 1):
            self._breathe(decoded, finished)
            batch = arriving.arrive()
            self.show(batch)
            for done in self._commit(batch):
                boundary = self._forward(done, boundary, finished)
                del done
            # Only between batches: the snapshot is then the state right after the segment's last frame.
            if boundary is not None and self.last_pts is not None and self.last_pts * float(base) >= boundary:
                finished.put(self._checkpoint())
                boundary = None
                if reason := self.control.must_stop:
                    self._stop(reason)
                    decoded.abort()
                    finished.close()
                    return
            del batch, arriving
            if self.plan.empty_cache_every and count % self.plan.empty_cache_every == 0:
                free_memory()
        for done in self.processor.flush():
            boundary = self._forward(done, boundary, finished)
        if self.last_pts is None:
            raise FramelaneError(f"No frame of {self.clip.path} could be decoded.")
        if boundary is not None:
            finished.put(Checkpoint({}, None, last=True))
        finished.close()

    def _breathe(self, decoded: Channel[Any], finished: Channel[Any]) -> None:
        """What the guard wants between two frame batches."""
        self.control.breathe(self.failing)
        waiting = 1 if self.control.emergency else self.plan.queue_batches
        decoded.resize(waiting)
        finished.resize(waiting)

    def _stop(self, reason: str) -> None:
        """End the job behind the segment that was just closed."""
        self.stopped = FramelaneError(
            f"The guard stopped the job after a segment, before {self.output} could fail: {reason}. Make room and run "
            "the same command again; finished segments are kept."
        )

    def _commit(self, batch: FrameBatch) -> list[FrameBatch]:
        started = time.perf_counter()
        done = []
        start = 0
        while start < len(batch):  # after running out of memory: the same frames again, in smaller pieces
            piece = batch.slice(start, min(start + self.control.batch_size(self.limit), len(batch)))
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
            raise no_memory(error) from error
        self.limit = max(1, size // 2)
        free_memory()
        message = f"Memory ran out; the batch size is {self.limit} from here on."
        self.notes.setdefault("degradations", []).append(message)
        self.emit(Event(event="degraded", message=message, batch_size=self.limit))

    def _forward(
        self, done: FrameBatch, boundary: float | None, finished: Channel[FrameBatch | Checkpoint]
    ) -> float | None:
        """Send finished frames on, less those that an earlier run has written; returns the segment's end in seconds."""
        if self.last_pts is not None and done.pts[0] <= self.last_pts:
            fresh = sum(pts > self.last_pts for pts in done.pts)
            if not fresh:
                return boundary
            done = done.slice(len(done) - fresh, len(done))
        base = float(self.clip.time_base)
        if boundary is None:
            boundary = done.pts[0] * base + self.plan.segment_seconds
        self.last_pts = done.pts[-1]
        finished.put(self.streams.leave(done))
        return boundary

    def _checkpoint(self) -> Checkpoint:
        snapshot = self.processor.snapshot()
        held = self.control.segment_start()
        guard = {"batch_size": self.control.batch_size(self.limit), "limit": self.limit, "held": held}
        before = None if snapshot.replay_from is None else snapshot.replay_from - 1
        return Checkpoint(snapshot.state, self._positions.at(before), guard=guard)


def no_memory(error: BaseException) -> OutOfMemory:
    """What running out of memory is to people, where nothing can be made smaller."""
    made = OutOfMemory(
        f"Memory ran out where nothing can be made smaller ({chain(error)}). Lower hardware.working_height or "
        "attention.spatial_resolution, or use a profile with smaller models; finished segments are kept."
    )
    made.__cause__ = error
    return made
