"""Small clips of every kind that a decoder may take differently, with the ffmpeg command."""

from __future__ import annotations

from pathlib import Path

from framelane.video.clip import Clip
from framelane.video.clip import probe as probe_clip
from support.clips import ffmpeg, synthetic

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "12")
KINDS = {
    "plain": (*H264, "-pix_fmt", "yuv420p"),
    "ten_bits": (
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=none",
        "-pix_fmt",
        "yuv420p10le",
    ),
    "full_range": (*H264, "-pix_fmt", "yuvj420p", "-color_range", "pc"),
    "four_two_two": (*H264, "-pix_fmt", "yuv422p"),
}


def make(folder: Path, size: str = "160x120") -> dict[str, Clip]:
    """The clips by kind.

    Args:
        folder: where they are put.
        size: of all but the odd one; NVDEC takes no HEVC below 144 lines.
    """
    made = {k: synthetic(folder / f"{k}.mp4", *how, seconds=2, size=size, audio=False) for k, how in KINDS.items()}
    made["odd"] = synthetic(folder / "odd.mp4", *H264, "-pix_fmt", "yuv444p", seconds=1, size="161x121", audio=False)
    picked = "select='not(mod(n,3))+lt(n,20)',setpts=PTS+0.1*random(7)/TB"
    made["variable"] = folder / "variable.mp4"
    ffmpeg("-i", made["plain"], "-vf", picked, "-vsync", "vfr", "-enc_time_base", "1/90000", *H264, made["variable"])
    made["cut"] = folder / "cut.mp4"
    ffmpeg("-ss", "0.7", "-i", made["plain"], "-c", "copy", made["cut"])
    made["negative"] = _earlier(made["plain"], folder / "negative.ts")
    made["rotated"] = _turned(made["plain"], folder / "rotated.mp4")
    return {kind: probe_clip(path) for kind, path in made.items()}


def _earlier(clip: Path, path: Path) -> Path:
    """The clip with every timestamp a second earlier: below 0."""
    import av

    with (
        av.open(str(clip)) as source,
        av.open(str(path), "w", container_options={"avoid_negative_ts": "disabled"}) as made,
    ):
        track = made.add_stream_from_template(source.streams.video[0])
        second = int(1 / source.streams.video[0].time_base)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream, packet.pts, packet.dts = track, packet.pts - second, packet.dts - second
                made.mux(packet)
    return path


def _turned(clip: Path, path: Path) -> Path:
    """The clip with a display matrix of 90 degrees."""
    import av

    with av.open(str(clip)) as source, av.open(str(path), "w") as made:
        track = made.add_stream_from_template(source.streams.video[0])
        track.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = track
                made.mux(packet)
    return path
