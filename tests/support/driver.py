"""A machine with a made GPU: a stand-in for ``pynvml``, and a process that has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from framelane import hardware

LIB = Path(hardware.__file__).parents[1]

# A stand-in for the driver's library (the machine that tests this has none), in the shape of nvidia-ml-py.
DRIVER = """
import os
class NVMLError(Exception): pass
class Memory: total, free, used = 16106127360, 15728640000, 377487360
def nvmlInit():
    if os.environ.get("FAKE_GPU") == "no driver": raise NVMLError("Driver Not Loaded")
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return int(os.environ.get("FAKE_COUNT", "1"))
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetHandleByUUID(uuid): return uuid
def nvmlDeviceGetMemoryInfo(handle):
    if os.environ.get("FAKE_GPU") == "lost": raise NVMLError("GPU is lost")
    return Memory
def nvmlSystemGetCudaDriverVersion(): return 12080
def nvmlDeviceGetCudaComputeCapability(handle): return (7, 5)
def nvmlDeviceGetName(handle):
    name = f"{os.environ.get('FAKE_NAME', 'Tesla T4')}"
    return name.encode() if os.environ.get("FAKE_GPU") == "bytes" else name
def nvmlSystemGetDriverVersion(): return "580.82.07"
NVML_TEMPERATURE_THRESHOLD_SLOWDOWN, NVML_TEMPERATURE_GPU, NVML_CLOCK_SM = 1, 0, 1
nvmlClocksThrottleReasonSwThermalSlowdown, nvmlClocksThrottleReasonHwThermalSlowdown = 0x20, 0x40
nvmlClocksThrottleReasonSwPowerCap, nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 0x4, 0x80
def nvmlDeviceGetTemperatureThreshold(handle, kind): return 93
def nvmlDeviceGetTemperature(handle, kind): return int(os.environ.get("FAKE_HEAT", "61"))
def nvmlDeviceGetMarginTemperature(handle): raise NVMLError("Not Supported")
def nvmlDeviceGetCurrentClocksThrottleReasons(handle): return int(os.environ.get("FAKE_THROTTLE", "0"))
def nvmlDeviceGetClockInfo(handle, kind): return 1410
def nvmlDeviceGetMaxClockInfo(handle, kind): return 1590
class Use: gpu = 40
def nvmlDeviceGetUtilizationRates(handle): return Use
def nvmlDeviceGetEncoderUtilization(handle): return (25, 167000)
def nvmlDeviceGetDecoderUtilization(handle): return (10, 167000)
def nvmlDeviceGetPowerUsage(handle): return 38_500
"""


def in_machine_with(tmp_path, code, **environment) -> dict:
    """Run code that prints JSON in a process whose ``pynvml`` is the stand-in."""
    (tmp_path / "pynvml.py").write_text(DRIVER)
    env = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    env |= {"PYTHONPATH": f"{tmp_path}{os.pathsep}{LIB}", **environment}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
