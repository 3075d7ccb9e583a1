"""What the monitor reads: NVML, psutil, the disk, the thermal zones of Tegra boards, and ``jtop`` where it is installed.

Quantities, by name: shares are in %, temperatures in °C, memory in GB (10^9 bytes), the disk in MB (10^6).

========================  =============================================================================================
``gpu_load``              of the GPU; ``encoder_load`` and ``decoder_load`` of its video engines
``gpu_memory``            of the GPU's memory in use by anybody, PyTorch's cache included; ``gpu_memory_used_mib`` and
                          ``gpu_memory_total_mib`` are what ``nvidia-smi`` shows, in MiB (2^20 bytes)
``vram``                  of the memory that this job may use, what is in use; what PyTorch only keeps cached is free
``gpu_temperature``       ``gpu_slowdown`` is where the device slows itself down
``thermal_margin``        °C left to that point: of the GPU in use, or of the hottest zone of a Tegra board
``gpu_clock_mhz``         ``gpu_clock_max_mhz``; ``throttled_heat`` and ``throttled_power`` are 1 while the driver throttles
``gpu_power_w``           power of the GPU, or of the board; ``gpu_power_limit_w`` is its present limit
``ram``                   of the machine's or the container's memory; with ``hardware.ram_limit`` at least ``process_ram``;
                          ``ram_used_gb`` of ``ram_total_gb``
``process_ram_gb``        resident memory of this process; ``process_ram`` is that as a share of ``hardware.ram_limit``
``swap``, ``cpu``         in use
``cpu_temperature``       the hottest sensor of the CPU
``disk_free_mb``          on the output's disk; ``disk_spare_mb`` is that less ``engine.min_free_mb``
========================  =============================================================================================
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framelane.container import memory
from framelane.engine.monitor import Reading, Source
from framelane.gpu import visible_gpu
from framelane.schema import Settings

GIB, MIB = 1 << 30, 1 << 20
UNKNOWN_SLOWDOWN_C = 80.0
TEGRA_SLOWDOWN_C = 75.0
THERMAL_ZONES = Path("/sys/class/thermal")
_TEGRA_MARKS = (Path("/etc/nv_tegra_release"), Path("/sys/module/tegra_fuse"))
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal")


def open_sources(settings: Settings, disk: Path, device: str) -> list[Source]:
    """Every source that answers on this machine.

    Args:
        settings: limits that shares are of.
        disk: a folder on the disk that is written to.
        device: ``"cuda"`` where this job computes on the GPU: only then does its state concern the guard.
    """
    hardware, slowdown = settings.hardware, settings.guard.slowdown_c
    found: list[Source] = [
        SystemSource(hardware.ram_limit * GIB),
        DiskSource(disk, settings.engine.min_free_mb),
    ]
    with contextlib.suppress(Exception):
        found.append(NvmlSource(in_use=device == "cuda", slowdown=slowdown))
    if any(mark.exists() for mark in _TEGRA_MARKS):
        found.append(TegraSource(slowdown or TEGRA_SLOWDOWN_C))
    if importlib.util.find_spec("jtop"):
        with contextlib.suppress(Exception):
            found.append(JtopSource())
    return found


def _ask(call: Callable[[], float]) -> float | None:
    """An answer, or None: one quantity that a device does not know must not take the others with it."""
    try:
        return float(call())
    except Exception:
        return None


class SystemSource:
    """RAM, swap and CPU through psutil and control groups.

    Args:
        ram_limit: bytes that this process may use; 0 is no limit of its own.
    """

    def __init__(self, ram_limit: float = 0) -> None:
        import psutil

        self.ram_limit, self._psutil, self._process = ram_limit, psutil, psutil.Process()
        psutil.cpu_percent()  # the first call only begins to measure

    def read(self) -> Reading:
        """See the module's table."""
        total, available, _ = memory()
        used = 100 * (1 - available / total)
        resident = float(self._process.memory_info().rss)
        share = 100 * resident / self.ram_limit if self.ram_limit else None
        return {
            "ram": max(used, share or 0.0),
            "ram_used_gb": (total - available) / 1e9,
            "ram_total_gb": total / 1e9,
            "process_ram": share,
            "process_ram_gb": resident / 1e9,
            "swap": _ask(lambda: self._psutil.swap_memory().percent),
            "cpu": _ask(self._psutil.cpu_percent),
            "cpu_temperature": self._temperature(),
        }

    def _temperature(self) -> float | None:
        sensors: dict[str, Any] = getattr(self._psutil, "sensors_temperatures", dict)()
        return max((entry.current for name in _CPU_SENSORS for entry in sensors.get(name, [])), default=None)

    def close(self) -> None:
        """Nothing is held."""


