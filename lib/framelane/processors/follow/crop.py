"""Cutting a window out of a frame, at any fraction of a pixel, on the planes of the frame itself.

No RGB is made: luma and chroma are resampled each on their own grid, so colours that nobody touched stay as they are. A
window that moves by a hundredth of a pixel moves the picture by as much; whole pixels would make a slow pan jitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.video.colour import Orientation, plane_array
from framelane.video.frames import FrameBatch, Layout
from framelane.video.scale import at_size

if TYPE_CHECKING:
    import torch

_PLANAR = ("yuv420p", "yuvj420p")
_CO_SITED = -0.5
"""Where 4:2:0 chroma lies beside the middle of its 2x2 pixels: level with the left ones (H.264 E.2.1, type 0)."""


@dataclass(frozen=True)
class Window:
    """A part of a displayed frame, in pixels and fractions: the left and top edge, width and height."""

    x: float
    y: float
    width: float
    height: float


def cut_out(batch: FrameBatch, windows: Sequence[Window], size: tuple[int, int]) -> FrameBatch:
    """A batch of the windows' content.

    Args:
        batch: as decoded.
        windows: one a frame, inside the displayed frame.
        size: (width, height) of what comes out; even.

    Returns:
        Upright frames of that size in yuv420p with the clip's own matrix and range; from frames that are no YUV on
        the host, RGB on their device.
    """
    if any(not _is_yuv(plane) for plane in batch.planes):
        import torch

        cut = [_cut_rgb(frame, window, size) for frame, window in zip(batch.rgb, windows, strict=True)]
        return at_size(batch, torch.stack(cut))
    planes = [
        cut_planes(plane, batch.layout, window, size) for plane, window in zip(batch.planes, windows, strict=True)
    ]
    layout = replace(batch.layout, width=size[0], height=size[1], orientation=Orientation())
    return replace(batch.replace(planes=planes), layout=layout)


def _is_yuv(frame: Any) -> bool:
    name = getattr(getattr(frame, "format", None), "name", "")
    return name.startswith(("yuv", "nv12", "p010")) and not name.startswith("yuva")


def cut_planes(frame: Any, layout: Layout, window: Window, size: tuple[int, int]) -> Any:
    """A window of a decoded frame as a frame of its own.

    Args:
        frame: an ``av.VideoFrame`` in YUV, in coded orientation.
        layout: the clip's layout.
        window: in pixels of the displayed frame.
        size: (width, height), even.

    Returns:
        An ``av.VideoFrame`` in yuv420p.
    """
    from av.video.frame import VideoFrame

    if frame.format.name not in _PLANAR:  # 8-bit 4:2:0 with the same matrix and range: no RGB in between
        from framelane.video.colour import resized

        frame = resized(frame, (frame.width, frame.height), layout.colour, pixel_format="yuv420p")
    done = VideoFrame(*size, "yuv420p")
    sited = _sited(layout.orientation)
    for place in range(3):
        source = upright(plane_array(frame.planes[place]), layout.orientation)
        target = plane_array(done.planes[place])
        target[:] = _luma(source, window, size) if place == 0 else _chroma(source, window, size, sited)
    return done


def upright(plane: np.ndarray, orientation: Orientation) -> np.ndarray:
    """A plane as displayed, contiguous."""
    if orientation.mirrored:
        plane = plane[:, ::-1]
    return np.ascontiguousarray(np.rot90(plane, orientation.quarter_turns))


def _sited(orientation: Orientation) -> tuple[float, float]:
    """Where chroma lies beside the middle of its 2x2 pixels once the frame is upright, in luma pixels (x, y)."""
    x, y = (-_CO_SITED if orientation.mirrored else _CO_SITED), 0.0
    for _ in range(orientation.quarter_turns):  # counter-clockwise, y downwards
        x, y = y, -x
    return x, y


def _luma(plane: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    scale = window.width / size[0], window.height / size[1]
    return resample(plane, scale, (window.x, window.y), size)


def _chroma(plane: np.ndarray, window: Window, size: tuple[int, int], sited: tuple[float, float]) -> np.ndarray:
    """Chroma sample j lies at luma coordinate 2j + 1 + its siting, edges of pixels at whole numbers; in both pictures."""
    scale = window.width / size[0], window.height / size[1]
    left = (window.x + scale[0] * _CO_SITED - sited[0]) / 2
    top = (window.y - sited[1]) / 2
    return resample(plane, scale, (left, top), (size[0] // 2, size[1] // 2))


def resample(
    plane: np.ndarray, scale: tuple[float, float], origin: tuple[float, float], size: tuple[int, int]
) -> np.ndarray:
    """A plane looked up on a grid: bilinear, and averaged over the area of a pixel where it gets smaller.

    Args:
        plane: uint8 ``(H, W)`` or ``(H, W, C)``, contiguous.
        scale: input pixels per output pixel (x, y).
        origin: where the output's left and top edges lie in the input, edges of pixels at whole numbers.
        size: (width, height) of the output.
    """
    import cv2

    # Each output pixel is the mean of k x k samples, none further apart than a pixel of the input: bilinear alone would
    # skip pixels, and shimmer. The grid moves with the origin, so the mean moves smoothly, too.
    k = tuple(max(1, ceil(part - 1e-6)) for part in scale)
    fine = scale[0] / k[0], scale[1] / k[1]
    affine = np.array(
        [[fine[0], 0, origin[0] + 0.5 * fine[0] - 0.5], [0, fine[1], origin[1] + 0.5 * fine[1] - 0.5]], np.float64
    )
    target = (size[0] * k[0], size[1] * k[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(plane, affine, target, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if k != (1, 1):
        found = cv2.resize(found, size, interpolation=cv2.INTER_AREA)
    return np.asarray(found)


def _cut_rgb(rgb: torch.Tensor, window: Window, size: tuple[int, int]) -> torch.Tensor:
    """The same on a device: uint8 ``(3, H, W)`` to uint8 ``(3, size[1], size[0])``."""
    import torch
    from torch.nn import functional

    height, width = rgb.shape[-2:]
    k = max(1, ceil(window.width / size[0] - 1e-6)), max(1, ceil(window.height / size[1] - 1e-6))
    axes = []
    for start, length, whole, count, fine in (
        (window.x, window.width, width, size[0], k[0]),
        (window.y, window.height, height, size[1], k[1]),
    ):
        steps = torch.arange(count * fine, device=rgb.device, dtype=torch.float32)
        axes.append((start + (steps + 0.5) * (length / (count * fine))) / whole * 2 - 1)
    y, x = torch.meshgrid(axes[1], axes[0], indexing="ij")
    grid = torch.stack([x, y], -1)[None]
    found = functional.grid_sample(rgb[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return functional.avg_pool2d(found, (k[1], k[0]))[0].add(0.5).clamp(0, 255).to(torch.uint8)
