"""The monitor and its sensors. Where there is no card, no Jetson board and no jtop, what they answer is made up."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import pynvml
import pytest

import framelane
import support.processors
from framelane.affinity import on_cores
from framelane.doctor.space import findings
from framelane.engine import sensors
from framelane.engine.monitor import STALE_S, Monitor
from framelane.engine.sensors import DiskSource, JtopSource, NvmlSource, SystemSource, TegraSource, open_sources
from framelane.errors import UsageError
from framelane.gpu import find_gpu
from framelane.settings import load
from support.clips import STREET

FAST = {"gif.enabled": False, "output.preset": "ultrafast", "engine.segment_seconds": 1, "engine.min_free_mb": 0}


class Fixed:
    """A source that says what it is told to, and raises what it is told to."""

    def __init__(self, *answers):
        self.answers, self.closed = list(answers), False

    def read(self):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.closed = True


def test_every_quantity_is_folded_and_the_newest_sample_kept():
    monitor = Monitor([Fixed({"a": 1}, {"a": 5}, {"a": 3.0}), Fixed({"b": 2.5})])
    for _ in range(3):
        monitor.tick()
    assert monitor.newest() == {"a": 3.0, "b": 2.5}
    assert monitor.summary()["a"] == {"min": 1, "mean": 3, "max": 5, "samples": 3}
    assert list(monitor.summary()) == ["a", "b"]


@pytest.mark.parametrize("gone", [RuntimeError("lost"), OSError(5, "I/O"), {"a": None}, {"a": float("nan")}, {}])
def test_a_sensor_that_vanishes_is_absent_and_takes_no_other_with_it(gone):
    monitor = Monitor([Fixed({"a": 1.0}, gone, {"a": 3.0}), Fixed({"b": 2.0})])
    assert [set(monitor.tick()) for _ in range(3)] == [{"a", "b"}, {"b"}, {"a", "b"}]
    assert monitor.summary()["a"]["samples"] == 2


def test_an_old_sample_is_not_believed():
    now = [0.0]
    monitor = Monitor([Fixed({"ram": 50.0})], clock=lambda: now[0])
    monitor.tick()
    now[0] = STALE_S
    assert monitor.newest() == {"ram": 50.0}
    now[0] = STALE_S + 0.1
    assert monitor.newest() == {}
    assert monitor.progress() == {}


def test_its_thread_samples_and_ends_and_closes_the_sources():
    source, enough = Fixed({"a": 1.0}), threading.Event()
    monitor = Monitor([source], period_s=0.001)
    monitor.on_sample = lambda sample, now: enough.set() if monitor.summary()["a"]["samples"] >= 5 else None
    monitor.start()
    assert enough.wait(20)
    monitor.stop()
    assert source.closed
    assert not [thread for thread in threading.enumerate() if thread.name == "monitor"]


def test_a_sensor_that_hangs_does_not_hold_up_a_run(tmp_path):
    release = threading.Event()

    class Hanging:
        def read(self):
            release.wait()
            return {}

        def close(self):
            raise AssertionError("a source that is being read must not be closed")

    monitor = Monitor([Hanging()])
    monitor.start()
    assert monitor.newest() == {}
    monitor.stop()
    release.set()


def test_this_machine_is_read(tmp_path):
    """Against psutil itself, and within loose bounds: other programs come and go."""
    import psutil

    settings = load(profile="cpu", overrides={"hardware.ram_limit": 1.0, "engine.min_free_mb": 100}).settings
    sources = open_sources(settings, tmp_path, "cpu")
    monitor = Monitor(sources)
    sample = monitor.tick()
    monitor.stop()
    resident = psutil.Process().memory_info().rss
    assert sample["process_ram_gb"] == pytest.approx(resident / 1e9, rel=0.2)
    assert sample["process_ram"] == pytest.approx(100 * resident / 2**30, rel=0.2)
    assert 0 < sample["ram"] <= max(100, sample["process_ram"])
    assert sample["ram"] >= sample["process_ram"]
    assert sample["disk_free_mb"] == pytest.approx(psutil.disk_usage(str(tmp_path)).free / 1e6, rel=0.1)
    assert sample["disk_free_mb"] - sample["disk_spare_mb"] == pytest.approx(100)
    assert 0 <= sample["cpu"] <= 100
    assert "process_ram" not in SystemSource().read() or SystemSource().read()["process_ram"] is None
    with pytest.raises(FileNotFoundError):
        DiskSource(tmp_path / "none", 0).read()


def test_a_run_reports_what_it_saw(tmp_path):
    events = []
    result = framelane.process_video(
        STREET, "averager", output=tmp_path / "o.mp4", overrides=FAST, progress=events.append
    )
    for quantity in ("ram", "cpu", "disk_free_mb", "process_ram_gb"):
        fold = result.report["sensors"][quantity]
        assert fold["min"] <= fold["mean"] <= fold["max"]
        assert fold["samples"] >= 1
    assert result.report["guard"]["paused_s"] == 0
    assert any("ram" in event for event in events if event["event"] == "progress")
    if not find_gpu()[0]:
        assert not any("gpu" in event for event in events)


# -- NVML ----------------------------------------------------------------------------------------------------------------


ANSWERS = {
    "nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": "handle",
    "nvmlDeviceGetTemperatureThreshold": 93, "nvmlDeviceGetTemperature": 70,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=88), "nvmlDeviceGetEncoderUtilization": [12, 1000],
    "nvmlDeviceGetDecoderUtilization": [34, 1000], "nvmlDeviceGetClockInfo": 1200, "nvmlDeviceGetMaxClockInfo": 1590,
    "nvmlDeviceGetPowerUsage": 65000, "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4,
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=16e9, free=6e9),
}  # fmt: skip


class Nvml:
    """The real binding's names and constants with the answers of a T4: 16 GB, of which 6 are free.

    Names in ``lacks`` are not supported by the card, nor is whatever stands in neither list.
    """

    def __init__(self, lacks=(), **more):
        self.lacks, self.own = lacks, {**ANSWERS, **more}

    def __getattr__(self, name):
        real = getattr(pynvml, name)
        if not callable(real):
            return real
        if name in self.lacks or name not in self.own:
            return lambda *_: _not_supported()
        return lambda *_: self.own[name]


def _not_supported():
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def test_a_gpu_is_read_with_its_own_slowdown_point(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = NvmlSource(in_use=True, nvml=Nvml()).read()
    assert found["gpu_load"] == 88
    assert (found["encoder_load"], found["decoder_load"]) == (12, 34)
    assert (found["gpu_temperature"], found["gpu_slowdown"], found["thermal_margin"]) == (70, 93, 23)
    assert (found["throttled_heat"], found["throttled_power"]) == (0, 1)
    assert found["gpu_power_w"] == 65
    assert found["gpu_memory"] == pytest.approx(62.5)


def test_what_people_watch_goes_with_every_progress(monkeypatch):
    """As ``nvidia-smi`` shows it: MiB in use without what the driver keeps for itself, where it tells that apart."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monitor = Monitor([NvmlSource(in_use=True, nvml=Nvml(nvmlDeviceGetEnforcedPowerLimit=70000)), SystemSource()])
    monitor.tick()
    shown = monitor.progress()["sensors"]
    assert (shown["gpu_memory_used_mib"], shown["gpu_memory_total_mib"]) == (9536.7, 15258.8)
    assert (shown["gpu_power_w"], shown["gpu_power_limit_w"]) == (65, 70)
    assert (shown["gpu_load"], shown["encoder_load"], shown["decoder_load"]) == (88, 12, 34)
    assert (shown["gpu_temperature"], shown["gpu_slowdown"]) == (70, 93)
    assert 0 < shown["ram_used_gb"] < shown["ram_total_gb"]
    assert shown["ram"] == pytest.approx(100 * shown["ram_used_gb"] / shown["ram_total_gb"], abs=1.5)

    class Newer(Nvml):
        def nvmlDeviceGetMemoryInfo(self, handle, version=None):  # noqa: N802
            if version == pynvml.nvmlMemory_v2:
                return SimpleNamespace(total=16e9, reserved=0.5e9, free=6e9, used=9.5e9)
            return SimpleNamespace(total=16e9, free=6e9)

    assert NvmlSource(in_use=False, nvml=Newer()).read()["gpu_memory_used_mib"] == pytest.approx(9.5e9 / 2**20)


