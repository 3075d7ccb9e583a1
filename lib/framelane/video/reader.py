"""Decoding: frames with sound timestamps, from any position, as far as the file can be decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from framelane.errors import FramelaneError, chain
from framelane.memory import is_out_of_memory
from framelane.video.checksum import checksum
from framelane.video.clip import Clip
from framelane.video.decoders import Broken, CpuRung, Pass, Rung
from framelane.video.decoders.base import surface_format
from framelane.video.frames import FrameBatch, Layout
from framelane.video.surface import Surface
from framelane.video.transfer import Staging, upload

_SEEK_MARGIN_S = 1.0
_MISSING_TOLERANCE_S = 0.5


@dataclass(frozen=True)
class Position:
    """A frame to go on after: its index, its timestamp and a checksum of its pixels.

    The checksum proves after a seek that the frame decoded is the frame meant; where it is not (open GOPs, broken
    indexes), the reader decodes from the start of the clip instead.
    """

    index: int
    pts: int
    crc: int


@dataclass(frozen=True)
class _Decoded:
    frame: Any
    pts: int
    duration: int


class Reader:
    """Decodes one clip in presentation order, on a rung of :mod:`framelane.video.decoders`.

    Where a rung on the GPU breaks, the CPU's decoder goes on after the last frame that was given out.

    Attributes:
        warnings: sentences about what was wrong with the file, complete once the iteration has ended.
        frames_read: index of the frame after the last one decoded; the clip's true length at the end.
        decoder: what decodes, as named in reports.
    """

    def __init__(
        self,
        clip: Clip,
        threads: int = 0,
        *,
        rung: Rung | None = None,
        device: str = "cpu",
        degrade: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.clip, self.threads, self.device, self.degrade = clip, threads, device, degrade
        self.rung: Rung = rung or CpuRung()
        self.warnings: list[str] = []
        self.frames_read = 0
        self.decoder = self.rung.describe(clip)
        self._damaged: list[float] = []
        self._end_pts: int | None = None
        self._staging: Staging | None = None

    def batches(self, size: int, after: Position | None = None, history: int = 1) -> Iterator[FrameBatch]:
        """Frame batches of up to ``size`` frames.

        Batches begin at multiples of ``size``, wherever the iteration starts, so that a resumed job forms the same
        batches as an uninterrupted one.

        Args:
            size: frames per batch, at least 1.
            after: the frame just before the first one wanted; None starts at the beginning.
            history: how many frames before each batch it carries; fewer only at the clip's start.
        """
        layout = Layout(
            self.clip.width,
            self.clip.height,
            self.clip.time_base,
            self.clip.start_pts,
            self.clip.colour,
            self.clip.orientation,
        )
        index = after.index + 1 if after else 0
        held: list[_Decoded] = []
        before: tuple[_Decoded, ...] = ()
        for recent, item in self._lasting(after, history):
            before = recent if not held else before
            held.append(item)
            if (index + len(held)) % size == 0:
                yield _batch(held, index, layout, before)
                index, held = index + len(held), []
        if held:
            yield _batch(held, index, layout, before)
        self.frames_read = index + len(held)
        self._conclude()

    def _lasting(self, after: Position | None, history: int) -> Iterator[tuple[tuple[_Decoded, ...], _Decoded]]:
        """Frames after a position; where a rung breaks, the CPU's decoder gives those that follow."""
        index, last = after.index if after else -1, None
        try:
            for pair in self._from(after, history):
                yield pair
                index, last = index + 1, pair[1]
            return
        except Broken as error:
            if not self.rung.on_gpu:
                raise
            self._fall_back(index + 1, error)
        yield from self._from(_position(index, last) if last else after, history)

    def _fall_back(self, index: int, error: Broken) -> None:
        """Go over to the CPU's decoder, and say so."""
        self.degrade(
            f"The decoder {self.rung.name} stopped at frame {index} ({self._seconds_read():.2f} s); the CPU's decoder goes "
            f"on from there. {error}"
        )
        self.decoder = f"{self.rung.describe(self.clip)}, then cpu from frame {index}"
        self.rung = CpuRung()
        self._damaged.clear()

    def _from(self, after: Position | None, history: int) -> Iterator[tuple[tuple[_Decoded, ...], _Decoded]]:
        """Frames after a position, each with those before it."""
        if after is None:
            yield from _with_history(self._decode(None), history)
            return
        pairs = _with_history(self._decode(after.pts, history), history)
        for recent, item in pairs:
            if not recent or recent[-1].pts < after.pts:
                continue
            whole = len(recent) >= min(history, after.index + 1)
            if whole and recent[-1].pts == after.pts and checksum(recent[-1].frame) == after.crc:
                yield recent, item
                yield from pairs
                return
            break
        pairs.close()
        self._damaged.clear()
        for index, pair in enumerate(_with_history(self._decode(None), history)):
            if index > after.index:
                yield pair

    def _decode(self, seek_pts: int | None, history: int = 1) -> Iterator[_Decoded]:
        """All frames that decode, from the start or from a key frame well before ``seek_pts``."""
        if seek_pts is not None:
            margin = int((_SEEK_MARGIN_S + history / float(self.clip.rate)) / self.clip.time_base)
            seek_pts = max(self.clip.start_pts, seek_pts - margin)
        yield from _timed(self._frames(seek_pts), self.clip)

    def _frames(self, seek_pts: int | None) -> Iterator[Any]:
        """Decoded frames, all of the clip's size and format, where they are wanted."""
        rung = self.rung
        frames = rung.frames(Pass(self.clip, seek_pts, self.threads, self.device, self._damage))
        try:
            for frame in frames:
                ready = self._conformed(frame)
                self._end_pts = ready.pts if ready.pts is not None else self._end_pts
                yield ready
        except Exception as error:
            if not rung.on_gpu or isinstance(error, Broken) or is_out_of_memory(error):
                raise
            raise Broken(f"It failed ({chain(error)}).") from error

    def _damage(self) -> None:
        self._damaged.append(self._seconds_read())

    def _conformed(self, frame: Any) -> Any:
        """A frame in the clip's size and format, on the device."""
        wanted = (self.clip.width, self.clip.height)
        if isinstance(frame, Surface):
            if (frame.width, frame.height, frame.format) != (*wanted, surface_format(self.clip)):
                raise Broken("The clip changes its size or pixel format.")  # the CPU's decoder scales what follows
            return frame
        if (frame.width, frame.height, frame.format.name) != (*wanted, self.clip.pixel_format):
            frame = _conform(frame, self.clip)
            if not any("changes its size" in w for w in self.warnings):
                self.warnings.append(
                    f"{self.clip.path.name} changes its size or pixel format at {self._seconds_read():.2f} s; "
                    f"later frames are scaled to {self.clip.width}x{self.clip.height}."
                )
        if self.device == "cpu" or surface_format(self.clip) is None:
            return frame
        self._staging = self._staging or Staging(self.device)
        return upload(frame, self.device, self._staging)

    def _seconds_read(self) -> float:
        return 0.0 if self._end_pts is None else self.clip.seconds(self._end_pts)

    def _conclude(self) -> None:
        """Say what was missing or damaged."""
        name, end = self.clip.path.name, self._seconds_read()
        if self._damaged:
            self.warnings.append(
                f"{name} is damaged at {self._damaged[0]:.2f} s ({len(self._damaged)} packets could not be decoded); "
                "everything that decodes was processed."
            )
        promised = max(self.clip.duration, self.clip.expected_frames / float(self.clip.rate))
        missing = promised - end - 2 / float(self.clip.rate)
        if missing > _MISSING_TOLERANCE_S and self.clip.expected_frames != self.frames_read:
            self.warnings.append(
                f"{name} ends at {end:.2f} s of the {promised:.2f} s its header promises; it seems cut off, "
                "and everything up to there was processed."
            )


