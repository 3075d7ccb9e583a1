"""NV12 and P010 planes to RGB and back, resized and cropped, on whatever device they lie: the same code everywhere.

Chroma is repeated on the way to RGB and is the mean of 2x2 pixels on the way back, as in
:mod:`framelane.video.colour`: the one is the exact inverse of the other. Coefficients are those of ITU-T H.273.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.video.colour import (
    BT470BG,
    BT709,
    BT2020_CL,
    BT2020_NCL,
    FCC,
    FULL,
    SMPTE170M,
    SMPTE240M,
    ColourTags,
)
from framelane.video.copies import COPIES
from framelane.video.surface import Surface

if TYPE_CHECKING:
    import torch

# K_R and K_B by H.273 (07/2024), table 4. Constant luminance (10) is treated as 9, as swscale does.
KR_KB = {
    BT709: (0.2126, 0.0722),
    FCC: (0.30, 0.11),
    BT470BG: (0.299, 0.114),
    SMPTE170M: (0.299, 0.114),
    SMPTE240M: (0.212, 0.087),
    BT2020_NCL: (0.2627, 0.0593),
    BT2020_CL: (0.2627, 0.0593),
}
_local = threading.local()


@dataclass(frozen=True)
class Levels:
    """What the samples of a format mean.

    Attributes:
        kr: weight of red in luma.
        kb: weight of blue in luma.
        black: the luma sample of black.
        luma: samples from black to white.
        chroma: samples from the smallest to the largest colour difference.
        zero: the chroma sample of grey.
        top: the largest sample.
    """

    kr: float
    kb: float
    black: float
    luma: float
    chroma: float
    zero: float
    top: int


@lru_cache(maxsize=64)
def levels(matrix: int, range_: int, bits: int) -> Levels:
    """The levels of a matrix and a range (H.273, equations 24 to 26 limited, 30 to 32 full) at 8 or 10 bits."""
    kr, kb = KR_KB[matrix]
    step, top = 1 << (bits - 8), (1 << bits) - 1
    if range_ == FULL:
        return Levels(kr, kb, 0, top, top, 1 << (bits - 1), top)
    return Levels(kr, kb, 16 * step, 219 * step, 224 * step, 128 * step, top)


def _levels(tags: ColourTags, bits: int) -> Levels:
    return levels(tags.effective_matrix, tags.effective_range, bits)


def to_rgb(surface: Surface, tags: ColourTags, out: torch.Tensor | None = None) -> torch.Tensor:
    """RGB of a surface, on its device, within one level of exact arithmetic.

    Args:
        surface: NV12 or P010.
        tags: the clip's colour tags.
        out: uint8 ``(3, H, W)`` on the same device that receives R, G, B in coded orientation; None makes one.
    """
    import torch

    lv = _levels(tags, surface.bit_depth)
    height, width = surface.height, surface.width
    rows, columns = int(surface.uv.shape[0]), int(surface.uv.shape[1])
    with torch.inference_mode(False), torch.no_grad():
        luma = _scratch("luma", (2 * rows, 2 * columns), surface.device)
        luma[:height, :width].copy_(_samples(surface.y, surface.bit_depth))
        luma.sub_(lv.black).mul_(255 / lv.luma).add_(0.5)  # what follows cuts off, so this rounds
        cb, cr = (_samples(surface.uv[..., i], surface.bit_depth).float().sub_(lv.zero) for i in (0, 1))
        share = 255 / lv.chroma
        kg = 1 - lv.kr - lv.kb
        red, blue = cr.mul(2 * (1 - lv.kr) * share), cb.mul(2 * (1 - lv.kb) * share)
        tint = torch.stack((red, red.mul(-lv.kr / kg).add_(blue, alpha=-lv.kb / kg), blue))
        mixed = _scratch("rgb", (3, rows, 2, columns, 2), surface.device)
        torch.add(luma.view(rows, 2, columns, 2), tint[:, :, None, :, None], out=mixed)
        mixed.clamp_(0, 255)
        if out is None:
            out = torch.empty((3, height, width), dtype=torch.uint8, device=surface.device)
        return out.copy_(mixed.view(3, 2 * rows, 2 * columns)[:, :height, :width])


def from_rgb(rgb: torch.Tensor, tags: ColourTags, format: str = "nv12") -> Surface:
    """A surface of RGB, on its device, within one level of exact arithmetic.

    Args:
        rgb: uint8 ``(3, H, W)`` in coded orientation.
        tags: the clip's colour tags: the same matrix and range as in :func:`to_rgb`.
        format: ``"nv12"`` or ``"p010le"``.
    """
    import torch
    from torch.nn.functional import avg_pool2d

    bits = 8 if format == "nv12" else 10
    lv = _levels(tags, bits)
    kg = 1 - lv.kr - lv.kb
    height, width = int(rgb.shape[1]), int(rgb.shape[2])
    with torch.inference_mode(False), torch.no_grad():
        whole = _scratch("rgb", (3, height, width), rgb.device)
        whole.copy_(rgb)
        half = avg_pool2d(whole, 2, ceil_mode=True)  # at an odd edge the mean of what is there
        share = lv.luma / 255
        y = torch.mul(whole[0], lv.kr * share, out=_scratch("luma", (height, width), rgb.device))
        y.add_(whole[1], alpha=kg * share).add_(whole[2], alpha=lv.kb * share).add_(lv.black)
        grey = half[0].mul(lv.kr).add_(half[1], alpha=kg).add_(half[2], alpha=lv.kb)
        uv = torch.stack(
            (
                half[2].sub_(grey).mul_(lv.chroma / 255 / (2 * (1 - lv.kb))),
                half[0].sub_(grey).mul_(lv.chroma / 255 / (2 * (1 - lv.kr))),
            ),
            dim=-1,
        ).add_(lv.zero)
        return Surface(_stored(y, bits), _stored(uv, bits), format)


def _samples(plane: torch.Tensor, bits: int) -> torch.Tensor:
    """Samples as numbers: those of P010 lie in the upper ten of 16 bits, for which torch has no arithmetic."""
    import torch

    return plane if bits == 8 else plane.view(torch.int16).bitwise_right_shift(6).bitwise_and_(1023)


def _stored(plane: torch.Tensor, bits: int) -> torch.Tensor:
    """Numbers as samples, rounded and held to the range; ``plane`` is changed."""
    import torch

    plane.add_(0.5).clamp_(0, (1 << bits) - 1)
    if bits == 8:
        return plane.to(torch.uint8)
    return plane.to(torch.int16).bitwise_left_shift_(6).view(torch.uint16)


def _scratch(name: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Working memory, float32, of this thread and its current stream: allocated once."""
    import torch

    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    kept: dict[Any, torch.Tensor] = _local.__dict__.setdefault("kept", {})
    key = name, str(device), stream
    count = int(np.prod(shape))
    if key not in kept or kept[key].numel() < count:
        kept[key] = torch.empty(count, dtype=torch.float32, device=device)
    return kept[key][:count].view(shape)


