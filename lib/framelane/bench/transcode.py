"""The same transcode by framelane, by the ``ffmpeg`` command, by a PyAV loop and by an OpenCV loop."""

from __future__ import annotations

import shutil
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from framelane.bench.about import child, in_turn, ratio
from framelane.errors import FramelaneError

# Which ratios are shown: ours, theirs, what the first one is, the target.
RATIOS: dict[str, tuple[str, str, str, float | None]] = {
    "copy_to_ffmpeg": ("copy", "ffmpeg", "untouched frames, to the ffmpeg command", 1.15),
    "repaint_to_ffmpeg": ("repaint", "ffmpeg", "every frame through RGB, to the ffmpeg command", 1.35),
    "pyav_to_ffmpeg": ("pyav", "ffmpeg", "a plain PyAV loop through RGB, to the ffmpeg command", None),
    "repaint_to_pyav": ("repaint", "pyav", "every frame through RGB, to a plain PyAV loop", None),
    "repaint_to_cv2": ("repaint", "cv2", "every frame through RGB, to an OpenCV loop", None),
    "ffmpeg_to_cv2": ("ffmpeg", "cv2", "the ffmpeg command, to an OpenCV loop", None),
}


def compare(clip: Path, folder: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Transcode a clip with everything there is, in turn.

    framelane, PyAV and OpenCV are timed inside their process, imports excluded (framelane's time covers all else that
    a job does: probing, checkpoints, joining, verifying, syncing); from the ``ffmpeg`` command nothing is subtracted.

    Args:
        clip: an H.264 clip with audio.
        folder: an empty folder for the outputs.
        threads: decoder and encoder threads of each.
        repeats: runs of each.

    Returns:
        ``seconds`` of every run, ``ratios`` of medians, ``start_up_s`` of framelane's process, ``stage_ms``,
        ``cv2_codec``, ``output_mb``, and ``sentences`` on what is missing.
    """
    notes: dict[str, Any] = {"start_up_s": [], "stage_ms": {}}
    tasks = {
        "copy": partial(_ours, "bench_copy", clip, folder / "copy.mp4", threads, notes),
        "repaint": partial(_ours, "bench_repaint", clip, folder / "repaint.mp4", threads, notes),
        "ffmpeg": partial(_ffmpeg, clip, folder / "ffmpeg.mp4", threads),
        "pyav": partial(_peer, "pyav", clip, folder / "pyav.mp4", threads, notes),
        "cv2": partial(_peer, "cv2", clip, folder / "cv2.mp4", threads, notes),
    }
    sentences = []
    if shutil.which("ffmpeg") is None:
        del tasks["ffmpeg"]
        sentences.append("There is no ffmpeg command on this machine; what is compared with it is left out.")
    seconds = in_turn(tasks, repeats)
    return {
        "threads": threads,
        "seconds": {name: [round(s, 3) for s in runs] for name, runs in seconds.items()},
        "ratios": ratios(seconds),
        "output_mb": {name: round((folder / f"{name}.mp4").stat().st_size / 1e6, 2) for name in tasks},
        **notes,
        "sentences": sentences,
    }


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The ratios of :data:`RATIOS` for which both sides were measured."""
    return {
        name: round(ratio(seconds[ours], seconds[theirs]), 3)
        for name, (ours, theirs, _, _) in RATIOS.items()
        if ours in seconds and theirs in seconds
    }


def ffmpeg_command(clip: Path, output: Path, threads: int) -> list[str]:
    """The command with the settings of framelane's default output: x264, preset medium, CRF 20, audio copied."""
    return [
        "ffmpeg", "-nostdin", "-v", "error", "-y", "-threads", str(threads), "-i", str(clip),
        "-map", "0:v:0", "-map", "0:a?", "-c:v", "libx264", "-preset", "medium", "-crf", "20", "-pix_fmt", "yuv420p",
        "-threads", str(threads), "-fps_mode", "passthrough", "-c:a", "copy", "-movflags", "+faststart", str(output),
    ]  # fmt: skip


def _ffmpeg(clip: Path, output: Path, threads: int) -> float:
    started = time.perf_counter()
    done = subprocess.run(ffmpeg_command(clip, output, threads), capture_output=True, text=True, check=False)
    if done.returncode:
        raise FramelaneError(f"The ffmpeg command failed: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    return time.perf_counter() - started


def _ours(processor: str, clip: Path, output: Path, threads: int, notes: dict[str, Any]) -> float:
    started = time.perf_counter()
    found = child("pipeline", processor, clip, output, str(threads))
    notes["start_up_s"].append(round(time.perf_counter() - started - found["seconds"], 2))
    notes["stage_ms"][processor] = found["stage_ms"]
    return float(found["seconds"])


def _peer(task: str, clip: Path, output: Path, threads: int, notes: dict[str, Any]) -> float:
    found = child(task, clip, output, str(threads))
    if "codec" in found:
        notes["cv2_codec"] = found["codec"]
    return float(found["seconds"])
