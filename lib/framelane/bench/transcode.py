"""The same transcode by framelane, by the ``ffmpeg`` command, by a PyAV loop and by an OpenCV loop."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from framelane.bench.about import DISTURBED, child, in_turn, own_seconds, ratio, undisturbed
from framelane.errors import FramelaneError

Run = dict[str, float]  # seconds on the clock, cpu_s
# Which ratios are shown: ours, theirs, what the first one is, the target.
RATIOS: dict[str, tuple[str, str, str, float | None]] = {
    "copy_to_ffmpeg": ("copy", "ffmpeg", "untouched frames, to the ffmpeg command", 1.15),
    "repaint_to_ffmpeg": ("repaint", "ffmpeg", "every frame through RGB, to the ffmpeg command", 1.35),
    "pyav_to_ffmpeg": ("pyav", "ffmpeg", "a plain PyAV loop through RGB, to the ffmpeg command", None),
    "repaint_to_pyav": ("repaint", "pyav", "every frame through RGB, to a plain PyAV loop", None),
    "repaint_to_cv2": ("repaint", "cv2", "every frame through RGB, to an OpenCV loop", None),
    "ffmpeg_to_cv2": ("ffmpeg", "cv2", "the ffmpeg command, to an OpenCV loop", None),
}


def compare(clip: Path, folder: Path, threads: int, repeats: int, tries: int = 4) -> dict[str, Any]:
    """Transcode a clip with everything there is, in turn.

    framelane, PyAV and OpenCV are timed inside their process, imports excluded (framelane's time covers all else that
    a job does: probing, checkpoints, joining, verifying, syncing); from the ``ffmpeg`` command nothing is subtracted.

    Args:
        clip: an H.264 clip with audio.
        folder: an empty folder for the outputs.
        threads: decoder and encoder threads of each.
        repeats: runs of each.
        tries: how often a run that other processes disturb is made again; the least disturbed counts.

    Returns:
        ``seconds`` of every run, ``ratios`` of medians, the same of the CPU (``cpu_s``, ``cpu_ratios``: other processes
        disturb those little), ``others``: cores that other processes kept busy, ``output_mb``, ``start_up_s`` of
        framelane's process, ``stage_ms``, ``cv2_codec``, and ``sentences`` on what is missing or disturbed.
    """
    runner = _Runner(clip, folder, threads)
    kinds: dict[str, Callable[[], Run]] = {
        "copy": partial(runner.ours, "bench_copy", "copy"),
        "repaint": partial(runner.ours, "bench_repaint", "repaint"),
        "ffmpeg": runner.ffmpeg,
        "pyav": partial(runner.peer, "pyav"),
        "cv2": partial(runner.peer, "cv2"),
    }
    sentences = []
    if shutil.which("ffmpeg") is None:
        del kinds["ffmpeg"]
        sentences.append("There is no ffmpeg command on this machine; what is compared with it is left out.")
    runs = in_turn({name: partial(undisturbed, task, tries) for name, task in kinds.items()}, repeats)
    seconds, cpu, others = (
        {name: [run[key] for run in found] for name, found in runs.items()} for key in ("seconds", "cpu_s", "others")
    )
    worst = max(max(found) for found in others.values())
    if worst > DISTURBED:
        sentences.append(f"Other processes kept up to {worst:.1f} cores busy: the ratios of the clock are disturbed.")
    return {
        "threads": threads,
        "seconds": _rounded(seconds),
        "ratios": ratios(seconds),
        "cpu_s": _rounded(cpu),
        "cpu_ratios": ratios(cpu),
        "others": _rounded(others),
        "output_mb": {name: round((folder / f"{name}.mp4").stat().st_size / 1e6, 2) for name in kinds},
        "start_up_s": runner.start_up_s,
        "stage_ms": runner.stage_ms,
        "cv2_codec": runner.cv2_codec,
        "sentences": sentences,
    }


def _rounded(runs: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [round(value, 4) for value in found] for name, found in runs.items()}


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


@dataclass
class _Runner:
    """One run of each kind, and what is noted besides its seconds."""

    clip: Path
    folder: Path
    threads: int
    start_up_s: list[float] = field(default_factory=list)
    stage_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    cv2_codec: str = ""

    def ours(self, processor: str, name: str) -> Run:
        """A job of framelane."""
        started = time.perf_counter()
        found = child("pipeline", processor, self.clip, self.folder / f"{name}.mp4", str(self.threads))
        self.start_up_s.append(round(time.perf_counter() - started - found["seconds"], 2))
        self.stage_ms[name] = found["stage_ms"]
        return _times(found)

    def peer(self, name: str) -> Run:
        """A loop of another library."""
        found = child(name, self.clip, self.folder / f"{name}.mp4", str(self.threads))
        self.cv2_codec = found.get("codec", self.cv2_codec)
        return _times(found)

    def ffmpeg(self) -> Run:
        """The command, from its start to its end."""
        started, used = time.perf_counter(), own_seconds()
        command = ffmpeg_command(self.clip, self.folder / "ffmpeg.mp4", self.threads)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FramelaneError(
                f"The ffmpeg command failed: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}"
            )
        return {"seconds": time.perf_counter() - started, "cpu_s": own_seconds() - used}


def _times(found: dict[str, Any]) -> Run:
    return {key: float(found[key]) for key in ("seconds", "cpu_s")}
