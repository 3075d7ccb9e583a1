"""A planted truth for the virtual camera: a ball that flies, bounces, rolls behind pillars, and has a double.

Nothing is drawn unless asked for: the path alone is enough for planted detections.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SIZE = (960, 540)
RATE = 30
_BOUNCE = 0.82  # speed kept by a bounce
_FLOOR = 470.0


@dataclass(frozen=True)
class Look:
    """What a scene looks like and how its ball flies; pixels and seconds.

    Attributes:
        radius: of the ball and of its double.
        gravity: pixels a second squared.
        pace: how fast the ball is kicked sideways; 1 is 140 to 380 pixels a second.
        pillars: left edge and width of what it disappears behind.
        ball: its RGB colour.
        double: the false ball's.
        ground: seed of the background.
    """

    radius: float = 9.0
    gravity: float = 700.0
    pace: float = 1.0
    pillars: tuple[tuple[int, int], ...] = ((250, 60), (610, 90), (800, 40))
    ball: tuple[int, int, int] = (236, 120, 24)
    double: tuple[int, int, int] = (70, 130, 235)
    ground: int = 3


USUAL = Look()
_WIDE = ((180, 120), (480, 100), (780, 70))
TUNING = {
    1: USUAL,
    2: USUAL,
    3: USUAL,
    22: Look(pace=1.4, pillars=_WIDE),
    23: Look(radius=13, gravity=1050, pace=1.2),
    25: Look(pace=1.4, pillars=_WIDE),
    27: Look(radius=6, gravity=450, pace=0.7),
    28: Look(gravity=900, pace=1.3, pillars=((120, 100), (400, 130), (700, 100))),
    31: Look(gravity=1000, pace=1.4),
}
"""Scenes that were looked at while thresholds were set, by seed."""
_WHITE, _LIME, _RED = (238, 238, 232), (205, 220, 60), (214, 60, 60)
FIRST = {
    11: USUAL,
    12: Look(radius=6, gravity=500, pace=0.8),
    13: Look(radius=14, gravity=1000, pace=1.25),
    14: Look(7, ball=_WHITE, double=_RED, pillars=((150, 70), (450, 50), (700, 80)), ground=24),
    15: Look(12, 900, 1.2, ball=_LIME, double=(236, 120, 24), pillars=((330, 100), (720, 60)), ground=25),
    16: Look(pace=1.4, pillars=((200, 110), (520, 120), (790, 60))),
}
"""The first held-out scenes. The camera failed three of them, so the joining of a ball's pieces was changed, on
:data:`TUNING` alone; but that it had to be is something learned from these."""
HELD_OUT = {
    41: USUAL,
    42: Look(radius=7, gravity=600, pace=0.9),
    43: Look(radius=13, gravity=950, pace=1.3),
    44: Look(8, ball=(90, 200, 80), double=(230, 200, 40), pillars=((100, 90), (380, 70), (650, 100)), ground=44),
    45: Look(11, 850, 1.1, ball=(220, 60, 150), double=(60, 200, 210), pillars=((280, 120), (560, 70)), ground=45),
    46: Look(pace=1.45, pillars=((180, 100), (470, 110), (740, 90))),
}
"""Scenes on which nothing was tuned, written down before the first of them was run."""


@dataclass(frozen=True)
class Scene:
    """Of n frames, in pixels.

    Attributes:
        times: seconds, ``(n,)``.
        ball: its true middle, ``(n, 2)``.
        hidden: bool ``(n,)``: behind a pillar.
        double: the false ball's middle, ``(n, 2)``; NaN while it is not there.
        litter: the middle of a thing of the ball's colour that lies still.
        look: sizes and colours.
    """

    times: Array
    ball: Array
    hidden: npt.NDArray[np.bool_]
    double: Array
    litter: tuple[float, float] = (120.0, 505.0)
    look: Look = USUAL


def make_scene(seconds: float = 30.0, seed: int = 1, look: Look = USUAL) -> Scene:
    """A ball under gravity that bounces off the floor and off both walls, and is kicked anew now and then.

    The false ball crosses the picture every few seconds, straight and fast.
    """
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    place, speed = np.array([480.0, 200.0]), np.array([220.0, 0.0])
    ball, double = np.empty((count, 2)), np.full((count, 2), np.nan)
    kick, inner = 0.0, 8
    for i in range(count):
        ball[i] = place
        if i / RATE >= kick:
            kick = i / RATE + rng.uniform(2.0, 4.0)
            speed = np.array(
                [
                    look.pace * rng.uniform(140, 380) * (1 if place[0] < 480 else -1),
                    -np.sqrt(2 * look.gravity * rng.uniform(0.3, 1.0) * max(20.0, place[1] - 40)),
                ]
            )
        for _ in range(inner):
            speed[1] += look.gravity / RATE / inner
            place = place + speed / RATE / inner
            if place[1] > _FLOOR and speed[1] > 0:
                place[1], speed = _FLOOR, speed * np.array([0.98, -_BOUNCE])
            if (place[0] < 40 and speed[0] < 0) or (place[0] > SIZE[0] - 40 and speed[0] > 0):
                speed[0] *= -0.9
    for start in range(RATE, count, 5 * RATE):
        high, way = rng.uniform(80, 400), rng.choice([-1, 1])
        for k in range(min(2 * RATE, count - start)):
            double[start + k] = (480 + way * (480 - 480 * k / RATE), high + 25 * np.sin(k / 6))
    hidden = np.zeros(count, bool)
    for left, wide in look.pillars:
        hidden |= (ball[:, 0] > left - look.radius) & (ball[:, 0] < left + wide + look.radius)
    return Scene(np.arange(count) / RATE, ball, hidden, double, look=look)


def planted(scene: Scene, seed: int = 2, missed: float = 0.12, noise: float = 3.0) -> list[dict[str, Any]]:
    """Rows as a first pass writes them, from the truth: noisy, with misses, occlusions, the double and litter."""
    rng, radius = np.random.default_rng(seed), scene.look.radius
    rows = []
    for i, time in enumerate(scene.times):
        tracks = []
        seen = [(scene.ball[i], rng.uniform(0.4, 0.9))] if not scene.hidden[i] and rng.random() > missed else []
        if not np.isnan(scene.double[i, 0]):
            seen.append((scene.double[i], rng.uniform(0.4, 0.95)))
        if rng.random() < 0.5:
            seen.append((np.array(scene.litter), rng.uniform(0.2, 0.6)))
        for place, score in seen:
            x, y = place + rng.normal(0, noise, 2)
            tracks.append([0, "ball", x - radius, y - radius, x + radius, y + radius, float(score)])
        rows.append({"frame": i, "time": float(time), "cut": i == 0, "tracks": tracks})
    return rows


def background(seed: int = 3) -> npt.NDArray[np.uint8]:
    """Texture at several scales, with pillars left out: uint8 ``(H, W, 3)`` RGB."""
    import cv2

    rng = np.random.default_rng(seed)
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.float32)
    for cells, strength in ((8, 45), (30, 30), (120, 22), (480, 10)):
        rough = rng.normal(0, 1, (cells * 9 // 16 + 1, cells, 3)).astype(np.float32)
        picture += strength * cv2.resize(rough, SIZE, interpolation=cv2.INTER_CUBIC)
    picture += np.array([88, 104, 84], np.float32)
    picture[int(_FLOOR + USUAL.radius) :] *= 0.8
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def render(scene: Scene, path: Path) -> Path:
    """The scene as an H.264 clip, blurred by motion as a camera with a half-open shutter blurs, with sensor noise."""
    import av

    ground, rng = background(scene.look.ground), np.random.default_rng(scene.look.ground + 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"  # type: ignore[attr-defined]
        stream.time_base = Fraction(1, RATE)
        for i in range(len(scene.times)):
            picture = picture_of(scene, i, ground) + rng.normal(0, 2.0, ground.shape)
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(stream.encode(frame))  # type: ignore[attr-defined]
        container.mux(stream.encode(None))  # type: ignore[attr-defined]
    return path


def picture_of(scene: Scene, i: int, ground: npt.NDArray[np.uint8]) -> Array:
    """One frame without noise, float64 ``(H, W, 3)`` RGB."""
    picture = ground.astype(np.float64)
    look = scene.look
    _disk(picture, [scene.litter], look.radius, look.ball)
    for places, colour in ((scene.double, look.double), (scene.ball, look.ball)):
        if not np.isnan(places[i, 0]):
            before = places[max(0, i - 1)]
            velocity = np.zeros(2) if np.isnan(before[0]) else places[i] - before
            _disk(picture, [tuple(places[i] + velocity * part) for part in (-0.25, 0.0, 0.25)], look.radius, colour)
    for left, wide in look.pillars:
        picture[100:, left : left + wide] = ground[100:, left : left + wide, ::-1] * 0.6 + 20
    return picture


def _disk(picture: Array, middles: list[Any], radius: float, colour: tuple[int, int, int]) -> None:
    """A shaded disk, anti-aliased; the mean of several is a blurred one."""
    x1, y1 = (int(min(m[a] for m in middles) - radius - 2) for a in (0, 1))
    x2, y2 = (int(max(m[a] for m in middles) + radius + 3) for a in (0, 1))
    x1, y1, x2, y2 = max(0, x1), max(0, y1), min(SIZE[0], x2), min(SIZE[1], y2)
    if x1 >= x2 or y1 >= y2:
        return
    y, x = np.mgrid[y1:y2, x1:x2]
    covered = np.mean([np.clip(radius + 0.5 - np.hypot(x - m[0], y - m[1]), 0, 1) for m in middles], axis=0)[..., None]
    shade = 1.0 - 0.25 * ((y - middles[0][1]) / radius).clip(-1, 1)[..., None]
    part = picture[y1:y2, x1:x2]
    part[:] = part * (1 - covered) + np.array(colour) * shade * covered
