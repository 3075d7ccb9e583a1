"""What a machine has is found on real machines, with and without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from framelane import container, hardware
from framelane.hardware import Gpu, choose_profile, detect, memory_bandwidth_gbs
from framelane.profiles import Vram
from support.driver import in_machine_with

LIB = Path(hardware.__file__).parents[1]
GIB = 1 << 30
T4 = Gpu("Tesla T4", 15360 << 20, 15000 << 20, "580.82.07", "13.0", (7, 5))

FIND = """
    import json
    from dataclasses import asdict
    from framelane.gpu import find_gpu
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
    total, available, limited = container.memory(tmp_path, tmp_path / "self")
    assert (total, limited) == (GIB, True)
    assert available == GIB - GIB // 4


def test_control_groups_of_version_1(tmp_path):
    (tmp_path / "self").write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    group(tmp_path / "memory", "docker/abc", str(GIB), GIB // 2, old=True)
    assert container.memory(tmp_path, tmp_path / "self") == (GIB, GIB // 2, True)


@pytest.mark.parametrize("limit", ["max", str(1 << 62)])
def test_no_limit_is_no_limit(tmp_path, limit):
    (tmp_path / "self").write_text("0::/\n")
    group(tmp_path, ".", limit, 0)
    total, available, limited = container.memory(tmp_path, tmp_path / "self")
    assert not limited
    assert available <= total


def test_a_cpu_quota_limits_the_cores(tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert container.usable_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert container.usable_cores(tmp_path) >= 1


def test_memory_bandwidth_is_plausible():
    assert 0.5 < memory_bandwidth_gbs(0.05) < 2000
