"""Clips with a real face in known motion, and a small real swapper for tests that are about everything around it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch

from framelane.processors.faceswap.swapper import Patch, Refused, Swapper


def astronaut() -> np.ndarray:
    """A public-domain portrait (NASA), (512, 512, 3) RGB; the face is about 110 pixels wide around (220, 120)."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut())


def hopper() -> np.ndarray:
    """A public-domain portrait (US Navy), (600, 512, 3) RGB."""
    import matplotlib.cbook
    from PIL import Image

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"))


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


class Oval(Swapper):
    """The source's face moved, turned and scaled onto five points, in an oval; refuses what is hardly a face."""

    def __init__(self) -> None:
        self.models = [{"name": "oval", "sha256": "", "licence": "test"}]
        self.calls: list[int] = []

    def swap(self, frames, wishes):
        self.calls.append(len(wishes))
        return [self._one(frames[wish.frame], wish) for wish in wishes]

    def _one(self, frame, wish):
        import cv2

        height, width = frame.shape[-2:]
        left, top = np.maximum(np.floor(wish.face.box[:2]).astype(int), 0)
        right, bottom = np.minimum(np.ceil(wish.face.box[2:]).astype(int), (width, height))
        if right - left < 4 or bottom - top < 4:
            return Refused("outside of the frame (0 px)")
        matrix, _ = cv2.estimateAffinePartial2D(
            wish.source.faces[0].points, wish.face.points - np.array([left, top], np.float32), method=cv2.LMEDS
        )
        size = (int(right - left), int(bottom - top))
        pixels = cv2.warpAffine(wish.source.images[0], matrix, size, borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros(size[::-1], np.float32)
        middle = (wish.face.box[:2] + wish.face.box[2:]) / 2 - (left, top)
        axes = (int(wish.face.size * 0.36), int(wish.face.size * 0.42))
        cv2.ellipse(mask, [int(v) for v in middle], axes, 0, 0, 360, 1.0, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 3)
        rgb = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
        return Patch(int(left), int(top), rgb, torch.from_numpy(mask)[None])
