"""What this machine has: found through NVML, psutil and by doing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from framelane.container import memory, read_text, usable_cores
from framelane.gpu import Gpu, find_gpu, no_gpu, torch_gpu, try_torch_cuda
from framelane.profiles import Vram, profile_for

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Hardware:
    """What :func:`detect` found. Sizes are in bytes.

    Attributes:
        gpu: None where there is none to use; ``gpu_reason`` says why.
        gpu_reason: a sentence, or None.
        ram_total: of the machine, or of the container where that is less.
        ram_available: what can still be used without swapping, within the container's limit.
        ram_limited: True where a container's limit, not the machine, sets ``ram_total``.
        cpu: model name.
        cores: logical cores of the machine.
        cores_usable: logical cores this process may run on.
        disk_path: the path whose disk was measured.
        disk_free: bytes that may still be written there.
        torch: version, or None where it does not import.
        torch_cuda: True where PyTorch computed something on the GPU.
        torch_reason: a sentence: what worked, or why it did not.
        swap_total: bytes of swap space.
        torch_gpu: what PyTorch itself measures of the GPU that it computes on, for where NVML does not answer.
    """

    gpu: Gpu | None
    gpu_reason: str | None
    ram_total: int
    ram_available: int
    ram_limited: bool
    cpu: str
    cores: int
    cores_usable: int
    disk_path: str
    disk_free: int
    torch: str | None
    torch_cuda: bool
    torch_reason: str
    torch_gpu: Vram | None = None
    swap_total: int = 0


def detect(path: Path | str = ".") -> Hardware:
    """Look at the machine.

    Args:
        path: where output will be written; its disk is measured. It need not exist yet.
    """
    gpu, gpu_reason = find_gpu()
    total, available, limited = memory()
    version, works, torch_reason = try_torch_cuda()
    place = _existing(Path(path))
    return Hardware(
        gpu=gpu,
        gpu_reason=gpu_reason,
        ram_total=total,
        ram_available=available,
        ram_limited=limited,
        cpu=cpu_model(),
        cores=os.cpu_count() or 1,
        cores_usable=usable_cores(),
        disk_path=str(place),
        disk_free=shutil.disk_usage(place).free,
        torch=version,
        torch_cuda=works,
        torch_reason=torch_reason,
        torch_gpu=torch_gpu() if works and gpu is None else None,
        swap_total=_swap(),
    )


def _swap() -> int:
    import psutil

    try:
        return int(psutil.swap_memory().total)
    except (OSError, RuntimeError):  # /proc/vmstat is hidden in some containers
        return 0


def cpu_model() -> str:
    """The processor's model name."""
    found = re.search(r"^model name\s*:\s*(.+)$", read_text(_CPUINFO), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine() or "unknown"


def _existing(path: Path) -> Path:
    """The path, or its nearest ancestor that exists."""
    path = path.absolute()
    return next((p for p in (path, *path.parents) if p.exists()), Path(path.anchor))


def memory_bandwidth_gbs(seconds: float = 0.4) -> float:
    """Measured memory bandwidth in GB/s (10^9 bytes read and written): the median of several copies in one thread.

    Args:
        seconds: about how long to measure. 128 MiB are copied at a time, more than any cache in use here; less where
            memory is short.
    """
    import numpy as np

    size = max(1 << 20, min(128 << 20, memory()[1] // 8))
    begun = time.perf_counter()
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    target[:] = 1  # touches every page, so that the copies below fault none in
    speeds: list[float] = []
    while len(speeds) < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        np.copyto(target, source)
        speeds.append(2 * size / (time.perf_counter() - start) / 1e9)
    return median(speeds)


def choose_profile(hardware: Hardware) -> tuple[str, str]:
    """The profile that fits, and a sentence that says why; see :func:`framelane.profiles.profile_for`."""
    if not hardware.torch_cuda:
        return "cpu", f"{hardware.gpu_reason or hardware.torch_reason} Models run on the CPU."
    gpu = hardware.gpu
    found = Vram(gpu.vram_total, gpu.vram_free, gpu.compute_capability) if gpu else hardware.torch_gpu
    if found is None:
        return (
            "memory_saver",
            "PyTorch computes on a GPU whose memory cannot be measured, so the smallest profile is used.",
        )
    name, why = profile_for(found)
    return name, f"{gpu.name if gpu else 'A GPU that only PyTorch sees'}: {why}"


def detected_profile() -> tuple[str, str]:
    """:func:`choose_profile` for this machine: the profile's name, and a sentence that says why."""
    problem = no_gpu()
    return ("cpu", f"{problem} Models run on the CPU.") if problem else choose_profile(detect())
