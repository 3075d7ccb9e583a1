"""``framelane doctor --deep``: about a minute of measuring under load."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from framelane.container import usable_cores
from framelane.doctor import heat, storage
from framelane.doctor.finding import Finding
from framelane.errors import chain
from framelane.machine import memory_bandwidth_gbs

SECONDS = 60.0
_DISK, _BANDWIDTH, _LOAD = 0.2, 0.1, 0.35  # shares of the time; the encoders have the rest
_DRIFT = 0.85  # of the speed at the beginning
_WIDE, _HIGH = 1280, 720
_SIDE = {"cuda": 4096, "cpu": 512}


def probe(
    what: str, seconds: float, folder: str = ".", gpu: bool = False, encoders: Sequence[tuple[str, str]] = ()
) -> list[Finding]:
    """One part of the deep look.

    Args:
        what: ``disk``, ``bandwidth``, ``encode`` or ``load``.
        seconds: about how long.
        folder: on the disk that output is written to.
        gpu: whether the GPU is put under load.
        encoders: (rung, codec) of those that work.
    """
    if what == "encode":
        return [encoding(rung, codec, seconds / len(encoders)) for rung, codec in encoders]
    if what == "disk":
        return [_disk(Path(folder), seconds)]
    return [_bandwidth(seconds)] if what == "bandwidth" else [drift(seconds, "cuda" if gpu else "cpu")]


def shares(seconds: float) -> dict[str, float]:
    """Seconds for each part of :func:`probe`."""
    rest = 1 - _DISK - _BANDWIDTH - _LOAD
    return {
        "disk": _DISK * seconds, "bandwidth": _BANDWIDTH * seconds, "encode": rest * seconds, "load": _LOAD * seconds,
    }  # fmt: skip


def encoding(rung: str, codec: str, seconds: float) -> Finding:
    """How fast an encoder takes 720p frames, from the first one to the closed file; its frames lie where it wants them.

    Args:
        rung: a rung that works here.
        codec: ``h264`` or ``hevc``.
        seconds: about how long.
    """
    import tempfile

    from framelane.doctor import codecs

    with tempfile.TemporaryDirectory(prefix="framelane-") as name:
        spec = replace(
            codecs.spec_for(rung, codec), width=_WIDE, height=_HIGH, preset="p3" if rung != "cpu" else "medium"
        )
        try:
            fps, frames = codecs.speed(Path(name) / "speed.nut", replace(spec, threads=usable_cores()), seconds)
        except Exception as error:  # whatever a codec throws is its answer
            said = f"The encoder stopped under load ({chain(error)})."
            return Finding(f"speed {rung} {codec}", "error", said, "Add --encoder cpu, and close what else encodes.")
    with_ = f"{spec.encoder} {spec.preset}, {usable_cores()} threads"
    said = f"{frames} frames of {_WIDE}x{_HIGH} encoded at {fps:.0f} fps ({with_})."
    return Finding(f"speed {rung} {codec}", "ok", said, figures={"fps": round(fps, 1), "frames": frames})


def _disk(folder: Path, seconds: float) -> Finding:
    found = storage.sustained(folder, seconds)
    said = (
        f"{found['rounds']} files of {found['mib']} MiB, written and synced at {found['write_mbs']:.0f} MB/s (median; "
        f"slowest {found['slowest_write_mbs']:.0f}), read back at {found['read_mbs']:.0f} MB/s."
    )
    return Finding("disk, sustained", "ok", said, figures=found)


def _bandwidth(seconds: float) -> Finding:
    speed = memory_bandwidth_gbs(seconds)
    said = f"{speed:.1f} GB/s read and written by one thread that copies for {seconds:.0f} s."
    return Finding("memory bandwidth", "ok", said, figures={"gbs": round(speed, 1)})


def drift(seconds: float, device: str) -> Finding:
    """The speed of matrix products at the beginning and at the end of some seconds of nothing else.

    Args:
        seconds: how long.
        device: ``"cuda"`` (float16) or ``"cpu"`` (float32).
    """
    before = heat.probe()[0].figures
    speeds = _speeds(seconds, device)
    after = heat.probe()[0].figures
    quarter = max(1, len(speeds) // 4)
    first, last = median(speeds[:quarter]), median(speeds[-quarter:])
    kept = last / first
    figures: dict[str, Any] = {
        "device": device, "seconds": round(seconds, 1), "first_gflops": round(first, 1), "last_gflops": round(last, 1),
        "kept": round(kept, 3), "before_c": _heat(before), "after_c": _heat(after), "throttled": after.get("throttled"),
    }  # fmt: skip
    said = (
        f"{seconds:.0f} s of matrix products on the {'GPU' if device == 'cuda' else 'CPU'}: {first:.0f} GFLOP/s in the "
        f"first quarter, {last:.0f} in the last ({100 * kept:.0f} %)"
    )
    if figures["before_c"] is not None and figures["after_c"] is not None:
        said += f"; {figures['before_c']:.0f} °C before, {figures['after_c']:.0f} °C after"
    said += f"; clocks limited by: {figures['throttled']}." if figures["throttled"] else "."
    if kept < _DRIFT:
        fix = (
            "It slows down under load: look for heat (air, other jobs), a power limit, or neighbours on a shared host."
        )
        return Finding("speed under load", "warning", said, fix, figures)
    return Finding("speed under load", "ok", said, figures=figures)


def _heat(figures: Any) -> float | None:
    found = figures.get("gpu_c", figures.get("cpu_c"))
    return None if found is None else float(found)


def _speeds(seconds: float, device: str) -> list[float]:
    """GFLOP/s of products, one after the other; 2 n^3 operations each."""
    import torch

    side = _SIDE[device]
    number = torch.float16 if device == "cuda" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(number) for _ in range(2))
    out = torch.empty_like(a)
    torch.matmul(a, b, out=out)
    _wait(torch, device)
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) < 8 or time.perf_counter() - begun < seconds:
        started = time.perf_counter()
        for _ in range(8):
            torch.matmul(a, b, out=out)
        _wait(torch, device)
        found.append(8 * 2 * side**3 / (time.perf_counter() - started) / 1e9)
    return found


def _wait(torch: Any, device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