@pytest.mark.parametrize(
    ("nvml", "given", "margin"),
    [
        (Nvml(nvmlDeviceGetMarginTemperature=17), None, 17),  # Ada and later answer the margin itself
        (Nvml(lacks=["nvmlDeviceGetTemperatureThreshold"]), None, 10),  # unknown: 80 °C
        (Nvml(), 75, 5),  # the user's
        (Nvml(lacks=["nvmlDeviceGetTemperature"]), None, None),
    ],
)
def test_the_margin_to_the_slowdown_point(nvml, given, margin):
    assert NvmlSource(in_use=True, slowdown=given, nvml=nvml).read()["thermal_margin"] == margin


def test_what_pytorch_keeps_cached_counts_as_free(monkeypatch):
    """NVML says 62.5 % of 16 GB; 4 of those 10 GB are PyTorch's cache, so the guard sees 6 of 16."""
    monkeypatch.setattr(sensors, "torch_memory", lambda: (3e9, 7e9, 1.0))
    assert NvmlSource(in_use=True, nvml=Nvml()).read()["vram"] == pytest.approx(100 * 6 / 16)
    monkeypatch.setattr(sensors, "torch_memory", lambda: (3e9, 7e9, 0.25))  # 4 GB are allowed
    assert NvmlSource(in_use=True, nvml=Nvml()).read()["vram"] == pytest.approx(75)
    idle = NvmlSource(in_use=False, nvml=Nvml()).read()
    assert "vram" not in idle
    assert "thermal_margin" not in idle, "a GPU that others heat is not this job's concern"
    assert idle["gpu_temperature"] == 70


