"""``framelane bench video``: decode, convert, resize, encode and the whole, in frames per second, by rung and size."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from framelane.bench.about import DISTURBED, child, in_turn, own_seconds, undisturbed
from framelane.bench.clips import RATE, make_clip
from framelane.bench.transcode import ffmpeg_command
from framelane.errors import FramelaneError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
STAGES = ("decode", "convert", "resize", "encode")
CARD_RUNGS = ("pyav", "nvcodec", "ffmpeg")
TARGET = 0.9  # of the bound min(decode, encode, process)
PUBLISHED = {"720p": (19, 62), "1080p": (12, 48)}
"""fps before and after, as the original notes of the GPU stream pipeline print them: another machine and other work, not
measured here; what they ran is not known well enough to repeat it."""
_LABELS = {"bench_copy": "untouched", "bench_repaint": "through RGB"}


def measure(
    *,
    sizes: dict[str, tuple[int, int]] | None = None,
    seconds: int = 8,
    repeats: int = 3,
    tries: int = 2,
) -> dict[str, Any]:
    """All figures.

    Args:
        sizes: width and height by name; None is 720p and 1080p.
        seconds: length of each clip.
        repeats: runs of everything, in turn; medians are shown.
        tries: how often a run that other processes disturb is made again.
    """
    from framelane.container import usable_cores

    threads = usable_cores()
    rungs = working_rungs()
    with tempfile.TemporaryDirectory(prefix="framelane-") as name:
        folder = Path(name)
        found = {}
        for label, size in (sizes or SIZES).items():
            clip = folder / f"{label}.mp4"
            make_clip(clip, size, seconds)
            found[label] = {"size": list(size), **_at(clip, folder, threads, rungs, repeats, tries)}
    figures: dict[str, Any] = {
        "clip": {"fps": RATE, "seconds": seconds},
        "threads": threads,
        "rungs": rungs,
        "sizes": found,
    }
    return {**figures, "sentences": sentences(figures)}


def quick(size: str | None = None) -> dict[str, Any]:
    """The short form: one size, one run."""
    chosen = size or "720p"
    return measure(sizes={chosen: size_of(chosen)}, seconds=4, repeats=1, tries=1)


def size_of(name: str) -> tuple[int, int]:
    """Width and height.

    Raises:
        UsageError: there is no such size.
    """
    if name not in SIZES:
        raise UsageError(f"The benchmark video knows no size {name!r}; there are {', '.join(SIZES)}.")
    return SIZES[name]


def working_rungs() -> dict[str, Any]:
    """For every rung of the GPU whether it decodes and encodes here, and what it says where it does not."""
    from framelane.video import decoders
    from framelane.video.encoders import choice

    found = {}
    for rung in CARD_RUNGS:
        decode, encode = decoders.probe(rung), choice.probe(rung)
        found[rung] = {
            "decode": decode.ok, "encode": encode.ok, "decode_reason": decode.reason, "encode_reason": encode.reason,
        }  # fmt: skip
    return found


def combinations(rungs: dict[str, Any]) -> list[tuple[str, str]]:
    """(decoder, encoder) of every whole job: the CPU's, and each rung with the CPU where it has only one half."""
    found = [("cpu", "cpu")]
    for rung, works in rungs.items():
        if works["decode"] or works["encode"]:
            found.append((rung if works["decode"] else "cpu", rung if works["encode"] else "cpu"))
    return found


def _at(clip: Path, folder: Path, threads: int, rungs: dict[str, Any], repeats: int, tries: int) -> dict[str, Any]:
    """Everything at one size, in turn."""
    kinds: dict[str, Callable[[], dict[str, Any]]] = {}
    for stage in STAGES:
        on_card = [rung for rung, works in rungs.items() if works.get(stage, works["decode"] or works["encode"])]
        if stage in ("convert", "resize"):
            on_card = on_card[:1]  # the same code for every rung: it works on surfaces, whoever made them
        for rung in ("cpu", *on_card):
            kinds[f"{stage} {rung}"] = partial(child, "video", stage, clip, rung, str(threads))
    for decoder, encoder in combinations(rungs):
        for processor, label in _LABELS.items():
            arguments = ("whole", clip, processor, decoder, encoder, str(threads))
            kinds[f"{label} {decoder}/{encoder}"] = partial(child, "video", *map(str, arguments))
    refused = {}
    for label, command in peers(clip, folder, threads).items():
        reason = _refusal(command)
        if reason:
            refused[label] = reason
        else:
            kinds[label] = partial(_timed, command, clip)
    runs = in_turn({name: partial(undisturbed, task, tries) for name, task in kinds.items()}, repeats)
    parts = {name: _merged(found) for name, found in runs.items()}
    return {"parts": parts, "refused": refused, "bounds": bounds(parts, combinations(rungs), threads)}


