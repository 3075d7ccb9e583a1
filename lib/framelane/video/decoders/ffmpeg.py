"""An ``ffmpeg`` program with NVDEC: one process a pass, raw frames with their timestamps as NUT over a pipe."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from framelane.errors import FramelaneError
from framelane.video.clip import Clip, open_container, video_stream
from framelane.video.decoders.base import Broken, Pass, Rung, surface_format
from framelane.video.decoders.driver import driver_problem, explain
from framelane.video.ffmpeg import Watch, end, ffmpeg_program, program_version, said

_LOG_TAIL = 20_000
_DAMAGE = re.compile(r"Error (submitting packet|while decoding|decoding)|corrupt decoded frame|Invalid data found")


class FfmpegRung(Rung):
    """Frames come over a pipe into host memory; the reader uploads where they are wanted on a GPU.

    Args:
        accelerated: decode with NVDEC; without, the program's own decoder runs (for tests: all else is the same).
    """

    name: ClassVar[str] = "ffmpeg"

    def __init__(self, accelerated: bool = True) -> None:
        self.accelerated = accelerated

    def missing(self) -> str | None:
        """The driver's or the program's answer; see :class:`~framelane.video.decoders.base.Rung`."""
        problem = driver_problem() if self.accelerated else None
        if problem:
            return problem
        try:
            program = ffmpeg_program()
            if program is None:
                return "There is no ffmpeg program: none was built by the installer, and none is on PATH."
            program_version(program)
        except FramelaneError as error:
            return str(error)
        if self.accelerated and "cuda" not in said(program, "-hwaccels"):
            return f"{program} was built without NVDEC ('ffmpeg -hwaccels' lists no cuda)."
        return None

    def frames(self, work: Pass) -> Iterator[Any]:
        """Host frames in the clip's own pixel format; see :class:`~framelane.video.decoders.base.Rung`."""
        program = ffmpeg_program()
        if program is None:
            raise Broken("There is no ffmpeg program.")
        arguments = command(program, work, accelerated=self.accelerated, version=program_version(program))
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
            watch = Watch(process)
            try:
                yield from _watched(_lasting(_read(process.stdout, work), work.clip), watch)
                with watch.waiting():
                    process.wait()
                if process.returncode:
                    raise EOFError(f"ffmpeg ended with {process.returncode}")
                for _ in _DAMAGE.findall(_tail(log)):
                    work.damaged()
            except GeneratorExit:
                raise
            except Exception as error:
                end(process)
                if watch.hung:
                    raise Broken(f"The program {program} decodes no further: {watch.hung}.") from error
                if isinstance(error, FramelaneError):
                    raise
                raise Broken(explain(_tail(log).splitlines(), str(error), work.clip)) from error
            finally:
                watch.stop()
                end(process)


def _watched(frames: Iterator[Any], watch: Watch) -> Iterator[Any]:
    """The frames; while one is awaited, the program is watched."""
    while True:
        with watch.waiting():
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


def command(program: Path, work: Pass, *, accelerated: bool, version: tuple[int, int]) -> list[str]:
    """The command line of one pass.

    NVDEC's frames must come through ``hwdownload``: where ``ffmpeg`` falls back to software by itself, that filter has
    no frames in device memory and the command fails, instead of doing on the CPU what was asked of the GPU.

    Args:
        program: the ``ffmpeg`` to run.
        work: the pass.
        accelerated: decode with NVDEC.
        version: of ``ffmpeg``, major and minor; ``-vsync`` is called ``-fps_mode`` from 5.1 on.
    """
    clip = work.clip
    wanted = surface_format(clip) if accelerated else None
    gpu = work.device.split(":")[1] if ":" in work.device else "0"
    hardware = ["-hwaccel", "cuda", "-hwaccel_device", gpu, "-hwaccel_output_format", "cuda"] if accelerated else []
    # NUT has a tag for yuv420p10le and none for P010; 8-bit NV12 is taken apart here, where no range is guessed.
    # (From the program's own decoder full-range frames must stay as they are: swscale would squeeze them.)
    squeezed = clip.pixel_format == "yuvj420p" and not accelerated
    piped = "nv12" if surface_format(clip) == "nv12" and not squeezed else clip.pixel_format
    filters = [f"hwdownload,format={wanted}"] if wanted else []
    filters += [f"format={piped}"] if piped != wanted else []
    # NUT has no negative timestamps: the muxer would shift them all, by an amount nobody is told.
    filters += [f"setpts=PTS+{shift(clip)}"] if shift(clip) else []
    sought = work.seek_pts is not None
    seconds = float(work.seek_pts * clip.time_base) if work.seek_pts is not None else 0.0
    seeking = ["-seek_timestamp", "1", "-noaccurate_seek", "-ss", f"{seconds:.6f}"] if sought else []
    threads = ["-threads", str(work.threads)] if work.threads and not accelerated else []
    timing = "-fps_mode" if version >= (5, 1) else "-vsync"
    return [
        str(program), "-hide_banner", "-nostdin", "-loglevel", "warning", *hardware, *threads, "-noautorotate",
        "-copyts", *seeking, "-i", f"file:{clip.path}", "-map", f"0:{_index(clip)}", "-an", "-sn", "-dn",
        "-vf", ",".join(filters), timing, "passthrough", "-enc_time_base", "-1", "-c:v", "rawvideo",
        "-f", "nut", "pipe:1",
    ]  # fmt: skip


