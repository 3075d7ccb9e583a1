"""The hardware as the rest of framelane sees it, and the doctor's report about it.

What is there is found in ``machine``; the report says what of it works, and what to do about what does not.
"""

from __future__ import annotations

import importlib
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import chain
from framelane.machine import (
    Gpu,
    Hardware,
    choose_profile,
    cuda_problem,
    detect,
    detected_profile,
    memory_bandwidth_gbs,
)
from framelane.video.codecs import ENCODERS, encode_fps, probe_decoder, probe_encoder

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "Gpu", "Hardware", "choose_profile", "cuda_problem", "detect", "detected_profile", "doctor_report", "findings",
    "memory_bandwidth_gbs", "render_doctor", "versions",
]  # fmt: skip

_PACKAGES = ("framelane", "torch", "torchvision", "onnxruntime", "onnxruntime-gpu", "av", "numpy", "transformers")
_OPENCVS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_LITTLE_DISK = 2_000_000_000
_LITTLE_RAM = 2_000_000_000
_RAM_WITHOUT_SWAP = 16_000_000_000  # with less, loading a model beside a decoder can end in the kernel's OOM killer
_CUDA_13_ORT = (1, 27)  # the first onnxruntime-gpu that needs CUDA 13

Report = dict[str, Any]


def doctor_report(deep: bool = False, path: Path | str = ".") -> Report:
    """Everything worth knowing before a run, as plain data that ``json.dumps`` takes.

    Args:
        deep: also measure memory bandwidth for longer, and how fast each working encoder is.
        path: where output will be written.

    Returns:
        ``hardware, memory_bandwidth_gbs, codecs, versions, models, profile, findings`` and, when deep, ``encode_fps``
        (frames per second of 360 lines, by encoder). ``findings`` are dicts of ``level`` (error, warning or note),
        ``what`` and ``do``.
    """
    hardware = detect(path)
    name, why = choose_profile(hardware)
    codecs = [{"kind": "decoder", **asdict(probe_decoder("cpu"))}, {"kind": "decoder", **asdict(probe_decoder("cuda"))}]
    codecs += [{"kind": "encoder", **asdict(probe_encoder(encoder))} for encoder in ENCODERS]
    found = asdict(hardware)
    if hardware.gpu:
        found["gpu"]["compute_capability"] = list(hardware.gpu.compute_capability)  # as JSON will have it
    report: Report = {
        "hardware": found,
        "memory_bandwidth_gbs": round(memory_bandwidth_gbs(1.5 if deep else 0.3), 1),
        "codecs": codecs,
        "versions": versions(),
        "models": _models(),
        "profile": {"name": name, "why": why},
    }
    if deep:
        working = [codec["name"] for codec in codecs if codec["kind"] == "encoder" and codec["ok"]]
        report["encode_fps"] = {encoder: round(encode_fps(encoder), 1) for encoder in working}
    report["findings"] = list(findings(report))
    return report


def versions() -> Report:
    """Versions by package name (None: not installed), FFmpeg's libraries, ONNX Runtime's providers, broken imports."""
    import av

    found: Report = {"python": platform.python_version()}
    found.update({name: _version(name) for name in _PACKAGES})
    found["ffmpeg"] = {name: ".".join(map(str, number)) for name, number in sorted(av.library_versions.items())}
    found["ffmpeg_command"] = shutil.which("ffmpeg") is not None
    found["opencv"] = [name for name in _OPENCVS if _version(name)]
    found["providers"], found["onnxruntime_error"] = _providers()
    found["torchvision_error"] = _try_torchvision() if found["torchvision"] else None
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _providers() -> tuple[list[str], str | None]:
    try:
        import onnxruntime

        return list(onnxruntime.get_available_providers()), None
    except Exception as error:  # also AttributeError, when one of two installed builds was removed
        return [], chain(error)


def _try_torchvision() -> str | None:
    """What goes wrong when torchvision's own operators are used, or None."""
    try:
        import torch

        ops = importlib.import_module("torchvision.ops")
        ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except Exception as error:  # RuntimeError for missing operators, others for a broken build
        return chain(error)
    return None


def _models() -> Report:
    """The model catalogue with each model's state, or why it cannot be read."""
    try:
        store = importlib.import_module("framelane.models.store")
        rows = [{key: _plain(value) for key, value in asdict(row).items()} for row in store.table()]
    except Exception as error:  # the doctor reports a broken installation instead of failing in it
        return {"rows": [], "error": f"The model catalogue cannot be read ({chain(error)})."}
    return {"rows": rows, "error": None}


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) or value is None else str(value)


def findings(report: Report) -> Iterator[dict[str, str]]:
    """What is wrong in a report, each with what to do.

    Args:
        report: from :func:`doctor_report`; its own ``findings`` are not read.
    """
    yield from _package_findings(report)
    yield from _gpu_findings(report)
    yield from _codec_findings(report)
    yield from _space_findings(report)
    models = report["models"]
    if models["error"]:
        yield _finding("warning", models["error"], "Install framelane again.")
    for row in models["rows"]:
        if row["state"] == "damaged":
            name = row["name"]
            yield _finding("error", f"The file of the model {name} is damaged.", f"Run: framelane models fetch {name}")


def _finding(level: str, what: str, do: str) -> dict[str, str]:
    return {"level": level, "what": what, "do": do}


