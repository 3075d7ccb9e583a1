"""“Run all” of every notebook, headless: with the built wheel alone, on this Python's kernel and on the one that Colab has.

Packages beside framelane are those of the environment that the tests run in: no second torch is installed. The forms are
filled in as a reader would, and nobody waits 20 seconds for each button to press itself; the long form, :mod:`slow`, leaves
everything as it is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest

from framelane.resources import cache_dir
from support.batches import cut
from support.clips import WALKER
from support.notebooks import COLAB, HOSTS, ROOT, Environment, fill, hurried, packages, read, run, wheel

sys.path.insert(0, str(ROOT / "notebooks"))
import build

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    """This Python's own kernel."""
    made = Environment(tmp_path_factory.mktemp("now") / "venv")
    made.install(wheel())
    return made


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """Colab's kernel."""
    if not (COLAB / ".ready").exists():
        pytest.skip("the kernel that Colab has is not there; run: make notebook-env")
    made = Environment(tmp_path_factory.mktemp("colab") / "venv", base=COLAB)
    made.install(wheel())
    assert made.versions() == {"ipykernel": "6.17.1", "ipython": "7.34.0", "ipywidgets": "7.7.1"}
    return made


@pytest.fixture
def place(tmp_path):
    """A folder to work in, and variables that keep what is remembered inside it; the models are shared."""
    cache = tmp_path / "cache"
    cache.mkdir()
    if (models := cache_dir() / "models").exists():
        (cache / "models").symlink_to(models)
    work = tmp_path / "content"
    work.mkdir()
    found = {name: str(tmp_path / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "FRAMELANE_STATE")}
    return work, {**found, "FRAMELANE_CACHE": str(cache), "LANGUAGE": "en"}


@pytest.fixture
def clips(place):
    """A folder with a clip of half a second."""
    cut(place[0] / "clips" / "walk.mp4", WALKER, 1, 0.5)
    return place[0] / "clips"


def on_colab(place, **standin):
    """The variables of a Colab whose Drive is a folder."""
    work, variables = place
    told = json.dumps({"store": str(work.parent / "store"), **standin})
    return {**variables, "COLAB_RELEASE_TAG": "release-colab_20260819", "COLAB_STANDIN": told, "PYTHONPATH": str(HOSTS),
            "FRAMELANE_DRIVE": str(work / "drive"), "FRAMELANE_RUNTIME_START": str(time.time())}  # fmt: skip


def installed(environment, name):
    """As in a session in which the first cell has run."""
    parts = build.jupytext.reads((build.SOURCES / f"{name}.py").read_text(), fmt="py:percent").metadata["framelane"][
        "parts"
    ]
    ready = environment.folder / "share" / "framelane" / f"ready-{parts}"
    ready.parent.mkdir(parents=True, exist_ok=True)
    ready.touch()


def notebook(name, language="en", **values):
    """A notebook with its forms filled in, whose buttons count down from 1 second."""
    return hurried(fill(as_it_is(name, language), **values))


def as_it_is(name, language):
    return read(build.LANGUAGES[language] / f"{name}.ipynb")


# -- this Python ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "language"), [("00_setup", "es"), pytest.param("01_attention", "en", marks=pytest.mark.slow)]
)
def test_run_all_shows_a_result(now, place, clips, name, language):
    done = run(notebook(name, language, INPUT=str(clips)), now, *place)
    assert done.error is None, done.error
    assert done.texts[0].strip() == {"en": "framelane is installed.", "es": "framelane está instalado."}[language]
    made = list(place[0].glob("framelane/**/walk.mp4"))
    assert len(made) == 1, done.text
    assert made[0].with_suffix(".report.json").exists()
    assert str(made[0].parent) in done.text
    assert "Traceback" not in done.text


def test_the_wheel_is_what_runs(now):
    assert not list(packages(now.folder).glob("torch*"))
    told = subprocess.run(
        [now.python, "-c", "import framelane, torch; print(framelane.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == str(packages(now.folder) / "framelane" / "__init__.py")


def test_without_a_face_nothing_is_swapped_and_the_cell_says_what_is_missing(now, place, clips):
    done = run(notebook("02_face_swap", INPUT=str(clips)), now, *place)
    assert done.error is None, done.error
    assert "Nothing was started. faceswap needs consent; say who agreed" in done.texts[1]
    assert not list(place[0].glob("framelane/**/*.mp4"))


def test_a_wrong_folder_is_a_sentence_and_ends_run_all(now, place):
    done = run(notebook("01_attention", INPUT=str(place[0] / "nowhere")), now, *place)
    assert done.error is not None
    assert "nowhere" in done.error[1]
    assert "Traceback" not in done.error[1]
    assert len(done.texts[1]) < 1000


# -- Colab's kernel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sessions", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_drive_batch_on_colabs_kernel_and_the_next_session(colab, place, clips, sessions):
    installed(colab, "06_drive_batch")
    results = place[0] / "drive" / "MyDrive" / "results"
    variables = on_colab(place, language="es-MX")
    values = {"INPUT": str(clips), "OUTPUT": str(results)}
    done = run(notebook("06_drive_batch", FLUSH=True, **values), colab, place[0], variables)
    assert done.error is None, done.error
    assert "Mounted at" in done.texts[1]
    kept = place[0].parent / "store" / "results" / "walk.mp4"
    assert kept.exists(), "results lie in what Drive holds, also after it was let go"
    assert "Drive" in done.texts[-1]
    if sessions == 1:
        return
    before = kept.stat().st_mtime_ns
    again = run(notebook("06_drive_batch", **values), colab, place[0], variables)
    assert again.error is None, again.error
    assert kept.stat().st_mtime_ns == before, "what is finished is not done again"


# -- the long form -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["now", "colab"])
@pytest.mark.parametrize("language", build.LANGUAGES)
@pytest.mark.parametrize("name", build.names())
def test_run_all_with_everything_as_it_is(request, place, kernel, language, name, record_property):
    """The demo clips, and on Colab the first cell really installs: from the wheel that lies in /content."""
    environment = request.getfixturevalue(kernel)
    variables = place[1]
    if kernel == "colab":
        variables = on_colab(place)
        shutil.rmtree(environment.folder / "share" / "framelane", ignore_errors=True)
        shutil.copy(wheel(), place[0])
    begun = time.monotonic()
    done = run(as_it_is(name, language), environment, place[0], variables, patience=1500)
    print(f"{name} {language} {kernel}: {time.monotonic() - begun:.0f} s")
    assert done.error is None, done.error
    assert "Traceback" not in done.text
    if kernel == "colab":
        assert "No restart is needed." in done.texts[0]
    if name in ("00_setup", "01_attention", "03_pose", "04_depth", "05_follow", "06_drive_batch"):
        assert list(place[0].parent.glob("**/framelane/**/*.report.json")), done.text
