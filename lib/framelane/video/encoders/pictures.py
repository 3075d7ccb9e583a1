"""A frame of a batch as an encoder takes it: on the host for x264 and for a program, on the device for NVENC."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.video.colour import from_rgb, to_rgb
from framelane.video.encoders.spec import EncodeSpec
from framelane.video.frames import FrameBatch
from framelane.video.surface import Surface

if TYPE_CHECKING:
    import torch

_local = threading.local()


class HostPictures:
    """Frames on the host, in the spec's pixel format and size.

    Args:
        spec: how to encode.
    """

    def __init__(self, spec: EncodeSpec) -> None:
        self.spec = spec

    def frame(self, batch: FrameBatch, index: int) -> Any:
        """An ``av.VideoFrame``; it may be overwritten by the next call in this thread."""
        if not batch.touched:
            plane = batch.planes[index]
            if not isinstance(plane, Surface):
                return fit(plane, self.spec)
            return fit(plane.host, self.spec) if plane.host is not None else self._down(plane)
        shown = batch.rgb[index]
        if shown.device.type != "cpu":
            return self._down(drawn(batch, index, self.spec))
        coded = batch.layout.orientation.coded(shown).numpy()
        return from_rgb(_padded(coded, self.spec.pad), self.spec.colour, self.spec.pixel_format)

    def _down(self, surface: Surface) -> Any:
        return downloaded(as_wanted(surface, self.spec))


class DevicePictures:
    """Surfaces in the spec's format and size.

    Args:
        spec: how to encode.
    """

    def __init__(self, spec: EncodeSpec) -> None:
        self.spec = spec

    def surface(self, batch: FrameBatch, index: int) -> Surface:
        """The frame on ``spec.device``."""
        if batch.touched:
            return drawn(batch, index, self.spec)
        plane = batch.planes[index]
        return as_wanted(plane if isinstance(plane, Surface) else self._up(plane), self.spec)

    def _up(self, frame: Any) -> Surface:
        import torch

        from framelane.video.convert import from_rgb, upload
        from framelane.video.transfer import UPLOADED

        if frame.format.name in UPLOADED:
            return upload(frame, self.spec.device)
        planar = np.empty((3, frame.height, frame.width), np.uint8)
        to_rgb(frame, self.spec.colour, planar)
        return from_rgb(torch.from_numpy(planar).to(self.spec.device), self.spec.colour, "nv12")


def drawn(batch: FrameBatch, index: int, spec: EncodeSpec) -> Surface:
    """A frame that was drawn on, as NV12 with the clip's matrix and range, on the device where it was drawn."""
    from torch.nn.functional import pad

    from framelane.video.convert import from_rgb
    from framelane.video.copies import to_device

    coded = batch.layout.orientation.coded(batch.rgb[index])
    right, bottom = spec.pad
    if right or bottom:
        coded = pad(coded[None].float(), (0, right, 0, bottom), mode="replicate")[0].to(coded.dtype)
    return from_rgb(to_device(coded, spec.device) if spec.nvenc else coded, spec.colour, "nv12")


def as_wanted(surface: Surface, spec: EncodeSpec) -> Surface:
    """A surface in the spec's depth and (even) size; itself where it is so already."""
    from framelane.video.convert import from_rgb, to_rgb

    if surface.format != spec.surface_format:
        surface = from_rgb(to_rgb(surface, spec.colour), spec.colour, spec.surface_format)
    if (surface.width, surface.height) == (spec.width, spec.height):
        return surface
    right, bottom = spec.width - surface.width, spec.height - surface.height
    if (right, bottom) != spec.pad:
        raise ValueError(f"a frame of {surface.width}x{surface.height} in a video of {spec.width}x{spec.height}")
    y = surface.y.new_empty((spec.height, spec.width))
    y[: surface.height, : surface.width] = surface.y
    if right:
        y[: surface.height, -1] = surface.y[:, -1]
    if bottom:
        y[-1] = y[-2]
    return Surface(y, surface.uv, surface.format)


