"""NVIDIA's driver as the decoders meet it: is it there, and what a refusal of FFmpeg's or CUDA's means."""

from __future__ import annotations

import ctypes
import re
from functools import cache

from framelane.video.clip import Clip
from framelane.video.decoders.base import label

NVDEC = "NVDEC, the GPU's video decoder,"
_OLDEST = 11000  # cuDriverGetVersion: 1000 * major + 10 * minor; CUDA 11.0 came with driver 450
_NO_DEVICE, _INSUFFICIENT, _MISMATCH = 100, 35, 803  # CUresult in cuda.h; 35 is the runtime's, some drivers give it too


_NO_DRIVER = f"{NVDEC} cannot be reached: no NVIDIA driver was found on this machine (libcuda.so.1 is missing)."
_NO_CARD = f"{NVDEC} cannot be reached: the NVIDIA driver sees no card (CUDA_ERROR_NO_DEVICE)."
_NO_NVDEC = (
    f"{NVDEC} cannot be reached: the driver's library libnvcuvid.so.1 is missing; install the driver's video part (a "
    "container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility,video)."
)
# What FFmpeg (libavutil/hwcontext_cuda.c, libavcodec/nvdec.c, cuviddec.c and nv-codec-headers' dynlink_loader.h), CUDA
# and PyNvVideoCodec say, and what that means; the first that fits is meant.
_MEANINGS = (
    (r"(Cannot load|cannot open).*libcuda\.so|libcuda\.so.*cannot open", _NO_DRIVER),
    (r"NO_DEVICE|no CUDA-capable device", _NO_CARD),
    (r"libnvcuvid\.so|Failed loading nvcuvid", _NO_NVDEC),
    (
        r"Cannot load cu\w+|[Dd]river.{0,20}too old|INSUFFICIENT_DRIVER|version is insufficient",
        f"{NVDEC} is not used: the NVIDIA driver is too old for this decoder ({{line}}).",
    ),
    (r"OUT_OF_MEMORY|[Oo]ut of memory", f"{NVDEC} found no room in the card's memory for {{what}}."),
    (
        r"NOT_SUPPORTED|not supported|[Uu]nsupported|not within range|lacking required|lacks support",
        f"{NVDEC} of this card does not decode {{what}} ({{line}}).",
    ),
)


@cache
def driver_problem() -> str | None:
    """Why nothing can be decoded by an NVIDIA driver on this machine, in one sentence; None where one answers.

    Loads the driver's two libraries, as FFmpeg and PyNvVideoCodec will, and asks for cards and version.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return _NO_DRIVER
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    started = cuda.cuInit(0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    if started in (_INSUFFICIENT, _MISMATCH) or 0 < version.value < _OLDEST:
        return (
            f"{NVDEC} is not used: the NVIDIA driver is too old (it offers CUDA {version.value // 1000}."
            f"{version.value % 1000 // 10}; CUDA {_OLDEST // 1000} is the least). Update the driver."
        )
    if started == 0:
        started = cuda.cuDeviceGetCount(ctypes.byref(count))
    if started == _NO_DEVICE or (started == 0 and count.value == 0):
        return _NO_CARD
    if started:
        return f"{NVDEC} cannot be reached: the NVIDIA driver does not start (CUDA error {started})."
    try:
        ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        return _NO_NVDEC
    return None


@cache
def torch_problem() -> str | None:
    """Why PyTorch cannot hold frames on a card here, in one sentence; None where it can."""
    import torch

    if torch.version.cuda is None:
        return "This PyTorch is built without CUDA, so that frames cannot lie on a card; install a CUDA build of torch."
    if not torch.cuda.is_available():
        return f"PyTorch (built for CUDA {torch.version.cuda}) finds no card that it can use."
    return None


def explain(said: list[str], error: str, clip: Clip) -> str:
    """One sentence on why a decoder on the GPU refused.

    Args:
        said: log lines of FFmpeg, or texts of exceptions, in order.
        error: the last error, named where none of the lines is understood.
        clip: what was to be decoded.
    """
    text, line, what = "\n".join([*said, error]), _line(said, error), label(clip)
    for pattern, sentence in _MEANINGS:
        if re.search(pattern, text):
            return sentence.format(line=line, what=what)
    return f"{NVDEC} did not decode {what} ({line})."


def _line(said: list[str], error: str) -> str:
    """The line that says most: the last that names a cause, without the full stop."""
    named = [
        line
        for line in said
        if re.search(r"CUDA_ERROR|Cannot load|not supported|not within range|lacking required|[Uu]nsupported", line)
    ]
    return (named or [error])[-1].strip().rstrip(".").replace("\n", " ")