def upload(frame: Any, device: str | torch.device, staging: Any = None) -> Surface:
    """A host frame as a surface on a device.

    Args:
        frame: an ``av.VideoFrame``, 4:2:0 with 8 or 10 bits.
        device: where to.
        staging: what :class:`Staging` made: pinned memory, so that the host does not wait for the copy.

    Raises:
        ValueError: the frame has another format.
    """
    import torch

    kind = UPLOADED.get(frame.format.name)
    if kind is None:
        raise ValueError(f"{frame.format.name} is not uploaded: 8- or 10-bit 4:2:0 is")
    bits = 8 if kind == "nv12" else 10
    with torch.inference_mode(False):
        planes = [torch.from_numpy(plane.copy()).to(device) for plane in _planar(frame)]
        COPIES.note("upload", sum(plane.nbytes for plane in planes))
        if len(planes) == 2:
            y, uv = planes
        else:
            y, uv = planes[0], torch.stack(planes[1:], dim=-1)
            if bits == 10:
                y, uv = (plane.view(torch.int16).bitwise_left_shift(6).view(torch.uint16) for plane in (y, uv))
    return Surface(y, uv, kind, frame, frame.pts, frame.time_base, frame.duration)


UPLOADED = {
    "yuv420p": "nv12", "yuvj420p": "nv12", "nv12": "nv12", "yuv420p10le": "p010le", "p010le": "p010le",
}  # fmt: skip
"""Pixel formats that :func:`upload` takes, and the surface's format."""


