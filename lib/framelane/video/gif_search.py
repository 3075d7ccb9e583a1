"""Which shape of GIF to try next so that it ends under a size cap: pure arithmetic, no pixels.

A GIF's size cannot be computed beforehand, but the ratio between two shapes of the same pictures is predictable. So
the best shape is tried first, and each further one is the gentlest that the last measurement says will fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

MIN_FPS = 5.0  # below this a moving picture is a slide show
MIN_WIDTH = 160
COLOURS = (256, 128, 64, 32)

# size ~ fps^0.6 · width^1.9 · colours^0.42: fitted on the demo clips, where it is within 3 % of eight shapes each.
_FPS_POWER, _WIDTH_POWER, _COLOUR_POWER = 0.6, 1.9, 0.42
# How much a reduction hurts, per squared logarithm: many small losses beat one large one.
_FPS_COST, _WIDTH_COST, _COLOUR_COST = 0.6, 1.0, 0.12
_AIM = 0.93  # of the cap: the prediction is good to a few per cent
_NO_FRAME_LESS = 1e-6


@dataclass(frozen=True)
class Shape:
    """One candidate.

    Attributes:
        step: every ``step``-th frame of the source is shown.
        width: pixels.
        colours: size of the palette.
        seconds: length of the stretch shown.
    """

    step: int
    width: int
    colours: int
    seconds: float


def first_step(rate: float, fps: float) -> int:
    """The smallest step at which a source of ``rate`` frames/s stays within ``fps``."""
    return max(1, math.ceil(rate / fps - 1e-3))


def predicted(size: float, measured: Shape, wanted: Shape) -> float:
    """Bytes expected of ``wanted``, from the ``size`` in bytes of ``measured``."""
    return float(
        size
        * (measured.step / wanted.step) ** _FPS_POWER
        * (wanted.width / measured.width) ** _WIDTH_POWER
        * (wanted.colours / measured.colours) ** _COLOUR_POWER
        * (wanted.seconds / measured.seconds)
    )


def loss(shape: Shape, best: Shape) -> float:
    """How far ``shape`` is below ``best`` to the eye; 0 is equal."""
    return (
        _FPS_COST * math.log(shape.step / best.step) ** 2
        + _WIDTH_COST * math.log(best.width / shape.width) ** 2
        + _COLOUR_COST * math.log(best.colours / shape.colours) ** 2
    )


def candidates(best: Shape, rate: float) -> Iterator[Shape]:
    """Every shape from ``best`` down to the floors, at full length.

    Args:
        best: the upper end.
        rate: frames per second of the source.
    """
    last = max(best.step, math.floor(rate / MIN_FPS + 1e-3))
    narrowest = min(best.width, MIN_WIDTH)
    for step in range(best.step, last + 1):
        for width in range(best.width, narrowest - 1, -max(1, best.width // 80)):
            for colours in COLOURS:
                yield replace(best, step=step, width=width, colours=colours)


def next_shape(best: Shape, rate: float, size: float, measured: Shape, cap: int) -> Shape | None:
    """The gentlest full-length shape that should fit, or None where not even the floors would.

    Args:
        best: the shape that was tried first.
        rate: frames per second of the source.
        size: bytes of ``measured``.
        measured: the shape tried last.
        cap: most bytes allowed.
    """
    fitting = [s for s in candidates(best, rate) if predicted(size, measured, s) <= _AIM * cap and s != measured]
    return min(fitting, key=lambda shape: loss(shape, best), default=None)


def floor_shape(best: Shape, rate: float) -> Shape:
    """The plainest full-length shape."""
    *_, last = candidates(best, rate)
    return last


def shorter(shape: Shape, rate: float, size: float, cap: int) -> Shape | None:
    """The last resort: a shorter stretch, then a single frame that shrinks; None where nothing is left to give up.

    Args:
        shape: what was tried last and is too large.
        rate: frames per second of the source.
        size: its bytes.
        cap: most bytes allowed.
    """
    frame = shape.step / rate
    if shape.seconds > frame + _NO_FRAME_LESS:
        return replace(shape, seconds=max(frame, shape.seconds * min(0.85 * cap / size, 0.9)))
    if shape.width > 16:
        return replace(shape, width=max(16, int(shape.width * 0.6)), colours=max(4, shape.colours // 2))
    return None
