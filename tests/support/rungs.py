"""Rungs for tests: real decoders on the CPU that deliver as a card's would, or fail as one might."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from framelane.video.checksum import checksum
from framelane.video.clip import Clip
from framelane.video.decoders import Broken, CpuRung, Pass, Rung
from framelane.video.reader import Position, Reader
from framelane.video.surface import Surface
from framelane.video.transfer import download, upload


class OnCard(Rung):
    """Delivers surfaces, as NVDEC's rungs do, in the CPU's memory.

    Args:
        breaks_at: fails instead of giving this frame of the pass.
        error: what it fails with.
    """

    name = "pyav"

    def __init__(self, breaks_at: int | None = None, error: Exception | None = None) -> None:
        self.breaks_at, self.error = breaks_at, error or Broken("The card is gone.")
        self.passes = 0

    def missing(self) -> str | None:
        return None

    def frames(self, work: Pass) -> Iterator[Any]:
        self.passes += 1
        for index, frame in enumerate(CpuRung().frames(replace(work, device="cpu"))):
            if index == self.breaks_at:
                raise self.error
            yield self.changed(surface_of(frame), index)

    def changed(self, surface: Surface, index: int) -> Surface:
        """What a subclass does to a frame."""
        return surface


def surface_of(frame: Any) -> Surface:
    """A surface that has forgotten its host frame, as one that a card decoded."""
    surface = upload(frame, "cpu")
    surface.host = None
    return surface


def pictures(clip: Clip, size: int = 4, after: Position | None = None, **how: Any) -> tuple[list[Any], Reader]:
    """Index, timestamp, duration and a digest of every sample of each frame that a reader gives, and the reader."""
    reader, found = Reader(clip, 1, **how), []
    for batch in reader.batches(size, after):
        for place, frame in enumerate(batch.planes):
            host = download(frame) if isinstance(frame, Surface) else frame
            found.append((batch.first_index + place, batch.pts[place], batch.durations[place], samples_of(host)))
    return found, reader


def samples_of(frame: Any) -> str:
    """A digest of a host frame's samples, without what pads its rows."""
    digest = hashlib.sha256()
    wide = 2 if frame.format.components[0].bits > 8 else 1
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        digest.update(np.ascontiguousarray(rows[: plane.height, : plane.width * wide]))
    return digest.hexdigest()


def position(clip: Clip, index: int) -> Position:
    """The position of a frame."""
    for batch in Reader(clip, 1).batches(1):
        if batch.first_index == index:
            return Position(index, batch.pts[0], checksum(batch.planes[0]))
    raise AssertionError(f"no frame {index}")
