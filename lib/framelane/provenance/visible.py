"""Whether a finished video really shows its mark, seen in its decoded frames and not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framelane.errors import FramelaneError, chain
from framelane.provenance import Unlabelled, VisibleMark
from framelane.video.clip import open_container, probe, video_stream
from framelane.video.colour import Orientation, plane_array
from framelane.video.surface import Surface
from framelane.video.transfer import download

LIKENESS = 0.7
"""Lowest normalised cross-correlation of what a frame shows with the mark; a picture without it stays near 0."""
CONTRAST = 0.5
"""Lowest contrast, as a share of the mark's own."""

COARSEST = 44
"""Highest CRF or CQ at which a video with a label is encoded. In x265 the smallest letters (8 pixels) are still like the
mark by 0.90; at 47 by 0.85, at 51 by 0.55."""

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709; only likeness and contrast are looked at


def check(path: Path, mark: VisibleMark) -> int:
    """Look for the mark on every frame.

    Args:
        path: a finished video.
        mark: what was drawn, on frames of the video's size or of a smaller working size.

    Returns:
        How many frames show it: all of them.

    Raises:
        FramelaneError: a frame does not show it; the text names its time. Or nothing can be decoded.
    """
    import av

    clip = probe(path)
    wanted, (left, top) = _at_size(mark, clip.display_size)
    seen = 0
    try:
        with open_container(path) as container:
            stream = video_stream(container, path)
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                if not shows(_upright_luma(frame, clip.orientation), wanted, left, top):
                    raise Unlabelled(
                        f"The label {mark.text!r} cannot be seen at {clip.seconds(frame.pts or 0):.2f} s of the joined "
                        "video, and a video without it is not given out. Its segments were thrown away; the same command "
                        "makes them anew."
                    )
                seen += 1
    except (av.error.FFmpegError, OSError) as error:
        raise FramelaneError(f"{path} cannot be read back ({chain(error)}).") from error
    if not seen:
        raise FramelaneError(f"{path} has no frame that shows the label.")
    return seen


def shows(luma: NDArray[np.uint8], wanted: NDArray[np.float32], left: int, top: int) -> bool:
    """Whether a grey picture (H, W) shows the mark, as grey (h, w), at a place."""
    found = luma[top : top + wanted.shape[0], left : left + wanted.shape[1]].astype(np.float32)
    if found.shape != wanted.shape:
        return False
    found -= found.mean()
    expected = wanted - wanted.mean()
    norms = float(np.linalg.norm(found)), float(np.linalg.norm(expected))
    if norms[0] < CONTRAST * norms[1]:
        return False
    return float((found * expected).sum()) / (norms[0] * norms[1]) >= LIKENESS


def _at_size(mark: VisibleMark, size: tuple[int, int]) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """The mark in grey as a video of another size shows it, and where."""
    grey = np.asarray(mark.picture.astype(np.float32) @ _LUMA, np.float32)
    if mark.frame == size:
        return grey, (mark.left, mark.top)
    import cv2

    across, down = size[0] / mark.frame[0], size[1] / mark.frame[1]
    left, top = round(mark.left * across), round(mark.top * down)
    right, bottom = round((mark.left + grey.shape[1]) * across), round((mark.top + grey.shape[0]) * down)
    shown = cv2.resize(grey, (max(1, right - left), max(1, bottom - top)), interpolation=cv2.INTER_LINEAR)
    return np.asarray(shown, np.float32), (left, top)


def _upright_luma(frame: Any, orientation: Orientation) -> NDArray[np.uint8]:
    """A view of the frame's luma as displayed."""
    if isinstance(frame, Surface):
        frame = download(frame)
    eight_bits = frame.format.components[0].bits == 8 and frame.format.name.startswith(("yuv", "nv", "gray"))
    luma = plane_array(frame.planes[0]) if eight_bits else frame.reformat(format="gray").to_ndarray()
    if orientation.mirrored:
        luma = luma[:, ::-1]
    return np.rot90(luma, orientation.quarter_turns)
