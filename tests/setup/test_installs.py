"""The installer at work in a real environment with a folder of tiny wheels: no index, no network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from colab_setup import checks, verify

from support.wheels import wheel

ROOT = Path(__file__).resolve().parents[2]
PINS = """# [base]
alpha==1.0  # keep >=1
# [gpu]
onnxruntime-gpu==1.26.0
# [faceswap]
#! gamma==1.0
# [cpu]
#! onnxruntime==1.31.1
# [torch]
#! torch==2.13.0
# [cuda13]
#! onnxruntime-gpu==1.31.1
"""
RUN = """
import json, sys
from pathlib import Path
from colab_setup import own_tree, pipcall, state, versions
from colab_setup.detect import Driver, Machine
from colab_setup.errors import SetupError
from colab_setup.work import Work
links, pinned, offline, killed = json.loads(sys.argv[1])
own_tree.reason = lambda *_: None  # framelane itself is not what is tried here
said = []
work = Work(pipcall.Source(offline, links), ["faceswap"], said.append, lambda: True, Path(pinned))
work.record = state.read()
if killed:
    real = pipcall.run
    def run(command, *rest):
        if "--no-deps" in command:
            raise KeyboardInterrupt
        real(command, *rest)
    pipcall.run = run
error = None
try:
    packages = versions.live()
    torch = packages.get("torch")
    work.install(Machine("local", "", "3.11.7", "", Driver(why="no driver"), (), torch and torch.version, None))
except (SetupError, KeyboardInterrupt) as problem:
    error = repr(problem)
print(json.dumps({"said": said, "steps": [name for name, _ in work.times], "error": error, "changed": work.changed,
                  "packages": {n: p.version for n, p in versions.live().items()}}))
"""
# A child that reaches for the network ends with this sentence.
NO_NETWORK = """
import socket
def refuse(self, address, *rest):
    if self.family != socket.AF_UNIX:
        raise SystemExit(f"THE NETWORK WAS OPENED: {address}")
socket.socket.connect = refuse
"""


class Place:
    """An environment of its own, and the folder of wheels."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wheels, self.pins = folder, folder / "wheels", folder / "pins.txt"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self.python = folder / "venv/bin/python"
        self.wheels.mkdir()
        (folder / "guard").mkdir()
        (folder / "guard/sitecustomize.py").write_text(NO_NETWORK)
        self.pins.write_text(PINS)
        for name, version, requires in (
            ("alpha", "1.0", ("beta>=1",)), ("beta", "1.5", ()), ("gamma", "1.0", ("onnxruntime-gpu",)),
            ("onnxruntime", "1.31.1", ()), ("onnxruntime-gpu", "1.26.0", ()), ("torch", "2.13.0", ()),
            ("onnxruntime", "1.20.0", ()),
        ):  # fmt: skip
            wheel(self.wheels, name, version, requires)

    def run(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'guard'}:{ROOT}"
        return subprocess.run(
            [self.python, "-c", code, *arguments], capture_output=True, text=True, cwd=self.folder, check=False,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "HOME": str(self.folder)},
        )  # fmt: skip

    def install(self, links: bool = True, killed: bool = False) -> dict:
        given = [str(self.wheels) if links else None, str(self.pins), True, killed]
        done = self.run(RUN, json.dumps(given))
        assert "THE NETWORK WAS OPENED" not in done.stdout + done.stderr
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def pip(self, *arguments: str) -> None:
        done = self.run("import sys; from pip._internal.cli.main import main; sys.exit(main(sys.argv[1:]))", *arguments)
        assert done.returncode == 0, done.stderr

    def site(self) -> Path:
        return next((self.folder / "venv/lib").glob("python3*")) / "site-packages"

    def uninstall(self) -> str:
        code = "import sys; from colab_setup.uninstall import main; sys.exit(main(sys.argv[1:]))"
        done = self.run(code, "--yes", "--offline", "--find-links", str(self.wheels))
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_a_whole_life(tmp_path):
    """Offline without wheels, killed, gone on, again, mended, a second runtime beside, undone: in one environment."""
    place = Place(tmp_path)
    place.pip("install", "--no-index", "--find-links", str(place.wheels), "onnxruntime-gpu==1.26.0")

    refused = place.install(links=False)
    assert "Offline, these are missing" in refused["error"]
    assert "alpha is not installed" in refused["error"]
    assert refused["packages"]["onnxruntime-gpu"] == "1.26.0", "nothing is taken away before the rest is at hand"

    killed = place.install(killed=True)
    assert "KeyboardInterrupt" in killed["error"]

    first = place.install()
    assert first["error"] is None
    wanted = {"alpha": "1.0", "beta": "1.5", "gamma": "1.0", "torch": "2.13.0", "onnxruntime": "1.31.1"}
    assert wanted.items() <= first["packages"].items()
    assert "onnxruntime-gpu" not in first["packages"], "a CPU machine has the CPU's flavour alone"
    assert first["changed"] == ["onnxruntime-gpu"]

    second = place.install(links=False)
    assert second["error"] is None
    assert second["steps"] == ["plan"], "nothing is missing, so pip is not even asked"

    (place.site() / "beta-1.5.dist-info/RECORD").unlink()
    (place.site() / "beta.py").unlink()
    mended = place.install()
    assert "beta was installed only in part." in mended["said"][-2] + mended["said"][-1] + " ".join(mended["said"])
    assert (place.site() / "beta.py").is_file()
    assert "resolve" in mended["steps"]

    told = place.uninstall()
    after = place.install(links=False)["packages"]
    assert not {"alpha", "beta", "gamma", "torch", "onnxruntime"} & after.keys(), told
    assert after["onnxruntime-gpu"] == "1.26.0", "what was there before is back"
    assert "nothing to undo" in place.uninstall()


