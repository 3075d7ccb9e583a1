"""Frames through a real encoder and a real decoder and back: how alike the pictures are, and whether the times are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

FRAMES = 16
SIZE = (320, 192)  # NVENC refuses pictures narrower than about 145 pixels
TIME_BASE = Fraction(1, 600)
_STEPS = (20, 20, 40, 20, 100, 20, 20, 33)  # ticks from one frame to the next: nothing may assume a constant rate
IDENTICAL_DB = 100.0  # stands for "the same, bit for bit"


@dataclass(frozen=True)
class Trip:
    """What came back.

    Attributes:
        psnr: in dB over all samples of all frames (ITU-T J.340's global form: 10 log10(255^2 / MSE)); 100 is identical.
        frames: how many came back of :data:`FRAMES`.
        late: the largest error of a presentation time, in seconds; timestamps are compared from the first frame on.
    """

    psnr: float
    frames: int
    late: float

    @property
    def times_kept(self) -> bool:
        """Every frame came back, each at its time (half a tick of rounding is allowed)."""
        return self.frames == FRAMES and self.late <= float(TIME_BASE / 2)

    def __str__(self) -> str:
        alike = "identical" if self.psnr >= IDENTICAL_DB else f"PSNR {self.psnr:.1f} dB"
        times = "all at their times" if self.times_kept else f"times off by up to {1000 * self.late:.1f} ms"
        return f"{self.frames} of {FRAMES} frames came back, {alike}, {times}"


def timestamps() -> list[int]:
    """Presentation times of the made frames, in ticks of :data:`TIME_BASE`; the gaps differ."""
    found = [0]
    while len(found) < FRAMES:
        found.append(found[-1] + _STEPS[len(found) % len(_STEPS)])
    return found


def pictures() -> list[np.ndarray]:
    """The made frames as yuv420p arrays ``(H * 3 / 2, W)``: smooth colour that moves, so that every frame differs."""
    width, height = SIZE
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    found = []
    for k in range(FRAMES):
        luma = 125 + 70 * np.sin((x + 6 * k) / 23) * np.cos((y - 4 * k) / 17) + 20 * np.sin((x + y) / 7)
        small = (height // 2, width // 2)
        cb = np.broadcast_to(128 + 60 * np.sin((x[:, ::2] + 9 * k) / 31), small)
        cr = np.broadcast_to(128 + 60 * np.cos((y[::2] - 5 * k) / 29), small)
        flat = np.concatenate([plane.ravel() for plane in (luma, cb, cr)])
        found.append(np.clip(np.rint(flat), 16, 235).astype(np.uint8).reshape(height * 3 // 2, width))
    return found


def frames() -> list[Any]:
    """The made frames as ``av.VideoFrame``, with their times."""
    from av import VideoFrame

    made = []
    for picture, pts in zip(pictures(), timestamps(), strict=True):
        frame = VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = pts, TIME_BASE
        made.append(frame)
    return made


def make_clip(path: Path, codec: str = "libx264") -> None:
    """Write the made frames with the CPU's encoder, nearly without loss, with B-frames and two groups of pictures."""
    import av

    options = {"crf": "6", "preset": "veryfast", "g": str(FRAMES // 2)}
    if codec == "libx265":
        options["x265-params"] = "log-level=none"
    with av.open(str(path), "w", options={"video_track_timescale": str(TIME_BASE.denominator)}) as target:
        stream: Any = target.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        for frame in [*frames(), None]:
            target.mux(stream.encode(frame))


def compare(found: list[tuple[np.ndarray, Fraction]], wanted: list[np.ndarray] | None = None) -> Trip:
    """What came back, against the made frames.

    Args:
        found: yuv420p arrays as :func:`pictures` makes them, each with its time in seconds.
        wanted: other pictures to compare with, such as what the CPU decoded.
    """
    wanted = pictures() if wanted is None else wanted
    pairs = list(zip(found, wanted, strict=False))
    same = [(picture, want) for (picture, _), want in pairs if picture.shape == want.shape]
    if not same or len(same) != len(pairs):
        return Trip(0.0, len(found), math.inf)
    error = float(np.mean([np.square(p.astype(np.float64) - w).mean() for p, w in same]))
    psnr = min(IDENTICAL_DB, 10 * math.log10(255**2 / error)) if error else IDENTICAL_DB
    begin = found[0][1]
    late = max(
        abs(float(seconds - begin - pts * TIME_BASE)) for (_, seconds), pts in zip(found, timestamps(), strict=False)
    )
    return Trip(psnr, len(found), late)


def read(path: Path) -> list[tuple[np.ndarray, Fraction]]:
    """Frames of a file by the CPU's decoder, with their times in seconds."""
    import av

    with av.open(str(path)) as container:
        return [
            (frame.to_ndarray(format="yuv420p"), frame.pts * frame.time_base)
            for frame in container.decode(video=0)
            if frame.pts is not None
        ]
