"""YUV to RGB and back with the clip's own matrix and range, and the display orientation.

The conversion itself is FFmpeg's swscale, told the matrix and the range explicitly for both directions: neither is
ever left to a default, so what was not drawn on comes back as it went in (within rounding).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.video.surface import Surface

if TYPE_CHECKING:
    import torch

# ISO/IEC 23091-2 (H.273) code points, as FFmpeg numbers them.
UNSPECIFIED_RANGE, LIMITED, FULL = 0, 1, 2
RGB_MATRIX, BT709, UNSPECIFIED, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020_NCL, BT2020_CL = 0, 1, 2, 4, 5, 6, 7, 9, 10
_SWS = {BT709: 1, FCC: 4, BT470BG: 5, SMPTE170M: 5, SMPTE240M: 7, BT2020_NCL: 9, BT2020_CL: 9}
# swscale's flags. Measured against float arithmetic on 1080p: without ACCURATE_RND its YUV to RGB is eight times as fast,
# but truncates (1.1 levels too dark). POINT repeats chroma, and AREA's mean of 2x2 is the exact inverse of that: luma
# comes back with a mean error of 0.011 levels, chroma 0.015 (limited range; full range: chroma 0.5 too low).
_UP = 16 | 262144  # POINT | ACCURATE_RND
_DOWN = 32  # AREA

_local = threading.local()


@dataclass(frozen=True)
class ColourTags:
    """What the clip says of its colours, as H.273 code points; 2 (0 for the range) is "unspecified".

    The tags travel to the output unchanged. Where they say nothing, :attr:`effective_matrix` decides.
    """

    matrix: int = UNSPECIFIED
    range: int = UNSPECIFIED_RANGE
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    height: int = 0

    @property
    def effective_matrix(self) -> int:
        """The matrix used for conversion; untagged clips of 720 lines and more are taken as BT.709, others as BT.601."""
        if self.matrix in _SWS:
            return self.matrix
        return BT709 if self.height >= 720 else SMPTE170M

    @property
    def effective_range(self) -> int:
        """The range used for conversion; untagged is limited, as in every broadcast and camera format."""
        return FULL if self.range == FULL else LIMITED


def _reformatter() -> Any:
    # swscale contexts are cached in the reformatter and are not thread-safe: one for each thread.
    if not hasattr(_local, "reformatter"):
        from av.video.reformatter import VideoReformatter

        _local.reformatter = VideoReformatter()
    return _local.reformatter


def to_rgb(frame: Any, tags: ColourTags, out: np.ndarray) -> None:
    """Convert one decoded frame to planar RGB.

    Args:
        frame: an ``av.VideoFrame`` in any pixel format.
        tags: the clip's colour tags.
        out: uint8 array ``(3, H, W)`` that receives R, G, B in coded orientation.
    """
    rgb_in = frame.format.is_rgb
    planar = _reformatter().reformat(
        _unsited(frame),
        format="gbrp",
        src_colorspace=None if rgb_in else _SWS[tags.effective_matrix],
        dst_colorspace=None if rgb_in else _SWS[tags.effective_matrix],
        src_color_range=FULL if rgb_in else tags.effective_range,
        dst_color_range=FULL,
        interpolation=_UP,
        threads=1,
    )
    for target, source in ((0, 2), (1, 0), (2, 1)):  # gbrp stores G, B, R
        out[target] = plane_array(planar.planes[source])


def from_rgb(rgb: np.ndarray, tags: ColourTags, pixel_format: str) -> Any:
    """Convert planar RGB to a frame for the encoder.

    Args:
        rgb: uint8 array ``(3, H, W)`` in coded orientation.
        tags: the clip's colour tags: the same matrix and range as in :func:`to_rgb`.
        pixel_format: the encoder's 8-bit YUV format, usually ``yuv420p``.

    Returns:
        An ``av.VideoFrame`` of size (W, H) without timestamps.
    """
    frame = _planar_frame(rgb)
    return _reformatter().reformat(
        frame,
        format=pixel_format,
        src_colorspace=_SWS[tags.effective_matrix],
        dst_colorspace=_SWS[tags.effective_matrix],
        src_color_range=FULL,
        dst_color_range=tags.effective_range,
        interpolation=_DOWN,
        threads=1,
    )


def resized(frame: Any, size: tuple[int, int], tags: ColourTags, pixel_format: str | None = None) -> Any:
    """A decoded frame made smaller, by area, without a change of matrix or range.

    Args:
        frame: an ``av.VideoFrame``, or a :class:`~framelane.video.surface.Surface`, which stays on its device.
        size: coded (width, height).
        tags: the clip's colour tags.
        pixel_format: another format of the same colour model; None keeps the frame's own.
    """
    if isinstance(frame, Surface):
        from framelane.video.resample import resize

        return resize(frame, size)
    rgb = frame.format.is_rgb
    matrix, range_ = (None, None) if rgb else (_SWS[tags.effective_matrix], tags.effective_range)
    return _reformatter().reformat(
        _unsited(frame),
        width=size[0],
        height=size[1],
        format="gbrp" if frame.format.name == "pal8" else pixel_format,  # a palette cannot be resampled
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=range_,
        dst_color_range=range_,
        interpolation=_DOWN,
        threads=1,
    )


def _unsited(frame: Any) -> Any:
    """The same planes, without where the frame says that its chroma lies.

    Decoders say "left" of nearly every clip, and swscale then shifts chroma: with POINT every odd column takes the
    chroma of its right neighbour, which no mean of 2x2 undoes.
    """
    from av.video.frame import VideoFrame

    name, planes = frame.format.name, frame.planes
    if not name.startswith("yuv") or name.endswith("be") or len(planes) != 3 or any(p.line_size < 0 for p in planes):
        return frame
    if frame.width % 2 or frame.height % 2:  # from_dlpack takes even sides only
        copy = VideoFrame(frame.width, frame.height, name)
        for target, source in zip(copy.planes, planes, strict=True):
            np.copyto(_rows(target)[:, : source.line_size], _rows(source)[:, : target.line_size])
        return copy
    return VideoFrame.from_dlpack(tuple(planes), format=name, width=frame.width, height=frame.height)


def _rows(plane: Any) -> np.ndarray:
    """A view of a plane's bytes, ``(H, line_size)``, its row padding included."""
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)


