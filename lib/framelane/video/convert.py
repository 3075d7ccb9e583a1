"""NV12 and P010 planes to RGB and back, resized and cropped, on whatever device they lie: the same code everywhere.

Chroma is repeated on the way to RGB and is the mean of 2x2 pixels on the way back, as in
:mod:`framelane.video.colour`: the one is the exact inverse of the other. Coefficients are those of ITU-T H.273.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import copysign, floor
from typing import TYPE_CHECKING

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
from framelane.video.resample import crop, resize
from framelane.video.samples import samples, scratch, stored
from framelane.video.surface import Surface
from framelane.video.transfer import Staging, download, upload

if TYPE_CHECKING:
    import torch

__all__ = ["Staging", "crop", "download", "from_rgb", "resize", "to_rgb", "upload"]

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


@dataclass(frozen=True)
class Coefficients:
    """Both directions between the samples of a format and RGB from 0 to 255.

    Every coefficient is a whole number of 2^-13 (to RGB from 10 bits: 2^-15), as in swscale (``libswscale/yuv2rgb.c``,
    ``ff_yuv2rgb_c_init_tables``). With that, each product and sum is a multiple of 2^-15 and, under 2^9, exact in
    float32: every device gives the same bits, and RGB is swscale's own. (But where swscale's 32 bits overflow, at
    colours far outside of what RGB can show; and but for full range at 10 bits, whose white it puts at 1020, not at
    1023.) White stays white, and grey has no colour.

    Attributes:
        black: the luma sample of black.
        zero: the chroma sample of grey.
        luma: RGB per luma sample.
        tint: RGB per chroma sample: red of Cr, green of Cb, green of Cr, blue of Cb.
        to_luma: luma samples per R, G, B.
        to_cb: Cb samples per R, G, B.
        to_cr: Cr samples per R, G, B.
    """

    black: float
    zero: float
    luma: float
    tint: tuple[float, float, float, float]
    to_luma: tuple[float, float, float]
    to_cb: tuple[float, float, float]
    to_cr: tuple[float, float, float]


@lru_cache(maxsize=64)
def coefficients(matrix: int, range_: int, bits: int) -> Coefficients:
    """The coefficients of a matrix and a range (H.273, section 8.3) at 8 or 10 bits.

    Limited range (equations 20 to 22): luma from 16 over 219 steps and chroma over 224 around 128, times 2^(bits - 8).
    Full range (equations 29 to 31): both over 2^bits - 1.
    """
    kr, kb = KR_KB[matrix]
    kg, step, top = 1 - kr - kb, 1 << (bits - 8), (1 << bits) - 1
    luma, chroma = (top, top) if range_ == FULL else (219 * step, 224 * step)
    red, blue, share = 2 * (1 - kr), 2 * (1 - kb), 255 / chroma
    to_red, to_blue, whole = _exact(kr * luma / 255), _exact(kb * luma / 255), _exact(luma / 255)
    same = _exact(chroma / 255 / 2)
    cb_red, cr_blue = _exact(-kr * chroma / 255 / blue), _exact(-kb * chroma / 255 / red)
    return Coefficients(
        black=0 if range_ == FULL else 16 * step,
        zero=128 * step,
        luma=_exact(255 / luma, step),
        tint=(
            _tint(red, share, step),
            _tint(-blue * kb / kg, share, step),
            _tint(-red * kr / kg, share, step),
            _tint(blue, share, step),
        ),
        to_luma=(to_red, whole - to_red - to_blue, to_blue),
        to_cb=(cb_red, -cb_red - same, same),
        to_cr=(same, -same - cr_blue, cr_blue),
    )


def _exact(value: float, step: int = 1) -> float:
    return round(value * 8192 * step) / (8192 * step)


def _tint(value: float, share: float, step: int) -> float:
    """RGB per chroma sample, with the roundings of swscale's tables (exactly those of BT.601 and BT.709).

    Args:
        value: RGB, 0 to 1, per colour difference.
        share: 255 over the chroma's range.
        step: 1 at 8 bits, 4 at 10.
    """
    table = round(value * 255 / 224 * 65536) * share * step * 224 / 255
    return floor(int(table + copysign(1e-6, table)) / 8 + 0.5) / (8192 * step)


def _of(tags: ColourTags, bits: int) -> Coefficients:
    return coefficients(tags.effective_matrix, tags.effective_range, bits)


def to_rgb(surface: Surface, tags: ColourTags, out: torch.Tensor | None = None) -> torch.Tensor:
    """RGB of a surface, on its device, within one level of exact arithmetic; the host waits for nothing.

    Args:
        surface: NV12 or P010.
        tags: the clip's colour tags.
        out: uint8 ``(3, H, W)`` on the same device that receives R, G, B in coded orientation; None makes one.
    """
    import torch

    c = _of(tags, surface.bit_depth)
    height, width = surface.height, surface.width
    rows, columns = int(surface.uv.shape[0]), int(surface.uv.shape[1])
    with torch.inference_mode(False), torch.no_grad():
        luma = scratch("luma", (2 * rows, 2 * columns), surface.device)
        luma[:height, :width].copy_(samples(surface.y, surface.bit_depth))
        luma.sub_(c.black).mul_(c.luma).add_(0.5)  # the fraction is cut off at the end, so this rounds
        cb, cr = scratch("chroma", (2, rows, columns), surface.device)
        for half, index in ((cb, 0), (cr, 1)):
            half.copy_(samples(surface.uv[..., index], surface.bit_depth)).sub_(c.zero)
        tint = scratch("tint", (3, rows, columns), surface.device)
        torch.mul(cr, c.tint[0], out=tint[0])
        torch.mul(cb, c.tint[1], out=tint[1]).add_(cr, alpha=c.tint[2])
        torch.mul(cb, c.tint[3], out=tint[2])
        mixed = scratch("rgb", (3, rows, 2, columns, 2), surface.device)
        torch.add(luma.view(rows, 2, columns, 2), tint[:, :, None, :, None], out=mixed)
        mixed.clamp_(0, 255)
        if out is None:
            out = torch.empty((3, height, width), dtype=torch.uint8, device=surface.device)
        return out.copy_(mixed.view(3, 2 * rows, 2 * columns)[:, :height, :width])


def from_rgb(rgb: torch.Tensor, tags: ColourTags, format: str = "nv12") -> Surface:
    """A surface of RGB, on its device, within one level of exact arithmetic; the host waits for nothing.

    Args:
        rgb: uint8 ``(3, H, W)`` in coded orientation.
        tags: the clip's colour tags: the same matrix and range as in :func:`to_rgb`.
        format: ``"nv12"`` or ``"p010le"``.
    """
    import torch
    from torch.nn.functional import avg_pool2d

    bits = 8 if format == "nv12" else 10
    c = _of(tags, bits)
    height, width = int(rgb.shape[1]), int(rgb.shape[2])
    with torch.inference_mode(False), torch.no_grad():
        whole = scratch("rgb", (3, height, width), rgb.device)
        whole.copy_(rgb)
        y = _weighted(whole, c.to_luma, scratch("luma", (height, width), rgb.device)).add_(c.black)
        half = avg_pool2d(whole, 2, ceil_mode=True)  # at an odd edge the mean of the pixels that are there
        uv = scratch("chroma", (2, *half.shape[1:]), rgb.device)
        for plane, weights in zip(uv, (c.to_cb, c.to_cr), strict=True):
            _weighted(half, weights, plane).add_(c.zero)
        return Surface(stored(y, bits), stored(uv.movedim(0, 2), bits).contiguous(), format)


def _weighted(rgb: torch.Tensor, weights: tuple[float, float, float], out: torch.Tensor) -> torch.Tensor:
    import torch

    torch.mul(rgb[0], weights[0], out=out)
    return out.add_(rgb[1], alpha=weights[1]).add_(rgb[2], alpha=weights[2])
