"""A strip of small pictures of a video, for the batch's page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError
from framelane.video.clip import open_container, video_stream

_PICTURES, _HEIGHT, _WIDEST = 4, 90, 240


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
