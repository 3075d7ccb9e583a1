"""The installer's decisions, as values: nothing is installed here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from colab_setup import detect, kernel, pins, pipcall, plan, traps, uninstall, versions
from colab_setup.errors import SetupUsageError
from colab_setup.state import State
from colab_setup.versions import Package
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
RUNTIMES = sorted((ROOT / "colab_setup/constraints").glob("*.txt"))
T4 = detect.Driver("580.82.07", (13, 0), ("Tesla T4",))
NONE = detect.Driver(why="no NVIDIA driver is installed")


def machine(driver=T4, torch="2.11.0+cu128", torch_cuda="12.8", python="3.13.15"):
    return detect.Machine("colab", "2026.07", python, "Ubuntu 22.04.5 LTS", driver, (), torch, torch_cuda)


def there(**found: str) -> dict[str, Package]:
    return {name.replace("_", "-"): Package(name.replace("_", "-"), version) for name, version in found.items()}


def runtime(path: Path) -> dict[str, Package]:
    """A runtime's packages, out of its constraints file."""
    pairs = [line.split("==") for line in path.read_text().splitlines() if not line.startswith("#")]
    return {versions.normal(name): Package(name, version) for name, version in pairs}


def test_command_lines():
    source = pipcall.Source(offline=True, links="/wheels")
    assert pipcall.resolve("py", ["a>=1"], "limits", "report", source) == [
        "py", "-m", "pip", "install", "--dry-run", "--quiet", "--disable-pip-version-check", "--no-input",
        "--report", "report", "--constraint", "limits", "--no-index", "--find-links", "/wheels", "a>=1",
    ]  # fmt: skip
    assert pipcall.install("py", ["a==1"], pipcall.Source(index="https://example.org/simple"), again=True) == [
        "py", "-m", "pip", "install", "--no-deps", "--progress-bar", "off", "--disable-pip-version-check", "--no-input",
        "--ignore-installed", "--index-url", "https://example.org/simple", "a==1",
    ]  # fmt: skip
    assert pipcall.uninstall("py", ["a"])[-2:] == ["--disable-pip-version-check", "a"]
    tree = pipcall.install_tree("py", "/tree", pipcall.Source(), own_backend=True)
    assert "--no-deps" in tree
    assert "--no-build-isolation" in tree


def test_offline_no_setting_of_pips_can_name_an_address():
    base = {"PIP_EXTRA_INDEX_URL": "https://example.org", "PATH": "/bin"}
    assert pipcall.Source(offline=True).environment(base) == {
        "PATH": "/bin", "PYTHONUNBUFFERED": "1", "PIP_CONFIG_FILE": os.devnull,
    }  # fmt: skip
    assert pipcall.Source().environment(base)["PIP_EXTRA_INDEX_URL"] == "https://example.org"


def test_components():
    assert pins.components("ray, faceswap") == ["faceswap", "ray"]
    assert "gfpgan" not in pins.components("all")
    assert pins.components("pose") == ["pose"]
    with pytest.raises(SetupUsageError, match="Did you mean faceswap") as caught:
        pins.components("faceswop")
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("packages", "driver", "torch", "cuda", "group", "remove", "keep"),
    [
        ({}, NONE, "2.13.0", None, "cpu", (), False),
        ({}, T4, "2.11.0+cu128", "12.8", "gpu", (), False),
        ({}, T4, "2.13.0+cu130", "13.0", "cuda13", (), False),
        ({}, detect.Driver("550", (12, 4), ("T4",)), "2.13.0+cu130", "13.0", "cpu", (), False),
        ({}, T4, "2.13.0+cpu", None, "cpu", (), False),
        ({}, detect.Driver("550", (12, 4), ("T4",)), None, None, "gpu", (), False),
        ({"onnxruntime": "1.31.1"}, T4, "2.11.0", "12.8", "gpu", ("onnxruntime",), False),
        ({"onnxruntime_gpu": "1.27.0"}, T4, "2.11.0", "12.8", "gpu", ("onnxruntime-gpu",), False),
        ({"onnxruntime_gpu": "1.24.4"}, T4, "2.11.0", "12.8", "gpu", (), True),
        ({"onnxruntime_gpu": "1.26.0"}, NONE, "2.11.0", "12.8", "cpu", ("onnxruntime-gpu",), False),
        (
            {"onnxruntime": "1", "onnxruntime_gpu": "1.26.0"}, T4, "2.11.0", "12.8",
            "gpu", ("onnxruntime", "onnxruntime-gpu"), False,
        ),
        ({"onnxruntime_openvino": "1.22"}, NONE, "2.13.0", None, "cpu", (), True),
    ],
)  # fmt: skip
def test_which_onnxruntime(packages, driver, torch, cuda, group, remove, keep):
    found = traps.onnxruntime(there(**packages), driver, torch, cuda)
    assert (found.group, found.remove, found.keep) == (group, remove, keep)
    assert found.why.endswith(".")


