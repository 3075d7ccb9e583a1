"""Room: RAM, swap and disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from framelane.doctor.finding import Finding

_LITTLE_DISK = 2_000_000_000
_LITTLE_RAM = 2_000_000_000
_RAM_WITHOUT_SWAP = 16_000_000_000  # with less, loading a model beside a decoder can end in the kernel's OOM killer


def findings(hardware: Mapping[str, Any]) -> Iterator[Finding]:
    """What there is room for.

    Args:
        hardware: ``machine.Hardware`` as a dict; sizes in bytes.
    """
    yield _disk(hardware)
    yield _ram(hardware)
    yield _swap(hardware)


def _disk(hardware: Mapping[str, Any]) -> Finding:
    said = f"{hardware['disk_free'] / 1e9:.1f} GB are free where output is written."
    figures = {"free_gb": round(hardware["disk_free"] / 1e9, 1)}
    if hardware["disk_free"] < _LITTLE_DISK:
        return Finding("disk space", "warning", f"Only {said}", "Make room for output.", figures)
    return Finding("disk space", "ok", said, figures=figures)


def _ram(hardware: Mapping[str, Any]) -> Finding:
    free, total = hardware["ram_available"] / 1e9, hardware["ram_total"] / 1e9
    limit = " (the container's limit)" if hardware["ram_limited"] else ""
    figures = {"free_gb": round(free, 1), "total_gb": round(total, 1), "limited": hardware["ram_limited"]}
    if hardware["ram_available"] < _LITTLE_RAM:
        fix = "Close other programs, or lower hardware.batch_size."
        return Finding("RAM", "warning", f"Only {free:.1f} GB of {total:.1f} GB of RAM{limit} are free.", fix, figures)
    return Finding("RAM", "ok", f"{free:.1f} GB of {total:.1f} GB of RAM{limit} are free.", figures=figures)


def _swap(hardware: Mapping[str, Any]) -> Finding:
    swap, total = hardware["swap_total"] / 1e9, hardware["ram_total"] / 1e9
    figures = {"swap_gb": round(swap, 1)}
    if hardware["swap_total"]:
        return Finding("swap", "ok", f"There are {swap:.1f} GB of swap.", figures=figures)
    if hardware["ram_total"] < _RAM_WITHOUT_SWAP:
        return Finding("swap", "note", f"There is no swap beside {total:.1f} GB of RAM.", _add_swap(hardware), figures)
    return Finding("swap", "ok", f"There is no swap; {total:.1f} GB of RAM do without it.", figures=figures)


def _add_swap(hardware: Mapping[str, Any]) -> str:
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
