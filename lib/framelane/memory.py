"""Keeping memory flat; recognising that it ran out, by type and by every text known; freeing what can be freed."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys
from pathlib import Path

# Lower case. Who says it is in the comment; where a text is part of another, the shorter one stands here.
_TEXTS = (
    "out of memory",  # torch, the CUDA runtime, ONNX Runtime's CUDA provider, TensorRT's allocator, FFmpeg's NVENC
    "outofmemory",  # TensorRT: "Error Code 2: OutOfMemory (no further information)"
    "out_of_memory",  # the CUDA driver and NVDEC: CUDA_ERROR_OUT_OF_MEMORY; NVENC: NV_ENC_ERR_OUT_OF_MEMORY
    "cudaerrormemoryallocation",  # the CUDA runtime, by name
    "alloc_failed",  # CUBLAS_STATUS_, CUDNN_STATUS_, CUSOLVER_STATUS_, CUFFT_, ...
    "_allocation_failed",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, and _HOST_
    "unable to find a valid cudnn algorithm",  # torch, where no algorithm's workspace fits
    "failed to allocate memory",  # onnxruntime's arena
    "is smaller than requested bytes of",  # the same, where its limit is set: "Available memory of 16 is smaller ..."
    "could not be allocated. there may not be enough free memory",  # TensorRT, "Requested amount of GPU memory"
    "bad_alloc",
    "bad allocation",  # the same, from MSVC's library
    "insufficient memory",  # OpenCV: "(-4:Insufficient memory) Failed to allocate 1 bytes"
    "not enough memory",  # torch's CPU allocator, Windows
    "can't allocate memory",  # torch's CPU allocator
    "cannot allocate memory",  # ENOMEM: the C library, FFmpeg
)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_memory_flat() -> None:
    """Have glibc give every frame batch its own mapping, which is returned whole when the batch is done with.

    By itself glibc raises the size from which it does so with every mapping freed, up to 32 MB (``mallopt(3)``), and
    frame batches then fragment the heap: the peak of a 100-second clip was 5 to 17 % above that of a 10-second one,
    with this 2 %. It costs 2 to 3 % of time. Other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 4_000_000)
        libc.mallopt(_M_TRIM_THRESHOLD, 64_000_000)


def is_out_of_memory(error: BaseException) -> bool:
    """True for every known way in which Python, torch, CUDA, cuDNN, ONNX Runtime, TensorRT and NVENC say it."""
    if isinstance(error, MemoryError):
        return True
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, Exception) and any(text in str(error).lower() for text in _TEXTS)


def free_memory() -> None:
    """Drop cycles and give torch's cached GPU blocks back, where torch is loaded."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def oom_kills(counters: Path = Path("/proc/vmstat")) -> int:
    """How often the kernel has killed a process for want of memory since it started; 0 where it does not say.

    Args:
        counters: the kernel's counters; those of a container's own limit are among them.
    """
    try:
        lines = counters.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def trim_memory() -> None:
    """Give what glibc's heap keeps free back to the system."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
