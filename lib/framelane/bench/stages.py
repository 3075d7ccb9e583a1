"""Three stages that only sleep, through the real pipeline: how much of the slowest stage's pace the engine keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from framelane.engine.checkpoint import WorkFolder
from framelane.engine.pipeline import Pipeline
from framelane.engine.plan import Plan
from framelane.video.colour import ColourTags
from framelane.video.frames import FrameBatch, Layout
from framelane.video.reader import Position, Reader
from framelane.video.writer import EncodeSpec, SegmentInfo

FRAMES = 500
DECODE_S, PROCESS_S, ENCODE_S = 0.005, 0.010, 0.005
_RATE = 30
_SIDE = 64


class SleepingReader:
    """Stands in for :class:`framelane.video.reader.Reader`: tiny grey frames, :data:`DECODE_S` each."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.clip = SimpleNamespace(path=Path("simulated"), time_base=Fraction(1, _RATE))

    def batches(self, size: int, after: Position | None = None, history: int = 1) -> Iterator[FrameBatch]:
        """Frame batches of up to ``size`` frames."""
        from av import VideoFrame

        layout = Layout(_SIDE, _SIDE, Fraction(1, _RATE), 0, ColourTags())
        for start in range(after.index + 1 if after else 0, self.frames, size):
            count = min(size, self.frames - start)
            planes = []
            for _ in range(count):
                time.sleep(DECODE_S)
                planes.append(VideoFrame(_SIDE, _SIDE, "gray"))
            yield FrameBatch(tuple(planes), tuple(range(start, start + count)), (1,) * count, start, layout)


class SleepingWriter:
    """Stands in for :class:`framelane.video.writer.SegmentWriter`: :data:`ENCODE_S` a frame."""

    def __init__(self, path: Path, _spec: EncodeSpec) -> None:
        path.touch()
        self.info = SegmentInfo()

    def write(self, batch: FrameBatch) -> None:
        """Take the time and count."""
        for pts in batch.pts:
            time.sleep(ENCODE_S)
            self.info.first_pts = pts if self.info.first_pts is None else self.info.first_pts
            self.info.last_pts = pts
            self.info.frames += 1

    def close(self) -> SegmentInfo:
        """What was counted."""
        return self.info

    def abandon(self) -> None:
        """Nothing is held."""


def pipelined(folder: Path, frames: int) -> float:
    """Seconds for that many frames through the real engine, segments and checkpoints included.

    Args:
        folder: an empty folder for the segments.
        frames: how many.
    """
    from framelane.bench.processors import Sleep
    from framelane.settings import load

    settings = load().settings
    work = WorkFolder(folder / "simulated.mp4")
    work.open({})
    processor = Sleep()
    processor.seconds = PROCESS_S
    plan = Plan(settings.hardware.batch_size, settings.engine.queue_batches, settings.engine.segment_seconds)
    started = time.perf_counter()
    pipeline = Pipeline(
        cast("Reader", SleepingReader(frames)),
        processor,
        cast("EncodeSpec", None),
        work,
        plan,
        make_writer=cast("Any", SleepingWriter),
    )
    written = sum(segment.record.info.frames for segment in pipeline.run())
    seconds = time.perf_counter() - started
    work.remove()
    assert written == frames, f"{written} of {frames} frames were written"
    return seconds


def slowest_alone(frames: int) -> float:
    """Seconds that the slowest stage takes on its own."""
    started = time.perf_counter()
    for _ in range(frames):
        time.sleep(PROCESS_S)
    return time.perf_counter() - started
