"""ONNX Runtime: a real session on an embedded model, which provider really runs it, and its time beside the CPU's."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np

from framelane.doctor.finding import Finding
from framelane.errors import FramelaneError, chain

_MODEL = "nanodet"
_RUNS = 5
_LARGEST_ERROR = 2e-2  # of the largest output; a GPU may use TF32, whose products are good to about 1e-3
_REPAIR = (
    "Run: pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them (onnxruntime-gpu==1.26.0 for CUDA 12)."
)


def probe(gpu: bool) -> list[Finding]:
    """Open the embedded detector and run it.

    Args:
        gpu: whether this machine has a GPU that should run it.
    """
    try:
        return [_compared(gpu)]
    except FramelaneError as error:
        return [Finding("ONNX Runtime", "error", str(error), _REPAIR)]
    except Exception as error:  # a session of a half-removed build raises anything
        return [Finding("ONNX Runtime", "error", f"A real session failed ({chain(error)}).", _REPAIR)]


def _compared(gpu: bool) -> Finding:
    from framelane.models import store
    from framelane.models.onnx import open_session

    path = store.resolve(_MODEL, fetch=False)
    cpu = open_session(path, "cpu")
    feed = _feed(cpu.session)
    wanted, cpu_ms = _timed(cpu.session, feed)
    figures: dict[str, Any] = {"provider": cpu.provider, "cpu_ms": round(cpu_ms, 2), "gpu_ms": None, "model": _MODEL}
    if not gpu:
        said = f"A real session on {_MODEL} runs on {cpu.provider}: {cpu_ms:.1f} ms a picture. There is no GPU to use."
        return Finding("ONNX Runtime", "ok", said, figures=figures)
    card = open_session(path, "cuda")
    figures["provider"] = card.provider
    if card.downgrade:
        said = f"{card.downgrade} Its session on {_MODEL} takes {cpu_ms:.1f} ms a picture on the CPU."
        return Finding("ONNX Runtime", "error", said, _REPAIR, figures)
    found, gpu_ms = _timed(card.session, feed)
    figures |= {"gpu_ms": round(gpu_ms, 2), "error": (error := _error(found, wanted))}
    said = (
        f"A real session on {_MODEL} runs on {card.provider}: {gpu_ms:.1f} ms a picture, {cpu_ms:.1f} ms on the CPU; the "
        f"results differ by {error:.1e} of the largest value."
    )
    return _judged(said, figures)


def _judged(said: str, figures: dict[str, Any]) -> Finding:
    if not figures["error"] <= _LARGEST_ERROR:  # NaN is no agreement
        return Finding("ONNX Runtime", "error", f"{said} These are not the same results.", _REPAIR, figures)
    if figures["gpu_ms"] >= figures["cpu_ms"]:
        fix = "Close what else uses the GPU; if it stays, run ONNX models on the CPU: hardware.device=cpu."
        return Finding("ONNX Runtime", "warning", f"{said} The GPU brings nothing here.", fix, figures)
    return Finding("ONNX Runtime", "ok", said, figures=figures)


def _feed(session: Any) -> dict[str, np.ndarray]:
    """Seeded noise in the shape of the first input."""
    given = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    return {given.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


def _timed(session: Any, feed: dict[str, np.ndarray]) -> tuple[list[np.ndarray], float]:
    """Outputs, and the median of a few runs in ms; the first run, which allocates, is not counted."""
    found = session.run(None, feed)
    taken = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        found = session.run(None, feed)
        taken.append(1000 * (time.perf_counter() - started))
    return found, median(taken)


def _error(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """The largest difference, as a share of the largest value."""
    scale = max(float(np.abs(w).max()) for w in wanted)
    return max(float(np.abs(f - w).max()) for f, w in zip(found, wanted, strict=True)) / scale
