"""The clip's own audio beside the new video: copied, or transcoded where the container forbids its codec or tones go in."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from framelane.video.clip import open_container
from framelane.video.interleave import DuePacket
from framelane.video.tones import LAYOUTS, MixedTrack, Tone

Span = tuple[Fraction, Fraction | None]
"""A stretch of the clip's clock in seconds; None is to the end."""
_SEEK_MARGIN_S = 1


class AudioTrack:
    """One audio track of the output: copied, or transcoded to AAC where the container forbids its codec or tones go in."""

    def __init__(self, target: Any, source: Any, index: int, notes: list[str], tones: Sequence[Tone] = ()) -> None:
        self.index, self.usable = index, True
        self.source = source.streams[index]
        self._encoder: Any = None
        self._mixed: MixedTrack | None = None
        self._resampler: Any = None
        self._last: int | None = None  # a damaged file may go back in time
        if tones:
            self._mixed = MixedTrack(target, self.source, tones)
            self.track = self._mixed.track
        elif _copyable(self.source, target.format.name):
            self.track = target.add_stream_from_template(self.source, opaque=True)
        else:
            self._transcode(target, notes)
        self.track.metadata.update({k: v for k, v in self.source.metadata.items() if k in ("language", "title")})
        self.track.disposition = self.source.disposition

    def _transcode(self, target: Any, notes: list[str]) -> None:
        import av

        rate = min(self.source.codec_context.sample_rate, 96000)
        layout = LAYOUTS.get(self.source.codec_context.channels, "stereo")
        self.track = self._encoder = target.add_stream("aac", rate=rate, layout=layout)
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate, frame_size=1024)
        notes.append(
            f"The {self.source.codec_context.name} audio (stream {self.index}) cannot stand in {target.format.name} "
            "so that every player reads it; it was transcoded to AAC."
        )

    def packets(self, packet: Any) -> Iterator[Any]:
        """The packets to write for one packet read (an empty one ends the track)."""
        if self._mixed is not None:
            yield from self._mixed.packets(packet)
            return
        if self._encoder is None:
            if packet.size and packet.dts is not None and (self._last is None or packet.dts > self._last):
                self._last = packet.dts
                packet.stream = self.track
                yield packet
            return
        frames = packet.decode() if packet.size else [*packet.decode(), None]
        for frame in frames:
            for part in self._resampler.resample(frame):
                yield from self._encoder.encode(part)
            if frame is None:
                yield from self._encoder.encode(None)


def _copyable(stream: Any, container_format: str) -> bool:
    """Whether a container takes a stream's packets, found by writing one into a container in memory.

    Asking FFmpeg by codec name is not enough: PCM of an unnamed channel layout is refused only at the header. And MP4
    takes PCM of any depth, but FFmpeg up to 5.1 reads all of it back as 16 bits, which is noise.
    """
    import av

    name = stream.codec_context.name
    if container_format == "mp4" and name.startswith("pcm_") and name != "pcm_s16le":
        return False
    try:
        with open_container(Path(stream.container.name.removeprefix("file:"))) as source:
            own = source.streams[stream.index]
            packet = next(p for p in source.demux(own) if p.size)
            with av.open(io.BytesIO(), "w", format=container_format) as trial:
                packet.stream = trial.add_stream_from_template(own, opaque=True)
                trial.mux(packet)
    except (av.error.FFmpegError, ValueError, StopIteration):
        return False
    return True


def audio_packets(source: Any, tracks: dict[int, AudioTrack], span: Span | None) -> Iterator[DuePacket]:
    """The packets of several audio tracks, as they are to be written.

    Args:
        source: the clip, open.
        tracks: by the index of the stream they are made of.
        span: the stretch wanted, on the clip's clock; None is all of it.
    """
    import av

    due = 0.0
    if span and span[0] > _SEEK_MARGIN_S:
        with contextlib.suppress(av.error.FFmpegError, OSError):  # else it is read from the start
            source.seek(int((span[0] - _SEEK_MARGIN_S) * av.time_base))
    demuxed = source.demux([t.source for t in tracks.values()])
    while True:
        try:
            packet = next(demuxed, None)
            if packet is None:
                return
            if span and packet.size and not _moved(packet, span):
                continue
            ready = list(tracks[packet.stream.index].packets(packet))
        except av.error.FFmpegError:  # a damaged stretch of audio: the rest is still wanted
            continue
        for out in ready:
            if out.dts is not None:
                due = max(due, float(out.dts * out.time_base))
            yield DuePacket(due, out)


def _moved(packet: Any, span: Span) -> bool:
    """Whether a packet begins within the span; its times are then counted from the span's beginning."""
    if packet.pts is None:
        return False
    begins = packet.pts * Fraction(packet.time_base)
    # A packet that begins just before the first frame (priming) belongs to the beginning of the clip.
    if (begins < span[0] and span[0] > 0) or (span[1] is not None and begins >= span[1]):
        return False
    shift = round(span[0] / Fraction(packet.time_base))
    packet.pts -= shift
    packet.dts = None if packet.dts is None else packet.dts - shift
    return True
