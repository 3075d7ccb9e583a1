"""Short tones in the output's sound: mixed into the first audio track, or a track of their own where there is none.

Only that track is decoded and coded again (AAC); all others are copied as they are. Where a tone sounds, the track is made
quieter for its length, so that nothing clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

RATE = 48000
FRAME = 1024
"""Samples of an AAC frame."""
_FADE_S = 0.01  # a tone that begins at once clicks
_DUCK = 0.5  # what is left of the track under a tone
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}
_PTS_LIMIT_S = 600  # a silence longer than that is a broken clock, not a pause


@dataclass(frozen=True)
class Tone:
    """A beep.

    Attributes:
        start: seconds on the clip's own clock.
        length: seconds.
        pitch: Hz.
        level: amplitude, 0 to 1.
    """

    start: float
    length: float = 0.18
    pitch: float = 880.0
    level: float = 0.35


def sounding(tones: Sequence[Tone], start: float, count: int, rate: int) -> npt.NDArray[np.float32]:
    """Tones as samples, float32 ``(2, count)``: the sum of what sounds, and how much of the track is left under it.

    Args:
        tones: in order of their start.
        start: seconds of the first sample.
        count: samples.
        rate: samples a second.
    """
    out = np.zeros((2, count), np.float32)
    out[1] = 1.0
    end = start + count / rate
    for tone in tones:
        if tone.start >= end or tone.start + tone.length <= start:
            continue
        time = start + np.arange(count) / rate - tone.start
        inside = (time >= 0) & (time < tone.length)
        ramp = np.minimum(np.minimum(time, tone.length - time) / _FADE_S, 1.0).clip(0, 1) * inside
        out[0] += (tone.level * ramp * np.sin(2 * np.pi * tone.pitch * time)).astype(np.float32)
        out[1] = np.minimum(out[1], (1 - (1 - _DUCK) * ramp).astype(np.float32))
    return out


class ToneTrack:
    """A track of tones alone, for a clip without sound.

    Args:
        target: the container, opened for writing.
        tones: in order of their start.
        start: seconds of the first frame.
        end: seconds of the last frame's end.
    """

    def __init__(self, target: Any, tones: Sequence[Tone], start: float, end: float) -> None:
        self.tones, self.start, self.end = tones, start, end
        self.track = target.add_stream("aac", rate=RATE, layout="mono")
        self.track.metadata["title"] = "alerts"

    def packets(self) -> Iterator[Any]:
        """The track's packets, in order."""
        first, last = round(self.start * RATE), round(self.end * RATE)
        for at in range(first, last, FRAME):
            count = min(FRAME, last - at)
            samples = sounding(self.tones, at / RATE, count, RATE)[0]
            yield from self.track.encode(_frame(samples[None], at, RATE, "mono"))
        yield from self.track.encode(None)


class MixedTrack:
    """The clip's first audio track with tones in it.

    Args:
        target: the container, opened for writing.
        source: the audio stream that is read.
        tones: in order of their start.
    """

    def __init__(self, target: Any, source: Any, tones: Sequence[Tone]) -> None:
        import av

        self.tones = tones
        self.rate = min(int(source.codec_context.sample_rate), RATE)
        self.layout = LAYOUTS.get(source.codec_context.channels, "stereo")
        self.track = target.add_stream("aac", rate=self.rate, layout=self.layout)
        self._resampler: Any = av.AudioResampler(format="fltp", layout=self.layout, rate=self.rate)
        self._next: int | None = None
        self._rest: npt.NDArray[np.float32] | None = None

    def packets(self, packet: Any) -> Iterator[Any]:
        """The packets to write for one packet read (an empty one ends the track)."""
        for frame in packet.decode():
            yield from self._mixed(self._resampler.resample(frame))
        if not packet.size:
            yield from self._mixed(self._resampler.resample(None))
            yield from self._coded(ended=True)
            yield from self.track.encode(None)

    def _mixed(self, frames: Sequence[Any]) -> Iterator[Any]:
        for frame in frames:
            samples = np.asarray(frame.to_ndarray(), np.float32)
            at = self._next if frame.pts is None else round(frame.pts * Fraction(frame.time_base) * self.rate)
            samples = self._after_gap(samples, at or 0)
            self._rest = samples if self._rest is None else np.concatenate([self._rest, samples], axis=1)
            yield from self._coded(ended=False)

    def _after_gap(self, samples: npt.NDArray[np.float32], at: int) -> npt.NDArray[np.float32]:
        """The samples with the silence before them that the track's clock asks for; what overlaps is left out."""
        if self._next is None:
            self._next = at
        have = self._next + (0 if self._rest is None else self._rest.shape[1])
        gap = at - have
        if abs(gap) <= self.rate // 100 or gap > _PTS_LIMIT_S * self.rate:  # rounding of clocks, or a broken one
            return samples
        if gap < 0:
            return samples[:, min(-gap, samples.shape[1]) :]
        return np.concatenate([np.zeros((samples.shape[0], gap), np.float32), samples], axis=1)

    def _coded(self, *, ended: bool) -> Iterator[Any]:
        while self._rest is not None and self._rest.shape[1] and (ended or self._rest.shape[1] >= FRAME):
            assert self._next is not None
            part, self._rest = self._rest[:, :FRAME], self._rest[:, FRAME:]
            tone = sounding(self.tones, self._next / self.rate, part.shape[1], self.rate)
            mixed = np.clip(part * tone[1] + tone[0], -1, 1)
            yield from self.track.encode(_frame(mixed, self._next, self.rate, self.layout))
            self._next += part.shape[1]


def _frame(samples: npt.NDArray[np.float32], at: int, rate: int, layout: str) -> Any:
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
    return frame
