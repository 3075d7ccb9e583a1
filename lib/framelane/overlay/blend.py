"""Compositing in integer arithmetic: the attention shadow, constant colours and small RGBA patches.

Opacity is 8-bit fixed point, 0 to 256. ``rgb * (256 - a) + colour * a + 128`` needs 16 unsigned bits. torch has none to
calculate with: in int16 it wraps around, but its upper byte, the result, is the same, and only that is kept.

On a CPU the work is done by NumPy and OpenCV on the tensor's own memory, not by torch: torch splits every operation
over its OpenMP threads and waits for all of them, and beside a busy encoder on two cores that took 200 ms a frame
instead of 2.
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

_STRIP = 1 << 15
"""Pixels blended at once on a CPU: temporaries this small stay in the cache and cost no fresh memory."""

Bytes = npt.NDArray[np.uint8]
Opacity = npt.NDArray[np.int16]

KEPT = 0.5
"""Share of its own contrast that a pixel inside a tracked box keeps."""


def fixed(alpha: float) -> int:
    """Opacity 0 to 1 as 0 to 256, never rounded up: a cap stays a cap."""
    return int(min(1.0, max(0.0, alpha)) * 256 + 1e-6)


def blend(rgb: torch.Tensor, colour: RGB | Bytes | torch.Tensor, alpha: torch.Tensor | Opacity | int) -> torch.Tensor:
    """``rgb + (colour - rgb) * alpha / 256``, in place.

    Args:
        rgb: uint8 (3, h, w), may be a view into a frame.
        colour: one colour, or a picture uint8 (3, h, w): an array, or a tensor on a frame's device that is no CPU.
        alpha: 0 to 256: one number, or int16 (h, w); a tensor must be on the frame's device.

    Returns:
        ``rgb``; within one level of the exact value.
    """
    if rgb.device.type != "cpu":
        return _blend_tensor(rgb, colour, alpha)
    if not isinstance(colour, np.ndarray | tuple):
        raise TypeError("on a CPU a picture is an array")
    opacity = alpha if isinstance(alpha, int) else np.asarray(alpha).view(np.uint16)
    pixels, step = rgb.numpy(), max(1, _STRIP // max(1, int(rgb.shape[2])))
    for top in range(0, pixels.shape[1], step):
        rows = slice(top, top + step)
        over = colour[:, rows] if isinstance(colour, np.ndarray) else colour
        _blend_array(pixels[:, rows], over, opacity if isinstance(opacity, int) else opacity[rows])
    return rgb


def _blend_array(rgb: Bytes, colour: RGB | Bytes, opacity: npt.NDArray[np.uint16] | int) -> None:
    keep = np.subtract(256, opacity, dtype=np.uint16)
    for plane, value in zip(rgb, colour, strict=True):
        mixed = np.multiply(plane, keep, dtype=np.uint16)
        mixed += np.multiply(value, opacity, dtype=np.uint16)
        mixed += 128
        mixed >>= 8
        plane[...] = mixed


def _blend_tensor(
    rgb: torch.Tensor, colour: RGB | Bytes | torch.Tensor, alpha: torch.Tensor | Opacity | int
) -> torch.Tensor:
    import torch

    opacity = torch.from_numpy(alpha).to(rgb.device) if isinstance(alpha, np.ndarray) else alpha
    if isinstance(colour, np.ndarray):
        over = torch.from_numpy(colour).to(rgb.device).to(torch.int16)
    elif isinstance(colour, torch.Tensor):
        over = colour.to(torch.int16)
    else:
        over = colour_planes(colour, str(rgb.device))
    mixed = rgb.to(torch.int16).mul_(256 - opacity).add_(over * opacity)
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

    middle = max(1, size[0] // 8), max(1, size[1] // 8)
    smooth = weight.to(torch.float32)
    if smooth.shape[0] < middle[0] and smooth.shape[1] < middle[1]:
        smooth = _resized(smooth, middle, "bicubic").clamp_(0, 1)
    return _resized(smooth, size, "bilinear")


def _resized(plane: torch.Tensor, size: tuple[int, int], how: str) -> torch.Tensor:
    import torch

    if plane.device.type == "cpu":
        import cv2

        kind = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}[how]
        return torch.from_numpy(cv2.resize(plane.contiguous().numpy(), size[::-1], interpolation=kind))
    return torch.nn.functional.interpolate(plane[None, None], size, mode=how, align_corners=False)[0, 0]


def balanced_alpha(
    weight: torch.Tensor,
    size: tuple[int, int],
    alpha: float | torch.Tensor,
    marks: Sequence[Mark] = (),
    tint: float | torch.Tensor = 0.0,
) -> torch.Tensor:
    """The shadow's opacity at every pixel, capped inside the boxes by the balance rule.

    Args:
        weight: (h, w) from 0 to 1, at any lower resolution, on the frame's device.
        size: height and width of the frame.
        alpha: opacity from 0 to 1 where the weight is 1; a tensor (H, W) gives it per pixel.
        marks: the tracked objects.
        tint: opacity from 0 to 0.5 that :class:`~framelane.overlay.Boxes` will lay over each box; or, as int16 (H, W) from
            0 to 128, what :class:`~framelane.overlay.ObjectShadow` will lay over each pixel.

    Returns:
        int16 (H, W), 0 to 256.
    """
    plane = _fixed_plane(upsampled(weight, size), alpha)
    for mark in marks:
        x1, y1, x2, y2 = pixel_box(mark, size[1], size[0])
        _cap(plane[y1:y2, x1:x2], tint if isinstance(tint, float | int) else tint[y1:y2, x1:x2])
    return plane


def _cap(region: torch.Tensor, tint: float | torch.Tensor) -> None:
    """Hold a shadow's opacity, in place, to what leaves :data:`KEPT` of the contrast once the tint is laid."""
    if isinstance(tint, float | int):
        # The tint is laid in steps of 1/256, and never more than asked for.
        left = fixed(1 - KEPT / (1 - fixed(tint) / 256))
        if region.device.type == "cpu":
            np.minimum(region.numpy(), left, out=region.numpy())
        else:
            region.clamp_(max=left)
    elif region.device.type == "cpu":
        rest = (256 - KEPT * 65536 / (256 - tint.numpy().astype(np.float32))).astype(np.int16)
        np.minimum(region.numpy(), rest, out=region.numpy())
    else:
        region.copy_(region.minimum((256 - KEPT * 65536 / (256 - tint.float())).to(region.dtype)))


