"""PyAV with NVDEC: FFmpeg's ``cuda`` hardware acceleration inside PyAV, planes taken over by DLPack."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

from framelane.errors import FramelaneError, chain
from framelane.video.clip import Clip, video_stream
from framelane.video.decoders.base import Broken, Pass, Rung, stays_on_card
from framelane.video.decoders.cpu import packets, seek
from framelane.video.decoders.driver import driver_problem, explain, torch_problem
from framelane.video.ffmpeg_log import VERBOSE, ffmpeg_log
from framelane.video.surface import Surface


class PyAvRung(Rung):
    """Frames are decoded into VRAM, copied there, and the decoder's surface is given back at once."""

    name: ClassVar[str] = "pyav"

    def missing(self) -> str | None:
        """The driver's or PyTorch's answer; see :class:`~framelane.video.decoders.base.Rung`."""
        return driver_problem()

    def refuses(self, clip: Clip, device: str) -> str | None:
        """Also where frames are wanted on the CPU; see :class:`~framelane.video.decoders.base.Rung`."""
        return stays_on_card(self.name, device) or super().refuses(clip, device)

    def frames(self, work: Pass) -> Iterator[Any]:
        """Surfaces in VRAM; see :class:`~framelane.video.decoders.base.Rung`."""
        with _begun(work) as begun:
            if begun is None:
                return
            container, stream = begun
            waiting = packets(container, stream, work)
            first: list[Any] = []
            # A card's refusal of a format comes with the first packets: there, what FFmpeg says is listened to.
            with _speaking(work.clip):
                for packet in waiting:
                    first = stream.codec_context.decode(packet)
                    if first:
                        break
            for frame in first:
                yield taken(frame)
            del first
            for packet in waiting:
                for frame in _next(stream, packet, work.clip):
                    yield taken(frame)


@contextlib.contextmanager
def _begun(work: Pass) -> Iterator[tuple[Any, Any] | None]:
    """The clip opened for NVDEC and set to the pass's beginning; None where it cannot be sought."""
    import av
    from av.codec.hwaccel import HWAccel

    shared = _share_context(work.device)
    with _speaking(work.clip):
        acceleration = HWAccel(
            "cuda", device=_index(work.device), allow_software_fallback=False, is_hw_owned=True, options=shared
        )
        container = av.open(f"file:{work.clip.path}", metadata_errors="replace", hwaccel=acceleration)
    with container:
        stream = video_stream(container, work.clip.path)
        stream.codec_context.thread_count = 1  # NVDEC works by itself; threads would only hold more surfaces
        yield (container, stream) if seek(container, stream, work) else None


SHARED = {"primary_ctx": "0", "current_ctx": "1"}
"""Options of FFmpeg's CUDA device: use the context that is current in this thread.

Asked for the primary one by itself, as PyAV does, FFmpeg refuses what PyTorch has made active, since it wants other flags
("Primary context already active with incompatible flags", libavutil/hwcontext_cuda.c).
"""


def _share_context(device: str) -> dict[str, object] | None:
    """Make PyTorch's context current in this thread and have FFmpeg work in it; None where PyTorch has none."""
    if torch_problem():
        return None
    import torch

    torch.cuda.synchronize(torch.device("cuda", _index(device)))  # a call of CUDA's runtime binds the context
    return dict(SHARED)


@contextlib.contextmanager
def _speaking(clip: Clip) -> Iterator[None]:
    """Turns FFmpeg's refusal into a sentence."""
    lines: list[str] = []
    try:
        with ffmpeg_log(VERBOSE) as lines:
            yield
    except FramelaneError:
        raise
    except Exception as error:  # whatever FFmpeg throws is its refusal
        raise Broken(explain(lines, chain(error), clip)) from error


def _next(stream: Any, packet: Any, clip: Clip) -> list[Any]:
    import av

    try:
        return list(stream.codec_context.decode(packet))
    except av.error.FFmpegError as error:
        # Damage in the file and a broken decoder look alike here; the CPU's decoder tells them apart.
        raise Broken(explain([], chain(error), clip)) from error


def _index(device: str) -> int:
    return int(device.split(":")[1]) if ":" in device else 0


def taken(frame: Any) -> Surface:
    """A decoder's frame as a surface of our own; the decoder's is given back when the frame is dropped."""
    from framelane.video.surface import from_av

    if problem := torch_problem():
        raise Broken(problem)
    return from_av(frame)