def _planar(frame: Any) -> list[np.ndarray]:
    """Views of a host frame's planes without their padding."""
    from framelane.video.surface import host_planes

    if len(frame.planes) == 2:
        return list(host_planes(frame))
    kind = np.uint8 if UPLOADED[frame.format.name] == "nv12" else np.uint16
    return [
        np.frombuffer(p, np.uint8).view(kind).reshape(-1, p.line_size // kind().itemsize)[: p.height, : p.width]
        for p in frame.planes
    ]


def download(surface: Surface) -> Any:
    """The surface as an ``av.VideoFrame`` on the host: ``yuv420p`` or ``yuv420p10le``.

    Where it was uploaded from a host frame, that very frame, and nothing is copied.
    """
    from av.video.frame import VideoFrame

    if surface.host is not None:
        return surface.host
    import torch

    bits = surface.bit_depth
    frame = VideoFrame(surface.width, surface.height, "yuv420p" if bits == 8 else "yuv420p10le")
    planes = [_samples(plane, bits) for plane in (surface.y, surface.uv[..., 0], surface.uv[..., 1])]
    packed = torch.cat([plane.reshape(-1) for plane in planes])
    values = packed.cpu().numpy()
    COPIES.note("download", values.nbytes)
    start = 0
    for target, plane in zip(_planar(frame), planes, strict=True):
        target[...] = values[start : start + plane.numel()].reshape(target.shape).view(target.dtype)
        start += plane.numel()
    frame.pts = surface.pts
    if surface.time_base is not None:
        frame.time_base = surface.time_base
    frame.duration = surface.duration or 0
    return frame


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
        y = _stored(_scaled(_samples(surface.y, surface.bit_depth)[None], (height, width)), surface.bit_depth)[0]
        uv = _stored(_scaled(_samples(surface.uv.movedim(2, 0), surface.bit_depth), chroma), surface.bit_depth)
    return Surface(
        y, uv.movedim(0, 2).contiguous(), surface.format, None, surface.pts, surface.time_base, surface.duration
    )


def _scaled(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Planes ``(N, h, w)`` as float32 at another size ``(h, w)``: one matrix a side."""
    import torch

    given = int(planes.shape[1]), int(planes.shape[2])
    large = planes.float()
    if given[0] != size[0]:
        large = torch.matmul(_weights(given[0], size[0], str(planes.device)), large)
    if given[1] != size[1]:
        large = torch.matmul(large, _weights(given[1], size[1], str(planes.device)).T)
    return large.clone() if large is planes else large


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
    if left % 2 or top % 2:
        raise ValueError(f"a part begins at even positions, not at {left}, {top}: chroma has half as many")
    inside = 0 <= left < left + width <= surface.width and 0 <= top < top + height <= surface.height
    if not inside:
        raise ValueError(f"{width}x{height} at {left}, {top} does not lie on {surface.width}x{surface.height}")
    y = surface.y[top : top + height, left : left + width].contiguous()
    rows, columns = slice(top // 2, -(-(top + height) // 2)), slice(left // 2, -(-(left + width) // 2))
    uv = surface.uv[rows, columns].contiguous()
    if y.data_ptr() == surface.y.data_ptr():
        y, uv = y.clone(), uv.clone()
    return Surface(y, uv, surface.format, None, surface.pts, surface.time_base, surface.duration)
