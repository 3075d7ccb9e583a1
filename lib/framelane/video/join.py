"""From segments to the file that gets the name: one video track without seams, and the input's own audio.

Nothing is encoded here: the segments' packets and the audio's packets are copied. Memory does not grow with the
clip's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from framelane.video.clip import Clip, open_container
from framelane.video.interleave import DuePacket, mux_all
from framelane.video.soundtrack import AudioTrack, Span, audio_packets
from framelane.video.tones import Tone, ToneTrack
from framelane.video.writer import SegmentInfo, write_error

_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_LARGEST_TIMESCALE = 2**31 - 1


@dataclass
class Joined:
    """What was joined, and in sentences what could not be copied as it was."""

    frames: int = 0
    notes: list[str] = field(default_factory=list)


Segments = Sequence[tuple[Path, SegmentInfo]]


def join(
    segments: Segments,
    clip: Clip,
    output: Path,
    span: Span | None = None,
    tags: Mapping[str, str] | None = None,
    tones: Sequence[Tone] = (),
) -> Joined:
    """Join segments and the clip's audio into ``output``.

    Args:
        segments: the segments' NUT files in order, with what they hold.
        clip: the input, for its audio tracks, display matrix and metadata.
        output: file to write; ``.mp4``, ``.mov`` or ``.mkv``.
        span: the stretch of the clip's clock in seconds that the output holds (None: to the end). Its audio is moved so
            that the stretch begins at 0; the video's times are those of ``segments``. None is the whole clip.
        tags: metadata of the container, stronger than the clip's own.
        tones: seconds counted from the first frame, in order; mixed into the first audio track, or a track of their own.

    Raises:
        FramelaneError: the disk is full, or the container refuses what it is given.
    """
    import av

    result = Joined()
    try:
        with av.open(
            str(output), "w", format=_FORMATS[output.suffix.lower()], options=_options(clip, output)
        ) as target:
            target.metadata.update({k: v for k, v in clip.metadata.items() if k in _KEPT_METADATA})
            target.metadata.update(tags or {})
            own_sets = _differ(segments, result)
            video = _video_track(target, segments[0][0], clip, own_sets)
            with open_container(clip.path) as source:
                if span is None:
                    target.set_chapters(source.chapters())
                shown = _shown(segments, clip)
                moved = tuple(replace(tone, start=tone.start + shown[0]) for tone in tones)
                tracks = [
                    AudioTrack(target, source, track.index, result.notes, () if i else moved)
                    for i, track in enumerate(clip.audio)
                ]
                wanted = {t.index: t for t in tracks if t.usable}
                alone = ToneTrack(target, moved, *shown) if moved and not wanted else None
                target.start_encoding()
                streams = [_video_packets(segments, video, clip, result, own_sets)]
                if wanted:
                    streams.append(audio_packets(source, wanted, span))
                if alone:
                    streams.append(DuePacket(float(p.dts * p.time_base), p) for p in alone.packets())
                mux_all(target, streams, result.notes)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise write_error(output, error, "joined from its segments") from error
    return result


def _shown(segments: Segments, clip: Clip) -> tuple[float, float]:
    """When the first frame is shown and when the last one ends, seconds on the clip's clock."""
    first, last = segments[0][1], segments[-1][1]
    end = (last.last_pts or 0) + last.last_duration
    return float((first.first_pts or 0) * clip.time_base), float(end * clip.time_base)


def from_zero(segments: Segments, clip: Clip) -> tuple[Segments, Span | None, str]:
    """A clip of which the first frames lie before 0 moved to begin there: an MP4's players show nothing that is earlier.

    Args:
        segments: the segments' files in order, with what they hold.
        clip: the input, for its time base.

    Returns:
        The segments with the times that the output gets; the span to join them with, see :func:`join`; and a sentence.
        As they were, None and ``""`` where nothing lies before 0.
    """
    begins = segments[0][1].first_pts or 0
    if begins >= 0:
        return segments, None, ""
    start = begins * clip.time_base
    said = (
        f"The clip begins at {float(start):.2f} s, and players show nothing before 0: all of its times are moved by "
        f"{-float(start):.2f} s, those of the sound too."
    )
    return [(path, info.later(-begins)) for path, info in segments], (start, None), said


_KEPT_METADATA = ("title", "artist", "comment", "date", "creation_time", "description", "copyright")


def _options(clip: Clip, output: Path) -> dict[str, str]:
    if output.suffix.lower() == ".mkv":
        # Matroska would move everything later for an audio track that starts before 0, as AAC's priming does.
        return {"avoid_negative_ts": "disabled"}
    # The movie's own clock in ticks of the video: edit lists (start times, B-frame delay) are then exact.
    ticks = clip.time_base.denominator if clip.time_base.numerator == 1 else 90000
    while ticks < 10000:  # the muxer scales a coarse track clock up the same way
        ticks *= 2
    return {"movflags": "+faststart", "movie_timescale": str(min(ticks, _LARGEST_TIMESCALE))}