def _merged(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run of median speed, with every run's own."""
    middle = sorted(runs, key=lambda run: run["fps"])[len(runs) // 2]
    kept = {key: value for key, value in middle.items() if key not in ("seconds", "cpu_s", "peak_mb")}
    return {
        **kept, "fps": round(median(run["fps"] for run in runs), 2), "runs_fps": [run["fps"] for run in runs],
        "cpu_ms": round(median(1000 * run["cpu_s"] / run["frames"] for run in runs), 2),
        "others": round(max(run["others"] for run in runs), 2),
    }  # fmt: skip


def bounds(parts: dict[str, Any], pairs: list[tuple[str, str]], threads: int) -> dict[str, Any]:
    """What each whole job could reach at most, and how near it came.

    ``bound`` is min(decode, encode, process), each alone with the whole machine: it can be reached only where they do
    not share anything, as the engines of a GPU do not. ``shared`` is what the cores allow where all of them are on the
    CPU: cores / (CPU time of decode + process + encode), from the same runs. ``cpu_share`` is those three's part of the CPU
    time that the whole job took: other processes disturb it little.

    Args:
        parts: by name, with ``fps`` and ``cpu_ms``.
        pairs: (decoder, encoder).
        threads: cores.
    """
    found = {}
    for decoder, encoder in pairs:
        on_card = (decoder, encoder) != ("cpu", "cpu")
        convert = next((p for name, p in parts.items() if name.startswith("convert ") and name != "convert cpu"), None)
        process = convert if on_card and convert else parts["convert cpu"]
        stages = {"decode": parts[f"decode {decoder}"], "encode": parts[f"encode {encoder}"], "process": process}
        slowest = min(stages, key=lambda stage: float(stages[stage]["fps"]))
        reached = float(parts[f"through RGB {decoder}/{encoder}"]["fps"])
        bound = float(stages[slowest]["fps"])
        work_ms = sum(float(stage["cpu_ms"]) for stage in stages.values())
        shared = None if on_card else round(1000 * threads / work_ms, 1)
        found[f"{decoder}/{encoder}"] = {
            "bound": bound, "slowest": slowest, "reached": reached, "share": round(reached / bound, 3), "shared": shared,
            "shared_share": round(reached / shared, 3) if shared else None,
            "cpu_share": round(work_ms / float(parts[f"through RGB {decoder}/{encoder}"]["cpu_ms"]), 3),
        }  # fmt: skip
    return found


def peers(clip: Path, folder: Path, threads: int) -> dict[str, list[str]]:
    """The ``ffmpeg`` command on the CPU, and on the GPU with frames kept there."""
    on_card = [
        "ffmpeg", "-nostdin", "-v", "error", "-y", "-hwaccel", "cuda", "-hwaccel_output_format", "cuda", "-i", str(clip),
        "-map", "0:v:0", "-map", "0:a?", "-c:v", "h264_nvenc", "-preset", "p3", "-rc", "vbr", "-cq", "20", "-b:v", "0",
        "-fps_mode", "passthrough", "-c:a", "copy", "-movflags", "+faststart", str(folder / "nvenc.mp4"),
    ]  # fmt: skip
    return {"ffmpeg cpu": ffmpeg_command(clip, folder / "x264.mp4", threads), "ffmpeg cuda/h264_nvenc": on_card}


def _refusal(command: list[str]) -> str | None:
    """Why a command does not run here: it is tried with a few frames."""
    if shutil.which(command[0]) is None:
        return "there is no ffmpeg command on this machine"
    trial = [*command[:-1], "-frames:v", "5", command[-1]]
    try:
        done = subprocess.run(trial, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return "the command did not end within 60 s"
    if done.returncode == 0:
        return None
    first = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
    return re.sub(r"^\[[^]]+ @ 0x[0-9a-f]+\] ", "", first).rstrip(".")


def _timed(command: list[str], clip: Path) -> dict[str, Any]:
    """The command, from its start to its end."""
    started, used = time.perf_counter(), own_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise FramelaneError(f"The ffmpeg command failed: {said}")
    seconds, cpu = time.perf_counter() - started, own_seconds() - used
    from framelane.video.clip import probe

    frames = probe(clip).expected_frames
    return {"frames": frames, "seconds": seconds, "cpu_s": cpu, "fps": round(frames / seconds, 2)}


def sentences(figures: dict[str, Any]) -> list[str]:
    """What the figures say: how near each whole job came to its bound, and what could not be run."""
    said = []
    for label, found in figures["sizes"].items():
        worst = max(part["others"] for part in found["parts"].values())
        for pair, bound in found["bounds"].items():
            met = "met" if bound["share"] >= TARGET else "missed"
            met = met if worst <= DISTURBED else "not judged on a machine that is busy with other work"
            text = (
                f"{label}, {pair}: {bound['reached']:.1f} fps of a bound of {bound['bound']:.1f} (min of decode, encode "
                f"and process alone; here {bound['slowest']}), {100 * bound['share']:.0f} %; target "
                f"{100 * TARGET:.0f} %: {met}."
            )
            if bound["shared"]:
                text += (
                    f" On the CPU the three share the cores, whose own bound is {bound['shared']:.1f} fps "
                    f"({100 * bound['shared_share']:.0f} % of that); of the CPU time that the job took, "
                    f"{100 * bound['cpu_share']:.0f} % is theirs."
                )
            said.append(text)
        said += [f"{label}: {name} was not run: {why}." for name, why in found["refused"].items()]
        if worst > DISTURBED:
            said.append(
                f"{label}: other processes kept up to {worst:.1f} cores busy; the clock's figures are disturbed."
            )
    if len(combinations(figures["rungs"])) == 1:
        why = sorted({works[f"{way}_reason"] for works in figures["rungs"].values() for way in ("decode", "encode")})
        said.append(f"No rung of the GPU works here, so nothing was measured on a card: {' '.join(why)}")
    return said


def tables(figures: dict[str, Any]) -> list[Table]:
    """A table for each size, and the original's."""
    from rich.table import Table

    shown = []
    for found in figures["sizes"].values():
        width, height = found["size"]
        clip = figures["clip"]
        on_card = any(part.get("busy") for part in found["parts"].values())
        table = Table(
            "part", "rungs", "fps", "CPU ms", "copies up/down", *(("cudaMalloc", "sm/enc/dec %") if on_card else ()),
            title=f"{width}x{height}, {clip['seconds']} s at {clip['fps']} fps, {figures['threads']} threads; per frame",
        )  # fmt: skip
        for name, part in found["parts"].items():
            what, _, rung = name.rpartition(" ")
            columns = _gpu_columns(part)[: 3 if on_card else 1]
            table.add_row(what, rung, f"{part['fps']:.1f}", f"{part['cpu_ms']:.2f}", *columns)
        shown.append(table)
    table = Table(
        "size", "before, fps", "after, fps", title="Published by the original notes: other machine, other work"
    )
    for label, (before, after) in PUBLISHED.items():
        table.add_row(label, str(before), str(after))
    return [*shown, table]


def _gpu_columns(part: dict[str, Any]) -> tuple[str, str, str]:
    """Copies, allocations and use of engines, where they were counted."""
    copies, busy, calls = part.get("copies"), part.get("busy"), part.get("malloc_after_warm_up")
    return (
        f"{copies['uploads']:g}/{copies['downloads']:g}" if copies else "",
        "" if calls is None else str(calls),
        "/".join(f"{busy[name]:.0f}" for name in ("sm", "encoder", "decoder")) if busy else "",
    )
