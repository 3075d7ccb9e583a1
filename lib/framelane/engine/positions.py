"""The input frames that a job may have to go on after: where they are, with their checksums."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from framelane.errors import FramelaneError
from framelane.video.checksum import Checksums, checksums
from framelane.video.frames import FrameBatch
from framelane.video.reader import Position

REMEMBERED = 16384
"""Input frames whose position is kept."""


@dataclass(frozen=True)
class _Noted:
    index: int
    pts: int
    sums: Checksums
    place: int


class Positions:
    """The latest input frames. Of frames on a device the checksum is fetched only when it is asked for."""

    def __init__(self) -> None:
        self._noted: deque[_Noted] = deque(maxlen=REMEMBERED)

    def note(self, batch: FrameBatch) -> None:
        """Remember a batch's frames, which follow those remembered."""
        sums = checksums(batch.planes)
        self._noted.extend(_Noted(batch.first_index + place, pts, sums, place) for place, pts in enumerate(batch.pts))

    def at(self, index: int | None) -> Position | None:
        """The position of a frame; None for an index below 0: there is nothing before it.

        Args:
            index: of the frame in the clip; None is the newest one.

        Raises:
            FramelaneError: it is too long ago.
        """
        if index is not None and index < 0:
            return None
        newest = self._noted[-1].index
        back = 0 if index is None else newest - index
        if not 0 <= back < len(self._noted):
            raise FramelaneError(f"The processor holds back more than {REMEMBERED} frames.")
        noted = self._noted[-1 - back]
        return Position(noted.index, noted.pts, noted.sums[noted.place])
