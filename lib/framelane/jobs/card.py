"""What a finished job leaves for the batch's page: small pictures and a few figures, bounded in size."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError
from framelane.video.clip import open_container, video_stream

_PICTURES, _HEIGHT, _WIDEST = 4, 90, 240
_TRACKS, _POINTS, _SENTENCES, _LETTERS = 4, 40, 8, 300


def make_card(video: Path, report: Mapping[str, Any], speeds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Plain data of a few tens of kB.

    Args:
        video: the output, on the local disk.
        report: what stands beside it.
        speeds: (seconds since the start, frames done, frames a second, seconds left as told then) over the job.
    """
    kept = ("frames", "device", "profile", "mode", "stage_ms", "working_size", "encoder", "eta_error")
    metrics = report.get("metrics") or {}
    shares = metrics.get("share_per_class")
    return {
        **{key: report.get(key) for key in kept},
        "models": [str(model.get("name")) for model in report.get("models") or []],
        "notes": [str(note)[:_LETTERS] for key in ("degradations", "warnings") for note in report.get(key) or []][
            :_SENTENCES
        ],
        "gif": bool(report.get("gif")),
        "worst": bool(report.get("sheet")),
        "shares": dict(sorted(shares.items(), key=lambda item: -item[1])[:_SENTENCES]) if shares else {},
        "tracks": [_track(track) for track in _longest(metrics.get("tracks"))],
        "speeds": [[round(value, 2) for value in point] for point in thinned(speeds, _POINTS)],
        "sheet": sheet(video),
    }


def _longest(tracks: object) -> list[dict[str, Any]]:
    """The longest of the tracks that a chart can show; processors that only count theirs have none."""
    seen = (
        [track for track in tracks if isinstance(track, dict) and track.get("share_over_time")]
        if isinstance(tracks, list)
        else []
    )
    return sorted(seen, key=lambda track: -int(track.get("frames", 0)))[:_TRACKS]


def _track(track: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{track.get('class', '')} {track.get('id', '')}".strip()
    return {"name": name, "share": thinned(track["share_over_time"], _POINTS)}


def thinned(points: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def sheet(video: Path, pictures: int = _PICTURES) -> str:
    """A few frames side by side, evenly spread over the video, as the data URI of a JPEG; ``""`` where none can be had.

    Args:
        video: a local file.
        pictures: how many.
    """
    import av
    from PIL import Image

    try:
        shots = _shots(video, pictures)
    except (FramelaneError, av.error.FFmpegError, OSError, ValueError):
        return ""  # the result itself was verified; a page without its pictures is still a page
    if not shots:
        return ""
    strip = Image.new("RGB", (sum(shot.width for shot in shots) + 2 * (len(shots) - 1), _HEIGHT))
    left = 0
    for shot in shots:
        strip.paste(shot, (left, 0))
        left += shot.width + 2
    packed = io.BytesIO()
    strip.save(packed, "JPEG", quality=70, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"


def _shots(video: Path, pictures: int) -> list[Any]:
    """Frames as small PIL images: those at the middles of equal stretches, by seeking."""
    shots = []
    with open_container(video) as container:
        stream = video_stream(container, video)
        start = stream.start_time or 0
        length = stream.duration or 0
        for index in range(pictures):
            wanted = start + length * (2 * index + 1) // (2 * pictures)
            container.seek(wanted, stream=stream)
            frame = None
            for found in container.decode(stream):
                frame = found
                if found.pts is not None and found.pts >= wanted:
                    break
            if frame is not None:
                shots.append(_small(frame, stream.sample_aspect_ratio))
    return shots


def _small(frame: Any, aspect: Any) -> Any:
    """A frame as displayed: turned, its pixels made square, 90 lines high."""
    image = frame.to_image()
    if turned := round(frame.rotation / 90) % 4:
        image = image.rotate(90 * turned, expand=True)
        aspect = 1 / aspect if aspect and turned % 2 else aspect
    width = round(image.width * float(aspect or 1) * _HEIGHT / image.height)
    return image.resize((max(1, min(width, _WIDEST)), _HEIGHT))
