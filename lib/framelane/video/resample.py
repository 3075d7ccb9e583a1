"""Surfaces at another size, on their planes: no RGB is made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.video.samples import samples, stored
from framelane.video.surface import Surface

if TYPE_CHECKING:
    import torch


def resize(surface: Surface, size: tuple[int, int]) -> Surface:
    """A surface at another size, on its planes: by area where a side shrinks, bilinear where it grows.

    Args:
        surface: NV12 or P010.
        size: (width, height) in pixels.
    """
    import torch

    width, height = size
    chroma = -(-height // 2), -(-width // 2)
    with torch.inference_mode(False), torch.no_grad():
        y = stored(_scaled(samples(surface.y, surface.bit_depth)[None], (height, width)), surface.bit_depth)[0]
        uv = stored(_scaled(samples(surface.uv.movedim(2, 0), surface.bit_depth), chroma), surface.bit_depth)
    return Surface(
        y, uv.movedim(0, 2).contiguous(), surface.format, None, surface.pts, surface.time_base, surface.duration
    )


def _scaled(planes: torch.Tensor, size: tuple[int, int], kind: str = "area") -> torch.Tensor:
    """Planes ``(N, h, w)`` as new float32 at another size ``(h, w)``: one matrix a side."""
    import torch

    made, device = _lanczos_weights if kind == "lanczos" else _weights, str(planes.device)
    given = int(planes.shape[1]), int(planes.shape[2])
    large = planes.to(torch.float32, copy=True)
    if given[0] != size[0]:
        large = torch.matmul(made(given[0], size[0], device), large)
    if given[1] != size[1]:
        large = torch.matmul(large, made(given[1], size[1], device).T)
    return large


@lru_cache(maxsize=32)
def _weights(given: int, wanted: int, device: str) -> torch.Tensor:
    """float32 ``(wanted, given)``: each row the weights of the samples that make one; every row sums to 1.

    A sample is a box of width 1. Shrinking, a new sample is the mean of what its box covers; growing, it is
    interpolated linearly between the two nearest centres, edges repeated.
    """
    import torch

    scale = given / wanted
    weights = np.zeros((wanted, given))
    for row in range(wanted):
        if wanted < given:
            first, last = row * scale, (row + 1) * scale
            covered = np.arange(int(first), min(given, int(np.ceil(last - 1e-9))))
            weights[row, covered] = np.minimum(covered + 1, last) - np.maximum(covered, first)
        else:
            centre = min(max((row + 0.5) * scale - 0.5, 0.0), given - 1.0)
            low = min(int(centre), max(0, given - 2))
            weights[row, low] = 1 - (centre - low)
            if centre > low:
                weights[row, low + 1] += centre - low
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32)).to(device)


def lanczos(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """RGB at another size on its device, as OpenCV does it on the host: by Lanczos where a side grows, else by area.

    Args:
        planes: uint8 ``(3, h, w)``.
        size: (width, height).

    Returns:
        uint8 ``(3, H, W)``, within one level of OpenCV's.
    """
    import torch

    shrinks = size[0] <= planes.shape[2] and size[1] <= planes.shape[1]
    with torch.inference_mode(False), torch.no_grad():
        return stored(_scaled(planes, size[::-1], "area" if shrinks else "lanczos"), 8)


@lru_cache(maxsize=8)
def _lanczos_weights(given: int, wanted: int, device: str) -> torch.Tensor:
    """Like :func:`_weights`, of sinc(t) sinc(t / 4) at the eight nearest samples, as OpenCV's ``INTER_LANCZOS4``."""
    import torch

    centre = (np.arange(wanted) + 0.5) * given / wanted - 0.5
    first = np.floor(centre).astype(int)
    weights = np.zeros((wanted, given))
    for tap in range(-3, 5):
        away = first + tap - centre
        np.add.at(weights, (np.arange(wanted), (first + tap).clip(0, given - 1)), np.sinc(away) * np.sinc(away / 4))
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32)).to(device)