class DiskSource:
    """Free space where output is written.

    Args:
        folder: on that disk.
        min_free_mb: MB that must stay free.
    """

    def __init__(self, folder: Path, min_free_mb: float) -> None:
        self.folder, self.min_free_mb = folder, min_free_mb

    def read(self) -> Reading:
        """See the module's table."""
        free = shutil.disk_usage(self.folder).free / 1e6
        return {"disk_free_mb": free, "disk_spare_mb": free - self.min_free_mb}

    def close(self) -> None:
        """Nothing is held."""


class NvmlSource:
    """A GPU through NVML.

    Args:
        in_use: whether this job computes on it; else what concerns the guard is left out.
        slowdown: °C taken as its slowdown point; None asks the device.
        nvml: the module ``pynvml``.

    Raises:
        Exception: there is no driver, or no GPU.
    """

    def __init__(self, *, in_use: bool, slowdown: float | None = None, nvml: Any = None) -> None:
        nvml = nvml or importlib.import_module("pynvml")
        self.nvml, self.in_use, self._given = nvml, in_use, slowdown
        nvml.nvmlInit()
        try:
            self.handle = visible_gpu(nvml)
        except Exception:
            nvml.nvmlShutdown()
            raise
        self._known = None if slowdown else _ask(self._threshold)

    def _threshold(self) -> float:
        return float(
            self.nvml.nvmlDeviceGetTemperatureThreshold(self.handle, self.nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
        )

    def read(self) -> Reading:
        """See the module's table."""
        nvml, handle = self.nvml, self.handle
        heat = _ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        found: dict[str, float | None] = {
            "gpu_load": _ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            "encoder_load": _ask(lambda: nvml.nvmlDeviceGetEncoderUtilization(handle)[0]),
            "decoder_load": _ask(lambda: nvml.nvmlDeviceGetDecoderUtilization(handle)[0]),
            "gpu_clock_mhz": _ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            "gpu_clock_max_mhz": _ask(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
            "gpu_power_w": _ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            "gpu_power_limit_w": _ask(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
            "gpu_temperature": heat,
            **self._throttled(),
            **self._memory(),
        }
        margin = self._margin(heat)
        if heat is not None and margin is not None:
            found["gpu_slowdown"] = heat + margin
        if self.in_use:
            found["thermal_margin"] = margin
        return found

    def _margin(self, heat: float | None) -> float | None:
        """°C left to the slowdown point. Ada and later answer that itself, and their thresholds no longer hold (nvml.h)."""
        if self._given is None:
            margin = _ask(lambda: self.nvml.nvmlDeviceGetMarginTemperature(self.handle))
            if margin is not None:
                return margin
        if heat is None:
            return None
        return (self._given or self._known or UNKNOWN_SLOWDOWN_C) - heat

    def _throttled(self) -> dict[str, float | None]:
        nvml = self.nvml
        reasons = _ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self.handle))
        if reasons is None:
            return {}
        heat = nvml.nvmlClocksThrottleReasonSwThermalSlowdown | nvml.nvmlClocksThrottleReasonHwThermalSlowdown
        power = nvml.nvmlClocksThrottleReasonSwPowerCap | nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown
        return {
            "throttled_heat": float(bool(int(reasons) & heat)),
            "throttled_power": float(bool(int(reasons) & power)),
        }

    def _memory(self) -> dict[str, float | None]:
        """NVML counts PyTorch's cache as used; the allocator hands it out again, so to the guard it is free."""
        try:
            info = self.nvml.nvmlDeviceGetMemoryInfo(self.handle)
        except Exception:  # not supported: boards whose GPU shares the RAM
            return {}
        found: dict[str, float | None] = {
            "gpu_memory": 100 * (1 - info.free / info.total),
            "gpu_memory_used_mib": self._used(info) / MIB,
            "gpu_memory_total_mib": info.total / MIB,
        }
        if self.in_use:
            allocated, reserved, share = torch_memory()
            usable = min(float(info.total), share * info.total)
            available = min(info.free + reserved - allocated, usable - allocated)
            found["vram"] = 100 * (1 - max(0.0, available) / usable)
        return found

    def _used(self, info: Any) -> float:
        """Bytes in use as ``nvidia-smi`` counts them: without what the driver reserves, where it says (510 on)."""
        used = _ask(lambda: self.nvml.nvmlDeviceGetMemoryInfo(self.handle, version=self.nvml.nvmlMemory_v2).used)
        return float(info.total - info.free) if used is None else used

    def close(self) -> None:
        """Let NVML go."""
        self.nvml.nvmlShutdown()


def torch_memory() -> tuple[float, float, float]:
    """Bytes that PyTorch has allocated and reserved on the GPU, and the share of it that it may take; (0, 0, 1) unused."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0.0, 0.0, 1.0
    share = _ask(torch.cuda.get_per_process_memory_fraction)
    return float(torch.cuda.memory_allocated()), float(torch.cuda.memory_reserved()), share or 1.0


class TegraSource:
    """The thermal zones of a Jetson board: millidegrees in ``/sys/class/thermal/thermal_zone*/temp``.

    Args:
        slowdown: °C that is taken as the board's slowdown point.
        root: where the zones are.
    """

    def __init__(self, slowdown: float = TEGRA_SLOWDOWN_C, root: Path = THERMAL_ZONES) -> None:
        self.slowdown, self.root = slowdown, root

    def read(self) -> Reading:
        """See the module's table. Zones that are switched off raise or say nonsense, and are left out."""
        zones = {}
        for zone in sorted(self.root.glob("thermal_zone*")):
            heat = _ask(lambda zone=zone: int((zone / "temp").read_text()) / 1000)  # type: ignore[misc]
            if heat is not None and 0 < heat < 150:
                zones[(zone / "type").read_text().strip().lower()] = heat
        if not zones:
            return {}
        named = {kind: max((t for name, t in zones.items() if kind in name), default=None) for kind in ("gpu", "cpu")}
        return {
            "gpu_temperature": named["gpu"],
            "cpu_temperature": named["cpu"],
            "thermal_margin": self.slowdown - max(zones.values()),
        }

    def close(self) -> None:
        """Nothing is held."""


class JtopSource:
    """GPU load and power of a Jetson board from the service of ``jetson-stats``.

    Args:
        jetson: a started ``jtop.jtop``.

    Raises:
        Exception: its service does not run.
    """

    def __init__(self, jetson: Any = None) -> None:
        if jetson is None:
            jetson = importlib.import_module("jtop").jtop()
            jetson.start()
        self.jetson = jetson

    def read(self) -> Reading:
        """GPU load in %, and the board's power, which ``jtop.stats`` gives in mW."""
        stats = self.jetson.stats
        return {
            "gpu_load": _ask(lambda: stats["GPU"]),
            "gpu_power_w": _ask(lambda: stats["Power TOT"] / 1000),
        }

    def close(self) -> None:
        """Leave the service."""
        self.jetson.close()