def _differ(segments: Segments, result: Joined) -> bool:
    """Whether the segments' parameter sets differ; every key frame must then carry its own."""
    if len({parameter_sets(path) for path, _ in segments}) < 2:
        return False
    result.notes.append(
        "The segments were encoded by different encoders or drivers: every key frame carries settings of its own, which a "
        "few players (Apple's, for HEVC) do not read."
    )
    return True


def _video_track(target: Any, first: Path, clip: Clip, own_sets: bool) -> Any:
    with open_container(first) as segment:
        stream = target.add_stream_from_template(segment.streams.video[0], opaque=True)
    stream.time_base = clip.time_base
    if stream.codec_context.name == "hevc" and target.format.name in ("mp4", "mov"):
        # Apple's players want the first, for which the muxer takes all parameter sets out of the packets.
        stream.codec_context.codec_tag = "hev1" if own_sets else "hvc1"
    if clip.sample_aspect:
        stream.sample_aspect_ratio = clip.sample_aspect
    if clip.display_matrix:
        stream.set_display_matrix(clip.display_matrix)
    return stream


def _video_packets(segments: Segments, track: Any, clip: Clip, result: Joined, own_sets: bool) -> Iterator[DuePacket]:
    """All segments' packets in coding order, with decode times that rise across segment borders.

    Each encoder counts its decode times on its own, and for variable frame rates the first of one segment may lie
    before the last of the one before. As segments are closed and ordered, the sorted presentation times shifted by
    the reorder depth are valid decode times for the whole.
    """
    delay = max(info.delay for _, info in segments)
    # A longer step would leave less than nothing for the packet coded last, see below.
    step = max(1, min(info.shortest for _, info in segments))
    waiting: list[int] = []  # decode times carried over from the segments before
    for path, info in segments:
        packets, times = _read_segment(path, info, clip.time_base, own_sets)
        shown = sorted(times)
        until = dict(zip(shown, [*shown[1:], shown[-1] + info.last_duration], strict=True))
        if result.frames == 0:
            waiting = [shown[0] - step * k for k in range(delay, 0, -1)]
        decode = waiting + shown
        if info is segments[-1][1]:
            # MP4 counts a track's length in decode order, so the packet coded last carries what is left of it.
            start = (segments[0][1].first_pts or 0) - delay * step
            left = (shown[-1] + info.last_duration - (segments[0][1].first_pts or 0)) - (decode[len(shown) - 1] - start)
            until[times[-1]] = min(times[-1] + max(1, left), shown[-1] + info.last_duration)
        for packet, pts, dts in zip(packets, times, decode, strict=False):
            packet.stream, packet.time_base = track, clip.time_base
            packet.pts, packet.dts, packet.duration = pts, dts, until[pts] - pts
            yield DuePacket(float(dts * clip.time_base), packet)
        result.frames += len(packets)
        waiting = decode[len(packets) :]


def parameter_sets(path: Path) -> tuple[bytes, ...]:
    """The parameter sets (VPS, SPS, PPS) in a segment's header, without what else an encoder writes there.

    An output's header has room for one segment's; of another segment with others, a player would decode garbage.
    """
    with open_container(path) as segment:
        context = segment.streams.video[0].codec_context
        units = re.split(rb"\x00*\x00\x00\x01", context.extradata or b"")
        if context.name == "hevc":  # H.265, table 7-1: 32 to 34
            return tuple(unit for unit in units if unit and 32 <= unit[0] >> 1 & 63 <= 34)
        return tuple(unit for unit in units if unit and unit[0] & 31 in (7, 8))  # H.264, table 7-1


def _read_segment(
    path: Path, info: SegmentInfo, time_base: Fraction, own_sets: bool = False
) -> tuple[list[Any], list[int]]:
    """A segment's packets in coding order and their presentation times in ticks.

    NUT has no negative times: the muxer shifts a segment that starts at 0 by the encoder's delay. The recorded first
    timestamp undoes that. With ``own_sets`` key frames begin with the segment's parameter sets.
    """
    from av.bitstream import BitStreamFilterContext

    with open_container(path) as segment:
        stream = segment.streams.video[0]
        packets = [packet for packet in segment.demux(stream) if packet.size]
        if own_sets and stream.codec_context.extradata:
            sets = BitStreamFilterContext("dump_extra=freq=keyframe", stream)
            packets = [part for packet in packets for part in sets.filter(packet)]
        scale = Fraction(stream.time_base) / time_base
    raw = [int(packet.pts * scale) for packet in packets]
    shift = (info.first_pts or 0) - min(raw)
    return packets, [pts + shift for pts in raw]
