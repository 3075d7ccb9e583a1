"""The first pass over a clip, for processors that must know how it goes on: the pipeline without an encoder.

Segments, checkpoints and resume are those of the second pass; a segment holds rows and no video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from framelane.engine.checkpoint import WorkFolder
from framelane.engine.events import Event, Listener
from framelane.engine.pipeline import Pipeline
from framelane.video.frames import FrameBatch
from framelane.video.writer import EncodeSpec, SegmentInfo

_SILENT = ("segment", "start")
"""Events of the first pass that nobody may take for the second's."""


class Uncoded:
    """Stands in for a segment's writer: counts frames and writes none."""

    def __init__(self, path: Path, _spec: EncodeSpec) -> None:
        path.touch()
        self.info = SegmentInfo()

    def write(self, batch: FrameBatch) -> None:
        """Count."""
        self.info.first_pts = batch.pts[0] if self.info.first_pts is None else self.info.first_pts
        self.info.last_pts, self.info.last_duration = batch.pts[-1], batch.durations[-1]
        self.info.frames += len(batch)

    def close(self) -> SegmentInfo:
        """What was counted."""
        return self.info

    def abandon(self) -> None:
        """Nothing is held."""


def first_pass(
    folder: Path, identity: dict[str, Any], listener: Listener, make: Callable[..., Pipeline]
) -> Iterator[dict[str, Any]]:
    """Look at a whole clip, going on where an interrupted first pass stopped.

    Args:
        folder: the job's work folder; the first pass works in a folder of its own inside it.
        identity: of the job: rows made with another one are made anew.
        listener: takes events; progress says ``"phase": "first pass"``.
        make: makes the pipeline of ``(work folder, finished segments, listener, make_writer)``.

    Returns:
        The rows of the whole clip, read from the disk as they are asked for.

    Raises:
        FramelaneError: as the pipeline.
    """
    work = WorkFolder(folder / "first-pass")
    try:
        done = work.open(identity)
        make(work, done, lambda event: _pass_on(event, listener), cast("Any", Uncoded)).run()
    finally:
        work.release()
    return work.rows()


def _pass_on(event: Event, listener: Listener) -> None:
    if event["event"] not in _SILENT:
        listener(Event({**event, "phase": "first pass"}))