@pytest.mark.parametrize("path", RUNTIMES, ids=lambda path: path.stem)
def test_on_colab_torch_numpy_and_cv2_stay(path):
    packages = runtime(path)
    todo = plan.make(machine(), packages, pins.read(), ["faceswap", "ray"])
    assert "onnx==1.22.0" in todo.lacking
    assert "onnxruntime-gpu==1.26.0" in todo.lacking
    assert todo.apart == ("insightface==2.1",)
    assert not todo.remove
    said = " ".join(todo.reasons)
    assert not re.search(r"\b(torch|torchvision|numpy|opencv-python|psutil|pillow|transformers)\b", said), said
    held = plan.constraints(packages, strict=True)
    assert f"numpy=={packages['numpy'].version}" in held
    assert f"torch=={packages['torch'].version}" in held
    assert any("own cv2" in note for note in todo.notes)


@pytest.mark.parametrize("path", RUNTIMES, ids=lambda path: path.stem)
def test_our_ranges_hold_in_the_runtime(path):
    packages = runtime(path)
    looked_at = 0
    for name, group in pins.read().items():
        if name in ("torch", "cpu", "cuda13"):
            continue
        for spec in [*group.plain, *group.apart]:
            wanted = Requirement(spec)
            package = packages.get(versions.normal(wanted.name))
            if package:
                looked_at += 1
                assert wanted.specifier.contains(package.version), f"{spec} against {package.version}"
    assert looked_at > 8


def test_pins_agree_with_the_cpu_set():
    cpu = {
        Requirement(line).name: line
        for line in (ROOT / "requirements-cpu.txt").read_text().splitlines()
        if line[0] != "#"
    }
    groups = pins.read()
    for spec in [*groups["torch"].apart, *groups["cpu"].apart]:
        assert cpu[Requirement(spec).name] == spec
    assert (ROOT / "requirements-colab.txt").resolve() == pins.FILE
    declared = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("]")[0]
    for text in re.findall(r'"([^"]+)"', declared):
        wanted = Requirement(text)
        ours = [Requirement(spec) for spec in groups["base"].plain if Requirement(spec).name == wanted.name]
        assert ours, f"{wanted.name} is a dependency of framelane, and no component brings it"
        for one in ours:
            exact = [item.version for item in one.specifier if item.operator == "=="]
            assert all(wanted.specifier.contains(version) for version in exact)


def test_what_the_resolver_wants_is_filtered():
    names = {
        "torch": "2.13.0", "numpy": "2.4.6", "opencv-python": "5.0.0.93", "onnxruntime": "1.31.1", "protobuf": "6.1",
        "onnxruntime-gpu": "1.26.0", "nvidia-cublas": "13.1", "nvidia-ml-py": "13.6", "av": "19.0.2",
    }  # fmt: skip
    report = {"install": [{"metadata": {"name": name, "version": version}} for name, version in names.items()]}
    packages = there(torch="2.11.0+cu128", numpy="2.1.3", opencv_contrib_python="4.14.0", protobuf="5.29.6")
    chosen = plan.choose(report, packages, "onnxruntime-gpu==1.26.0")
    assert chosen.install == ("protobuf==6.1", "onnxruntime-gpu==1.26.0", "nvidia-ml-py==13.6", "av==19.0.2")
    assert chosen.changed == ("protobuf",)
    assert len(chosen.left_out) == 5
    fresh = plan.choose(report, {}, "onnxruntime==1.31.1")
    assert {"torch==2.13.0", "nvidia-cublas==13.1", "opencv-python==5.0.0.93"} <= set(fresh.install)


def test_gfpgan_on_313():
    assert traps.gfpgan("3.11.7") is None
    todo = plan.make(machine(), runtime(RUNTIMES[1]), pins.read(), ["gfpgan"])
    assert not any("gfpgan" in spec for spec in todo.apart)
    assert any("spandrel opens the same weights" in note for note in todo.notes)


def test_mismatched_torch_and_torchvision_are_said_aloud():
    assert traps.mismatch(there(torch="2.11.0+cu128", torchvision="0.26.0+cu128")) is None
    assert "0.28" in traps.mismatch(there(torch="2.13.0", torchvision="0.26.0"))
    assert "two CUDA" in traps.mismatch(there(torch="2.11.0+cu128", torchvision="0.26.0+cu130"))


