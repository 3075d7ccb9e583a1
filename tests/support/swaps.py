"""The real ``faceswap`` on a short clip with a real face, and what is expected of whatever comes out of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import framelane
from framelane.processors.faceswap.label import Label
from framelane.provenance import seal
from framelane.provenance.visible import check as check_label
from framelane.sections.faceswap import FaceswapSettings
from framelane.video.clip import probe
from support.face_clips import nodding, portrait
from support.faces import hopper

CONSENT = "US Navy portrait, public domain, for tests"
FRAMES = 12


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with ``source.png`` and ``clip.mp4``."""
    folder = tmp_path_factory.mktemp("place")
    portrait(folder / "source.png", hopper())
    nodding(folder / "clip.mp4", seconds=1.2, rate=10, size=(200, 200))
    return folder


@pytest.fixture
def own_state(tmp_path, monkeypatch):
    """An audit log and a certificate of the test's own."""
    monkeypatch.setenv("FRAMELANE_STATE", str(tmp_path / "state"))


def settings_of(place, **more):
    base = {
        "faceswap.source": str(place / "source.png"), "faceswap.consent": CONSENT, "output.preset": "ultrafast",
        "hardware.threads": 1, "engine.segment_seconds": 0.5, "engine.min_free_mb": 0, "gif.enabled": False,
    }  # fmt: skip
    return {**base, **{key.replace("__", "."): value for key, value in more.items()}}


def swap(place, output, clip=None, **more):
    return framelane.process_video(
        clip or place / "clip.mp4", "faceswap", output=output, overrides=settings_of(place, **more)
    )


def nothing_in(folder):
    """No picture that moves, by any name, visible or hidden; segments of the work folder are no videos to play."""
    found = [path for path in folder.rglob("*") if path.suffix in (".mp4", ".mov", ".gif", ".mkv")]
    assert found == []


def sound(path, **options):
    """An output is signed here, and labelled on every frame."""
    assert seal.signed_here(path, None, None)
    size = probe(path).display_size
    assert check_label(path, Label(FaceswapSettings(**options)).mark(*size)) == FRAMES


def cli(*words, environment=None, flags=()):
    done = subprocess.run(
        [sys.executable, *flags, "-m", "framelane.cli", *map(str, words)], capture_output=True, text=True, check=False,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def given(place, *more):
    quick = ("output.preset=ultrafast", "gif.enabled=false", f"faceswap.source={place / 'source.png'}", *more)
    return [word for each in quick for word in ("--set", each)]
