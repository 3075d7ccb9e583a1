"""configs/custom.example.yaml is no prose: it loads, and a clip runs with it from end to end on the CPU."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from framelane.cli import main
from framelane.resources import data_path
from framelane.settings import fields, flatten, load
from support.clips import STREET, ffmpeg, needs_ffmpeg
from support.read import frame_times, probe

EXAMPLE = data_path("configs", "custom.example.yaml")


def test_it_ships_loads_and_decides():
    given = flatten(yaml.safe_load(EXAMPLE.read_text()))
    assert {key for key in given if key not in ("mode", "profile")} <= set(fields())
    for profile in ("cpu", "memory_saver"):
        loaded = load(config=EXAMPLE, detected_profile=profile)
        flat = flatten(loaded.settings.model_dump())
        assert all(flat[key] == value for key, value in given.items() if key != "profile")
        assert loaded.settings.profile == profile
    for subject in (
        "channels",
        "method",
        "detector",
        "backbone",
        "sample_fps",
        "colour",
        "gpu_memory",
        "gif",
        "output",
    ):
        assert subject in EXAMPLE.read_text()


def test_every_line_says_what_it_is_for():
    lines = [line for line in EXAMPLE.read_text().splitlines() if re.match(r"\s+\w+: \S", line)]
    assert len(lines) > 20
    assert sum("#" in line.split(":", 1)[1].replace('"#', "") for line in lines) >= 0.7 * len(lines)


@needs_ffmpeg
def test_a_clip_runs_with_it(tmp_path):
    clip = tmp_path / "in.mp4"
    ffmpeg("-t", "1.2", "-i", STREET, "-c", "copy", clip)
    with pytest.raises(SystemExit) as ended:
        main(
            ["run", "attention", str(clip), "-o", str(tmp_path / "o.mp4"), "--config", str(EXAMPLE), "--profile", "cpu"]
        )
    assert ended.value.code == 0
    report = json.loads((tmp_path / "o.report.json").read_text())
    stream = probe(tmp_path / "o.mp4")["streams"][0]
    assert (stream["width"], stream["height"]) == (768, 576)
    assert frame_times(tmp_path / "o.mp4") == frame_times(clip)
    assert report["working_size"] == [480, 360]
    assert report["upscaler"] == "lanczos"
    assert report["metrics"]["method"] == "gmar"
    assert (tmp_path / "o.gif").stat().st_size < 5_000_000
    assert not report["degradations"], "everything in it was asked for"