def _planar_frame(rgb: np.ndarray) -> Any:
    from av.video.frame import VideoFrame

    _, height, width = rgb.shape
    key = (height, width)
    if (
        getattr(_local, "key", None) != key
    ):  # one staging frame a thread: page faults of a fresh one cost more than the copy
        _local.key, _local.staging = key, VideoFrame(width, height, "gbrp")
    staging = _local.staging
    for target, source in ((2, 0), (0, 1), (1, 2)):
        np.copyto(plane_array(staging.planes[target]), rgb[source])
    return staging


def plane_array(plane: Any) -> np.ndarray:
    """A view of an 8-bit plane as uint8 ``(H, W)``, without its row padding."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


@dataclass(frozen=True)
class Orientation:
    """How coded pixels are turned for display: mirrored first (if so), then turned counter-clockwise by quarter turns.

    Attributes:
        quarter_turns: 0 to 3, counter-clockwise.
        mirrored: flipped left to right before turning.
    """

    quarter_turns: int = 0
    mirrored: bool = False

    @classmethod
    def from_matrix(cls, matrix: tuple[int, ...] | None) -> Orientation:
        """The nearest of the eight upright orientations to a 3x3 display matrix (row-major, 16.16 fixed point).

        FFmpeg's ``libavutil/display.h``: a point (p, q) is shown at (a·p + c·q, b·p + d·q), y downwards.
        """
        if matrix is None:
            return cls()
        a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
        mirrored = a * d - b * c < 0
        if mirrored:
            a, b = -a, -b
        # The first row is where the coded x axis points on the screen.
        turns = (0 if a > 0 else 2) if abs(a) >= abs(b) else (3 if b > 0 else 1)
        return cls(turns, mirrored)

    @property
    def swaps_sides(self) -> bool:
        """True where the displayed width is the coded height."""
        return self.quarter_turns % 2 == 1

    def upright(self, pixels: torch.Tensor) -> torch.Tensor:
        """Coded to displayed orientation, on the last two axes of ``(..., H, W)``; contiguous."""
        if self.mirrored:
            pixels = pixels.flip(-1)
        return pixels.rot90(self.quarter_turns, (-2, -1)).contiguous() if self.quarter_turns else pixels.contiguous()

    def coded(self, pixels: torch.Tensor) -> torch.Tensor:
        """Displayed to coded orientation: the inverse of :meth:`upright`."""
        if self.quarter_turns:
            pixels = pixels.rot90(-self.quarter_turns, (-2, -1))
        return (pixels.flip(-1) if self.mirrored else pixels).contiguous()