def in_one_piece(surface: Surface) -> Surface:
    """A surface whose chroma follows its luma in memory, row length alike; itself where it does already.

    That is how PyNvVideoCodec's own samples lay a frame out; it copies from there into memory of its own.
    """
    y, uv = surface.y, surface.uv
    rows, width = surface.height, surface.width
    follows = uv.data_ptr() == y.data_ptr() + y.nbytes and y.is_contiguous() and uv.is_contiguous()
    if follows:
        return surface
    whole = y.new_empty((rows + rows // 2, width))
    whole[:rows] = y
    whole[rows:].view(rows // 2, width // 2, 2).copy_(uv)
    return Surface(whole[:rows], whole[rows:].view(rows // 2, width // 2, 2), surface.format)


def downloaded(surface: Surface) -> Any:
    """A surface as ``yuv420p`` or ``yuv420p10le`` on the host, in memory that the next call in this thread reuses.

    The planes are put in order on the device, so that one copy of 1.5 samples a pixel brings them down; from a card it goes
    into pinned memory. Encoders have read a frame when they give control back, so one such frame is enough.

    Args:
        surface: with even sides.
    """
    import torch

    from framelane.video.copies import COPIES

    frame, flat = _staging(surface)
    count = surface.width * surface.height
    with torch.inference_mode(False), torch.no_grad():
        ordered = surface.y.new_empty(flat.numel())
        ordered[:count].view(surface.y.shape).copy_(surface.y)
        ordered[count:].view(2, *surface.uv.shape[:2]).copy_(surface.uv.movedim(2, 0))
        if surface.bit_depth == 10:  # the samples lie in the upper ten bits; torch shifts signed numbers only
            ordered = ordered.view(torch.int16).bitwise_right_shift_(6).bitwise_and_(1023).view(torch.uint16)
        flat.copy_(ordered, non_blocking=True)
        if surface.y.is_cuda:
            torch.cuda.current_stream(surface.device).synchronize()
    COPIES.note("download", flat.nbytes)
    return frame


def _staging(surface: Surface) -> tuple[Any, torch.Tensor]:
    """A host frame and the flat memory under it, of this thread; pinned for a card, and allocated once."""
    import torch
    from av.video.frame import VideoFrame

    key = (surface.width, surface.height, surface.format, surface.y.is_cuda)
    if getattr(_local, "key", None) != key:
        width, height, _, pinned = key
        flat = torch.empty(width * height * 3 // 2, dtype=surface.y.dtype, pin_memory=pinned)
        values, quarter = flat.numpy(), width * height // 4
        y, u, v = values[: 4 * quarter], values[4 * quarter : 5 * quarter], values[5 * quarter :]
        half = (height // 2, width // 2)
        planes = (y.reshape(height, width), u.reshape(half), v.reshape(half))
        kind = "yuv420p" if surface.bit_depth == 8 else "yuv420p10le"
        _local.key, _local.staging = key, (VideoFrame.from_dlpack(planes, format=kind), flat)
    staging: tuple[Any, torch.Tensor] = _local.staging
    return staging


def fit(frame: Any, spec: EncodeSpec) -> Any:
    """An untouched frame as the encoder takes it: the frame itself, or (another format, odd sides) through RGB."""
    if frame.format.name == spec.pixel_format and not any(spec.pad):
        return frame
    planar = np.empty((3, frame.height, frame.width), np.uint8)
    to_rgb(frame, spec.colour, planar)
    return from_rgb(_padded(planar, spec.pad), spec.colour, spec.pixel_format)


def _padded(rgb: np.ndarray, pad: tuple[int, int]) -> np.ndarray:
    right, bottom = pad
    return np.pad(rgb, ((0, 0), (0, bottom), (0, right)), mode="edge") if right or bottom else rgb
