"""Where the installer runs: host, Python, driver, CUDA, torch. Nothing is imported that is not the standard library's."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .versions import Package

LIBRARY_DIRS = ("/usr/lib64-nvidia", "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib")
"""Where the driver's libraries lie though the loader may not look there (googlecolab/colabtools#3588)."""
_PROC_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver.

    Attributes:
        version: as in ``"580.82.07"``; None where there is no driver.
        cuda: (major, minor) of the newest CUDA that it supports, from ``cuDriverGetVersion``.
        cards: names of the GPUs, from NVML.
        library_dir: the folder that the loader must be told of; None where it finds the libraries by itself.
        why: a sentence where there is nothing to use.
    """

    version: str | None = None
    cuda: tuple[int, int] | None = None
    cards: tuple[str, ...] = ()
    library_dir: str | None = None
    why: str = ""

    @property
    def usable(self) -> bool:
        """A card that CUDA answers for."""
        return bool(self.cards) and self.cuda is not None


@dataclass(frozen=True)
class Machine:
    """What :func:`look` found.

    Attributes:
        host: ``"colab"``, ``"kaggle"``, ``"jupyter"`` or ``"local"``.
        runtime: the host's own version of its image, or "".
        kernels: process ids of notebook kernels that this process descends from; its own where it is one.
        torch: version; None where it is not installed.
        torch_cuda: CUDA version that torch was built for; None for a CPU build.
    """

    host: str
    runtime: str
    python: str
    system: str
    driver: Driver
    kernels: tuple[int, ...]
    torch: str | None
    torch_cuda: str | None


def look(packages: Mapping[str, Package]) -> Machine:
    """Look at the machine.

    Args:
        packages: what is installed, from :func:`.versions.live`.
    """
    kernels = _kernels()
    name, runtime = host(os.environ, in_kernel=bool(kernels))
    torch = packages.get("torch")
    return Machine(
        host=name,
        runtime=runtime,
        python=platform.python_version(),
        system=_system(),
        driver=_driver(),
        kernels=kernels,
        torch=torch.version if torch else None,
        torch_cuda=torch_cuda(torch) if torch else None,
    )


def host(environment: Mapping[str, str], in_kernel: bool, root: Path = Path("/")) -> tuple[str, str]:
    """(host, version of its image).

    Kaggle is asked first: it builds on Colab's image and carries Colab's variables (Kaggle/kagglehub#230).
    """
    if "KAGGLE_KERNEL_RUN_TYPE" in environment or (root / "kaggle/working").is_dir():
        return "kaggle", environment.get("KAGGLE_DOCKER_IMAGE", "")
    if "COLAB_RELEASE_TAG" in environment or "COLAB_GPU" in environment:
        tag = environment.get("COLAB_RELEASE_TAG", "")
        dated = re.search(r"(\d{4})(\d{2})\d{2}", tag)
        return "colab", f"{dated[1]}.{dated[2]} ({tag})" if dated else tag
    return ("jupyter", "") if in_kernel or "JPY_PARENT_PID" in environment else ("local", "")


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _driver() -> Driver:
    library, folder = _library("libnvidia-ml.so.1")
    version, cards, why = _nvml(library) if library else (None, (), "no NVIDIA driver is installed")
    version = version or _proc_version()
    cuda_library, cuda_folder = _library("libcuda.so.1")
    cuda = _cuda(cuda_library) if cuda_library else None
    if not why and cuda is None:
        why = "the driver answers, but libcuda does not"
    return Driver(version, cuda, cards, cuda_folder or folder, why)


def _library(name: str) -> tuple[ctypes.CDLL | None, str | None]:
    """A driver library, and the folder where it had to be looked for by path."""
    for folder in (None, *LIBRARY_DIRS):
        try:
            return ctypes.CDLL(name if folder is None else f"{folder}/{name}"), folder
        except OSError:
            continue
    return None, None


def _nvml(nvml: ctypes.CDLL) -> tuple[str | None, tuple[str, ...], str]:
    if code := nvml.nvmlInit_v2():
        return None, (), f"NVML does not start (code {code})"
    try:
        text, count = ctypes.create_string_buffer(96), ctypes.c_uint()
        version = None if nvml.nvmlSystemGetDriverVersion(text, 96) else text.value.decode()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        names = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0:
                nvml.nvmlDeviceGetName(handle, text, 96)
                names.append(text.value.decode())
        return version, tuple(names), "" if names else "the driver sees no GPU"
    finally:
        nvml.nvmlShutdown()


def _cuda(cuda: ctypes.CDLL) -> tuple[int, int] | None:
    number = ctypes.c_int()
    if cuda.cuDriverGetVersion(ctypes.byref(number)) or not number.value:
        return None
    return number.value // 1000, number.value % 1000 // 10


def _proc_version() -> str | None:
    try:
        found = re.search(r"Kernel Module[^\d]*([\d.]+)", _PROC_DRIVER.read_text())
    except OSError:
        return None
    return found[1] if found else None


def torch_cuda(torch: Package) -> str | None:
    """The CUDA version that an installed torch was built for, read from its ``version.py`` without importing it."""
    text = ""
    if torch.folder:
        try:
            text = (torch.folder.parent / "torch" / "version.py").read_text()
        except OSError:
            text = ""
    if found := re.search(r"^cuda\b[^=]*=\s*(?:'([\d.]+)'|None)", text, re.MULTILINE):
        return found[1]
    label = re.search(r"\+cu(\d+)(\d)$", torch.version)
    return f"{label[1]}.{label[2]}" if label else None


def _kernels(proc: Path = Path("/proc")) -> tuple[int, ...]:
    if "ipykernel" in sys.modules:
        return (os.getpid(),)
    found, pid = [], os.getppid()
    while pid > 1:
        try:
            words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
            parent = int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
        if any(b"kernel_launcher" in word or word == b"ipykernel" for word in words):
            found.append(pid)
        pid = parent
    return tuple(found)
