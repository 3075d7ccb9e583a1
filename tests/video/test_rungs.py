"""Whole jobs through the rung ``ffmpeg`` (with x264 in place of NVENC), and joins of what different encoders made."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import framelane
import support.processors  # noqa: F401
from framelane.errors import FramelaneError
from framelane.video import join as joining
from framelane.video.clip import probe as probe_clip
from framelane.video.colour import ColourTags
from framelane.video.encoders import choice
from framelane.video.encoders import ffmpeg as program
from framelane.video.encoders.spec import EncodeSpec
from framelane.video.join import join, parameter_sets
from framelane.video.reader import open_reader
from framelane.video.verification import verify
from framelane.video.writer import SegmentWriter
from support import pynv
from support.clips import WALKER, ffmpeg, needs_ffmpeg, synthetic
from support.read import audio_packets, frame_times, probe, rgb_frames

pytestmark = needs_ffmpeg
FAST = {
    "gif.enabled": False, "output.preset": "ultrafast", "engine.segment_seconds": 0.5, "engine.min_free_mb": 0,
    "output.quality": 10,
}  # fmt: skip


@pytest.fixture
def in_a_program(monkeypatch):
    """The rung ``ffmpeg`` with the program's x264 and x265: everything but the encoder is what NVENC would get."""
    monkeypatch.setattr(choice, "GPU_ENCODERS", {"h264": "libx264", "hevc": "libx265"})
    monkeypatch.setattr(choice, "_known", {})


def run(clip, output, processor="copy", rung="ffmpeg", **more):
    overrides = {**FAST, "hardware.encoder": rung, **more}
    return framelane.process_video(clip, processor, output=output, overrides=overrides)


def x264(*more):
    return ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-c:a", "aac", *more)


def made(folder, kind):
    path = folder / "in.mp4"
    if kind == "variable rate":
        synthetic(folder / "cfr.mp4", *x264(), seconds=1.5)
        picked = "select='not(mod(n,3))+lt(n,20)',setpts=PTS+0.1*random(7)/TB"
        ffmpeg("-i", folder / "cfr.mp4", "-vf", picked, "-vsync", "vfr", "-enc_time_base", "1/90000", *x264(), path)
    elif kind == "late":
        ffmpeg("-t", "1", "-i", WALKER, "-output_ts_offset", "5", "-c", "copy", path)
    elif kind == "full range":
        full = ("-vf", "scale=out_color_matrix=bt709:out_range=pc", "-color_range", "pc", "-colorspace", "bt709")
        synthetic(path, *full, *x264("-crf", "5"), seconds=1)
    elif kind == "odd":
        crop = "format=yuv444p,crop=321:241:0:0:exact=1"
        path = folder / "in.mkv"
        synthetic(path, "-vf", crop, "-c:v", "libx264", "-pix_fmt", "yuv444p", size="322x242", seconds=1)
    elif kind == "aspect":
        synthetic(path, "-vf", "setsar=4/3", *x264(), seconds=1)
    elif kind == "ten bits":
        synthetic(path, "-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", seconds=1)
    return path


@pytest.mark.parametrize(
    ("kind", "processor"),
    [("variable rate", "repaint"), ("late", "copy"), ("full range", "copy"), ("full range", "repaint"), ("odd", "copy"),
     ("aspect", "copy"), ("ten bits", "copy"), ("ten bits", "repaint")],
)  # fmt: skip
def test_the_twin_that_a_program_encodes_is_the_cpus_twin(tmp_path, in_a_program, kind, processor):
    clip = made(tmp_path, kind)
    codec = {"output.codec": "hevc" if kind == "ten bits" else "h264"}
    there = run(clip, tmp_path / "there.mp4", processor, **codec)
    here = run(clip, tmp_path / "here.mp4", processor, rung="cpu", **codec)
    assert there.report["encoder"].split()[0] == here.report["encoder"].split()[0]
    assert frame_times(tmp_path / "there.mp4") == frame_times(tmp_path / "here.mp4")
    assert audio_packets(tmp_path / "there.mp4") == audio_packets(tmp_path / "here.mp4")
    one, two = (probe(tmp_path / f"{name}.mp4")["streams"][0] for name in ("there", "here"))
    for key in ("width", "height", "pix_fmt", "color_range", "color_space", "color_primaries", "color_transfer",
                "sample_aspect_ratio", "codec_tag_string", "start_time"):  # fmt: skip
        assert one.get(key) == two.get(key), key
    pairs = zip(rgb_frames(tmp_path / "there.mp4"), rgb_frames(tmp_path / "here.mp4"), strict=True)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in pairs) < 1.5


def test_a_program_that_dies_is_a_sentence_and_finished_segments_stay(tmp_path, in_a_program, monkeypatch):
    clip = synthetic(tmp_path / "in.mp4", *x264(), seconds=1.6, audio=False)
    sessions = []
    original = program.ProgramSession.encode

    def encode(self, batch, index):
        if self not in sessions:
            sessions.append(self)
        if len(sessions) == 3 and self._sent == 5:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
        original(self, batch, index)

    monkeypatch.setattr(program.ProgramSession, "encode", encode)
    with pytest.raises(FramelaneError, match=r"refused this segment|ended in the middle|libx264 did not open"):
        run(clip, tmp_path / "out.mp4")
    monkeypatch.undo()
    monkeypatch.setattr(choice, "GPU_ENCODERS", {"h264": "libx264", "hevc": "libx265"})
    result = run(clip, tmp_path / "out.mp4")
    assert result.report["resumed_at_frame"] > 0
    assert frame_times(tmp_path / "out.mp4") == frame_times(clip)


