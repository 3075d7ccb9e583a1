"""On which frames the detector runs: every N-th, right after a cut, and seldom while the picture stands still.

The rule looks at a frame, its number and the frames just before it, and at nothing that was found earlier: so it can be
asked in ``infer``, and answers the same however the input is cut into batches and wherever a job is resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from framelane.perception.arrays import pack, unpack
from framelane.perception.motion import LONG_SIDE, Step, way_back
from framelane.video.frames import FrameBatch, thumbnail

if TYPE_CHECKING:
    import supervision

Rows = list[list[Any]]
"""Detections as plain data, one row each: x1, y1, x2, y2, score, class id, class name."""
Duty = Literal["detect", "repeat", "none"]
"""For a frame: run the detector; take over what was detected N frames before, as the picture is the same; or neither."""

REFRESH = 4  # a standing picture is looked at again at every fourth turn, for what has crept in too slowly to be seen
_CELL = 8  # pixels of the thumbnail: a change is measured by the mean of a cell of this side
_SAME = 2.0  # of 255, in the cell that changed most; sensor noise gives about 1, a person who walks 7 and more


def history(every: int) -> int:
    """How many frames before a batch the rule needs: those since the turn before, and what a cut is seen by."""
    return max(every, 2)


def duties(batch: FrameBatch, steps: Sequence[Step], every: int, cut_threshold: float) -> list[Duty]:
    """What the detector does on each frame of a batch; pure in the batch.

    A track is believed at its second detection. So the frame after a cut is detected as well as the cut itself, and the
    objects of the new scene are known at once instead of N frames later.

    Args:
        batch: frames, with at least :func:`history` frames before them or all since the clip's start.
        steps: how each frame relates to the one before.
        every: detect on every N-th frame.
        cut_threshold: as for :func:`framelane.perception.motion.steps`.

    Raises:
        ValueError: the batch carries too few frames before it.
    """
    past = _Past(batch)
    if len(past) < min(history(every), batch.first_index):
        raise ValueError(f"{history(every)} frames are needed before a batch, not {len(past)}")
    found: list[Duty] = []
    for index, step in enumerate(steps):
        number = batch.first_index + index
        after_cut = steps[index - 1].cut if index else past.ends_in_cut(cut_threshold)
        if step.cut or after_cut or number % (REFRESH * every) == 0:
            found.append("detect")
        elif number % every:
            found.append("none")
        else:
            before = steps[index - every].picture if index >= every else past.picture(index - every)
            found.append("repeat" if same(before, step.picture) else "detect")
    return found


def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Whether two thumbnails show the same up to noise: no cell of the picture differs by more than a little."""
    import cv2

    if one is None or other is None or one.shape != other.shape:
        return False
    difference = cv2.absdiff(one, other).astype(np.float32)
    return float(cv2.blur(difference, (_CELL, _CELL), borderType=cv2.BORDER_REPLICATE).max()) <= _SAME


class _Past:
    """The frames before a batch."""

    def __init__(self, batch: FrameBatch) -> None:
        self.planes = () if batch.before is None else (*batch.earlier, batch.before)
        self.layout = batch.layout

    def __len__(self) -> int:
        return len(self.planes)

    def picture(self, offset: int) -> np.ndarray:
        """The thumbnail of the frame at ``offset``: -1 is the last before the batch."""
        return thumbnail(self.planes[offset], self.layout, LONG_SIDE)

    def ends_in_cut(self, threshold: float) -> bool:
        """Whether the last of them is a cut, as the clip's first frame is."""
        if len(self.planes) < 2:
            return len(self.planes) == 1
        return way_back(self.picture(-2), self.picture(-1), threshold) is None


@dataclass(frozen=True)
class Given:
    """What the tracker was given last, as plain data.

    Attributes:
        index: the frame's number.
        rows: its detections.
        maps: the objects' own attention, packed; empty where the detector gives none.
    """

    index: int
    rows: Rows
    maps: list[Any]

    @classmethod
    def of(cls, index: int, detections: supervision.Detections) -> Given:
        """Keep detections of a frame."""
        names = detections.data.get("class_name", ())
        columns = (detections.xyxy.tolist(), detections.confidence, detections.class_id, names)
        rows = [[*box, float(s), int(c), str(n)] for box, s, c, n in zip(*columns, strict=True)] if len(names) else []
        return cls(index, rows, [pack(grid, "float16") for grid in detections.data.get("attention", ())])

    def detections(self) -> supervision.Detections:
        """The detections, as they were; maps as a snapshot rounds them."""
        import supervision as sv

        if not self.rows:
            return sv.Detections.empty()
        data: dict[str, Any] = {"class_name": np.array([row[6] for row in self.rows], np.str_)}
        if self.maps:
            data["attention"] = np.stack([np.asarray(unpack(grid)) for grid in self.maps])
        return sv.Detections(
            xyxy=np.array([row[:4] for row in self.rows], np.float32),
            confidence=np.array([row[4] for row in self.rows], np.float32),
            class_id=np.array([row[5] for row in self.rows], np.int64),
            data=data,
        )
