"""A frame batch: decoded frames on one device with their timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.video.colour import ColourTags, Orientation, to_rgb
from framelane.video.surface import Surface

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Layout:
    """What all frames of a clip have in common.

    Attributes:
        width: coded width in pixels.
        height: coded height in pixels.
        time_base: seconds per tick of ``pts``.
        start_pts: ``pts`` of the clip's first frame.
        colour: matrix, range, primaries and transfer.
        orientation: how coded pixels are turned for display.
    """

    width: int
    height: int
    time_base: Fraction
    start_pts: int
    colour: ColourTags
    orientation: Orientation = field(default_factory=Orientation)

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) of the frames as displayed."""
        return (self.height, self.width) if self.orientation.swaps_sides else (self.width, self.height)


class _Pixels:
    """RGB of a batch, converted on first use, frame by frame, and shared by the batch's slices."""

    def __init__(self, planes: Sequence[Any], layout: Layout) -> None:
        self.planes, self.layout = planes, layout
        self._rgb: torch.Tensor | None = None
        self._done = [False] * len(planes)

    def get(self, start: int, stop: int) -> torch.Tensor:
        import torch

        turned = self.layout.orientation != Orientation()
        size = (self.layout.height, self.layout.width)
        device = device_of(self.planes)
        with torch.inference_mode(False):  # whoever asks first may infer, and others write into what it made
            if self._rgb is None:
                shown = size[::-1] if self.layout.orientation.swaps_sides else size
                self._rgb = torch.empty((len(self.planes), 3, *shown), dtype=torch.uint8, device=device)
            for index in range(start, stop):
                if self._done[index]:
                    continue
                target = torch.empty((3, *size), dtype=torch.uint8, device=device) if turned else self._rgb[index]
                _convert(self.planes[index], self.layout.colour, target)
                if turned:
                    self._rgb[index] = self.layout.orientation.upright(target)
                self._done[index] = True
            return self._rgb[start:stop]

    def record(self, stream: Any) -> None:
        """Tell the allocator that a stream of a card uses this memory."""
        if self._rgb is not None and self._rgb.is_cuda:
            self._rgb.record_stream(stream)


def device_of(planes: Sequence[Any]) -> torch.device:
    """Where decoded frames lie: surfaces on their device, everything else on the host."""
    import torch

    return planes[0].device if planes and isinstance(planes[0], Surface) else torch.device("cpu")


