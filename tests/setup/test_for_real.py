"""The installer for real, in fresh environments, out of the package index; and our pins against Colab's runtimes.

Where the index cannot be reached, or a Python is not there, the test is skipped and says so.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from colab_setup import pins, versions

ROOT = Path(__file__).resolve().parents[2]
RUNTIMES = sorted((ROOT / "colab_setup/constraints").glob("*.txt"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def interpreter(version: str) -> str:
    """A Python of this version; skips where there is none."""
    found = [shutil.which(f"python{version}"), *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    for one in found:
        if one and subprocess.run([one, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(one)
    pytest.skip(f"no Python {version} here")


@functools.cache
def index_answers() -> bool:
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "toml"], capture_output=True, check=False, timeout=120
    )
    return asked.returncode == 0


@pytest.fixture(autouse=True)
def _index():
    if not index_answers():
        pytest.skip("the package index cannot be reached")


@pytest.mark.parametrize("path", RUNTIMES, ids=lambda path: path.stem)
def test_our_requirements_resolve_against_a_colab_runtime(path, tmp_path):
    """Everything but what brings torch along, whose metadata alone takes minutes: torch itself is never asked for."""
    major, minor = re.search(r"py(\d)(\d+)", path.stem).groups()
    groups = pins.read()
    wanted = [
        spec for name in ("base", "gpu", "faceswap", "ray") for spec in groups[name].plain if "spandrel" not in spec
    ]
    report = tmp_path / "report.json"
    done = subprocess.run(
        [interpreter(f"{major}.{minor}"), "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary=:all:",
         "--target", str(tmp_path / "x"), "--quiet", "--report", str(report), "-c", str(path), *wanted],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    chosen = {
        versions.normal(one["metadata"]["name"]): one["metadata"]["version"]
        for one in json.loads(report.read_text())["install"]
    }
    held = dict(line.split("==") for line in path.read_text().splitlines() if not line.startswith("#"))
    assert chosen["numpy"] == held["numpy"]
    assert chosen["protobuf"] == held["protobuf"]
    assert chosen["onnxruntime-gpu"] == "1.26.0"
    assert "torch" not in chosen
    assert "onnxruntime" not in chosen


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_light_part_twice_on_a_newer_python(version, tmp_path):
    place = Environment(interpreter(version), tmp_path)
    first = place.run("install.py", "--yes", "--no-torch")
    assert first.returncode == 0, first.stdout + first.stderr
    again = place.run("install.py", "--yes", "--no-torch", "--offline")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Everything that is wanted is installed." in again.stdout


def test_everything_twice_and_undone(tmp_path):
    place = Environment(sys.executable, tmp_path)
    before = place.packages()
    first = place.run("install.py", "--yes", "--with", "faceswap,ray,deformable")
    print(first.stdout)
    assert first.returncode == 0, first.stdout + first.stderr
    again = place.run("install.py", "--yes", "--offline")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Everything that is wanted is installed." in again.stdout
    assert re.search(r"^ray +2", again.stdout, re.MULTILINE), "what was asked for once is checked again"
    here = place.python.parent.parent
    carried = next(here.glob("lib/python3*/site-packages/framelane/colab_setup"))
    assert (carried / "requirements-colab.txt").is_file(), "the wheel carries the installer"
    module = place.module("framelane.colab_setup.install", "--yes", "--offline", "--help")
    assert module.returncode == 0
    gone = place.run("uninstall.py", "--yes")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    after = place.packages()
    assert {name: after.get(name) for name in before} == before
    assert not set(after) - set(before)
    assert not (tmp_path / "config/framelane/machine.yaml").exists()


class Environment:
    """A fresh virtual environment with its own configuration folder."""

    def __init__(self, python: str, folder: Path) -> None:
        subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
        self.python, self.folder = folder / "venv/bin/python", folder
        self.variables = {**os.environ, "XDG_CONFIG_HOME": str(folder / "config")}
        self.variables.pop("FRAMELANE_MACHINE", None)
        self.variables.pop("PYTHONPATH", None)

    def run(self, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self._call(str(ROOT / "colab_setup" / script), *options)

    def module(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self._call("-m", name, *options)

    def packages(self) -> dict[str, str]:
        listed = self._call("-m", "pip", "list", "--format", "json").stdout
        return {one["name"]: one["version"] for one in json.loads(listed)}

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *arguments], capture_output=True, text=True, check=False, cwd=self.folder, env=self.variables
        )
