"""Pose, depth and follow in a folder batch: past a broken clip, with their tables; the rerun does nothing twice."""

from __future__ import annotations

import pytest

import framelane
from support.batches import FAST, cut
from support.clips import WALKER, needs_ffmpeg

TABLES = {
    "pose": (".coco.json", ".joints.csv"),
    "depth": (".objects.csv", ".alerts.csv"),
    "follow": (".camera.csv",),
}
OPTIONS = {"pose": {"pose.every": 3}, "depth": {"depth.model": "none"}, "follow": {"follow.detect_every": 5}}


@needs_ffmpeg
@pytest.mark.parametrize("processor", TABLES)
def test_a_batch_and_its_rerun(tmp_path, processor):
    clip = cut(tmp_path / "in" / "a.mp4", WALKER, 1, 0.4)
    (tmp_path / "in" / "b.mp4").write_bytes(clip.read_bytes()[:900])

    def batch():
        return framelane.process_folder(
            tmp_path / "in", processor, output=tmp_path / "out", profile="cpu",
            overrides={**FAST, "gif.enabled": False, **OPTIONS[processor]},
        )  # fmt: skip

    first = batch()
    assert {job.name: job.state for job in first.jobs} == {"a.mp4": "done", "b.mp4": "failed"}, [
        job.reason for job in first.jobs
    ]
    made = [tmp_path / "out" / f"a{suffix}" for suffix in (".mp4", ".report.json", *TABLES[processor])]
    before = [path.read_bytes() for path in made]
    again = batch()
    assert {job.name: job.state for job in again.jobs} == {"a.mp4": "skipped", "b.mp4": "failed"}
    assert [path.read_bytes() for path in made] == before
    assert "a.mp4" in (tmp_path / "out" / "index.html").read_text()
