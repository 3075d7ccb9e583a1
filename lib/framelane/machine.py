"""What this machine has: found through NVML, psutil and by doing; a missing GPU is an answer, never an error."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from framelane.profiles import Vram, profile_for

CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_CPUINFO = Path("/proc/cpuinfo")


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
        torch_gpu=_torch_gpu() if works and gpu is None else None,
        swap_total=_swap(),
    )


def _swap() -> int:
    import psutil

    try:
        return int(psutil.swap_memory().total)
    except (OSError, RuntimeError):  # /proc/vmstat is hidden in some containers
        return 0


def _torch_gpu() -> Vram | None:
    import torch

    try:
        free, total = torch.cuda.mem_get_info()
        return Vram(total, free, torch.cuda.get_device_capability())
    except Exception:  # a card that computes but cannot be asked: the caller takes the smallest profile
        return None


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
        vram_free=int(memory_info.free),
        driver=_text(nvml.nvmlSystemGetDriverVersion()),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
        compute_capability=(int(major), int(minor)),
        count=int(nvml.nvmlDeviceGetCount()),
    )


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


def memory(root: Path = CGROUPS, membership: Path = _MEMBERSHIP) -> tuple[int, int, bool]:
    """(total, available) bytes of RAM, and whether a container's limit decides them.

    Args:
        root: where control groups are mounted.
        membership: the file that names this process's group.
    """
    import psutil

    machine = psutil.virtual_memory()
    total, available, limited = int(machine.total), int(machine.available), False
    for limit, used in _limits(root, membership):
        available = min(available, max(0, limit - used))
        if limit < total:
            total, limited = limit, True
    return total, available, limited


def _limits(root: Path, membership: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) bytes of every control group that this process is in, version 2 and version 1."""
    for folder, names in _groups(root, membership):
        limit, used = _number(folder / names[0]), _number(folder / names[1])
        if limit is not None and used is not None:
            yield limit, max(0, used - _reclaimable(folder))


def _groups(root: Path, membership: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    version_2, version_1 = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for line in _read(membership).splitlines() or ["0::/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        base, names = (root / "memory", version_1) if controllers else (root, version_2)
        group = base / path.lstrip("/")
        while group != base:  # a limit anywhere above holds as well
            yield group, names
            group = group.parent
        yield base, names


def _reclaimable(folder: Path) -> int:
    """Bytes of file cache that the kernel gives back before it refuses memory."""
    found = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
    return int(found[1]) if found else 0


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None  # "max" is no limit


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def usable_cores(root: Path = CGROUPS) -> int:
    """Logical cores this process may use: its CPU affinity, less where a container has a quota; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read(root / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and int(quota[1]) > 0:
        cores = min(cores, round(int(quota[0]) / int(quota[1])))
    return max(1, cores)


def cpu_model() -> str:
    """The processor's model name."""
    found = re.search(r"^model name\s*:\s*(.+)$", _read(_CPUINFO), re.MULTILINE)
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
    problem = _no_gpu()
    return ("cpu", f"{problem} Models run on the CPU.") if problem else choose_profile(detect())


def cuda_problem() -> str | None:
    """Why models cannot run on a GPU here, as a sentence; None where they can."""
    if problem := _no_gpu():
        return problem
    _, works, reason = try_torch_cuda()
    if works:
        return None
    return find_gpu()[1] or reason


def _no_gpu() -> str | None:
    """Why there is no GPU, where the driver's own library says so; importing torch to hear the same takes 2 s."""
    gpu, reason = find_gpu()
    return reason if gpu is None and importlib.util.find_spec("pynvml") else None
