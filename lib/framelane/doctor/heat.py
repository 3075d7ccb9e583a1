"""The GPU's thermal state through NVML: temperature, the point where it slows itself down, and why it is slowed now."""

from __future__ import annotations

from typing import Any

from framelane.doctor.finding import Finding
from framelane.engine.sensors import NvmlSource, SystemSource
from framelane.errors import chain

_LITTLE_MARGIN_C = 5.0
# nvml.h, "nvmlClocksEventReasons": what each bit means to a person.
_REASONS = {
    0x1: "idle",
    0x2: "clocks set by a program",
    0x4: "power limit",
    0x8: "hardware slowdown",
    0x10: "in step with another GPU",
    0x20: "too hot (software)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
    0x100: "display clocks",
}
_HOT = 0x20 | 0x40
_POWER = 0x4 | 0x80
_COOL = "Give the machine air or a pause; set guard.slowdown_c lower to slow down earlier."


def probe(nvml: Any = None) -> list[Finding]:
    """Ask the driver; where there is none, the CPU's own sensors.

    Args:
        nvml: the module ``pynvml``.
    """
    try:
        source = NvmlSource(in_use=True, nvml=nvml)
    except Exception as error:  # no driver, no GPU, no binding
        return [_without_gpu(chain(error))]
    try:
        return [_judged(source.read(), _bits(source))]
    finally:
        source.close()


def _bits(source: NvmlSource) -> int | None:
    try:
        return int(source.nvml.nvmlDeviceGetCurrentClocksThrottleReasons(source.handle))
    except Exception:  # a card that does not say
        return None


def reasons(bits: int) -> list[str]:
    """Why the clocks are what they are, in words."""
    return [words for bit, words in _REASONS.items() if bits & bit]


def _without_gpu(why: str) -> Finding:
    heat = SystemSource().read().get("cpu_temperature")
    if heat is None:
        said = f"No temperature can be read: no GPU answers ({why}), and the CPU shows no sensor."
        return Finding("heat", "note", said)
    return Finding("heat", "ok", f"No GPU answers ({why}); the CPU is at {heat:.0f} °C.", figures={"cpu_c": heat})


def _judged(read: Any, bits: int | None) -> Finding:
    heat, slowdown, margin = read.get("gpu_temperature"), read.get("gpu_slowdown"), read.get("thermal_margin")
    why = reasons(bits) if bits is not None else []
    figures = {
        "gpu_c": heat, "slowdown_c": slowdown, "clock_mhz": read.get("gpu_clock_mhz"),
        "clock_max_mhz": read.get("gpu_clock_max_mhz"), "power_w": read.get("gpu_power_w"), "throttled": ", ".join(why),
    }  # fmt: skip
    if heat is None:
        return Finding("heat", "note", "The GPU does not say how warm it is.", figures=figures)
    said = f"The GPU is at {heat:.0f} °C"
    said += f"; it slows itself down at {slowdown:.0f} °C" if slowdown is not None else "; its limit is not known"
    said += f". Its clocks are limited by: {', '.join(why)}." if why else ". Nothing limits its clocks."
    if (bits or 0) & _HOT or (margin is not None and margin < _LITTLE_MARGIN_C):
        return Finding("heat", "warning", said, _COOL, figures)
    if (bits or 0) & _POWER:
        return Finding(
            "heat", "note", said, "Nothing: the card is at its power limit, as under any full load.", figures
        )
    return Finding("heat", "ok", said, figures=figures)
