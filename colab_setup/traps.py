"""The known traps: what decides over ONNX Runtime, cv2, torch beside torchvision, GFPGAN and the driver's libraries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .versions import CV2_OWNERS, RUNTIMES, Package

if TYPE_CHECKING:
    from .detect import Driver, Machine

LOADER_FILE = Path("/etc/ld.so.conf.d/framelane-nvidia.conf")
_LAST_CUDA_12 = (1, 26)
_VISION_BEHIND = 15
"""torchvision 0.(n + 15) is compiled for torch 2.n: 2.6 and 0.21, 2.11 and 0.26, 2.13 and 0.28 (torchvision's README)."""


@dataclass(frozen=True)
class Runtime:
    """Which ONNX Runtime belongs here.

    Attributes:
        group: of the requirements file: ``cpu``, ``gpu`` (CUDA 12) or ``cuda13``.
        remove: installed ones that must go first.
        keep: True where what is there is right.
        why: a sentence.
    """

    group: str
    remove: tuple[str, ...]
    keep: bool
    why: str


def onnxruntime(packages: Mapping[str, Package], driver: Driver, torch: str | None, torch_cuda: str | None) -> Runtime:
    """Decide between the flavours; two of them share one folder, so a second one must never stand beside the first.

    Args:
        packages: what is installed.
        driver: NVIDIA's.
        torch: its version, None where it will be installed now.
        torch_cuda: what torch was built for.
    """
    group, why = flavour(driver, torch, torch_cuda)
    there = [name for name in RUNTIMES if name in packages]
    wanted = "onnxruntime" if group == "cpu" else "onnxruntime-gpu"
    right = there == [wanted] and packages[wanted].whole and _fits(group, packages[wanted].version)
    if right:
        return Runtime(group, (), True, f"{why} {wanted} {packages[wanted].version} is there and stays.")
    other = [name for name in there if name not in ("onnxruntime", "onnxruntime-gpu")]
    if other:
        return Runtime(group, (), True, f"{', '.join(other)} is there: somebody chose it, and it stays.")
    if len(there) > 1:
        why += (
            " onnxruntime and onnxruntime-gpu are both there and share one folder: both go, the right one comes back."
        )
    return Runtime(group, tuple(there), False, why)


def flavour(driver: Driver, torch: str | None, torch_cuda: str | None) -> tuple[str, str]:
    """(group of the requirements, a sentence): by the driver and by the CUDA that torch brings, never by a card's name."""
    if not driver.usable:
        return "cpu", f"ONNX Runtime for the CPU: {driver.why or 'no GPU answers'}."
    if torch is not None and torch_cuda is None:
        return "cpu", f"ONNX Runtime for the CPU: torch {torch} was built without CUDA and brings no CUDA libraries."
    newest = driver.cuda or (0, 0)
    brought = int(torch_cuda.partition(".")[0]) if torch_cuda else newest[0]
    if brought >= 13 and newest >= (13, 0):
        return "cuda13", "ONNX Runtime for CUDA 13, as torch and the driver are."
    if brought >= 13:
        return "cpu", (
            f"ONNX Runtime for the CPU: torch is for CUDA {torch_cuda}, and the driver knows CUDA {newest[0]}.{newest[1]} "
            "at most."
        )
    return "gpu", "ONNX Runtime for CUDA 12: from 1.27 on it is for CUDA 13 and would fall to the CPU without a word."


def _fits(group: str, version: str) -> bool:
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if group == "gpu":
        return number <= _LAST_CUDA_12
    return group == "cpu" or number > _LAST_CUDA_12


def gfpgan(python: str) -> str | None:
    """Why GFPGAN's reference package is not installed; None where it can be."""
    if tuple(int(part) for part in python.split(".")[:2]) < (3, 13):
        return None
    return f"gfpgan needs basicsr, which does not build on Python {python}; spandrel opens the same weights there."


def new_torch(driver: Driver) -> str:
    """What is said where torch itself must be installed."""
    if not driver.usable:
        return "torch is missing: its pinned version is installed (1.5 GB and more with CUDA's libraries on Linux)."
    known = f"{driver.cuda[0]}.{driver.cuda[1]}" if driver.cuda else "?"
    return (
        f"torch is missing: the registry's build is installed. The driver knows CUDA up to {known}; if that is less than "
        "what torch needs, install torch from PyTorch's own index for your CUDA and run this again."
    )


def notes(packages: Mapping[str, Package], machine: Machine) -> list[str]:
    """Sentences about what is odd here and is left as it is."""
    found = []
    owners = [packages[name].name for name in CV2_OWNERS if name in packages]
    if len(owners) > 1:
        found.append(
            f"{len(owners)} packages own cv2 ({', '.join(owners)}); none is added or removed: the last one installed wins."
        )
    if problem := mismatch(packages):
        found.append(problem)
    if machine.driver.library_dir:
        found.append(
            f"The driver's libraries lie in {machine.driver.library_dir}, where the loader does not look by itself."
        )
    return found


def mismatch(packages: Mapping[str, Package]) -> str | None:
    """A torch and a torchvision that were not made for each other, as a sentence."""
    torch, vision = packages.get("torch"), packages.get("torchvision")
    if torch is None or vision is None:
        return None
    (major, minor), (_, seen) = (_two(one.version) for one in (torch, vision))
    expected = minor + _VISION_BEHIND
    labels = [one.version.partition("+")[2] for one in (torch, vision)]
    if major == 2 and seen != expected:
        return (
            f"torchvision {vision.version} was not compiled for torch {torch.version} (that is 0.{expected}): importing "
            "it may fail with 'operator torchvision::nms does not exist'. Neither is touched."
        )
    if labels[0].startswith("cu") and labels[1].startswith("cu") and labels[0] != labels[1]:
        return f"torch {torch.version} and torchvision {vision.version} are for two CUDA versions. Neither is touched."
    return None


def _two(version: str) -> tuple[int, int]:
    major, minor, *_ = [*(int(part) for part in re.findall(r"\d+", version)), 0, 0]
    return major, minor
