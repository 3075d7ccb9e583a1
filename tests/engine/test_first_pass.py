"""Processors that look at the whole clip first, make frames of their own size, and write tables beside the output."""

from __future__ import annotations

import json
import threading
import time

import pytest

import framelane
from framelane import report
from framelane.errors import Cancelled
from framelane.processors.base import OutputSpec, Processor, Snapshot
from framelane.video.scale import at_size
from support.clips import needs_ffmpeg, synthetic
from support.read import frame_hashes, frame_times, probe

FAST = {"gif.enabled": False, "output.preset": "ultrafast", "engine.segment_seconds": 0.5, "engine.min_free_mb": 0}
SIZE = (160, 240)
pytestmark = needs_ffmpeg


class Brightness(Processor):
    """Says how bright each frame is; has a state, so that a resume that loses it changes rows."""

    name = "test_brightness"
    looked: list[int]

    def open(self, clip, context):
        return OutputSpec()

    def infer(self, batch):
        time.sleep(0.005 * len(batch))
        return [float(frame.float().mean()) for frame in batch.rgb]

    def commit(self, batch, inferred):
        done = []
        for index, value in enumerate(inferred):
            self.total = getattr(self, "total", 0.0) + value
            type(self).looked.append(batch.first_index + index)
            done.append(batch.slice(index, index + 1).replace(rows=[{"total": self.total}]))
        return done

    def snapshot(self):
        return Snapshot({"total": self.total})

    def restore(self, state):
        self.total = state["total"]


class Window(Processor):
    """Cuts a window out of each frame, further right the brighter the clip was as a whole."""

    name = "test_window"
    scalable = False
    exports = (".camera.csv",)

    def open(self, clip, context):
        return OutputSpec(size=SIZE)

    def first_pass(self):
        return Brightness()

    def learn(self, rows):
        self.known = [row["total"] for row in rows]

    def infer(self, batch):
        time.sleep(0.005 * len(batch))

    def commit(self, batch, inferred):
        left = int(self.known[-1]) % 97
        rgb = batch.rgb[:, :, : SIZE[1], left : left + SIZE[0]].contiguous()
        rows = [{"frame": batch.first_index + i, "left": left} for i in range(len(batch))]
        return [at_size(batch, rgb).replace(rows=rows)]

    def export(self, suffix, rows, path):
        path.write_text("frame,left\n" + "".join(f"{row['frame']},{row['left']}\n" for row in rows))


def run(clip, output, **more):
    return framelane.process_video(
        clip, "test_window", output=output, overrides={**FAST, **more.pop("overrides", {})}, **more
    )


@pytest.fixture
def clip(tmp_path):
    return synthetic(tmp_path / "clip.mp4", "-c:v", "libx264", "-preset", "ultrafast", seconds=3)


def test_the_output_has_the_processors_size_and_the_clips_times(tmp_path, clip):
    Brightness.looked = []
    events = []
    result = run(clip, tmp_path / "out.mp4", progress=events.append)
    stream = next(s for s in probe(tmp_path / "out.mp4")["streams"] if s["codec_type"] == "video")
    assert (stream["width"], stream["height"]) == SIZE
    assert frame_times(tmp_path / "out.mp4") == frame_times(clip)
    assert sorted(Brightness.looked) == list(range(result.report["frames"]))
    assert {e.get("phase") for e in events if e["event"] == "progress"} >= {"first pass", None}
    lines = (tmp_path / "out.camera.csv").read_text().splitlines()
    assert len(lines) == result.report["frames"] + 1
    assert result.report["exports"][".camera.csv"]["bytes"] == (tmp_path / "out.camera.csv").stat().st_size
    assert set(report.made_by_us(tmp_path / "out.mp4")) >= {tmp_path / "out.camera.csv"}
    assert json.loads((tmp_path / "out.report.json").read_text())["frames"] == result.report["frames"]
    run(clip, tmp_path / "out.mp4")  # its own files are its own to replace


def test_somebody_elses_table_is_not_replaced(tmp_path, clip):
    (tmp_path / "out.camera.csv").write_text("mine")
    with pytest.raises(framelane.errors.UsageError, match=r"out\.camera\.csv exists"):
        run(clip, tmp_path / "out.mp4")
    assert (tmp_path / "out.camera.csv").read_text() == "mine"


@pytest.mark.parametrize("phase", ["first pass", None])
def test_either_pass_goes_on_where_it_was_cut(tmp_path, clip, phase):
    Brightness.looked = []
    run(clip, tmp_path / "whole.mp4")
    cancel = threading.Event()

    def stop(event):
        if event["event"] == "progress" and event.get("phase") == phase and event["frame"] > 20:
            cancel.set()

    Brightness.looked = []
    with pytest.raises(Cancelled):
        run(clip, tmp_path / "cut.mp4", progress=stop, cancel=cancel, overrides={"hardware.batch_size": 4})
    before = len(Brightness.looked)
    Brightness.looked = []
    run(clip, tmp_path / "cut.mp4", overrides={"hardware.batch_size": 4})
    if phase:
        assert 0 < before < 75
        assert min(Brightness.looked) > 0, "the first pass began anew"
    else:
        assert Brightness.looked == [], "a finished first pass was made again"
    assert frame_hashes(tmp_path / "cut.mp4") == frame_hashes(tmp_path / "whole.mp4")
    assert (tmp_path / "cut.camera.csv").read_text() == (tmp_path / "whole.camera.csv").read_text()
