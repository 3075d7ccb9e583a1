"""Whether a rung works here: it encodes a few frames of a clip's size and format, and the CPU decodes and compares them."""

from __future__ import annotations

import contextlib
import math
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from framelane.errors import FramelaneError, chain
from framelane.video.colour import FULL
from framelane.video.encoders.base import SESSIONS
from framelane.video.encoders.spec import EncodeSpec
from framelane.video.frames import FrameBatch, Layout

FRAMES = 8
LEAST_DB = 30.0
"""PSNR in dB that every plane must reach. x264 at CRF 20 reaches 50 on the test picture; with its chroma swapped or from
another frame it stays below 25."""

_QUALITY = 20
_GAPS = (1, 1, 2, 1, 3, 1, 1, 1)  # in frame times: a rung that counts frames instead of reading timestamps is found out


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        ok: the pictures and their times came back.
        reason: a sentence.
        cause: a name of :data:`framelane.video.encoders.refusal.CAUSES`, or ``""``.
        psnr: of the worst plane in dB; None where nothing came back.
    """

    ok: bool
    reason: str
    cause: str = ""
    psnr: float | None = None


def try_rung(spec: EncodeSpec) -> Trial:
    """Encode with a rung, decode on the CPU, compare; a refusal is an answer, never an exception.

    Args:
        spec: how the clip would be encoded; its quality is not what is tried.
    """
    spec = replace(spec, quality=_QUALITY, bitrate=0, pad=(0, 0))
    planes = [picture(spec, number) for number in range(FRAMES)]
    with tempfile.TemporaryDirectory(prefix="framelane-trial-") as folder:
        path = Path(folder) / "trial.nut"
        try:
            _encode(spec, planes, path)
            return _compare(spec, planes, path)
        except Exception as error:  # whatever a codec throws is its answer
            said = str(error) if isinstance(error, FramelaneError) else f"It broke ({chain(error)})."
            return Trial(False, said, getattr(error, "cause", ""))


def picture(spec: EncodeSpec, number: int) -> list[np.ndarray]:
    """Planes Y, Cb, Cr of a test picture: ramps of colour that run in different directions, and a bar that moves.

    Returns:
        Three arrays of uint8 or (10 bits) uint16, 4:2:0, of the coded size.
    """
    top = 1023 if spec.surface_format == "p010le" else 255
    full = spec.colour.effective_range == FULL
    low, high = (0.02, 0.98) if full else (0.08, 0.9)
    across, down = np.linspace(low, high, spec.width), np.linspace(low, high, spec.height)
    y = np.broadcast_to(across, (spec.height, spec.width)).copy()
    left = (number * max(2, spec.width // 20)) % max(2, spec.width - spec.width // 10)
    y[:, left : left + spec.width // 10] = (low + high) / 2
    cb = np.broadcast_to(across[::2] * 0.6 + 0.2, (spec.height // 2, spec.width // 2))
    cr = np.broadcast_to(0.9 - down[::2, None] * 0.6, (spec.height // 2, spec.width // 2))
    kind = np.uint16 if top == 1023 else np.uint8
    return [np.ascontiguousarray(np.round(plane * top).astype(kind)) for plane in (y, cb, cr)]


def _times(spec: EncodeSpec) -> tuple[list[int], list[int]]:
    """Timestamps and durations in ticks, not evenly spaced, of a clip whose clock does not begin at 0."""
    tick = max(1, round(1 / (spec.rate or Fraction(25)) / spec.time_base))
    pts = [7 * tick]
    for gap in _GAPS[:-1]:
        pts.append(pts[-1] + gap * tick)
    return pts, [gap * tick for gap in _GAPS]


def _encode(spec: EncodeSpec, planes: list[list[np.ndarray]], path: Path) -> None:
    pts, durations = _times(spec)
    layout = Layout(spec.width, spec.height, spec.time_base, pts[0], spec.colour)
    batch = FrameBatch(tuple(_frame(spec, one) for one in planes), tuple(pts), tuple(durations), 0, layout)
    session = SESSIONS[spec.rung](path, spec, True)
    try:
        for index in range(len(batch)):
            session.encode(batch, index)
        session.finish()
    except BaseException:
        with contextlib.suppress(Exception):
            session.abandon()
        raise


def _frame(spec: EncodeSpec, planes: list[np.ndarray]) -> Any:
    """A test picture where the clip's frames would lie: a surface on the card, or a host frame."""
    from av.video.frame import VideoFrame

    kind = "yuvj420p" if spec.pixel_format == "yuvj420p" else "yuv420p"
    frame = VideoFrame(spec.width, spec.height, "yuv420p10le" if planes[0].itemsize == 2 else kind)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.shape[0], target.line_size), np.uint8)
        rows[:, : plane.shape[1] * plane.itemsize] = plane.view(np.uint8)
        target.update(rows)  # type: ignore[arg-type]
    if spec.device == "cpu":
        return frame
    from framelane.video.convert import upload

    surface = upload(frame, spec.device)
    surface.host = None  # else a rung that encodes on the host would not have to bring it down
    return surface


def _compare(spec: EncodeSpec, planes: list[list[np.ndarray]], path: Path) -> Trial:
    import av

    with av.open(f"file:{path}") as made:
        stream = made.streams.video[0]
        packets = [(packet.pts, packet.is_keyframe) for packet in made.demux(stream) if packet.size]
        scale = Fraction(stream.time_base) / spec.time_base  # type: ignore[arg-type]
    with av.open(f"file:{path}") as made:
        back = [(frame.pts, _planes(frame)) for frame in made.decode(video=0)]
    if len(back) != FRAMES:
        return Trial(False, f"{FRAMES} frames went in and {len(back)} came back.")
    wanted = _times(spec)[0]
    times = [int(pts * scale) for pts, _ in back]
    if [pts - times[0] for pts in times] != [pts - wanted[0] for pts in wanted]:
        return Trial(False, "The frames came back with other timestamps.")
    if not packets[0][1]:
        return Trial(False, "What was encoded does not begin with a key frame.")
    if back[0][1][0].shape != planes[0][0].shape:
        return Trial(False, "The pictures came back in another size.")
    worst = min(_psnr(a, b) for one, (_, two) in zip(planes, back, strict=True) for a, b in zip(one, two, strict=True))
    if worst < LEAST_DB:
        return Trial(False, f"The pictures came back wrong (PSNR {worst:.0f} dB).", psnr=worst)
    return Trial(True, f"{FRAMES} frames came back with their timestamps and at least {worst:.0f} dB PSNR.", psnr=worst)


def _planes(frame: Any) -> list[np.ndarray]:
    kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    size = kind().itemsize
    return [
        np.frombuffer(p, np.uint8).view(kind).reshape(-1, p.line_size // size)[: p.height, : p.width].copy()
        for p in frame.planes
    ]


def _psnr(one: np.ndarray, two: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB; 99 for equal planes."""
    if one.shape != two.shape or one.dtype != two.dtype:
        return 0.0
    peak = 1023.0 if one.dtype == np.uint16 else 255.0
    mean = float(np.mean((one.astype(np.float32) - two) ** 2))
    return min(99.0, 10 * math.log10(peak**2 / mean)) if mean else 99.0
