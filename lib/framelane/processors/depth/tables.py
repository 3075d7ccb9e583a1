"""Rows of the depth processor: one a frame, as tables beside the output, and folded into the report."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from framelane.processors.depth.fusion import Measured
from framelane.processors.depth.zones import Alert, Zone
from framelane.video.tones import Tone

MOST = 40
"""Objects in a row at most, the nearest first: a row stays small whatever a frame shows."""
_LISTED = 50  # tracks in the report
_OBJECT = ("track", "class", "x1", "y1", "x2", "y2", "score", "distance_m", "nearness", "bearing", "angle_deg",
           "closing_mps", "ttc_s", "zone")  # fmt: skip
_ALERT = ("track", "class", "zone", "distance_m", "bearing", "angle_deg", "closing_mps", "ttc_s")
_PITCH = {"danger": 1320.0, "warning": 740.0}  # Hz
UNKNOWN = "unknown"
"""What the tables say of a distance that is not known."""


def row(
    frame: int,
    time: float,
    found: Sequence[tuple[Measured, Zone]],
    alerts: Sequence[Alert],
    *,
    cut: bool,
    scale: float | None,
) -> dict[str, Any]:
    """What is kept of a frame.

    Args:
        frame: index in the clip.
        time: seconds from the clip's first frame.
        found: the objects.
        alerts: that were raised.
        cut: whether a scene begins.
        scale: that was applied to the frame's depth map; None where it has none of its own.
    """
    nearest = sorted(found, key=lambda pair: (_far(pair[0]), -pair[0].track.box[3], pair[0].track.index))
    return {
        "frame": frame,
        "time": round(time, 6),
        **({"cut": True} if cut else {}),
        **({} if scale is None else {"scale": round(scale, 5)}),
        "count": len(found),
        "objects": [_object(item, zone) for item, zone in nearest[:MOST]],
        **({"alerts": [alert_row(alert) for alert in alerts[:MOST]]} if alerts else {}),
    }


def _far(item: Measured) -> float:
    if item.distance is not None:
        return item.distance
    return -item.nearness if item.nearness is not None else 0.0


def _object(item: Measured, zone: Zone) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(v, 1) for v in item.track.box)
    named = {"track": item.track.index, "class": item.track.name, "x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return {**named, "score": round(item.track.score, 3), **_known(item), "zone": zone}


def _known(item: Measured) -> dict[str, Any]:
    return {
        "distance_m": _rounded(item.distance, 3),
        "nearness": _rounded(item.nearness, 4),
        "bearing": item.side,
        "angle_deg": _rounded(item.angle, 1),
        "closing_mps": _rounded(item.closing, 3),
        "ttc_s": _rounded(item.ttc, 2),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0  # a speed of -0 is one of 0


def alert_row(alert: Alert) -> dict[str, Any]:
    """An alert as plain data."""
    known = _known(alert.measured)
    track = alert.measured.track
    return {
        "track": track.index,
        "class": track.name,
        "zone": alert.zone,
        **{k: known[k] for k in _ALERT if k in known},
    }


def sentence(alert: Alert) -> str:
    """An alert in words."""
    item, track = alert.measured, alert.measured.track
    soon = "" if item.ttc is None else f", {item.ttc:.1f} s to collision"
    # One text with its choices inside: so translators, and what finds a sentence's template, see it whole.
    return (
        f"{alert.zone}: {track.name} {track.index} "
        f"{'on the left' if item.side == 'left' else 'on the right' if item.side == 'right' else 'ahead'}, "
        f"{'distance unknown' if item.distance is None else f'{item.distance:.1f} m away'}{soon} (frame {alert.frame})"
    )


def write_objects(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """``.objects.csv``: a line for every object in every frame. A distance that is not known is said to be unknown."""
    _write(rows, path, "objects", _OBJECT)


def write_alerts(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """``.alerts.csv``: a line for every alert."""
    _write(rows, path, "alerts", _ALERT)


def _write(rows: Iterable[dict[str, Any]], path: Path, kind: str, columns: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("frame", "time_s", *columns))
        for data in rows:
            for item in data.get(kind, ()):
                filled = {**item, "distance_m": UNKNOWN if item["distance_m"] is None else item["distance_m"]}
                values = ("" if filled[key] is None else filled[key] for key in columns)
                table.writerow((data["frame"], f"{data['time']:.3f}", *values))


def tones_of(rows: Iterable[dict[str, Any]]) -> list[Tone]:
    """A tone for every frame with alerts; where two would sound at once, the worse zone's."""
    tones: list[Tone] = []
    for data in rows:
        zones = {item["zone"] for item in data.get("alerts", ())}
        if not zones:
            continue
        tone = Tone(data["time"], pitch=_PITCH["danger" if "danger" in zones else "warning"])
        if tones and tone.start < tones[-1].start + tones[-1].length:
            if tone.pitch <= tones[-1].pitch:
                continue
            tones[-1] = replace(tones[-1], length=tone.start - tones[-1].start)
        tones.append(tone)
    return tones


def fold(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Metrics of the whole clip, in one pass; memory grows with the number of tracks only."""
    tracks: dict[int, dict[str, Any]] = {}
    alerts: dict[str, int] = {}
    frames = {"danger": 0, "warning": 0, "safe": 0}
    total = cuts = key_frames = busiest = 0
    widest = 0.0
    for data in rows:
        total += 1
        cuts += bool(data.get("cut")) and data["frame"] > 0
        key_frames += "scale" in data
        widest = max(widest, abs(data.get("scale", 1.0) - 1))
        busiest = max(busiest, data["count"])
        worst = max((item["zone"] for item in data["objects"]), key=("safe", "warning", "danger").index, default="safe")
        frames[worst] += 1
        for item in data.get("alerts", ()):
            alerts[item["zone"]] = alerts.get(item["zone"], 0) + 1
        for item in data["objects"]:
            _note(tracks.setdefault(item["track"], {"class": item["class"], "frames": 0, "nearest_m": None}), item)
    listed = sorted(
        tracks.items(), key=lambda pair: (pair[1]["nearest_m"] is None, pair[1]["nearest_m"] or 0.0, pair[0])
    )
    distances = [track["nearest_m"] for track in tracks.values() if track["nearest_m"] is not None]
    return {
        "frames": total,
        "cuts": cuts,
        "depth_frames": key_frames,
        "largest_scale_correction": round(widest, 4),
        "tracks": len(tracks),
        "most_objects": busiest,
        "nearest_m": min(distances, default=None),
        "frames_by_worst_zone": frames,
        "alerts": alerts,
        "objects": {str(index): track for index, track in listed[:_LISTED]},
    }


def _note(track: dict[str, Any], item: dict[str, Any]) -> None:
    track["frames"] += 1
    track["class"] = item["class"]
    far = item["distance_m"]
    if far is not None and (track["nearest_m"] is None or far < track["nearest_m"]):
        track["nearest_m"] = far
