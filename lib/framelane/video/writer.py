"""Encoding: one segment of the output, as an elementary stream in a NUT file.

NUT keeps any time base exactly and needs no index to be complete, so a segment's timestamps are those of the input.
Segments are not meant to be played: :mod:`framelane.video.join` makes the file that is. What encodes is a session of one
of the rungs in :mod:`framelane.video.encoders`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from framelane.errors import FramelaneError
from framelane.video.disk import write_error
from framelane.video.encoders import SESSIONS, Session, SessionRefused
from framelane.video.encoders.pictures import fit
from framelane.video.encoders.spec import EncodeSpec, encode_spec
from framelane.video.frames import FrameBatch

__all__ = [
    "EXTENSIONS",
    "EncodeSpec",
    "SegmentInfo",
    "SegmentWriter",
    "encode_spec",
    "fit",
    "open_writer",
    "write_error",
]

EXTENSIONS = (".mp4", ".mov", ".mkv")
RETRY_S = 2.0
"""Seconds after which a session that was refused is asked for once more: the segment before may just have given its up."""


@dataclass
class SegmentInfo:
    """What one written segment holds.

    Attributes:
        frames: number of frames.
        first_pts: timestamp of the first frame in ticks.
        last_pts: timestamp of the last frame in ticks.
        last_duration: how long the last frame is shown, in ticks.
        shortest: how long the frame with the shortest time is shown, in ticks.
        delay: reorder depth: the most frames that any frame is coded after its turn to be shown.
    """

    frames: int = 0
    first_pts: int | None = None
    last_pts: int | None = None
    last_duration: int = 0
    shortest: int = 0
    delay: int = 0

    def later(self, ticks: int) -> SegmentInfo:
        """The same frames, all shown later."""
        moved = {key: getattr(self, key) + ticks for key in ("first_pts", "last_pts") if getattr(self, key) is not None}
        return replace(self, **moved)


@dataclass
class SegmentWriter:
    """Encodes frame batches into one NUT file; a closed group of pictures of its own.

    Args:
        path: the file to write.
        spec: how to encode.

    Raises:
        FramelaneError: the encoder does not open, or the disk is full.
    """

    path: Path
    spec: EncodeSpec
    info: SegmentInfo = field(default_factory=SegmentInfo)

    def __post_init__(self) -> None:
        try:
            self._session = self._open()
        except SessionRefused:
            self._session = self._open_again()

    def _open(self, explain: bool = False) -> Session:
        return SESSIONS[self.spec.rung](self.path, self.spec, explain)

    def _open_again(self) -> Session:
        time.sleep(RETRY_S)
        try:
            return self._open(explain=True)
        except SessionRefused as refused:
            raise self._refusal(refused) from refused

    def write(self, batch: FrameBatch) -> None:
        """Encode a frame batch.

        Raises:
            FramelaneError: the disk is full, or the encoder refuses a frame, or does not open.
        """
        for index, pts in enumerate(batch.pts):
            self._encode(batch, index)
            self.info.first_pts = pts if self.info.first_pts is None else self.info.first_pts
            self.info.last_pts, self.info.last_duration = pts, batch.durations[index]
            self.info.shortest = min(self.info.shortest or batch.durations[index], batch.durations[index])
            self.info.frames += 1

    def _encode(self, batch: FrameBatch, index: int) -> None:
        try:
            self._session.encode(batch, index)
        except SessionRefused as refused:
            if self.info.frames:
                raise self._refusal(refused) from refused
            self._session.abandon()
            self._session = self._open_again()
            try:
                self._session.encode(batch, index)
            except SessionRefused as again:
                raise self._refusal(again) from again

    def _refusal(self, refused: SessionRefused) -> FramelaneError:
        return FramelaneError(
            f"The encoder {self.spec.encoder} (through {self.spec.rung}) refused this segment twice. {refused} Finished "
            "segments are kept: close what else encodes on this card and run the same command again; or add --encoder cpu, "
            "which does the clip anew."
        )

    def close(self) -> SegmentInfo:
        """Flush the encoder and close the file.

        Raises:
            FramelaneError: the disk is full.
        """
        coded = self._session.finish()
        rank = {pts: place for place, pts in enumerate(sorted(coded))}
        self.info.delay = max((place - rank[pts] for place, pts in enumerate(coded)), default=0)
        return self.info

    def abandon(self) -> None:
        """Close the file without caring for what is in it."""
        self._session.abandon()


def open_writer(path: Path, spec: EncodeSpec) -> SegmentWriter:
    """A writer for one segment; see :class:`SegmentWriter`."""
    return SegmentWriter(path, spec)
