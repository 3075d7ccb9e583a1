"""The pose processor through the whole engine."""

from __future__ import annotations

import csv
import json

import pytest

import framelane
from framelane.errors import UsageError
from support.clips import WALKER, needs_ffmpeg, synthetic
from support.read import frame_hashes

QUICK = {
    "engine.min_free_mb": 0, "gif.enabled": False, "output.preset": "ultrafast", "pose.every": 3, "pose.closer": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    output = tmp_path_factory.mktemp("pose") / "out.mp4"
    return framelane.process_video(WALKER, "pose", output=output, overrides=QUICK)


def test_the_walker_is_one_track_without_a_switch(walked):
    """She leaves the picture at 4.5 s. Somebody else jumps off a roof: never her number, and never hers another."""
    lines = list(csv.DictReader(walked.output_path.with_suffix(".joints.csv").open()))
    hips = {}
    for line in lines:
        if line["joint"] == "left_hip":
            hips.setdefault(line["track"], []).append((float(line["time"]), float(line["x"]), float(line["y"])))
    walker = hips["1"]
    assert walker[0][0] == 0
    assert walker[-1][0] > 4.2
    assert len(walker) == pytest.approx(30 * walker[-1][0], abs=6), "no frame is missing"
    # From right to left at an even pace, on the ground; the other one is at the top, or lies on the grass after her.
    assert all(abs(x - (757 - 160 * time)) < 45 for time, x, _ in walker)
    for track, path in hips.items():
        if track != "1":
            assert all(abs(x - (757 - 160 * time)) > 100 for time, x, _ in path if time < 4.4), "somebody else"


def test_tables_and_report_tell_the_same(walked):
    report = walked.report
    entries = json.loads(walked.output_path.with_suffix(".coco.json").read_text())
    assert report["frames"] == 150
    assert sum(track["frames"] for track in report["metrics"]["tracks"]) == len(entries)
    assert {entry["image_id"] for entry in entries} <= set(range(150))
    first = report["metrics"]["tracks"][0]
    assert first["speed_px_s"]["mean"] == pytest.approx(160, rel=0.08)
    assert 180 < first["height_px"] < 240
    assert 100 < first["angles_deg"]["left_knee"]["min"] < 150
    assert report["metrics"]["model"] == "movenet"
    assert [model["name"] for model in report["models"]] == ["movenet"]
    assert report["models"][0]["provider"] == "CPUExecutionProvider"


@needs_ffmpeg
def test_a_clip_with_nobody_in_it(tmp_path):
    """The frames come out as they are but for the legend; tables are there and empty."""
    clip = synthetic(tmp_path / "in.mp4", "-c:v", "libx264", seconds=1)
    done = framelane.process_video(clip, "pose", output=tmp_path / "out.mp4", overrides=QUICK)
    assert done.report["metrics"]["tracks"] == []
    assert json.loads((tmp_path / "out.coco.json").read_text()) == []
    assert (tmp_path / "out.joints.csv").read_text().startswith("frame,time,track,joint,x,y,score,bridged\n")
    assert len(frame_hashes(done.output_path)) == 25


def test_what_does_not_go_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"pose\.model.*movenet"):
        framelane.process_video(
            WALKER, "pose", output=tmp_path / "a.mp4", overrides={**QUICK, "pose.model": "openpose"}
        )
    with pytest.raises(UsageError, match=r"pose\.resolution"):
        framelane.process_video(WALKER, "pose", output=tmp_path / "a.mp4", overrides={**QUICK, "pose.resolution": 250})
