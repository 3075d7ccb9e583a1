"""The first cell of the notebooks: what it finds, what it refuses, what it says. pip and the installer really run in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from framelane.notebook import bootstrap
from support.notebooks import HOSTS, ROOT, packages
from support.wheels import wheel

sys.path.insert(0, str(ROOT / "notebooks"))
import build

SETUP = """
import json, sys
from pathlib import Path
Path({told!r}).write_text(json.dumps(sys.argv[1:]))
print("the installer ran")
sys.exit({code})
"""


@pytest.fixture
def own(tmp_path):
    """A small framelane as a wheel: its installer notes what it was asked, and ends as it is told."""

    def make(code: int = 0, version: str = "9.9") -> Path:
        folder = tmp_path / "made"
        folder.mkdir(exist_ok=True)
        whole = wheel(folder, "framelane", version)
        info = f"framelane-{version}.dist-info"
        with zipfile.ZipFile(whole) as held:
            kept = {name: held.read(name) for name in held.namelist() if name.startswith(info)}
        files = {
            "framelane/__init__.py": "",
            "framelane/colab_setup/__init__.py": "",
            "framelane/colab_setup/install.py": SETUP.format(told=str(tmp_path / "told.json"), code=code),
        }
        with zipfile.ZipFile(whole, "w") as out:
            record = "".join(f"{name},,\n" for name in [*files, *kept])
            for name, text in {**files, **kept, f"{info}/RECORD": record}.items():
                out.writestr(name, text)
        return whole

    return make


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """An environment with pip and nothing else."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def place(tmp_path, bare):
    """A folder to work in, beside an environment that has no framelane."""
    for path in (*packages(bare).glob("framelane*"), bare / "share" / "framelane"):
        shutil.rmtree(path, ignore_errors=True)
    (tmp_path / "venv").symlink_to(bare)
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def run(place: Path, *arguments: str, colab: bool = False, code: str = "", **standin: object):
    """The cell as it stands in a notebook, in a process of its own; what it says and how it ends."""
    lines = build.code_of(Path(bootstrap.__file__).read_text(), lambda text: text)
    call = f"""
        try:
            prepare{arguments!r}
        except Stop as stop:
            print("STOP", *stop._render_traceback_())
    """
    (place.parent / "cell.py").write_text("\n".join([*lines, textwrap.dedent(call), code]))
    drive = place.parent / "drive"
    variables = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PIP_CONFIG_FILE")}
    variables |= {"FRAMELANE_DRIVE": str(drive), "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if colab:
        variables |= {"COLAB_RELEASE_TAG": "x", "PYTHONPATH": str(HOSTS)}
        variables["COLAB_STANDIN"] = json.dumps({"store": str(place.parent / "store"), **standin})
    done = subprocess.run(
        [place.parent / "venv/bin/python", "-P", place.parent / "cell.py"],
        cwd=place, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(place: Path) -> list[str]:
    return list(json.loads((place.parent / "told.json").read_text()))


def test_where_framelane_is_installed_nothing_is_done(place, own):
    shutil.copy(own(), place)
    assert "the installer ran" in run(place)
    (place.parent / "told.json").unlink()
    assert run(place) == "framelane is installed.\n"
    assert not (place.parent / "told.json").exists()
    assert "the installer ran" in run(place, "upload"), "whoever says where from wants it anew"


def test_a_wheel_beside_the_notebook_is_installed_and_then_what_it_needs(place, own):
    shutil.copy(own(), place / "framelane-9.9-py3-none-any (1).whl")  # as a browser calls a second download
    said = run(place, "automatic", "notebook,faceswap", code="import framelane; print(framelane.__file__)")
    assert told(place) == ["--yes", "--with", "notebook,faceswap"]
    assert "site-packages/framelane/__init__.py" in said, "the cell after it can import it"


@pytest.mark.parametrize("kind", ["a zip of the wheel", "a zip of the sources"])
def test_a_zip_is_taken_too(place, own, kind):
    archive = place / "framelane-main.zip"
    with zipfile.ZipFile(archive, "w") as out:
        if kind == "a zip of the wheel":
            out.write(own(), "dist/framelane-9.9-py3-none-any.whl")
        else:
            out.writestr("framelane-main/README.md", "")
            out.writestr(
                "framelane-main/colab_setup/install.py", SETUP.format(told=str(place.parent / "told.json"), code=0)
            )
    assert "the installer ran" in run(place)
    assert told(place) == ["--yes", "--with", "notebook"]


def test_the_newest_of_several_is_taken(place, own):
    old, new = own(version="9.8"), own(version="9.9")
    for path, age in ((old, 1000), (new, 2000)):
        shutil.copy(path, place)
        os.utime(place / path.name, (age, age))
    code = "from importlib.metadata import version; print('is', version('framelane'))"
    assert "is 9.9" in run(place, code=code)


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "a/../../out.py", "..\\out.py", "C:\\out.py"])
def test_a_zip_that_leads_out_of_its_folder_is_refused(place, name):
    with zipfile.ZipFile(place / "framelane.zip", "w") as out:
        out.writestr("framelane-main/colab_setup/install.py", "print('it ran')")
        out.writestr(name, "")
    said = run(place)
    assert said.startswith("STOP"), said
    assert "outside of its own folder" in said
    assert "it ran" not in said


