"""The clips that the engine is measured with, made of the embedded ones: real pictures, so that x264 has real work."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from framelane.resources import data_path
from framelane.video.clip import open_container

RATE = 30
SECONDS = 10


def make_clip(path: Path, size: tuple[int, int] = (1280, 720), seconds: int | Fraction = SECONDS) -> None:
    """A clip of 30 frames a second, yuv420p, BT.709, with AAC audio.

    It shows the walker, the street three times as fast as it was, the walker mirrored, and so on.

    Args:
        path: the ``.mp4`` to write.
        size: width and height in pixels; even.
        seconds: length; a fraction for a few frames.
    """
    import av

    with av.open(str(path), "w", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "16"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 1, 1, 1, 1
        with open_container(_embedded("walker")) as sound:
            track = target.add_stream_from_template(sound.streams.audio[0])
            for packet in _audio(sound, seconds):
                packet.stream = track
                target.mux(packet)
        for index, frame in zip(range(int(RATE * seconds)), _pictures(size), strict=False):
            frame.pts, frame.time_base, frame.pict_type = index, Fraction(1, RATE), 0
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


def loop_clip(source: Path, path: Path, times: int) -> None:
    """The same content several times over, copied packet by packet."""
    import av

    with av.open(str(path), "w", options={"movflags": "+faststart"}) as target, open_container(source) as first:
        tracks = [target.add_stream_from_template(s) for s in (first.streams.video[0], first.streams.audio[0])]
        length = Fraction(first.duration, av.time_base)
        written: dict[int, int] = {}
        for turn in range(times):
            with open_container(source) as again:
                streams = [again.streams.video[0], again.streams.audio[0]]
                for packet in again.demux(streams):
                    if packet.size and _moved(packet, turn * length, written):
                        packet.stream = tracks[streams.index(packet.stream)]
                        target.mux(packet)


def _moved(packet: Any, seconds: Fraction, written: dict[int, int]) -> bool:
    """Move a packet in time; False where it then lies before the last one of its track (an encoder's lead-in)."""
    ticks, track = round(seconds / packet.time_base), packet.stream.index
    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    if packet.dts <= written.get(track, packet.dts - 1):
        return False
    written[track] = packet.dts
    return True


def _embedded(name: str) -> Path:
    return data_path("assets", "clips", f"{name}.mp4")


def _audio(container: Any, seconds: int | Fraction) -> Iterator[Any]:
    """The first track's packets, from the start again as often as needed."""
    stream = container.streams.audio[0]
    length = Fraction(stream.duration) * stream.time_base
    written: dict[int, int] = {}
    for turn in range(-(-seconds // max(1, int(length)))):
        container.seek(0)
        for packet in container.demux(stream):
            fits = packet.size and _moved(packet, turn * length, written)
            if fits and packet.pts * packet.time_base < seconds:
                yield packet


def _pictures(size: tuple[int, int]) -> Iterator[Any]:
    while True:
        for name, mirrored in (("walker", False), ("street", False), ("walker", True)):
            with open_container(_embedded(name)) as container:
                for frame in container.decode(container.streams.video[0]):
                    yield _fitted(frame, size, mirrored)


def _fitted(frame: Any, size: tuple[int, int], mirrored: bool) -> Any:
    """The frame's middle in the wanted shape, scaled."""
    from av import VideoFrame

    pixels = frame.to_ndarray(format="rgb24")
    high = min(pixels.shape[0], round(pixels.shape[1] * size[1] / size[0]))
    top = (pixels.shape[0] - high) // 2
    cut = pixels[top : top + high, :: -1 if mirrored else 1]
    whole = VideoFrame.from_ndarray(np.ascontiguousarray(cut), format="rgb24")
    return whole.reformat(
        width=size[0], height=size[1], format="yuv420p", dst_colorspace=1, dst_color_range=1, interpolation="LANCZOS"
    )
