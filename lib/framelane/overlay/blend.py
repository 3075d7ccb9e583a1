"""Compositing in integer arithmetic: the attention shadow, constant colours and small RGBA patches.

Opacity is 8-bit fixed point, 0 to 256. ``rgb * (256 - a) + colour * a + 128`` needs 16 unsigned bits, which torch lacks;
in int16 it wraps around, but its upper byte, the result, is the same: the shift and the cast to uint8 keep only that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from framelane.overlay.marks import RGB, Mark, pixel_box

if TYPE_CHECKING:
    import torch

KEPT = 0.5
"""Share of its own contrast that a pixel inside a tracked box keeps."""


def fixed(alpha: float) -> int:
    """Opacity 0 to 1 as 0 to 256, never rounded up: a cap stays a cap."""
    return int(min(1.0, max(0.0, alpha)) * 256 + 1e-6)


def blend(rgb: torch.Tensor, colour: RGB | torch.Tensor, alpha: torch.Tensor | int) -> torch.Tensor:
    """``rgb + (colour - rgb) * alpha / 256``, in place.

    Args:
        rgb: uint8 (3, h, w), may be a view into a frame.
        colour: one colour, or uint8 (3, h, w).
        alpha: 0 to 256: one number, or int16 (h, w) on the frame's device.

    Returns:
        ``rgb``; within one level of the exact value.
    """
    import torch

    over = colour_planes(colour, str(rgb.device)) if isinstance(colour, tuple) else colour.to(torch.int16)
    mixed = rgb.to(torch.int16).mul_(256 - alpha)
    if isinstance(alpha, int) or not isinstance(colour, tuple):
        mixed.add_(over * alpha)
    else:  # plane by plane: three full-frame products less in memory
        for plane, value in zip(mixed, colour, strict=True):
            plane.add_(alpha, alpha=value)
    return rgb.copy_(mixed.add_(128).bitwise_right_shift_(8))


@lru_cache(maxsize=1024)
def colour_planes(colour: RGB, device: str) -> torch.Tensor:
    """A colour as int16 (3, 1, 1) on a device, where it stays: each copy to a GPU would stop it for a moment."""
    import torch

    return torch.tensor(colour, dtype=torch.int16, device=device)[:, None, None]


def upsampled(weight: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A map (h, w) from 0 to 1 in the size (H, W) of a frame: float32, smooth, clamped to 0..1.

    Bicubic to an eighth of the frame, where it is cheap and hides the grid; bilinear from there, where none sees it.
    """
    import torch
    from torch.nn.functional import interpolate

    smooth = weight.to(torch.float32)[None, None]
    middle = max(1, size[0] // 8), max(1, size[1] // 8)
    if smooth.shape[-2] < middle[0] and smooth.shape[-1] < middle[1]:
        smooth = interpolate(smooth, middle, mode="bicubic", align_corners=False).clamp_(0, 1)
    return interpolate(smooth, size, mode="bilinear", align_corners=False)[0, 0].clamp_(0, 1)


def balanced_alpha(
    weight: torch.Tensor,
    size: tuple[int, int],
    alpha: float | torch.Tensor,
    marks: Sequence[Mark] = (),
    tint: float = 0.0,
) -> torch.Tensor:
    """The shadow's opacity at every pixel, capped inside the boxes by the balance rule.

    Args:
        weight: (h, w) from 0 to 1, at any lower resolution, on the frame's device.
        size: height and width of the frame.
        alpha: opacity from 0 to 1 where the weight is 1; a tensor (H, W) gives it per pixel.
        marks: the tracked objects.
        tint: opacity from 0 to 0.5 that :class:`~framelane.overlay.Boxes` will lay over each box.

    Returns:
        int16 (H, W), 0 to 256.
    """
    import torch

    plane = upsampled(weight, size).mul_(alpha).mul_(256).add_(0.5).to(torch.int16)
    # The tint is laid in steps of 1/256, and never more than asked for.
    cap = fixed(1 - KEPT / (1 - fixed(tint) / 256))
    for mark in marks:
        x1, y1, x2, y2 = pixel_box(mark, size[1], size[0])
        plane[y1:y2, x1:x2].clamp_(max=cap)
    return plane


def shadow(
    rgb: torch.Tensor,
    weight: torch.Tensor,
    colour: RGB,
    alpha: float | torch.Tensor,
    *,
    marks: Sequence[Mark] = (),
    tint: float = 0.0,
) -> torch.Tensor:
    """Lay a translucent colour over a frame, in place, the stronger the larger the weight.

    Args:
        rgb: uint8 (3, H, W).
        weight: (h, w) from 0 to 1, at any lower resolution, on the same device.
        colour: of the shadow.
        alpha: opacity from 0 to 1 where the weight is 1; a tensor (H, W) gives it per pixel.
        marks: tracked objects, in whose boxes the shadow is capped (:func:`balanced_alpha`).
        tint: opacity of the tint that those boxes will get.
    """
    size = int(rgb.shape[1]), int(rgb.shape[2])
    return blend(rgb, colour, balanced_alpha(weight, size, alpha, marks, tint))


def _window(rgb: torch.Tensor, height: int, width: int, x: int, y: int) -> tuple[slice, slice, slice, slice] | None:
    """The part of the frame that a patch at (x, y) covers, and the part of the patch that lies on the frame."""
    x1, y1 = max(0, x), max(0, y)
    x2, y2 = min(int(rgb.shape[2]), x + width), min(int(rgb.shape[1]), y + height)
    if x1 >= x2 or y1 >= y2:
        return None
    return slice(y1, y2), slice(x1, x2), slice(y1 - y, y2 - y), slice(x1 - x, x2 - x)


def paste(
    rgb: torch.Tensor, patch: npt.NDArray[np.uint8] | torch.Tensor, x: int, y: int, opacity: float = 1.0
) -> torch.Tensor:
    """Composite a small picture onto a frame, in place; what lies outside the frame is cut off.

    Args:
        rgb: uint8 (3, H, W).
        patch: uint8 (h, w, 4), straight (not premultiplied) RGBA, as an array or a tensor on any device.
        x: column of the patch's left edge, may be negative.
        y: row of its top edge, may be negative.
        opacity: 0 to 1, for the whole patch.
    """
    window = _window(rgb, patch.shape[0], patch.shape[1], x, y)
    if window is None:
        return rgb
    rows, columns, patch_rows, patch_columns = window
    planes = _on_device(patch, rgb)[patch_rows, patch_columns].permute(2, 0, 1)
    blend(rgb[:, rows, columns], planes[:3], _opacity(planes[3], opacity))
    return rgb


def stamp(
    rgb: torch.Tensor, mask: npt.NDArray[np.uint8], colour: RGB, x: int, y: int, opacity: float = 1.0
) -> torch.Tensor:
    """Like :func:`paste`, for one colour: only the mask, uint8 (h, w), crosses to the device."""
    window = _window(rgb, mask.shape[0], mask.shape[1], x, y)
    if window is None:
        return rgb
    rows, columns, mask_rows, mask_columns = window
    alpha = _on_device(mask, rgb)[mask_rows, mask_columns]
    blend(rgb[:, rows, columns], colour, _opacity(alpha, opacity))
    return rgb


def _on_device(patch: npt.NDArray[np.uint8] | torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
    import torch

    return (torch.from_numpy(patch) if isinstance(patch, np.ndarray) else patch).to(rgb.device)


def _opacity(alpha: torch.Tensor, opacity: float) -> torch.Tensor:
    """Opacity 0 to 255 as int16 0 to 256, scaled."""
    import torch

    if opacity < 1:
        return alpha.to(torch.float32).mul_(max(0.0, opacity) * 256 / 255).round_().to(torch.int16)
    wide = alpha.to(torch.int16)
    return wide + (wide >> 7)  # 255 becomes 256: opaque
