"""What the first pass found, as arrays: an hour of it fits into a few megabytes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PERSON, BALL = 0.0, 1.0
_TRACK, _BLOB = 8, 9


@dataclass(frozen=True)
class Sightings:
    """Of n frames.

    Attributes:
        times: seconds from the first frame, ``(n,)``.
        cuts: bool ``(n,)``; the first frame is one.
        looked: bool ``(n,)``: a detector looked at the frame.
        tracks: ``(m, 8)``, by frame: frame, id, :data:`PERSON` or :data:`BALL`, x1, y1, x2, y2, score.
        blobs: ``(k, 9)``, by frame: frame, and the fields of :class:`framelane.processors.follow.cue.Blob`.
    """

    times: Array
    cuts: npt.NDArray[np.bool_]
    looked: npt.NDArray[np.bool_]
    tracks: Array
    blobs: Array

    @classmethod
    def of(cls, rows: Iterable[dict[str, Any]]) -> Sightings:
        """Gather the rows of a first pass."""
        times, cuts, looked = array("d"), array("b"), array("b")
        tracks, blobs = array("f"), array("f")
        for number, row in enumerate(rows):
            times.append(row["time"])
            cuts.append(bool(row["cut"]))
            looked.append("tracks" in row)
            for index, kind, *rest in row.get("tracks", ()):
                tracks.extend((number, index, PERSON if kind == "person" else BALL, *rest))
            for blob in row.get("blobs", ()):
                blobs.extend((number, *blob))
        return cls(
            np.array(times, np.float64),
            np.array(cuts, bool),
            np.array(looked, bool),
            np.array(tracks, np.float64).reshape(-1, _TRACK),
            np.array(blobs, np.float64).reshape(-1, _BLOB),
        )

    def scenes(self) -> Iterator[tuple[int, int]]:
        """First frame and the one after the last, of every stretch without a cut."""
        starts = np.flatnonzero(self.cuts).tolist()
        if not starts or starts[0] != 0:
            starts.insert(0, 0)
        yield from zip(starts, [*starts[1:], len(self.times)], strict=True)

    def part(self, start: int, stop: int) -> Sightings:
        """One scene by itself: frames count from its first."""
        parts = []
        for table in (self.tracks, self.blobs):
            low, high = np.searchsorted(table[:, 0], [start, stop])
            own = table[low:high].copy()
            own[:, 0] -= start
            parts.append(own)
        return Sightings(self.times[start:stop], self.cuts[start:stop], self.looked[start:stop], parts[0], parts[1])
