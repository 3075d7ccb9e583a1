"""The output's size and shape, and the largest window of that shape in a frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from framelane.errors import UsageError
from framelane.sections.follow import FollowSettings
from framelane.video.clip import Clip

_SMALLEST, _LARGEST = 32, 8192


@dataclass(frozen=True)
class Framing:
    """Sizes of a clip's virtual camera.

    Attributes:
        frame: (width, height) as displayed, in the clip's own pixels.
        output: (width, height), even, with square pixels.
        widest: (width, height) of the window at zoom 1, in the clip's own pixels.
    """

    frame: tuple[int, int]
    output: tuple[int, int]
    widest: tuple[float, float]

    @property
    def upscaled(self) -> float:
        """Output pixels per pixel of the widest window; above 1 it is made larger than it is."""
        return self.output[0] / self.widest[0]


def framing(clip: Clip, options: FollowSettings, own: frozenset[str]) -> Framing:
    """Sizes for a clip.

    Args:
        clip: the input.
        options: the settings.
        own: the keys that the user gave.

    Raises:
        UsageError: size and aspect disagree, or the output would be too small or too large.
    """
    width, height = clip.display_size
    pixel = float(clip.sample_aspect or 1)
    if clip.orientation.swaps_sides:
        pixel = 1 / pixel
    across, down = (int(part) for part in options.aspect.split(":"))
    shape = Fraction(across, down)
    wanted: tuple[float, float] | None = None
    if options.size and "x" in options.size:
        w, h = (int(part) for part in options.size.split("x"))
        if "follow.aspect" in own and abs(w / h / shape - 1) > 0.02:  # type: ignore[operator]
            raise UsageError(
                f"follow.size {options.size} is not {options.aspect} (follow.aspect). Give one of them, or a size such as "
                f"{round(720 * max(1.0, float(shape)))}x{round(720 / min(1.0, float(shape)))}."
            )
        shape, wanted = Fraction(w, h), (w, h)
    elif options.size:
        lines = int(options.size[:-1])
        wanted = (lines * max(1.0, float(shape)), lines / min(1.0, float(shape)))
    ratio = float(shape) / pixel  # of the window in the clip's own pixels
    widest = (height * ratio, float(height)) if width / height > ratio else (float(width), width / ratio)
    size = wanted or (widest[0] * pixel, widest[1])
    output = (max(2, 2 * round(size[0] / 2)), max(2, 2 * round(size[1] / 2)))
    if min(output) < _SMALLEST:
        raise UsageError(
            f"The output would be {output[0]}x{output[1]}; follow.size needs at least {_SMALLEST} pixels a side."
        )
    if wanted and max(output) > _LARGEST:
        raise UsageError(
            f"The output would be {output[0]}x{output[1]}; follow.size takes at most {_LARGEST} pixels a side."
        )
    return Framing((width, height), output, widest)
