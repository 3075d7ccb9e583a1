"""The last stage of the pipeline: frames into segments, each recorded and synced before the next one begins."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framelane.engine.checkpoint import Record, Segment, WorkFolder
from framelane.engine.events import Event, Meter
from framelane.engine.room import check_room
from framelane.video.frames import FrameBatch
from framelane.video.reader import Position
from framelane.video.writer import EncodeSpec, SegmentWriter, write_error


@dataclass(frozen=True)
class Checkpoint:
    """Travels behind the frame that closes a segment."""

    state: dict[str, Any]
    after: Position | None
    last: bool = False
    guard: dict[str, Any] = field(default_factory=dict)


@dataclass
class Encoding:
    """The stage that encodes.

    Attributes:
        work: the job's work folder, opened.
        spec: how to encode.
        segments: those that are finished; new ones are added.
        min_free: bytes of disk that must stay free.
        make_writer: opens the writer of a segment.
        meter: counts frames and time.
        notes: degradations and warnings of the job, saved with every segment.
        emit: takes events.
        show: is given every frame batch once it is written.
    """

    work: WorkFolder
    spec: EncodeSpec
    segments: list[Segment]
    min_free: int
    make_writer: Callable[[Path, EncodeSpec], SegmentWriter]
    meter: Meter
    notes: dict[str, Any]
    emit: Callable[[Event], None]
    show: Callable[[FrameBatch], None]

    def run(self, finished: Iterable[FrameBatch | Checkpoint]) -> None:
        """Encode until the channel is closed.

        Args:
            finished: frames in order, a checkpoint behind the frame that closes a segment.

        Raises:
            FramelaneError: the disk is full, or the encoder fails.
        """
        writer: SegmentWriter | None = None
        rows: Any = None
        try:
            for item in finished:
                started = time.perf_counter()
                if writer is None:
                    check_room(self.work, self.segments, self.min_free)
                    folder = self.work.begin(len(self.segments))
                    writer = self.make_writer(folder / "video.nut", self.spec)
                    rows = (folder / "rows.jsonl").open("w", encoding="utf-8")
                if isinstance(item, Checkpoint):
                    self._close_segment(writer, rows, item)
                    writer = None
                    self.meter.add("encode", time.perf_counter() - started, 0)
                    continue
                for row in item.rows:
                    rows.write(json.dumps(row) + "\n")
                writer.write(item.arrive())
                self.meter.add("encode", time.perf_counter() - started, len(item))
                self.meter.written += len(item)
                self.show(item)
                del item
        except OSError as error:
            raise write_error(self.work.path, error) from error
        finally:
            if writer is not None:
                writer.abandon()
            if rows is not None:
                with contextlib.suppress(OSError):  # what is left in its buffer may find the disk full a second time
                    rows.close()

    def _close_segment(self, writer: SegmentWriter, rows: Any, checkpoint: Checkpoint) -> None:
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