def crop(surface: Surface, left: int, top: int, width: int, height: int) -> Surface:
    """A part of a surface, chroma in step; it owns its memory.

    Args:
        surface: NV12 or P010.
        left: column of its left edge, even.
        top: row of its top edge, even.
        width: in pixels.
        height: in pixels.

    Raises:
        ValueError: an odd position, or a part that does not lie on the surface.
    """
    import torch

    if left % 2 or top % 2:
        raise ValueError(f"a part begins at even positions, not at {left}, {top}: chroma has half as many")
    inside = 0 <= left < left + width <= surface.width and 0 <= top < top + height <= surface.height
    if not inside:
        raise ValueError(f"{width}x{height} at {left}, {top} does not lie on {surface.width}x{surface.height}")
    rows, columns = slice(top // 2, -(-(top + height) // 2)), slice(left // 2, -(-(left + width) // 2))
    y = surface.y[top : top + height, left : left + width].clone(memory_format=torch.contiguous_format)
    uv = surface.uv[rows, columns].clone(memory_format=torch.contiguous_format)
    return Surface(y, uv, surface.format, None, surface.pts, surface.time_base, surface.duration)


def small_lumas(frames: Sequence[Any], long_side: int) -> list[np.ndarray]:
    """The luma of frames, made smaller by area, on the host.

    Args:
        frames: ``av.VideoFrame`` or surfaces, of one size. Surfaces on a card are made smaller there.
        long_side: pixels of the longer side; a smaller frame keeps its size.

    Returns:
        uint8 ``(h, w)`` each, as coded; of more bits the upper eight.
    """
    if not all(_on_card(frame) for frame in frames):
        return [_small_on_host(frame, _small_size(frame, long_side)) for frame in frames]
    return _small_on_device(frames, _small_size(frames[0], long_side))


def _small_size(frame: Any, long_side: int) -> tuple[int, int]:
    scale = min(1.0, long_side / max(frame.width, frame.height))
    return max(8, round(frame.width * scale)), max(8, round(frame.height * scale))


def _on_card(frame: Any) -> bool:
    return isinstance(frame, Surface) and frame.host is None and frame.device.type != "cpu"


def _small_on_device(frames: Sequence[Surface], size: tuple[int, int]) -> list[np.ndarray]:
    import torch

    bits = frames[0].bit_depth
    with torch.inference_mode(False), torch.no_grad():
        small = [_scaled(samples(frame.y, bits)[None], size[::-1]) for frame in frames]
        found = stored(torch.cat(small).mul_(2.0 ** (8 - bits)), 8).cpu()
    return list(found.numpy())


def _small_on_host(frame: Any, size: tuple[int, int]) -> np.ndarray:
    import cv2

    luma, bits = host_luma(frame.host if isinstance(frame, Surface) and frame.host is not None else frame)
    if luma is None:
        return np.asarray(frame.reformat(width=size[0], height=size[1], format="gray").to_ndarray())
    small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small) if bits == 8 else np.rint(small * 2.0 ** (8 - bits)).clip(0, 255).astype(np.uint8)


def host_luma(frame: Any) -> tuple[np.ndarray | None, int]:
    """A frame's luma ``(H, W)`` on the host, and its bits; None where no plane of it is luma.

    Args:
        frame: an ``av.VideoFrame`` on the host or a surface on the device "cpu".
    """
    if isinstance(frame, Surface):
        luma: np.ndarray = frame.y.numpy()
        return (luma, 8) if frame.bit_depth == 8 else (luma >> 6, 10)
    plane, bits = frame.planes[0], frame.format.components[0].bits
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
    if bits == 8 and frame.format.name.startswith(("yuv", "nv", "gray")):
        return rows[:, : plane.width], 8
    if frame.format.name in ("p010le", "yuv420p10le", "yuv422p10le", "yuv444p10le"):
        luma = rows.view(np.uint16)[:, : plane.width]
        return (luma >> 6 if frame.format.name == "p010le" else luma), 10
    return None, bits
