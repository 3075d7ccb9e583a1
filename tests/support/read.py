"""Reading files back independently of the code under test: ffprobe for timestamps, PyAV's demuxer for packets."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import av


def probe(path: Path) -> dict[str, Any]:
    """What ffprobe says of the first video stream and the container."""
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_streams", "-show_format", "-of", "json", str(path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return json.loads(out)


def frame_times(path: Path) -> list[float]:
    """Presentation time in seconds of every frame, as ffprobe's own decoder gives them."""
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time",
         "-of", "csv=p=0", str(path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [float(line.strip(",")) for line in out.split() if line.strip(",")]


def audio_packets(path: Path) -> list[list[tuple[float, str]]]:
    """Per audio stream, time in seconds and MD5 of every packet, from the demuxer."""
    with av.open(str(path)) as container:
        tracks: dict[int, list[tuple[float, str]]] = {s.index: [] for s in container.streams.audio}
        for packet in container.demux(container.streams.audio) if tracks else ():
            if packet.size:
                data = bytes(packet)
                if data[:2] in (b"\xff\xf1", b"\xff\xf9"):  # ADTS, in transport streams: MP4 has that header elsewhere
                    data = data[7:]
                digest = hashlib.md5(data).hexdigest()
                tracks[packet.stream.index].append((round(float(packet.pts * packet.time_base), 4), digest))
        return list(tracks.values())


def frame_hashes(path: Path) -> list[str]:
    """MD5 of the pixels of every decoded frame."""
    with av.open(str(path)) as container:
        return [hashlib.md5(frame.to_ndarray().tobytes()).hexdigest() for frame in container.decode(video=0)]


def rgb_frames(path: Path) -> list[Any]:
    """Every decoded frame as uint8 (H, W, 3)."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