def _package_findings(report: Report) -> Iterator[dict[str, str]]:
    found = report["versions"]
    if found["onnxruntime"] and found["onnxruntime-gpu"]:
        yield _finding(
            "error",
            "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files.",
            "Uninstall both, then install one of them again.",
        )
    elif not (found["onnxruntime"] or found["onnxruntime-gpu"]):
        yield _finding("error", "ONNX Runtime is not installed.", "Install onnxruntime (or onnxruntime-gpu on a GPU).")
    elif found["onnxruntime_error"]:
        yield _finding("error", f"ONNX Runtime does not work ({found['onnxruntime_error']}).", "Install it again.")
    if not found["torch"]:
        yield _finding(
            "error", "PyTorch is not installed.", "Install torch; without a GPU: pip install framelane[cpu]."
        )
    if found["torchvision_error"]:
        yield _finding(
            "warning",
            f"torchvision {found['torchvision']} does not fit PyTorch {report['hardware']['torch']} "
            f"({found['torchvision_error']}).",
            "framelane stands in for the missing operators. To mend it, install the torchvision of the same release and "
            "the same build (CPU or CUDA) as torch.",
        )
    if len(found["opencv"]) > 1:
        yield _finding(
            "note", f"Several packages own cv2: {', '.join(found['opencv'])}.", "Keep one if cv2 misbehaves."
        )
    if not found["ffmpeg_command"]:
        yield _finding(
            "note", "The ffmpeg command is absent.", "Only 'framelane bench' compares with it; install ffmpeg."
        )


def _gpu_findings(report: Report) -> Iterator[dict[str, str]]:
    hardware, found = report["hardware"], report["versions"]
    gpu = hardware["gpu"]
    if gpu and not hardware["torch_cuda"]:
        yield _finding(
            "error",
            f"There is a {gpu['name']}, but it is not used. {hardware['torch_reason']}",
            f"Install a CUDA build of torch for CUDA {gpu['cuda']} or older, or update the driver.",
        )
    if not gpu and hardware["torch_cuda"]:
        yield _finding(
            "note", f"PyTorch sees a GPU that NVML does not. {hardware['gpu_reason']}", "Its memory is not guarded."
        )
    if hardware["torch_cuda"] and found["providers"] and "CUDAExecutionProvider" not in found["providers"]:
        yield _finding(
            "warning",
            "ONNX Runtime cannot use the GPU: its CUDA provider is not in this build.",
            "Uninstall onnxruntime and install onnxruntime-gpu.",
        )
    if gpu and _too_new(found["onnxruntime-gpu"]) and int(gpu["cuda"].split(".")[0]) < 13:
        yield _finding(
            "error",
            f"onnxruntime-gpu {found['onnxruntime-gpu']} needs CUDA 13, and the driver offers {gpu['cuda']}; it would run "
            "on the CPU without a word.",
            "Install onnxruntime-gpu 1.26.0.",
        )


def _too_new(version: str | None) -> bool:
    parts = (version or "0.0").split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit()) >= _CUDA_13_ORT


def _codec_findings(report: Report) -> Iterator[dict[str, str]]:
    gpu = report["hardware"]["gpu"]
    for codec in report["codecs"]:
        on_gpu = codec["name"] == "cuda" or codec["name"].endswith("_nvenc")
        if codec["ok"] or (on_gpu and not gpu):
            continue
        if on_gpu:
            yield _finding(
                "note", f"{codec['name']}: {codec['reason']}", "Nothing: this release uses the CPU's codecs."
            )
        else:
            yield _finding("error", f"{codec['name']}: {codec['reason']}", "Install PyAV (the package 'av') again.")


def _space_findings(report: Report) -> Iterator[dict[str, str]]:
    hardware = report["hardware"]
    if hardware["disk_free"] < _LITTLE_DISK:
        yield _finding(
            "warning", f"Only {hardware['disk_free'] / 1e9:.1f} GB of disk are free.", "Make room for output."
        )
    if hardware["ram_available"] < _LITTLE_RAM:
        yield _finding(
            "warning",
            f"Only {hardware['ram_available'] / 1e9:.1f} GB of RAM are free.",
            "Close other programs, or lower hardware.batch_size.",
        )
    if not hardware["swap_total"] and hardware["ram_total"] < _RAM_WITHOUT_SWAP:
        yield _finding(
            "note", f"There is no swap beside {hardware['ram_total'] / 1e9:.1f} GB of RAM.", _add_swap(hardware)
        )


def _add_swap(hardware: Report) -> str:
    """How to add swap here."""
    if hardware["ram_limited"]:
        return "Memory is the container's: swap can only be given to it from outside (docker run --memory-swap)."
    gigabytes = next((size for size in (8, 4, 2) if hardware["disk_free"] > 3e9 * size), 0)
    if not gigabytes:
        return "Make room on the disk first; then a swap file can be added."
    return (
        f"sudo fallocate -l {gigabytes}G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
        "sudo swapon /swapfile (to keep it: echo '/swapfile none swap sw 0 0' | sudo tee -a /etc/fstab)"
    )


def render_doctor(report: Report) -> RenderableType:
    """The report as one box for the terminal (see ``doctor_view``)."""
    from framelane.doctor_view import box

    return box(report)