@pytest.mark.parametrize("lacks", [name for name in ANSWERS if name.startswith("nvmlDeviceGet")])
def test_no_quantity_takes_the_others_with_it(lacks, monkeypatch):
    """Of every call that a card may not support; without the card itself there is no source at all."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if lacks in ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"):
        with pytest.raises(pynvml.NVMLError):
            NvmlSource(in_use=True, nvml=Nvml(lacks=[lacks]))
        return
    sample = Monitor([NvmlSource(in_use=True, nvml=Nvml(lacks=[lacks]))]).tick()
    assert len(sample) >= 8


# -- Jetson --------------------------------------------------------------------------------------------------------------


def test_thermal_zones_of_a_board(tmp_path):
    """Laid out as the kernel does it; a zone that is switched off cannot be read, another says nonsense."""
    for index, (kind, text) in enumerate(
        [
            ("CPU-therm", "51500"),
            ("GPU-therm", "48000"),
            ("tj-thermal", "69000"),
            ("PMIC-Die", "-256000"),
            ("cv0-thermal", ""),
        ]
    ):
        zone = tmp_path / f"thermal_zone{index}"
        zone.mkdir()
        (zone / "type").write_text(kind + "\n")
        (zone / "temp").write_text(text + "\n")
    found = TegraSource(root=tmp_path).read()
    assert found == {"gpu_temperature": 48, "cpu_temperature": 51.5, "thermal_margin": 6}
    assert TegraSource(root=tmp_path / "none").read() == {}


def test_jtop_is_read_where_it_runs():
    """The keys are those of jtop.stats in jetson-stats 4: load in %, power in mW; an engine that is off says so."""
    jetson = SimpleNamespace(
        stats={"GPU": 37.5, "Power TOT": 5400, "Temp GPU": 45.0, "NVENC": "OFF"}, close=lambda: None
    )
    assert JtopSource(jetson).read() == {"gpu_load": 37.5, "gpu_power_w": 5.4}
    jetson.stats = {"GPU": "OFF"}
    assert JtopSource(jetson).read() == {"gpu_load": None, "gpu_power_w": None}


# -- cores and swap ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin threads")
def test_a_job_runs_on_the_cores_it_is_given(tmp_path):
    allowed, seen = os.sched_getaffinity(0), set()

    class Where(support.processors.Copy):
        name = "where"

        def infer(self, batch):
            seen.update(os.sched_getaffinity(0))

    core = max(allowed)
    overrides = {**FAST, "hardware.cpu_affinity": [core]}
    result = framelane.process_video(STREET, "where", output=tmp_path / "o.mp4", overrides=overrides)
    assert seen == {core}
    assert "(1 threads)" in result.report["encoder"]
    assert os.sched_getaffinity(0) == allowed


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin threads")
def test_threads_that_exist_already_are_pinned_and_let_go():
    allowed, done = os.sched_getaffinity(0), threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with on_cores([min(allowed)]):
            assert os.sched_getaffinity(thread.native_id) == {min(allowed)}
        assert os.sched_getaffinity(thread.native_id) == allowed
        with pytest.raises(UsageError, match=r"hardware\.cpu_affinity names core 4095"), on_cores([4095]):
            pass
    finally:
        done.set()
        thread.join()


def swap_on(**hardware):
    there = {"ram_total": 8e9, "ram_available": 6e9, "ram_limited": False, "disk_free": 5e10, "swap_total": 0}
    return next(finding for finding in findings({**there, **hardware}) if finding.name == "swap")


def test_the_doctor_says_how_to_add_swap():
    assert swap_on().status == "note"
    for command in ("fallocate -l 8G /swapfile", "chmod 600", "mkswap", "swapon"):
        assert command in swap_on().fix
    assert swap_on(swap_total=4e9).status == "ok"
    assert swap_on(ram_total=64e9).status == "ok"
    assert "outside" in swap_on(ram_limited=True).fix
    assert "fallocate" not in swap_on(disk_free=3e9).fix
