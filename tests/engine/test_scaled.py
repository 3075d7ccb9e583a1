"""The working size: what a processor sees, and that the output is still the input's twin."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import framelane
import support.processors
from framelane.engine import processing
from framelane.errors import Cancelled
from framelane.processors.base import OutputSpec, Processor
from framelane.processors.scaled import Scaled
from framelane.video import frames as frames_module
from framelane.video.clip import probe as probe_clip
from framelane.video.frames import thumbnail
from framelane.video.scale import working_size
from support.clips import STREET, WALKER, needs_ffmpeg, synthetic
from support.read import audio_packets, frame_hashes, frame_times, probe, rgb_frames

FAST = {"gif.enabled": False, "output.preset": "ultrafast", "engine.segment_seconds": 0.5, "engine.min_free_mb": 0}


def run(clip, output, processor="repaint", progress=None, cancel=None, **more):
    return framelane.process_video(
        clip, processor, output=output, overrides={**FAST, **more}, progress=progress, cancel=cancel
    )


class Witness(support.processors.Repaint):
    """Repaints, and remembers the sizes it was shown."""

    name = "witness"
    seen: set[tuple]

    def open(self, clip, context):
        type(self).seen = {("clip", *clip.display_size)}
        return super().open(clip, context)

    def infer(self, batch):
        self.seen.add(("layout", batch.layout.width, batch.layout.height))
        self.seen |= {("plane", plane.width, plane.height) for plane in batch.planes}
        self.seen.add(("rgb", *batch.rgb.shape[:1:-1]))
        if batch.before is not None:
            self.seen.add(("before", *thumbnail(batch.before, batch.layout, 4000).shape[::-1]))


def test_a_processor_sees_the_working_size_only_and_the_output_has_the_clips(tmp_path, monkeypatch):
    converted, real = set(), frames_module.to_rgb

    def watched(frame, tags, out):
        converted.add((frame.width, frame.height))
        real(frame, tags, out)

    monkeypatch.setattr(frames_module, "to_rgb", watched)
    events = []
    result = run(WALKER, tmp_path / "o.mp4", "witness", events.append, **{"hardware.working_height": 270})
    assert Witness.seen == {(what, 480, 270) for what in ("clip", "layout", "plane", "rgb", "before")}
    assert converted == {(480, 270)}, "RGB of the clip's own size was made"
    stream = probe(tmp_path / "o.mp4")["streams"][0]
    assert (stream["width"], stream["height"]) == (960, 540)
    assert frame_times(tmp_path / "o.mp4") == frame_times(WALKER)
    assert audio_packets(tmp_path / "o.mp4") == audio_packets(WALKER)
    apart = np.abs(rgb_frames(tmp_path / "o.mp4")[5].astype(int) - rgb_frames(WALKER)[5])
    assert 0.1 < apart.mean() < 8, "the same picture, softer"
    for data in (result.report, events[0]):
        assert data["working_size"] == [480, 270]
        assert data["upscaler"] == "lanczos"
    assert not any("working" in text or "worked" in text for text in result.report["degradations"]), (
        "asked for by the user"
    )


def test_a_profiles_working_size_is_said(tmp_path, monkeypatch):
    from framelane import settings as settings_module

    real = settings_module.profile_values
    monkeypatch.setattr(settings_module, "profile_values", lambda name: {**real(name), "hardware.working_height": 288})
    result = run(STREET, tmp_path / "o.mp4")
    said = [text for text in result.report["degradations"] if "768x576 are worked on at 384x288" in text]
    assert said
    assert "profile cpu" in said[0]
    assert "lanczos" in said[0]


def test_a_clip_no_larger_than_the_working_size_is_left_alone(tmp_path):
    result = run(STREET, tmp_path / "o.mp4", "witness", **{"hardware.working_height": 576})
    assert result.report["working_size"] is None
    assert ("clip", 768, 576) in Witness.seen
    assert frame_hashes(tmp_path / "o.mp4") == frame_hashes(run(STREET, tmp_path / "p.mp4").output_path)


def test_frames_that_are_not_touched_pass_as_decoded(tmp_path):
    small = run(STREET, tmp_path / "a.mp4", "copy", **{"hardware.working_height": 240})
    plain = run(STREET, tmp_path / "b.mp4", "copy")
    assert frame_hashes(small.output_path) == frame_hashes(plain.output_path)
    assert small.report["upscaler"] is None


@needs_ffmpeg
@pytest.mark.parametrize("kind", ["rotated", "odd", "ten bit", "wide pixels", "gif"])
def test_odd_clips(tmp_path, kind):
    clip = tmp_path / ("in.gif" if kind == "gif" else "in.mp4")
    how = {"odd": ("-vf", "crop=301:201", "-c:v", "libx264", "-pix_fmt", "yuv444p"),
           "ten bit": ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=error"),
           "wide pixels": ("-vf", "setsar=16/11", "-c:v", "libx264", "-pix_fmt", "yuv420p"), "gif": ()}  # fmt: skip
    plain = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
    synthetic(clip if kind != "rotated" else tmp_path / "plain.mp4", *how.get(kind, plain), seconds=1, audio=False)
    if kind == "rotated":
        _rotate(tmp_path / "plain.mp4", clip)
    result = run(clip, tmp_path / "o.mp4", "witness", **{"hardware.working_height": 120})
    wanted = {"rotated": (120, 160), "odd": (180, 120)}.get(kind, (160, 120))
    assert tuple(result.report["working_size"]) == wanted
    assert ("rgb", *wanted) in Witness.seen
    before, after = probe(clip)["streams"][0], probe(tmp_path / "o.mp4")["streams"][0]
    even = [side + side % 2 for side in (before["width"], before["height"])]
    assert [after["width"], after["height"]] == even
    assert after.get("sample_aspect_ratio", "1:1") == before.get("sample_aspect_ratio", "1:1")
    mine, theirs = rgb_frames(tmp_path / "o.mp4")[5], rgb_frames(clip)[5]
    assert np.abs(mine[: theirs.shape[0], : theirs.shape[1]].astype(int) - theirs).mean() < 9
    if kind == "rotated":
        assert after["side_data_list"][0]["rotation"] == before["side_data_list"][0]["rotation"]


def _rotate(plain, target_path):
    import av

    with av.open(str(plain)) as source, av.open(str(target_path), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        track.set_display_rotation(90)
        for packet in source.demux():
            if packet.size:
                packet.stream = track
                target.mux(packet)


def test_the_working_size_is_of_the_shorter_side_and_even():
    street, walker = probe_clip(STREET), probe_clip(WALKER)
    assert working_size(street, 0) is None
    assert working_size(street, 576) is None
    assert working_size(street, 480) == (640, 480)
    assert working_size(walker, 333) == (592, 332)


class DozingAverager(support.processors.Averager):
    name = "dozing_averager"
    delay_s = 0.05


@needs_ffmpeg
@pytest.mark.parametrize("upscaler", ["lanczos", "realesrgan"])
def test_what_is_resumed_equals_what_was_never_interrupted(tmp_path, upscaler):
    """With a processor that holds frames back, and an upscaler that looks at the two frames before."""
    clip = synthetic(
        tmp_path / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", seconds=3, rate="10", size="160x120"
    )
    more = {"hardware.working_height": 60, "output.upscale": upscaler, "hardware.batch_size": 3}
    processor = "dozing_averager" if upscaler == "lanczos" else "averager"  # else it is done before it can be stopped
    plain = run(clip, tmp_path / "plain.mp4", processor, **more)
    stop = threading.Event()
    with pytest.raises(Cancelled):
        run(clip, tmp_path / "o.mp4", processor, lambda e: stop.set() if e.get("index") == 1 else None, stop, **more)
    result = run(clip, tmp_path / "o.mp4", processor, **more)
    assert result.report["resumed_at_frame"] > 0
    assert result.report["upscaler"] == upscaler
    assert frame_hashes(result.output_path) == frame_hashes(plain.output_path)
    if upscaler == "realesrgan":
        assert result.report["models"][0]["name"] == "realesr_animevideo_v3"


def test_a_processor_that_draws_against_its_word_is_an_error(tmp_path):
    class Liar(support.processors.Repaint):
        name = "liar"

        def open(self, clip, context):
            return OutputSpec(touches=False)

    with pytest.raises(ValueError, match="liar draws"):
        run(STREET, tmp_path / "o.mp4", "liar", **{"hardware.working_height": 240})


class Sizes(support.processors.Copy):
    """Says how wide each frame is that it is shown."""

    def commit(self, batch, inferred):
        return [batch.replace(rows=[{"width": batch.rgb.shape[-1]}] * len(batch))]


class Looker(Sizes):
    """Looks at the whole clip first, and writes a table of what it was shown in either pass."""

    name = "looker"
    exports = (".objects.csv",)
    makes_sheet = True
    version = 7

    def first_pass(self):
        return Sizes()

    def learn(self, rows):
        self.known = [row["width"] for row in rows]

    def report(self, rows):
        return {"known": self.known}

    def export(self, suffix, rows, path):
        path.write_text("\n".join(str(row["width"]) for row in rows))


def test_a_first_pass_and_tables_work_at_the_working_size_too(tmp_path):
    small = run(STREET, tmp_path / "a.mp4", "looker", **{"hardware.working_height": 240})
    assert small.report["working_size"] == [320, 240]
    assert small.report["metrics"]["known"] == [320] * 120, "the first pass saw frames of another size"
    assert (tmp_path / "a.objects.csv").read_text().split() == ["320"] * 120
    plain = run(STREET, tmp_path / "b.mp4", "looker")
    assert plain.report["metrics"]["known"] == [768] * 120
    assert frame_hashes(small.output_path) == frame_hashes(plain.output_path)


def test_all_of_the_contract_reaches_the_processor_inside():
    public = {name for name, what in vars(Processor).items() if callable(what) and not name.startswith("_")}
    assert public <= vars(Scaled).keys(), f"not passed on: {sorted(public - vars(Scaled).keys())}"
    inner = Looker()
    inner.history, inner.says_what_it_is = 3, True
    around = Scaled(inner, (320, 240))
    said = [name for name in Processor.__annotations__ if not name.startswith("_")]
    assert {"exports", "makes_sheet", "version"} <= set(said)
    assert {name: getattr(around, name) for name in said} == {name: getattr(inner, name) for name in said}


def test_frames_of_a_size_of_their_own_are_not_scaled(tmp_path):
    class Cutter(support.processors.Copy):
        name = "cutter"

        def open(self, clip, context):
            return OutputSpec(size=(64, 64))

    with pytest.raises(ValueError, match="cutter makes frames of a size of its own"):
        run(STREET, tmp_path / "o.mp4", "cutter", **{"hardware.working_height": 240})


def test_memory_is_given_back_every_so_many_batches(tmp_path, monkeypatch):
    given_back = []
    monkeypatch.setattr(processing, "free_memory", lambda: given_back.append(1))
    run(STREET, tmp_path / "o.mp4", "copy", **{"hardware.batch_size": 10, "hardware.empty_cache_every": 5})
    assert len(given_back) == 2, "120 frames are 12 batches"
    run(STREET, tmp_path / "p.mp4", "copy")
    assert len(given_back) == 2


def test_scaled_is_no_processor_of_its_own():
    assert "" not in Processor._registry