@pytest.mark.parametrize("name", ["av", "cv2", "onnx", "onnxruntime", "trackers"])
def test_a_check_does_something_real(name):
    verdict = verify.one(name, verify.environment(None))
    assert verdict.status == "works", verdict.how
    assert verdict.version


def test_a_broken_package_fails_with_its_reason(tmp_path):
    (tmp_path / "cv2.py").write_text("__version__ = '5'\ndef resize(image, size):\n    return image\n")
    environment = {**verify.environment(None), "PYTHONPATH": str(tmp_path)}
    verdict = verify.one("cv2", environment)
    assert verdict.status == "fails"
    assert "a resize is wrong" in verdict.how
    assert verdict.do


def test_what_is_taken_from_the_doctor():
    findings = [
        {"name": "encode pyav h264", "status": "ok", "evidence": "16 frames came back.", "fix": ""},
        {"name": "encode cpu h264", "status": "ok", "evidence": "16 frames came back.", "fix": ""},
        {"name": "numpy", "status": "error", "evidence": "Two are there.", "fix": "Restart."},
    ]
    report = {"profile": {"name": "t4", "why": "it fits."}, "findings": findings}
    told = {"profile": "t4", "why": "it fits.", "limit": "Two are there.", "do": "Restart.", "nvenc": True}
    assert checks.doctor(report) == told
    assert not checks.doctor({**report, "findings": findings[1:]})["nvenc"]


def test_framelanes_own_check_runs_its_doctor():
    verdict = verify.one("framelane", verify.environment(None))
    assert verdict.status in ("works", "limited"), verdict.how
    assert verdict.told["profile"]
    assert verdict.version


def test_library_path_and_names():
    assert verify.environment("/d", {"LD_LIBRARY_PATH": "/a:/d"})["LD_LIBRARY_PATH"] == "/d:/a"
    assert checks.names(["faceswap"])[-1] == "framelane"
    assert {"c2pa", "insightface", "spandrel"} < set(checks.names(["faceswap"]))


def test_command_line(tmp_path):
    script = ROOT / "colab_setup/install.py"
    wrong = subprocess.run(
        [sys.executable, script, "--with", "nothing"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert wrong.returncode == 2
    assert "is no component" in wrong.stderr
    shown = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert shown.returncode == 0
    assert "--offline" in shown.stdout