@pytest.mark.parametrize(("content", "sentence"), [
    (None, "There is no framelane"), (b"no zip at all", "cannot be read"), ("other-1.0", "does not hold framelane"),
])  # fmt: skip
def test_what_is_no_framelane_is_said(place, content, sentence):
    if isinstance(content, bytes):
        (place / "framelane-9.9-py3-none-any.whl").write_bytes(content)
    elif content:
        made = wheel(place.parent, "other", "1.0")
        shutil.move(made, place / "framelane-9.9-py3-none-any.whl")
    said = run(place)
    assert said.startswith("STOP"), said
    assert sentence in said


def test_an_installer_that_fails_stops_the_cell_and_the_next_run_tries_again(place, own):
    shutil.copy(own(code=1), place)
    said = run(place, colab=True)
    assert said.index("the installer ran") < said.index("STOP Not everything works")
    shutil.copy(own(), place)
    assert "the installer ran" in run(place, colab=True)
    assert run(place, colab=True) == "framelane is installed.\n"


# -- Colab ---------------------------------------------------------------------------------------------------------------


def test_on_colab_it_asks_for_an_upload_where_there_is_nothing(place, own):
    said = run(place, colab=True, uploads=[str(own())])
    assert "Pick framelane's wheel" in said
    assert "the installer ran" in said


@pytest.mark.parametrize(("uploads", "sentence"), [
    ([], "There is no framelane"), ("gone", "The browser did not hand it over"),
])  # fmt: skip
def test_an_upload_that_fails_is_said(place, uploads, sentence):
    said = run(place, colab=True, uploads=uploads)
    assert f"STOP {sentence}" in said


def test_a_mounted_drive_is_looked_at_and_one_that_is_not_is_mounted_on_demand(place, own):
    store = place.parent / "store"
    (store / "framelane").mkdir(parents=True)
    shutil.copy(own(), store / "framelane")
    said = run(place, colab=True)
    assert "Pick framelane's wheel" in said, "Drive is not mounted without being asked for"
    said = run(place, "Drive", colab=True)
    assert "Mounted at" in said
    assert "the installer ran" in said
    (place.parent / "told.json").unlink()
    shutil.rmtree(place.parent / "venv" / "share" / "framelane")
    assert "the installer ran" in run(place, colab=True), "the second session finds it in the Drive that is mounted"


def test_a_drive_that_was_refused_is_said(place):
    said = run(place, "Drive", colab=True, mount=["credentials"])
    assert "STOP The browser did not hand it over (Error: credential propagation was unsuccessful)" in said


# -- repository ----------------------------------------------------------------------------------------------------------


def test_a_repository_is_cloned(place):
    source = place.parent / "source"
    (source / "colab_setup").mkdir(parents=True)
    (source / "colab_setup/install.py").write_text(SETUP.format(told=str(place.parent / "told.json"), code=0))
    git = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for step in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *step], check=True)
    assert "the installer ran" in run(place, "automatic", "notebook", f"file://{source}")
    said = run(place, "automatic", "notebook", f"file://{place.parent}/nowhere")
    assert "STOP The repository cannot be reached." in said