def test_what_the_encoder_does_not_read_restarts_nothing_and_the_rung_does(tmp_path, in_a_program):
    clip = synthetic(tmp_path / "in.mp4", *x264(), seconds=2, audio=False)

    def begin():
        with pytest.raises(framelane.Cancelled):
            _cancelled_after_one_segment(clip, tmp_path / "out.mp4")

    begin()
    unread = {"output.nvenc_preset": "p7", "hardware.prefer_gpu": False}
    result = run(clip, tmp_path / "out.mp4", "slow_averager", **unread)
    assert result.report["resumed_at_frame"] > 0
    for path in tmp_path.glob("out*"):
        path.unlink()
    begin()
    result = run(clip, tmp_path / "out.mp4", "slow_averager", rung="cpu")
    assert result.report["resumed_at_frame"] == 0
    assert any("made with another encoder" in text for text in result.report["warnings"])


def _cancelled_after_one_segment(clip, output):
    import threading

    cancel = threading.Event()

    def listen(event):
        if event["event"] == "segment":
            cancel.set()

    overrides = {**FAST, "hardware.encoder": "ffmpeg"}
    framelane.process_video(clip, "slow_averager", output=output, overrides=overrides, progress=listen, cancel=cancel)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_packets_of_pynvvideocodec_are_muxed_with_their_times(tmp_path, monkeypatch, b_frames):
    pynv.install(monkeypatch)
    monkeypatch.setattr(choice, "_known", {})
    clip = made(tmp_path, "variable rate")
    result = run(clip, tmp_path / "there.mp4", "repaint", rung="nvcodec", **{"output.b_frames": b_frames})
    assert result.report["encoder"] == "h264_nvenc p3 cq 10 yuv420p (through nvcodec)"
    run(clip, tmp_path / "here.mp4", "repaint", rung="cpu")
    assert frame_times(tmp_path / "there.mp4") == frame_times(tmp_path / "here.mp4")
    stream = probe(tmp_path / "there.mp4")["streams"][0]
    assert bool(stream["has_b_frames"]) == bool(b_frames)
    pairs = zip(rgb_frames(tmp_path / "there.mp4"), rgb_frames(tmp_path / "here.mp4"), strict=True)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in pairs) < 2


# -- joins -----------------------------------------------------------------------------------------------------------

SPEC = EncodeSpec(
    encoder="libx264", width=320, height=240, pixel_format="yuv420p", rate=Fraction(25), time_base=Fraction(1, 12800),
    colour=ColourTags(1, 1, 1, 1, 240), quality=10, preset="ultrafast", threads=1,
)  # fmt: skip


def segments(folder, specs):
    """Stretches of a clip of 15 frames, each encoded as one of the specs says; and the clip."""
    clip = probe_clip(synthetic(folder / "in.mp4", *x264(), seconds=len(specs) * 15 / 25, audio=False))
    batches = list(open_reader(clip).batches(15))
    parts = []
    for number, (spec, batch) in enumerate(zip(specs, batches, strict=True)):
        path = folder / f"{number}.nut"
        made = SegmentWriter(path, replace(spec, time_base=clip.time_base, colour=clip.colour))
        made.write(batch)
        parts.append((path, made.close()))
    return clip, parts


PROGRAM = replace(SPEC, rung="ffmpeg", program=shutil.which("ffmpeg") or "")
MIXES = {
    "one encoder": [SPEC, SPEC, SPEC],
    "another version": [SPEC, PROGRAM, SPEC],
    "other settings": [SPEC, replace(SPEC, preset="medium", b_frames=3), SPEC],
    "hevc": [replace(SPEC, encoder="libx265", preset=preset) for preset in ("ultrafast", "medium", "ultrafast")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("mix", "suffix"), [*((mix, "mp4") for mix in MIXES), ("other settings", "mkv"), ("hevc", "mkv")]
)
def test_segments_of_different_encoders_join_and_play(tmp_path, mix, suffix):
    clip, parts = segments(tmp_path, MIXES[mix])
    out = tmp_path / f"out.{suffix}"
    done = join(parts, clip, out)
    verify(out, clip, parts[0][1], parts[-1][1], 45)
    differ = len({parameter_sets(path) for path, _ in parts}) > 1
    assert differ == (mix in ("other settings", "hevc")) or mix == "another version"
    assert bool(done.notes) == differ
    wanted = rgb_frames(clip.path)
    for read in (rgb_frames(out), _by_the_command(out, tmp_path)):
        assert len(read) == 45
        assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(read, wanted, strict=True)) < 4
    with av.open(str(out)) as container:  # a player that seeks meets the right settings, too
        stream = container.streams.video[0]
        for second in (1.4, 0.1, 0.7):
            container.seek(int(second / stream.time_base), stream=stream)
            frame = next(container.decode(stream))
            number = round(float(frame.pts * stream.time_base) * 25)
            assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - wanted[number]).mean() < 4


def _by_the_command(path: Path, folder: Path):
    ffmpeg("-i", path, "-vsync", "0", "-c:v", "ffv1", "-pix_fmt", "bgr0", folder / "read.mkv")
    return rgb_frames(folder / "read.mkv")


def test_without_own_sets_the_mixed_join_would_be_garbage(tmp_path, monkeypatch):
    """The premise of the above: a header has room for the sets of one segment."""
    clip, parts = segments(tmp_path, MIXES["other settings"])
    monkeypatch.setattr(joining, "parameter_sets", lambda path: ())
    join(parts, clip, tmp_path / "out.mp4")
    try:
        read, wanted = rgb_frames(tmp_path / "out.mp4"), rgb_frames(clip.path)
    except av.error.FFmpegError:
        return
    far = [np.abs(a.astype(int) - b).mean() for a, b in zip(read, wanted, strict=False)]
    assert len(read) < 45 or max(far) > 10
