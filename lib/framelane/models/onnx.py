"""Opening an ONNX file with onnxruntime, and saying truthfully where it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError, UsageError, chain

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class OpenedSession:
    """An onnxruntime session and where it really runs."""

    session: Any
    """The ``onnxruntime.InferenceSession``."""
    provider: str
    """The execution provider in use, as in ``"CPUExecutionProvider"``."""
    downgrade: str | None
    """Why it is not the device asked for, as a sentence; None when it is."""


def open_session(path: Path, device: str = "cpu", threads: int = 0, graph: bytes | None = None) -> OpenedSession:
    """Open a model for inference.

    Args:
        path: an ONNX file, already checked (:func:`framelane.models.store.resolve`).
        device: ``"cpu"`` or ``"cuda"``.
        threads: threads of one operator on the CPU; 0 is the number of cores.
        graph: what to open in the place of the file's content: its model with changed dimensions; the path then only
            names it in messages.

    Returns:
        The session, the provider that really runs it, and the reason where that is not the one asked for: the caller
        decides whether a downgrade is reported or is an error.

    Raises:
        UsageError: an unknown device.
        FramelaneError: onnxruntime is not installed, or the file is no model that it can open.
    """
    if device not in _PROVIDERS:
        raise UsageError(f"The device {device!r} is unknown for an ONNX model; allowed are {', '.join(_PROVIDERS)}.")
    runtime = _runtime(device)
    wanted = _PROVIDERS[device]
    available = wanted in runtime.get_available_providers()
    providers = [wanted, _PROVIDERS["cpu"]] if available and device != "cpu" else [_PROVIDERS["cpu"]]
    try:
        session = runtime.InferenceSession(graph or str(path), _options(runtime, threads), providers=providers)
    except Exception as error:
        raise FramelaneError(f"The model {path} cannot be opened ({chain(error)}).") from error
    used = session.get_providers()[0]
    return OpenedSession(session, used, None if used == wanted else _reason(runtime, path, available))


def _runtime(device: str) -> Any:
    if device == "cuda":
        # torch brings CUDA's libraries and loads them; onnxruntime finds them only if that happened first.
        import torch  # noqa: F401
    try:
        import onnxruntime
    except ImportError as error:
        raise FramelaneError(
            f"onnxruntime cannot be imported ({chain(error)}); install onnxruntime, or onnxruntime-gpu for a CUDA card."
        ) from error
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    return onnxruntime


def _options(runtime: Any, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    options.inter_op_num_threads = 1
    # A spinning pool takes the two cores away from the decoder and the encoder while the model has nothing to do.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _reason(runtime: Any, path: Path, available: bool) -> str:
    version = runtime.__version__
    if not available:
        return (
            f"{path.name} runs on the CPU: this onnxruntime {version} has no CUDA support; "
            "remove onnxruntime and install onnxruntime-gpu alone."
        )
    return (
        f"{path.name} runs on the CPU: onnxruntime {version} could not start CUDA; its CUDA version must be that of "
        "the driver and of torch (onnxruntime-gpu up to 1.26 is for CUDA 12, from 1.27 for CUDA 13)."
    )