def _convert(frame: Any, tags: ColourTags, target: torch.Tensor) -> None:
    if isinstance(frame, Surface):
        from framelane.video import convert

        convert.to_rgb(frame, tags, target)
    else:
        to_rgb(frame, tags, target.numpy())


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Consecutive frames of one clip.

    Attributes:
        planes: the frames as decoded, on the host (``av.VideoFrame``) or on a device (:class:`Surface`), all alike;
            untouched ones reach the encoder unconverted.
        pts: presentation timestamp of each frame, in ticks of ``layout.time_base``, strictly increasing.
        durations: how long each frame is shown, in ticks.
        first_index: index in the clip of the first frame.
        layout: what all frames have in common.
        before: the frame just before the first one as decoded (None at the start of the clip), for whatever compares
            neighbours, so that it need not remember anything.
        before_pts: its timestamp.
        earlier: frames before that one, oldest first: as many as the processor's ``history`` asks for, or more, or
            all since the start of the clip.
        rows: results to be written beside the frames, JSON-able; they land in the frames' segment.
        ready: a ``torch.cuda.Event`` after which the pixels are there, see :meth:`arrive`; None where they are.
    """

    planes: tuple[Any, ...]
    pts: tuple[int, ...]
    durations: tuple[int, ...]
    first_index: int
    layout: Layout
    before: Any = None
    before_pts: int | None = None
    earlier: tuple[Any, ...] = field(default=(), repr=False)
    rows: tuple[dict[str, Any], ...] = ()
    ready: Any = field(default=None, repr=False)
    _drawn: torch.Tensor | None = None
    _pixels: _Pixels | None = field(default=None, repr=False)
    _offset: int = 0

    def __post_init__(self) -> None:
        if self._pixels is None:
            object.__setattr__(self, "_pixels", _Pixels(self.planes, self.layout))

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def rgb(self) -> torch.Tensor:
        """uint8 ``(N, 3, H, W)`` as displayed (upright), converted when first asked for. Do not write into it.

        It lies where the frames lie: on the surfaces' device, or on the CPU.
        """
        if self._drawn is not None:
            return self._drawn
        assert self._pixels is not None
        return self._pixels.get(self._offset, self._offset + len(self))

    @property
    def touched(self) -> bool:
        """True once pixels were replaced: these frames are converted for the encoder, others pass as decoded."""
        return self._drawn is not None

    @property
    def times(self) -> list[float]:
        """Seconds from the clip's first frame, one a frame."""
        return [float((pts - self.layout.start_pts) * self.layout.time_base) for pts in self.pts]

    def replace(
        self,
        *,
        rgb: torch.Tensor | None = None,
        planes: Sequence[Any] | None = None,
        rows: Sequence[dict[str, Any]] | None = None,
    ) -> FrameBatch:
        """New pixels or rows, same timestamps.

        Args:
            rgb: uint8 ``(N, 3, H, W)`` as displayed.
            planes: one ``av.VideoFrame`` or :class:`Surface` a frame, in coded orientation.
            rows: results of these frames.

        Raises:
            ValueError: the number of frames differs.
        """
        if any(given is not None and len(given) != len(self) for given in (rgb, planes)):
            raise ValueError(f"replace() needs {len(self)} frames")
        kept_rows = self.rows if rows is None else tuple(rows)
        if planes is not None:
            return replace(self, planes=tuple(planes), rows=kept_rows, _drawn=None, _pixels=None, _offset=0)
        if rgb is not None:  # the pixels drawn over are let go
            return replace(self, rows=kept_rows, _drawn=rgb, _pixels=None, _offset=0)
        return replace(self, rows=kept_rows)

    def leave(self, device: str) -> FrameBatch:
        """The batch as one stage hands it to the next: ready once everything queued so far is done.

        Args:
            device: where the job works. Only on a card is there anything to wait for.
        """
        if not device.startswith("cuda"):
            return self
        import torch

        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
        # RGB that was made for finding things is this stage's own, and may still be added to for other slices.
        return replace(self, ready=ready, _pixels=None, _offset=0)

    def arrive(self) -> FrameBatch:
        """Make the current stream wait until the pixels are there, and keep their memory until it is done with them."""
        if self.ready is None:
            return self
        import torch

        stream = torch.cuda.current_stream()
        stream.wait_event(self.ready)
        for frame in (*self.planes, self.before, *self.earlier):
            if isinstance(frame, Surface):
                frame.record(stream)
        if self._drawn is not None and self._drawn.is_cuda:
            self._drawn.record_stream(stream)
        if self._pixels is not None:
            self._pixels.record(stream)
        return self

    def slice(self, start: int, stop: int) -> FrameBatch:
        """Frames ``start`` to ``stop`` (exclusive) as a batch that shares these pixels."""
        first = start == 0
        past = self.earlier if first or self.before is None else (*self.earlier, self.before)
        return replace(
            self,
            planes=self.planes[start:stop],
            pts=self.pts[start:stop],
            durations=self.durations[start:stop],
            first_index=self.first_index + start,
            before=self.before if first else self.planes[start - 1],
            before_pts=self.before_pts if first else self.pts[start - 1],
            earlier=past + self.planes[: max(0, start - 1)],
            rows=self.rows[start:stop],
            _drawn=None if self._drawn is None else self._drawn[start:stop],
            _offset=self._offset + start,
        )

    def alone(self, place: int) -> FrameBatch:
        """The frame at ``place`` as a batch of one, to be kept until later ones are known.

        It holds the frame as decoded and the one before it: RGB of all frames that wait would take twice the memory, so it
        is converted again where it is asked for.
        """
        return replace(self.slice(place, place + 1), earlier=(), _drawn=None, _pixels=None, _offset=0)


def thumbnail(frame: Any, layout: Layout, long_side: int) -> np.ndarray:
    """A small grey picture of a decoded frame, as displayed.

    Args:
        frame: an ``av.VideoFrame`` or a :class:`Surface`, in coded orientation; of a surface on a card only the small
            picture is fetched.
        layout: the clip's layout.
        long_side: pixels of the longer side; a smaller frame keeps its size.

    Returns:
        uint8 ``(h, w)``: the luma as coded (limited or full range).
    """
    return thumbnails([frame], layout, long_side)[0]


def thumbnails(frames: Sequence[Any], layout: Layout, long_side: int) -> list[np.ndarray]:
    """See :func:`thumbnail`; those of surfaces on a card are fetched together, so that the host waits for it once."""
    from framelane.video.resample import small_lumas

    found = []
    for small in small_lumas(frames, long_side):
        turned = small[:, ::-1] if layout.orientation.mirrored else small
        found.append(np.ascontiguousarray(np.rot90(turned, layout.orientation.quarter_turns)))
    return found
