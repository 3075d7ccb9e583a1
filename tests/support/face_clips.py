"""Clips with a real face in known motion."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from support.faces import astronaut


def portrait(path: Path, picture: np.ndarray) -> Path:
    """A picture as a PNG."""
    from PIL import Image

    Image.fromarray(picture).save(path)
    return path


def moved(picture: np.ndarray, size: tuple[int, int], *, x: float, y: float, angle: float, scale: float) -> np.ndarray:
    """A picture turned and scaled around its middle, its middle put at (x, y) of a frame of (width, height)."""
    import cv2

    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    matrix[:, 2] += (x - width / 2, y - height / 2)
    border = cv2.BORDER_CONSTANT
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=(40, 60, 70))


def write(path: Path, frames: list[np.ndarray], rate: int = 25, times: list[int] | None = None) -> Path:
    """Frames as a clip, nearly lossless; ``times`` in ms where they are uneven."""
    from fractions import Fraction

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = times[index] if times else index * 1000 // rate
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def nodding(path: Path, seconds: float = 2.0, rate: int = 25, size: tuple[int, int] = (320, 320)) -> Path:
    """The astronaut, moving to and fro, nodding and coming nearer."""
    head = astronaut()[0:260, 90:350]
    frames = []
    for index in range(round(seconds * rate)):
        t = index / rate
        x, y = size[0] / 2 + 20 * np.sin(3 * t), size[1] / 2 + 12 * np.sin(2 * t + 1)
        frames.append(moved(head, size, x=x, y=y, angle=8 * np.sin(2.5 * t), scale=1 + 0.1 * np.sin(1.5 * t)))
    return write(path, frames, rate)
