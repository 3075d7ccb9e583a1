"""Faces followed through a clip: lasting ids from the project's tracker, and the face of a track at any moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.perception.faces.base import Face
from framelane.perception.faces.smoothing import smoothed
from framelane.perception.trackers import load_tracker

if TYPE_CHECKING:
    import supervision

GAP_S = 0.3
"""Longest time in which a face may be missing between two sights of it and is still taken for there: a blink, a blur."""
WIDTH_S = 0.16
"""Seconds to either side over which landmarks are smoothed."""
_LOST_S = 1.5


@dataclass(frozen=True)
class Sight:
    """A face as found in one frame.

    Attributes:
        index: of the frame in the clip.
        time: seconds from the clip's first frame.
        track: its lasting id, from 1; below 0 where it was seen only this once.
        face: as found, not smoothed.
    """

    index: int
    time: float
    track: int
    face: Face


class FaceTracks:
    """Ids for faces, given frame by frame; a frame is looked at once, also where it is replayed after a resume.

    Args:
        rate: detections per second.
        threshold: score that starts a track.
    """

    def __init__(self, *, rate: float, threshold: float) -> None:
        self.tracker = load_tracker("bytetrack", rate=rate, threshold=threshold, lost_s=_LOST_S)
        self.until = -1
        self._ids: dict[int, list[int]] = {}

    def update(self, index: int, time: float, faces: list[Face], *, cut: bool) -> list[Sight]:
        """The faces of the next frame that has been looked at.

        Args:
            index: of the frame in the clip, rising.
            time: seconds.
            faces: as found.
            cut: whether the picture is another one than before; no track goes on over a cut.
        """
        if index > self.until:
            self.until = index
            if cut:
                self.tracker.forget()
            self._ids[index] = self._track(index, time, faces)
        return [Sight(index, time, track, face) for track, face in zip(self._ids[index], faces, strict=True)]

    def cut(self, index: int) -> None:
        """A cut at a frame that is not looked at."""
        if index > self.until:
            self.tracker.forget()

    def _track(self, index: int, time: float, faces: list[Face]) -> list[int]:
        # A face that no track has yet counts all the same: the first frame of a person is not to be missed.
        ids = [-(index * 64 + place + 1) for place in range(len(faces))]
        answer = self.tracker.update(_detections(faces), time)
        if len(answer):
            for track, place in zip(answer.tracker_id, answer.data["place"], strict=True):
                ids[int(place)] = int(track)
        return ids

    def forget_before(self, index: int) -> None:
        """Drop what is known of frames that are not replayed any more."""
        self._ids = {known: ids for known, ids in self._ids.items() if known >= index}

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data; bounded by the faces of the last seconds."""
        return {
            "tracker": self.tracker.snapshot(),
            "until": self.until,
            "ids": [list(row) for row in self._ids.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.tracker.restore(state["tracker"])
        self.until = state["until"]
        self._ids = {index: list(ids) for index, ids in state["ids"]}


def _detections(faces: list[Face]) -> supervision.Detections:
    import supervision as sv

    if not faces:
        return sv.Detections.empty()
    return sv.Detections(
        xyxy=np.stack([face.box for face in faces]).astype(np.float32),
        confidence=np.array([face.score for face in faces], np.float32),
        class_id=np.zeros(len(faces), np.int64),
        data={"class_name": np.array(["face"] * len(faces)), "place": np.arange(len(faces))},
    )


def joined(sights: Iterable[Sight]) -> list[Sight]:
    """Sights in order, where a face that was seen once before its track began belongs to that track.

    A tracker believes a face at its second sight; the first one has an id below 0 until then.
    """
    ordered = sorted(sights, key=lambda sight: (sight.index, sight.track))
    by_frame: dict[int, list[Sight]] = {}
    for sight in ordered:
        by_frame.setdefault(sight.index, []).append(sight)
    begun: set[int] = set()
    frames = sorted(by_frame)
    for before, here in pairwise(frames):
        begun |= {sight.track for sight in by_frame[before]}
        for sight in by_frame[here]:
            if sight.track < 0 or sight.track in begun:
                continue
            young = [old for old in by_frame[before] if old.track < 0 and _overlap(old.face, sight.face) > 0.15]
            if young:
                first = max(young, key=lambda old: _overlap(old.face, sight.face))
                place = by_frame[before].index(first)
                by_frame[before][place] = Sight(first.index, first.time, sight.track, first.face)
    return [sight for index in frames for sight in by_frame[index]]


def faces_at(
    sights: Iterable[Sight], index: int, time: float, *, width: float, gap: float = GAP_S, last: int | None = None
) -> dict[int, Face]:
    """Every track's face in one frame, smoothed; also where it was missed for a moment between two sights.

    Args:
        sights: of the frames around it, within one scene, see :func:`joined`.
        index: of the frame.
        time: seconds of the frame.
        width: seconds of smoothing to either side.
        gap: longest time between the sights around a frame that is bridged.
        last: index of the last frame that was looked at before the scene ends. What was seen there goes on moving as it
            did in the few frames behind it, which nobody looked at.
    """
    tracks: dict[int, list[Sight]] = {}
    for sight in sights:
        tracks.setdefault(sight.track, []).append(sight)
    found = {}
    for track, own in tracks.items():
        before = [sight for sight in own if sight.index <= index]
        after = [sight for sight in own if sight.index >= index]
        if before and not after and before[-1].index == last:
            after = before[-1:]
        if not before or not after or after[0].time - before[-1].time > gap + 1e-6:
            continue
        near = _unbroken(own, before[-1], after[0], gap)
        found[track] = smoothed([s.face for s in near], [s.time for s in near], time, width)
    return found


def _unbroken(own: list[Sight], before: Sight, after: Sight, gap: float) -> list[Sight]:
    """The sights around a moment that hang together: without those beyond a longer loss."""
    low, high = own.index(before), own.index(after)
    while low > 0 and own[low].time - own[low - 1].time <= gap + 1e-6:
        low -= 1
    while high < len(own) - 1 and own[high + 1].time - own[high].time <= gap + 1e-6:
        high += 1
    return own[low : high + 1]


def _overlap(one: Face, other: Face) -> float:
    """Intersection over union of two boxes."""
    left, top = np.maximum(one.box[:2], other.box[:2])
    right, bottom = np.minimum(one.box[2:], other.box[2:])
    common = max(0.0, float(right - left)) * max(0.0, float(bottom - top))
    areas = [float((f.box[2] - f.box[0]) * (f.box[3] - f.box[1])) for f in (one, other)]
    return common / max(sum(areas) - common, 1e-6)