def open_reader(
    clip: Clip,
    threads: int = 0,
    *,
    rung: Rung | None = None,
    device: str = "cpu",
    degrade: Callable[[str], None] = lambda _: None,
) -> Reader:
    """A reader for ``clip``.

    Args:
        clip: what :func:`framelane.video.clip.probe` returned.
        threads: decoder threads on the CPU; 0 lets FFmpeg choose.
        rung: what decodes, from :func:`framelane.video.decoders.choose_decoder`; None is the CPU's decoder.
        device: where frames are wanted: ``"cpu"``, or a CUDA device, to which 4:2:0 frames of the CPU are uploaded.
        degrade: takes a sentence where a rung broke and the CPU goes on.
    """
    return Reader(clip, threads, rung=rung, device=device, degrade=degrade)


def frame_near(clip: Clip, seconds: float, threads: int = 0) -> FrameBatch:
    """The frame shown at a time, as a batch of one (its index is not known: 0); the last one beyond the clip's end.

    Args:
        clip: the input.
        seconds: from the clip's first frame.
        threads: decoder threads.

    Raises:
        FramelaneError: nothing of the clip decodes.
    """
    wanted = clip.start_pts + int(seconds / clip.time_base)
    for seek in (wanted, None):  # where seeking fails, or lands too late: from the start
        reader, found = Reader(clip, threads), None
        for item in reader._decode(seek):
            if found is not None and item.pts > wanted:
                break
            found = item
        if found is not None and (found.pts <= wanted or seek is None):
            layout = Layout(clip.width, clip.height, clip.time_base, clip.start_pts, clip.colour, clip.orientation)
            return _batch([found], 0, layout, ())
    raise FramelaneError(f"No frame of {clip.path} could be decoded.")


