"""Figures of the attention maps: a row a frame, folded into the report's metrics in one pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from framelane.perception.lanes import Track

_CURVE_POINTS = 120  # a track's share over time is thinned to this many points


def entropy(field: np.ndarray) -> float:
    """Shannon entropy of a map, divided by that of a uniform one: 0 (one point) to 1 (everywhere the same).

    Args:
        field: float ``(h, w)``, non-negative, summing to 1.
    """
    p = field[field > 0].astype(np.float64)
    return float(-(p * np.log(p)).sum() / np.log(field.size))


def cumulative(field: np.ndarray) -> np.ndarray:
    """The integral image of a map, float64 ``(h + 1, w + 1)``, for :func:`share`."""
    table = np.zeros((field.shape[0] + 1, field.shape[1] + 1))
    table[1:, 1:] = field.astype(np.float64).cumsum(0).cumsum(1)
    return table


def share(table: np.ndarray, box: tuple[float, float, float, float], frame: tuple[int, int]) -> float:
    """The share of a map's mass inside a box, exact at the box's edges (pixels weighed by area).

    Args:
        table: :func:`cumulative` of the map.
        box: x1, y1, x2, y2 in pixels of the frame.
        frame: (height, width) of the frame in pixels.
    """
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
    x1, x2 = (np.clip(v / frame[1], 0, 1) * columns for v in (box[0], box[2]))
    y1, y2 = (np.clip(v / frame[0], 0, 1) * rows for v in (box[1], box[3]))
    return float(_at(table, y2, x2) - _at(table, y1, x2) - _at(table, y2, x1) + _at(table, y1, x1))


def _at(table: np.ndarray, y: float, x: float) -> float:
    """The integral up to a point, bilinear between the grid's corners."""
    row, column = min(int(y), table.shape[0] - 2), min(int(x), table.shape[1] - 2)
    fy, fx = y - row, x - column
    top = table[row, column] * (1 - fx) + table[row, column + 1] * fx
    bottom = table[row + 1, column] * (1 - fx) + table[row + 1, column + 1] * fx
    return float(top * (1 - fy) + bottom * fy)


def row(
    index: int,
    time: float,
    field: np.ndarray | None,
    flicker: tuple[float, float],
    tracks: list[tuple[Track, float | None]],
    *,
    cut: bool,
) -> dict[str, Any]:
    """What is written of a frame.

    Args:
        index: of the frame in the clip.
        time: seconds from the clip's first frame.
        field: the map shown; None without channel A.
        flicker: before and after smoothing.
        tracks: objects with their share of the map (None without channel A).
        cut: True at a cut.
    """
    return {
        "frame": index,
        "time": round(time, 4),
        "cut": cut,
        "entropy": None if field is None else round(entropy(field), 5),
        "flicker": [round(value, 6) for value in flicker],
        "tracks": [
            {
                "id": track.index,
                "class": track.name,
                "box": [round(v, 1) for v in track.box],
                "seen": round(track.seen, 2),
                "share": None if part is None else round(part, 5),
            }
            for track, part in tracks
        ],
    }


class _Mean:
    """A running mean."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, value: float) -> None:
        self.total, self.count = self.total + value, self.count + 1

    @property
    def value(self) -> float | None:
        return round(self.total / self.count, 5) if self.count else None


class _Curve:
    """Points over time in bounded memory: every time it is full, every other point goes."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self._every, self._skipped = 1, 0

    def add(self, time: float, value: float) -> None:
        self._skipped += 1
        if self._skipped < self._every:
            return
        self._skipped = 0
        self.points.append((time, value))
        if len(self.points) >= 2 * _CURVE_POINTS:
            self.points = self.points[::2]
            self._every *= 2


class _Actions:
    """Stretches of one action; the shortest are dropped where there are more than a report can hold."""

    _MOST = 400

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def add(self, time: float, action: str, probability: float) -> None:
        if not self.found or self.found[-1]["action"] != action:
            if len(self.found) >= self._MOST:
                self.found.remove(min(self.found, key=lambda span: span["frames"]))
            self.found.append({"action": action, "first_s": time, "frames": 0, "probability": 0.0})
        last = self.found[-1]
        last["last_s"], last["frames"] = time, last["frames"] + 1
        last["probability"] += (probability - last["probability"]) / last["frames"]

    def spans(self) -> list[dict[str, Any]]:
        return [{**span, "probability": round(span["probability"], 4)} for span in self.found]


def fold(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The report's metrics, from the rows of all frames.

    Returns:
        ``entropy`` (mean), ``share_per_class`` (mean over all frames of the share on boxes of the class; boxes that
        overlap count twice), ``flicker`` (mean a frame, before and after smoothing), ``cuts`` (times), ``tracks`` (per
        object: class, first and last second, frames, mean share, share over time). Of a video backbone also ``actions``
        (stretches of one action with their mean probability) and ``moments`` (how much of its windows' attention falls
        on a time; 1 is the even share).
    """
    frames, entropies, before, after = 0, _Mean(), _Mean(), _Mean()
    classes: dict[str, float] = defaultdict(float)
    tracks: dict[int, dict[str, Any]] = {}
    cuts: list[float] = []
    actions, moments = _Actions(), _Curve()
    for data in rows:
        frames += 1
        if data["entropy"] is not None:
            entropies.add(data["entropy"])
            before.add(data["flicker"][0])
            after.add(data["flicker"][1])
        if data["cut"] and data["frame"] > 0:
            cuts.append(data["time"])
        if "action" in data:
            actions.add(data["time"], data["action"], data["probability"])
            moments.add(data["time"], data["moment"])
        for track in data["tracks"]:
            _fold_track(tracks, track, data["time"])
            classes[track["class"]] += track["share"] or 0.0
    windows = {"actions": actions.spans(), "moments": [list(p) for p in moments.points]} if actions.found else {}
    return {
        **windows,
        "frames": frames,
        "entropy": entropies.value,
        "flicker": {"before_smoothing": before.value, "after_smoothing": after.value},
        "share_per_class": {k: round(v / frames, 5) for k, v in sorted(classes.items())} if entropies.count else {},
        "cuts": cuts,
        "tracks": [_finished(i, track) for i, track in sorted(tracks.items())],
    }


def _fold_track(tracks: dict[int, dict[str, Any]], track: dict[str, Any], time: float) -> None:
    known = tracks.setdefault(
        track["id"], {"class": track["class"], "first": time, "frames": 0, "mean": _Mean(), "curve": _Curve()}
    )
    known["class"], known["last"] = track["class"], time
    known["frames"] += 1
    if track["share"] is not None:
        known["mean"].add(track["share"])
        known["curve"].add(time, track["share"])


def _finished(index: int, track: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": index,
        "class": track["class"],
        "first_s": track["first"],
        "last_s": track["last"],
        "frames": track["frames"],
        "mean_share": track["mean"].value,
        "share_over_time": [[t, s] for t, s in track["curve"].points],
    }
