"""Recognising that memory ran out, by type and by every text known, and freeing what can be freed."""

from __future__ import annotations

import gc
import sys

_TEXTS = (
    "out of memory",  # torch ("CUDA out of memory."), the CUDA runtime ("CUDA error: out of memory")
    "cudaerrormemoryallocation",
    "failed to allocate memory",  # onnxruntime's arena
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "bad_alloc",
    "not enough memory: you tried to allocate",  # torch's CPU allocator
    "can't allocate memory",
    "cannot allocate memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """True for every known way in which Python, torch, CUDA and onnxruntime say that memory ran out."""
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