def shift(clip: Clip) -> int:
    """Ticks added to every timestamp on the way through the pipe, so that none is negative."""
    return max(0, -clip.start_pts)


def _index(clip: Clip) -> int:
    """The stream that PyAV decodes: its number in the file."""
    with open_container(clip.path) as container:
        return int(video_stream(container, clip.path).index)


def _read(pipe: Any, work: Pass) -> Iterator[Any]:
    import av

    clip, base = work.clip, work.clip.time_base
    with av.open(pipe, "r", format="nut") as container:
        stream = container.streams.video[0]
        nbytes = 0
        for packet in container.demux(stream):
            if not packet.size:
                continue
            # A frame of another size would be read into the first one's shape.
            if nbytes and packet.size != nbytes:
                raise Broken(f"{clip.path.name} changes its size, which the pipe from ffmpeg cannot carry.")
            nbytes = packet.size
            for frame in packet.decode():
                ready = planar(frame, clip)
                ready.pts = _ticks(frame.pts, stream.time_base, base) - shift(clip)
                ready.time_base = base
                ready.duration = _ticks(frame.duration or 0, stream.time_base, base)
                yield ready


def _lasting(frames: Iterator[Any], clip: Clip) -> Iterator[Any]:
    """The frames, the last with the duration that the file gives it: NUT carries none."""
    held = None
    for frame in frames:
        if held is not None:
            yield held
        held = frame
    if held is not None:
        held.duration = _duration(clip, held.pts) or held.duration
        yield held


def _duration(clip: Clip, pts: int) -> int:
    """How long the file shows the frame with this timestamp; 0 where it does not say. Demuxes and decodes nothing."""
    with open_container(clip.path) as container:
        stream = video_stream(container, clip.path)
        with contextlib.suppress(OSError):
            container.seek(pts, stream=stream, backward=True)
        return next((packet.duration or 0 for packet in container.demux(stream) if packet.pts == pts), 0)


def _ticks(value: int, own: Fraction, base: Fraction) -> int:
    """A time in the pipe's ticks as the clip's: NUT's are a whole fraction of them, so that nothing is lost."""
    return round(value * Fraction(own) / base)


def planar(frame: Any, clip: Clip) -> Any:
    """A frame from the pipe in the clip's own pixel format, with the clip's colour tags, bit for bit."""
    import av

    ready = frame
    if frame.format.name != clip.pixel_format:
        ready = av.VideoFrame(frame.width, frame.height, clip.pixel_format)
        for plane, source in zip(ready.planes, _parts(frame), strict=True):
            view = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            view[: source.shape[0], : source.shape[1]] = source
    colour = clip.colour
    ready.colorspace, ready.color_range = colour.matrix, colour.range
    ready.color_primaries, ready.color_trc = colour.primaries, colour.transfer
    return ready


def _parts(frame: Any) -> list[np.ndarray]:
    """Luma, Cb and Cr of an 8-bit 4:2:0 frame, whether chroma lies in one plane or two."""
    planes = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height] for p in frame.planes]
    if len(planes) == 2:
        planes = [planes[0], planes[1][:, 0::2], planes[1][:, 1::2]]
    half = -(-frame.width // 2)
    return [planes[0][:, : frame.width], planes[1][:, :half], planes[2][:, :half]]


def _tail(log: Any) -> str:
    """The end of what ffmpeg said."""
    size = log.seek(0, 2)
    log.seek(max(0, size - _LOG_TAIL))
    return str(log.read().decode("utf-8", "replace"))
