"""The doctor looks at real machines, with and without a GPU, and never fails on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from framelane import hardware, machine
from framelane.hardware import Gpu, choose_profile, detect, doctor_report, findings, memory_bandwidth_gbs, render_doctor
from framelane.profiles import Vram

LIB = Path(hardware.__file__).parents[1]
GIB = 1 << 30
T4 = Gpu("Tesla T4", 15360 << 20, 15000 << 20, "580.82.07", "13.0", (7, 5))

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


FIND = """
    import json
    from dataclasses import asdict
    from framelane.machine import find_gpu
    gpu, reason = find_gpu()
    print(json.dumps([gpu and asdict(gpu), reason]))
"""


@pytest.mark.parametrize("kind", ["text", "bytes"])
def test_a_gpu_is_described(tmp_path, kind):
    gpu, reason = in_machine_with(tmp_path, FIND, FAKE_GPU=kind, FAKE_COUNT="2")
    assert reason is None
    assert gpu == {
        "name": "Tesla T4",
        "vram_total": 16106127360,
        "vram_free": 15728640000,
        "driver": "580.82.07",
        "cuda": "12.8",
        "compute_capability": [7, 5],
        "count": 2,
    }


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"FAKE_GPU": "no driver"}, "No NVIDIA driver answers"),
        ({"FAKE_GPU": "lost"}, "GPU is lost"),
        ({"FAKE_COUNT": "0"}, "sees no GPU"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "hidden from this process"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "hidden from this process"),
        ({"CUDA_VISIBLE_DEVICES": "3"}, "names GPU 3"),
    ],
)
def test_no_usable_gpu_is_a_reason(tmp_path, environment, words):
    gpu, reason = in_machine_with(tmp_path, FIND, **environment)
    assert gpu is None
    assert words in reason
    assert reason.endswith(".")


def test_a_gpu_named_by_its_uuid(tmp_path):
    gpu, _ = in_machine_with(tmp_path, FIND, CUDA_VISIBLE_DEVICES="GPU-1234,GPU-5678")
    assert gpu["name"] == "Tesla T4"


def test_the_report_of_a_gpu_that_torch_cannot_use(tmp_path):
    code = """
        import json, io
        from rich.console import Console
        from framelane import hardware
        report = hardware.doctor_report()
        text = io.StringIO()
        Console(file=text, width=140).print(hardware.render_doctor(report))
        print(json.dumps([report, text.getvalue()]))
    """
    report, text = in_machine_with(tmp_path, code, FAKE_NAME="NVIDIA L4")
    assert report["hardware"]["gpu"]["name"] == "NVIDIA L4"
    assert all(word in text for word in ("NVIDIA L4", "15.7 GB free of 16.1 GB", "580.82.07", "up to 12.8"))
    if not report["hardware"]["torch_cuda"]:
        assert report["profile"]["name"] == "cpu"
        assert any("it is not used" in finding["what"] for finding in report["findings"])


def machine_with(gpu=None, works=False):
    found = detect()
    reason = None if gpu else "No NVIDIA driver answers on this machine."
    return replace(found, gpu=gpu, gpu_reason=reason, torch_cuda=works, torch_reason="PyTorch was planted.")


def test_the_profile_says_why():
    assert choose_profile(machine_with(T4, True))[0] == "t4"
    name, why = choose_profile(machine_with(replace(T4, name="NVIDIA A100-SXM4-40GB"), True))
    assert name == "t4", "measured, not named: this 'A100' has 15 GB and compute capability 7.5"
    assert "A100" in why
    assert "14.6 of 15.0 GB" in why
    assert "7.5" in why
    real = replace(T4, vram_total=40 * GIB, vram_free=39 * GIB, compute_capability=(8, 0))
    assert choose_profile(machine_with(real, True))[0] == "ultra_quality"
    name, why = choose_profile(machine_with())
    assert name == "cpu"
    assert "No NVIDIA driver" in why
    name, why = choose_profile(machine_with(T4, False))
    assert name == "cpu"
    assert "PyTorch was planted." in why
    small = replace(T4, name="NVIDIA T4", vram_total=4 * GIB, vram_free=4 * GIB)
    assert choose_profile(machine_with(small, True))[0] == "memory_saver"


def test_a_gpu_that_only_pytorch_sees_is_measured_by_it():
    unseen = replace(machine_with(None, True), torch_gpu=Vram(24 * GIB, 23 * GIB, (8, 9)))
    name, why = choose_profile(unseen)
    assert name == "high_quality"
    assert "only PyTorch sees" in why
    assert choose_profile(machine_with(None, True))[0] == "memory_saver", "where nothing can be measured"


def test_every_profile_ships():
    from framelane.settings import names

    assert {"cpu", "t4"} <= set(names("profiles"))
    assert hardware.detected_profile()[0] in names("profiles")


def test_detect_on_this_machine(tmp_path):
    found = detect(tmp_path / "not" / "yet" / "there")
    assert 0 < found.ram_available <= found.ram_total
    assert 1 <= found.cores_usable <= found.cores
    assert found.disk_free > 0
    assert found.disk_path == str(tmp_path)
    assert found.cpu
    assert found.torch
    assert (found.gpu is None) == bool(found.gpu_reason)
    assert (hardware.cuda_problem() is None) == found.torch_cuda


def group(root: Path, name: str, limit: str, used: int, cache: int = 0, old=False) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{'total_' if old else ''}inactive_file {cache}\n")


def test_a_containers_limit_is_the_memory_there_is(tmp_path):
    (tmp_path / "self").write_text("0::/pod/box\n")
    group(tmp_path, "pod/box", "max", 0)
    group(tmp_path, "pod", str(GIB), GIB // 2, cache=GIB // 4)
    total, available, limited = machine.memory(tmp_path, tmp_path / "self")
    assert (total, limited) == (GIB, True)
    assert available == GIB - GIB // 4


def test_control_groups_of_version_1(tmp_path):
    (tmp_path / "self").write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    group(tmp_path / "memory", "docker/abc", str(GIB), GIB // 2, old=True)
    assert machine.memory(tmp_path, tmp_path / "self") == (GIB, GIB // 2, True)


@pytest.mark.parametrize("limit", ["max", str(1 << 62)])
def test_no_limit_is_no_limit(tmp_path, limit):
    (tmp_path / "self").write_text("0::/\n")
    group(tmp_path, ".", limit, 0)
    total, available, limited = machine.memory(tmp_path, tmp_path / "self")
    assert not limited
    assert available <= total


def test_a_cpu_quota_limits_the_cores(tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert machine.usable_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.usable_cores(tmp_path) >= 1


def test_memory_bandwidth_is_plausible():
    assert 0.5 < memory_bandwidth_gbs(0.05) < 2000


@pytest.fixture(scope="module")
def report():
    return doctor_report()


def test_the_report_is_plain_data_and_complete(report):
    assert json.loads(json.dumps(report)) == report
    keys = {"hardware", "memory_bandwidth_gbs", "codecs", "versions", "models", "profile", "findings"}
    assert set(report) == keys
    names = {codec["name"] for codec in report["codecs"]}
    assert names == {"cpu", "cuda", "libx264", "libx265", "h264_nvenc", "hevc_nvenc"}
    assert all(codec["reason"].endswith(".") for codec in report["codecs"])
    assert not report["models"]["error"]


def test_the_box_shows_everything(report):
    text = StringIO()
    Console(file=text, width=120).print(render_doctor(report))
    shown = text.getvalue()
    words = ["GPU", "RAM", "Disk", "CPU", "Memory bandwidth", "libx264", "h264_nvenc", "Versions", "torch", "Profile"]
    words += [report["profile"]["name"], "framelane doctor", report["versions"]["av"]]
    assert [word for word in words if word not in shown] == []


def test_deep_adds_encoder_speeds():
    speeds = doctor_report(deep=True)["encode_fps"]
    assert speeds["libx264"] > 1
    assert speeds["libx265"] > 1


def sick(report, **versions):
    return {**report, "versions": {**report["versions"], "torchvision_error": None, **versions}}


def whats(report) -> str:
    found = list(findings(report))
    assert all(f["level"] in ("error", "warning", "note") and f["do"] for f in found)
    return " ".join(f["what"] for f in found)


def test_findings_name_what_is_wrong(report):
    healthy = sick(
        report, onnxruntime="1.26.0", **{"onnxruntime-gpu": None}, ffmpeg_command=True, opencv=["opencv-python"]
    )
    assert "onnxruntime" not in whats(healthy)
    assert "both installed" in whats(sick(report, onnxruntime="1.26.0", **{"onnxruntime-gpu": "1.26.0"}))
    assert "ONNX Runtime is not installed" in whats(sick(report, onnxruntime=None, **{"onnxruntime-gpu": None}))
    assert "torchvision" in whats(sick(report, torchvision_error="RuntimeError: operator does not exist"))
    assert "ffmpeg command is absent" in whats(sick(report, ffmpeg_command=False))
    assert "own cv2" in whats(sick(report, opencv=["opencv-python", "opencv-python-headless"]))


def test_findings_about_a_gpu(report):
    gpu = {"name": "Tesla T4", "cuda": "12.8"}
    there = {**report["hardware"], "gpu": gpu, "torch_cuda": True}
    with_gpu = sick(report, onnxruntime=None, **{"onnxruntime-gpu": "1.27.1"}, providers=["CPUExecutionProvider"])
    text = whats({**with_gpu, "hardware": there})
    assert "needs CUDA 13" in text
    assert "cannot use the GPU" in text
    assert "not used" in whats({**report, "hardware": {**there, "torch_cuda": False}})


def test_findings_about_space_models_and_codecs(report):
    little = {**report["hardware"], "disk_free": 10**9, "ram_available": 10**9}
    assert "of disk" in whats({**report, "hardware": little})
    assert "of RAM" in whats({**report, "hardware": little})
    assert "It broke." in whats({**report, "models": {"rows": [], "error": "It broke."}})
    damaged = {"rows": [{"name": "nanodet", "state": "damaged"}], "error": None}
    assert "nanodet is damaged" in whats({**report, "models": damaged})
    broken = [{"kind": "encoder", "name": "libx264", "ok": False, "reason": "It broke."}]
    assert "libx264: It broke." in whats({**report, "codecs": broken})
