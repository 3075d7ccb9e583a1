"""The rows of a clip folded into the report's figures, in one pass and in little memory."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

WORST = 10
_APART_S = 0.4
_KEPT = 400

# What a swap that looks wrong costs, so that unlike faults can be put in one order.
_LEFT_ALONE, _LOST, _SEAM, _SHARP, _TREMBLE, _UNLIKE = 3.0, 3.0, 0.1, 1.0, 20.0, 2.0


@dataclass
class Figure:
    """Mean and worst of one figure, with the time of the worst.

    Attributes:
        low: whether low values are bad.
    """

    low: bool = False
    total: float = 0.0
    count: int = 0
    worst: float | None = None
    at: float = 0.0

    def add(self, value: float, time: float) -> None:
        """One more value."""
        self.total, self.count = self.total + value, self.count + 1
        if self.worst is None or (value < self.worst if self.low else value > self.worst):
            self.worst, self.at = value, time

    def to_json(self) -> dict[str, float] | None:
        """As plain data; None without any value."""
        if self.worst is None:
            return None
        return {"mean": round(self.total / self.count, 4), "worst": round(self.worst, 4), "worst_at_s": self.at}


@dataclass
class _Track:
    source: str
    first: float
    last: float = 0.0
    frames: int = 0
    figures: dict[str, Figure] = field(default_factory=dict)

    def add(self, face: dict[str, Any], time: float) -> None:
        self.last, self.frames = time, self.frames + 1
        for name, low in (("like_source", True), ("like_original", False)):
            if name in face:
                self.figures.setdefault(name, Figure(low)).add(face[name], time)


def fold(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The report's figures.

    Args:
        rows: see :meth:`framelane.processors.faceswap.quality.Quality.row`.

    Returns:
        ``frames``, ``found`` and ``swapped`` (shares of frames), ``left_alone`` (how often, by reason), ``tracks`` (those
        swapped), ``identity``, ``jitter_in`` and ``jitter_out`` (share of the eye distance), ``seam_in`` and ``seam_out``
        (Delta E), ``sharpness`` (after by before), ``worst_frames``.
    """
    count: Counter[str] = Counter()
    left: Counter[str] = Counter()
    tracks: dict[int, _Track] = {}
    whole = {
        name: Figure(low)
        for name, low in (
            ("like_source", True), ("like_original", False), ("jitter_in", False), ("jitter_out", False),
            ("seam_in", False), ("seam_out", False), ("sharpness", True),
        )
    }  # fmt: skip
    worst: list[tuple[float, int, dict[str, Any]]] = []
    for row in rows:
        faces, time = row["faces"], row["time"]
        done = [face for face in faces if face.get("swapped")]
        count.update({"frames": 1, "found": bool(faces), "swapped": bool(done), "faces": len(done)})
        left.update(_kind(face["left"]) for face in faces if "left" in face)
        for face in done:
            tracks.setdefault(face["track"], _Track(face.get("source", ""), time)).add(face, time)
            for name, figure in whole.items():
                if name in face:
                    figure.add(face[name], time)
        _note(worst, row)
    frames = max(count["frames"], 1)
    return {
        "frames": count["frames"],
        "found": round(count["found"] / frames, 4),
        "swapped": round(count["swapped"] / frames, 4),
        "faces_swapped": count["faces"],
        "left_alone": dict(left.most_common()),
        "tracks": [_described(index, track) for index, track in sorted(tracks.items()) if track.frames > 1][:200],
        **{name: figure.to_json() for name, figure in whole.items()},
        "worst_frames": _apart(worst),
    }


def _described(index: int, track: _Track) -> dict[str, Any]:
    figures = {name: figure.to_json() for name, figure in track.figures.items()}
    return {
        "track": index, "source": track.source, "frames": track.frames, "from_s": track.first, "to_s": track.last, **figures
    }  # fmt: skip


def _kind(reason: str) -> str:
    """A reason without its figures: ``turned too far (52°)`` and ``(61°)`` are one."""
    return reason.split(" (", maxsplit=1)[0]


def _note(worst: list[tuple[float, int, dict[str, Any]]], row: dict[str, Any]) -> None:
    faults = [fault for face in row["faces"] for fault in _faults(face)]
    if not faults:
        return
    _, why = max(faults)
    entry = (round(sum(fault[0] for fault in faults), 4), -row["frame"], {"time": row["time"], "why": why})
    heapq.heappush(worst, entry) if len(worst) < _KEPT else heapq.heappushpop(worst, entry)


def _faults(face: dict[str, Any]) -> Iterable[tuple[float, str]]:
    """What is wrong with a face: how much, and in words."""
    if "left" in face:
        yield _LEFT_ALONE, f"left alone: {face['left']}"
    if face.get("found_again") is False:
        yield _LOST, "no face is found any more"
    if "seam_out" in face:
        more = face["seam_out"] - face.get("seam_in", 0.0)
        yield max(0.0, _SEAM * more), f"seam Delta E {face['seam_out']:.1f} (original {face.get('seam_in', 0.0):.1f})"
    if "sharpness" in face:
        yield _SHARP * max(0.0, 1 - face["sharpness"]), f"sharpness {face['sharpness']:.2f} of the original"
    if "jitter_out" in face:
        more = face["jitter_out"] - face["jitter_in"]
        yield max(0.0, _TREMBLE * more), f"jitter {face['jitter_out']:.3f} (original {face['jitter_in']:.3f})"
    if "like_source" in face:
        yield _UNLIKE * (1 - face["like_source"]), f"identity {face['like_source']:.2f}"


def _apart(worst: list[tuple[float, int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The ten worst that do not lie close together, worst first."""
    taken: list[dict[str, Any]] = []
    for cost, frame, what in sorted(worst, key=lambda entry: (-entry[0], -entry[1])):
        if cost > 0 and all(abs(what["time"] - other["time"]) >= _APART_S for other in taken):
            taken.append({"frame": -frame, **what})
        if len(taken) == WORST:
            break
    return taken
