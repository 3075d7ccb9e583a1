"""The working size: frames made smaller after decoding, with everything else of the clip kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from framelane.video.clip import Clip
from framelane.video.colour import Orientation, resized
from framelane.video.frames import FrameBatch

if TYPE_CHECKING:
    import torch


def working_size(clip: Clip, lines: int) -> tuple[int, int] | None:
    """The coded (width, height) at which a clip's shorter displayed side has about ``lines`` pixels.

    Both sides are even, so the aspect ratio is kept to within a pixel.

    Args:
        clip: the input.
        lines: as in 480p; 0 keeps the clip's own size.

    Returns:
        None where the clip is no larger than that: nothing is ever made larger.
    """
    shorter = min(clip.width, clip.height)
    if not lines or shorter <= lines:
        return None
    width, height = (max(2, 2 * round(side * lines / shorter / 2)) for side in (clip.width, clip.height))
    return width, height


def shrunk_clip(clip: Clip, size: tuple[int, int]) -> Clip:
    """The clip as it looks to a processor that works at another size.

    The colour tags stay as they are, with the height that decides over an untagged matrix: it is the same picture.

    Args:
        clip: the input.
        size: coded (width, height).
    """
    return replace(clip, width=size[0], height=size[1])


def twin(clip: Clip, size: tuple[int, int] | None) -> Clip:
    """The clip as its output is to be, where a processor makes frames of another size.

    Such frames are upright, with square pixels; the colour tags stay, with the height that decides over an untagged matrix.

    Args:
        clip: the input.
        size: (width, height) of what comes out; None is the clip's own, with its rotation and pixel aspect.
    """
    if size is None:
        return clip
    return replace(clip, width=size[0], height=size[1], display_matrix=None, sample_aspect=None)


def at_size(batch: FrameBatch, rgb: torch.Tensor) -> FrameBatch:
    """A batch with frames of another size, upright, and the same timestamps and rows.

    Args:
        batch: as decoded or drawn on.
        rgb: uint8 ``(N, 3, H, W)``.
    """
    layout = replace(batch.layout, width=rgb.shape[-1], height=rgb.shape[-2], orientation=Orientation())
    return replace(batch.replace(rgb=rgb), layout=layout)


def shrunk(batch: FrameBatch, size: tuple[int, int], known: dict[int, Any]) -> FrameBatch:
    """A frame batch at the working size: the planes as decoded, resampled by area, in their own pixel format.

    Args:
        batch: as decoded; it is not changed, and no RGB of its size is made.
        size: coded (width, height).
        known: smaller frames made before, by number; those of this batch and of the frames before it are left in it.
    """
    past = (*batch.earlier, batch.before) if batch.before is not None else ()
    numbers = range(batch.first_index - len(past), batch.first_index + len(batch))
    tags = batch.layout.colour
    small = {
        number: known[number] if number in known else resized(plane, size, tags)
        for number, plane in zip(numbers, (*past, *batch.planes), strict=True)
    }
    known.clear()
    known.update(small)
    before, planes = tuple(small.values())[: len(past)], tuple(small.values())[len(past) :]
    return FrameBatch(
        planes=planes,
        pts=batch.pts,
        durations=batch.durations,
        first_index=batch.first_index,
        layout=replace(batch.layout, width=size[0], height=size[1]),
        before=before[-1] if before else None,
        earlier=before[:-1],
        before_pts=batch.before_pts,
        rows=batch.rows,
    )