def _position(index: int, item: _Decoded) -> Position:
    """Where a rung broke. A card that is gone cannot say what its last frame was: then no frame has the checksum."""
    try:
        return Position(index, item.pts, checksum(item.frame))
    except Exception:
        return Position(index, item.pts, -1)


def _with_history(items: Iterator[_Decoded], history: int) -> Any:
    recent: deque[_Decoded] = deque(maxlen=history)
    for item in items:
        yield tuple(recent), item
        recent.append(item)


def _timed(frames: Iterator[Any], clip: Clip) -> Iterator[_Decoded]:
    """Give every frame a strictly increasing timestamp and a duration: the gap to the next frame.

    A missing or repeated timestamp is replaced by the end of the frame before it. The last frame keeps its own
    duration, or the clip's average.
    """
    usual = max(1, round(1 / (clip.rate * clip.time_base)))
    waiting: tuple[Any, int] | None = None
    for frame in frames:
        if waiting is None:
            waiting = (frame, clip.start_pts if frame.pts is None else frame.pts)
            continue
        last, last_pts = waiting
        pts = last_pts + (last.duration or usual) if frame.pts is None else frame.pts
        pts = max(pts, last_pts + 1)
        yield _Decoded(last, last_pts, pts - last_pts)
        waiting = (frame, pts)
    if waiting is not None:
        yield _Decoded(waiting[0], waiting[1], waiting[0].duration or usual)


def _conform(frame: Any, clip: Clip) -> Any:
    fitted = frame.reformat(width=clip.width, height=clip.height, format=clip.pixel_format)
    fitted.pts, fitted.time_base, fitted.duration = frame.pts, frame.time_base, frame.duration
    return fitted


def _batch(items: list[_Decoded], index: int, layout: Layout, before: tuple[_Decoded, ...]) -> FrameBatch:
    return FrameBatch(
        planes=tuple(item.frame for item in items),
        pts=tuple(item.pts for item in items),
        durations=tuple(item.duration for item in items),
        first_index=index,
        layout=layout,
        before=before[-1].frame if before else None,
        before_pts=before[-1].pts if before else None,
        earlier=tuple(item.frame for item in before[:-1]),
    )