def _fixed_plane(share: torch.Tensor, alpha: float | torch.Tensor) -> torch.Tensor:
    """``share * alpha``, both 0 to 1, as int16 from 0 to 256, rounded."""
    import torch

    if share.device.type != "cpu":
        return share.mul_(alpha).mul_(256).clamp_(0, 256).add_(0.5).to(torch.int16)
    plane = share.numpy()
    plane *= (alpha if isinstance(alpha, float | int) else alpha.numpy()) * np.float32(256)
    plane.clip(0, 256, out=plane)
    plane += 0.5
    return torch.from_numpy(plane.astype(np.int16))


def shadow(
    rgb: torch.Tensor,
    weight: torch.Tensor,
    colour: RGB,
    alpha: float | torch.Tensor,
    *,
    marks: Sequence[Mark] = (),
    tint: float | torch.Tensor = 0.0,
) -> torch.Tensor:
    """Lay a translucent colour over a frame, in place, the stronger the larger the weight.

    Args:
        rgb: uint8 (3, H, W).
        weight: (h, w) from 0 to 1, at any lower resolution, on the same device.
        colour: of the shadow.
        alpha: opacity from 0 to 1 where the weight is 1; a tensor (H, W) gives it per pixel.
        marks: tracked objects, in whose boxes the shadow is capped (:func:`balanced_alpha`).
        tint: what those boxes will get, see :func:`balanced_alpha`.
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


def paste(rgb: torch.Tensor, patch: Bytes, x: int, y: int, opacity: float = 1.0) -> torch.Tensor:
    """Composite a small picture onto a frame, in place; what lies outside the frame is cut off.

    Args:
        rgb: uint8 (3, H, W).
        patch: uint8 (h, w, 4), straight (not premultiplied) RGBA.
        x: column of the patch's left edge, may be negative.
        y: row of its top edge, may be negative.
        opacity: 0 to 1, for the whole patch.
    """
    if window := _window(rgb, patch.shape[0], patch.shape[1], x, y):
        rows, columns, patch_rows, patch_columns = window
        planes = patch[patch_rows, patch_columns].transpose(2, 0, 1)
        blend(rgb[:, rows, columns], planes[:3], _opacity(planes[3], opacity))
    return rgb


def stamp(rgb: torch.Tensor, mask: Bytes, colour: RGB, x: int, y: int, opacity: float = 1.0) -> torch.Tensor:
    """Like :func:`paste`, for one colour: only the mask, uint8 (h, w), crosses to the device."""
    if window := _window(rgb, mask.shape[0], mask.shape[1], x, y):
        rows, columns, mask_rows, mask_columns = window
        blend(rgb[:, rows, columns], colour, _opacity(mask[mask_rows, mask_columns], opacity))
    return rgb


def _opacity(alpha: Bytes, opacity: float) -> Opacity:
    """Opacity 0 to 255 as 0 to 256, scaled, rounded."""
    scale = np.float32(min(1.0, max(0.0, opacity)) * 256 / 255)
    return (alpha * scale + np.float32(0.5)).astype(np.int16)