def test_a_machine_without_torch_gets_the_cpu_set():
    todo = plan.make(machine(NONE, None, None, "3.11.7"), {}, pins.read(), [])
    assert {"torch==2.13.0", "torchvision==0.28.0", "onnxruntime==1.31.1"} <= set(todo.lacking)
    assert not any("gpu" in spec for spec in todo.lacking)


def test_what_an_interrupted_run_had_begun_is_mended_even_torch():
    packages = {**there(numpy="2.4.6"), "torch": Package("torch", "2.13.0", whole=False)}
    todo = plan.make(machine(NONE, "2.13.0", None), packages, pins.read(), [], ours=["torch"])
    assert todo.mend == ("torch==2.13.0",)
    assert "torchvision==0.28.0" in todo.lacking
    alone = plan.make(machine(NONE, "2.13.0", None), packages, pins.read(), [])
    assert not alone.mend


def test_requirements_are_followed_through_what_requires_them():
    packages = {"a": Package("a", "1", ('b>=2; python_version >= "3"', 'c; extra == "x"', "opencv-python"))}
    packages |= there(b="1", opencv_python_headless="4.9")
    assert [(one.name, one.why) for one in versions.unmet(["a"], packages)] == [("b", "b is 1, wanted is >=2")]
    assert [one.name for one in versions.unmet(["a[x]"], packages)] == ["b", "c"]


@pytest.mark.parametrize(
    ("variables", "in_kernel", "expected"),
    [
        ({"COLAB_RELEASE_TAG": "release-colab_20260714-060059_RC00"}, True, ("colab", "2026.07")),
        ({"COLAB_RELEASE_TAG": "release-colab_20260714-060059_RC00", "KAGGLE_KERNEL_RUN_TYPE": "B"}, True, ("kaggle", "")),
        ({"JPY_PARENT_PID": "12"}, False, ("jupyter", "")),
        ({}, True, ("jupyter", "")),
        ({}, False, ("local", "")),
    ],
)  # fmt: skip
def test_host(variables, in_kernel, expected, tmp_path):
    name, version = detect.host(variables, in_kernel, tmp_path)
    assert name == expected[0]
    assert version.startswith(expected[1])


def test_cuda_of_torch_is_read_without_importing_it(tmp_path):
    (tmp_path / "torch").mkdir()
    folder = tmp_path / "torch-2.11.0.dist-info"
    source = tmp_path / "torch" / "version.py"
    source.write_text("cuda: Optional[str] = '12.8'\n")
    assert detect.torch_cuda(Package("torch", "2.11.0", folder=folder)) == "12.8"
    source.write_text("cuda: Optional[str] = None\n")
    assert detect.torch_cuda(Package("torch", "2.13.0+cpu", folder=folder)) is None
    source.unlink()
    assert detect.torch_cuda(Package("torch", "2.11.0+cu128", folder=folder)) == "12.8"


def test_restart_only_where_a_loaded_package_changed():
    code = "import numpy, sys; print('ready', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        assert kernel.restart([], [child.pid]) is None
        assert "had already imported numpy" in kernel.restart(["numpy"], [child.pid])
        assert "If this notebook had already imported onnx" in kernel.restart(["onnx"], [child.pid])
        assert kernel.restart(["numpy"], []) is None
    finally:
        child.communicate("")
    me = [os.getpid()]
    assert "numpy 1.0 is loaded" in kernel.restart([], me, {"numpy": type("numpy", (), {"__version__": "1.0"})})
    assert "had already imported cv2x" in kernel.restart(["cv2x"], me, {"cv2x": object()})


def test_undoing_takes_only_what_was_brought():
    record = State(
        installed={
            "av": {"version": "19.0.2", "was": None},
            "onnx": {"version": "1.22.0", "was": "1.17.0"},
            "rich": {"version": "15.0.0", "was": None},
            "toml": {"version": "0.10.2", "was": None},
            "onnxruntime-gpu": {"version": "1.26.0", "was": None},
        },
        removed={"onnxruntime": "1.31.1"},
    )
    packages = there(av="19.0.2", onnx="1.22.0", rich="16.0", toml="0.10.2", onnxruntime_gpu="1.26.0")
    packages["other"] = Package("other", "1", ("toml",))
    undo = uninstall.plan(record, packages)
    assert undo.remove == ("av", "onnxruntime-gpu")
    assert undo.restore == ("onnx==1.17.0", "onnxruntime==1.31.1")
    assert any("rich stays: 16.0" in line for line in undo.leave)
    assert any("toml stays: other needs it" in line for line in undo.leave)


def test_versions_are_valid():
    for path in RUNTIMES:
        for package in runtime(path).values():
            Version(package.version)
