"""Clips for the tests, made with the ffmpeg command: an encoder and muxer that are not ours."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from framelane.resources import data_path

STREET = data_path("assets", "clips", "street.mp4")
WALKER = data_path("assets", "clips", "walker.mp4")

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="the ffmpeg command is not installed (apt-get install ffmpeg)"
)


def ffmpeg(*arguments: str | Path) -> None:
    """Run the ffmpeg command; quiet unless it fails."""
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


def excerpt(path: Path, source: Path = WALKER, seconds: float = 2.5, height: int = 270) -> Path:
    """The first seconds of a clip, smaller and without its sound: what is slow with it is slow for another reason.

    Made with PyAV, so that it needs no ffmpeg command.
    """
    import av

    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        video = read.streams.video[0]
        made = written.add_stream(
            "libx264", rate=video.average_rate, options={"preset": "ultrafast", "crf": "18", "g": "30"}
        )
        made.width, made.height, made.pix_fmt = round(video.width * height / video.height / 2) * 2, height, "yuv420p"
        made.codec_context.time_base = video.time_base
        for frame in read.decode(video):
            if frame.time >= seconds:
                break
            small = frame.reformat(made.width, made.height, "yuv420p")
            small.pts, small.time_base = frame.pts, frame.time_base
            written.mux(made.encode(small))
        written.mux(made.encode())
    return path


def synthetic(
    path: Path, *output: str, seconds: float = 2, rate: str = "25", size: str = "320x240", audio: bool = True
) -> Path:
    """A moving test picture with a tone, encoded as ``output`` says."""
    sound = ("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}") if audio else ()
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}", *sound, *output, path)
    return path
