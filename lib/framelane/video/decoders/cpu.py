"""The CPU's decoder: FFmpeg's own, through PyAV. What every other rung is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from framelane.video.clip import open_container, video_stream
from framelane.video.decoders.base import Pass, Rung


class CpuRung(Rung):
    """Decodes to host memory; the reader uploads where frames are wanted on a GPU."""

    name: ClassVar[str] = "cpu"
    on_gpu: ClassVar[bool] = False

    def frames(self, work: Pass) -> Iterator[Any]:
        """All frames that decode; see :class:`~framelane.video.decoders.base.Rung`."""
        with open_container(work.clip.path) as container:
            stream = video_stream(container, work.clip.path)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = work.threads
            if not seek(container, stream, work):
                return  # the caller decodes from the start instead
            for packet in packets(container, stream, work):
                yield from _decoded(stream, packet, work)


def seek(container: Any, stream: Any, work: Pass) -> bool:
    """Go to the key frame at or before the pass's timestamp; False where the file does not allow it."""
    if work.seek_pts is None:
        return True
    try:
        container.seek(work.seek_pts, stream=stream, backward=True)
    except OSError:
        return False
    return True


def packets(container: Any, stream: Any, work: Pass) -> Iterator[Any]:
    """A stream's packets, and at the end None, which flushes a decoder; what cannot be read ends the stream."""
    import av

    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except (av.error.FFmpegError, OSError):
            work.damaged()
            return
        if packet is None:
            return
        yield packet if packet.size else None


def _decoded(stream: Any, packet: Any, work: Pass) -> list[Any]:
    import av

    try:
        return list(stream.codec_context.decode(packet))
    except av.error.FFmpegError:
        work.damaged()
        return []
