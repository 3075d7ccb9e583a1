"""The GPU: what the driver says of it, and whether PyTorch computes on it; a missing one is an answer, never an error."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from typing import Any

from framelane.profiles import Vram


@dataclass(frozen=True)
class Gpu:
    """The GPU that would be used, as the driver describes it. Memory is in bytes.

    Attributes:
        cuda: the newest CUDA version that the driver supports, such as ``"13.0"``.
        compute_capability: (major, minor); (7, 5) is a T4.
        count: GPUs in the machine.
    """

    name: str
    vram_total: int
    vram_free: int
    driver: str
    cuda: str
    compute_capability: tuple[int, int]
    count: int = 1


def find_gpu() -> tuple[Gpu | None, str | None]:
    """The first GPU that this process may use, and where there is none, a sentence that says why."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.split(",")[0].strip() in ("", "-1", "NoDevFiles"):
        return None, f"GPUs are hidden from this process by CUDA_VISIBLE_DEVICES={visible!r}."
    try:
        import pynvml
    except ImportError:
        return None, "The GPU cannot be looked at: the package nvidia-ml-py is not installed."
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"No NVIDIA driver answers on this machine ({error})."
    try:
        return _describe(pynvml), None
    except LookupError as error:
        return None, str(error)
    except Exception as error:  # NVMLError, or what an old binding raises on a newer driver
        return None, f"The NVIDIA driver answers, but its GPU cannot be read ({error})."
    finally:
        pynvml.nvmlShutdown()


def visible_gpu(nvml: Any) -> Any:
    """NVML's handle of the first GPU that this process may use, by ``CUDA_VISIBLE_DEVICES``.

    Args:
        nvml: the module ``pynvml``, initialised.

    Raises:
        LookupError: there is none; the text is a sentence.
    """
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    count = nvml.nvmlDeviceGetCount()
    if not count:
        raise LookupError("The NVIDIA driver is installed, but it sees no GPU.")
    if not wanted.isdigit():
        return nvml.nvmlDeviceGetHandleByUUID(wanted)
    if int(wanted) >= count:
        raise LookupError(f"CUDA_VISIBLE_DEVICES names GPU {wanted}, but this machine has {count}.")
    return nvml.nvmlDeviceGetHandleByIndex(int(wanted))


def _describe(nvml: Any) -> Gpu:
    handle = visible_gpu(nvml)
    memory_info = nvml.nvmlDeviceGetMemoryInfo(handle)
    cuda = nvml.nvmlSystemGetCudaDriverVersion()
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Gpu(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        vram_total=int(memory_info.total),
        vram_free=int(memory_info.free) + _own_cache(),
        driver=_text(nvml.nvmlSystemGetDriverVersion()),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
        compute_capability=(int(major), int(minor)),
        count=int(nvml.nvmlDeviceGetCount()),
    )


def _own_cache() -> int:
    """Bytes that this process's PyTorch holds and does not use: NVML counts them as used, and they are ours to take."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.memory_reserved() - torch.cuda.memory_allocated())


def _text(value: str | bytes) -> str:
    # nvidia-ml-py before 11.510 returns bytes.
    return value.decode() if isinstance(value, bytes) else value


def try_torch_cuda() -> tuple[str | None, bool, str]:
    """PyTorch's version, whether it computed a sum on the GPU, and a sentence about it."""
    try:
        import torch
    except Exception as error:  # a broken build raises anything from OSError to AttributeError
        return None, False, f"PyTorch cannot be imported ({type(error).__name__}: {error})."
    version = str(torch.__version__)
    if torch.version.cuda is None:
        return version, False, f"PyTorch {version} was built without CUDA."
    try:
        total = float(torch.ones(8, device="cuda").sum())
    except Exception as error:  # no driver, an old driver, a card this build has no code for, no memory
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return version, False, f"PyTorch {version} (CUDA {torch.version.cuda}) cannot compute on the GPU: {first}."
    if total != 8:
        return version, False, f"PyTorch {version} computes wrong results on the GPU."
    return version, True, f"PyTorch {version} (CUDA {torch.version.cuda}) computes on the GPU."


def torch_gpu() -> Vram | None:
    """What PyTorch itself measures of the GPU that it computes on; None where it cannot."""
    import torch

    try:
        free, total = torch.cuda.mem_get_info()
        return Vram(total, free, torch.cuda.get_device_capability())
    except Exception:  # a card that computes but cannot be asked: the caller takes the smallest profile
        return None


def cuda_problem() -> str | None:
    """Why models cannot run on a GPU here, as a sentence; None where they can."""
    if problem := no_gpu():
        return problem
    _, works, reason = try_torch_cuda()
    if works:
        return None
    return find_gpu()[1] or reason


def no_gpu() -> str | None:
    """Why there is no GPU, where the driver's own library says so; importing torch to hear the same takes 2 s."""
    gpu, reason = find_gpu()
    return reason if gpu is None and importlib.util.find_spec("pynvml") else None
