"""Encoding rungs on a real card. Where a card has no NVENC (A100, H100, H200) the refusal is what is tested."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

import framelane
import support.processors  # noqa: F401
from framelane.settings import load
from framelane.video.clip import probe as probe_clip
from framelane.video.codecs import probe_encoder
from framelane.video.colour import ColourTags
from framelane.video.copies import COPIES
from framelane.video.encoders import SESSIONS, choose_encoder, pictures, probe, trial
from framelane.video.encoders.spec import EncodeSpec
from framelane.video.encoders.trial import try_rung
from framelane.video.frames import FrameBatch, Layout
from support.clips import STREET, WALKER
from support.read import frame_times

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")]

RUNGS = ("pyav", "nvcodec", "ffmpeg")
SPEC = EncodeSpec(
    encoder="h264_nvenc", width=1280, height=720, pixel_format="yuv420p", rate=Fraction(30), time_base=Fraction(1, 90000),
    colour=ColourTags(1, 1, 1, 1, 720), quality=20, preset="p3", threads=2, rung="pyav", device="cuda",
)  # fmt: skip


def working(rung, codec="h264"):
    found = probe(rung, codec)
    if not found.ok:
        pytest.skip(f"{rung}: {found.reason}")


def spec_for(rung, **more):
    from framelane.video.ffmpeg import ffmpeg_program

    return replace(SPEC, rung=rung, program=str(ffmpeg_program() or ""), **more)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_choice_is_honest_on_this_card(codec):
    """A rung that proves itself is taken; else the CPU, and every refusal is a sentence."""
    settings = load(overrides={"output.codec": codec}).settings
    found = choose_encoder(probe_clip(WALKER), settings, "cuda", True)
    assert all(p.reason.endswith(".") and "\n" not in p.reason for p in found.refused)
    if not probe_encoder(f"{codec}_nvenc").ok and found.rung == "cpu":
        assert found.reason
        assert len(found.refused) == len(RUNGS)
    else:
        assert found.rung in RUNGS


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("preset", ["p1", "p3", "p7"])
def test_every_rung_brings_pictures_and_times_back(rung, codec, preset):
    working(rung, codec)
    found = try_rung(spec_for(rung, encoder=f"{codec}_nvenc", preset=preset, keyframes=100))
    assert found.ok, found.reason


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize(
    "more",
    [
        {"b_frames": 0},
        {"b_frames": 2},
        {"width": 1918, "height": 1078},
        {"encoder": "hevc_nvenc", "pixel_format": "yuv420p10le"},
        {"colour": ColourTags(9, 2, 9, 16, 720)},
        {"sample_aspect": Fraction(4, 3)},
    ],
)
def test_b_frames_sizes_depths_and_ranges(rung, more):
    working(rung, "hevc" if "encoder" in more else "h264")
    found = try_rung(spec_for(rung, **more))
    assert found.ok or found.cause in ("no B-frames", "no 10 bits"), found.reason


@pytest.mark.parametrize("rung", ["pyav", "nvcodec"])
def test_no_frame_crosses_to_the_host(rung, tmp_path):
    working(rung)
    from framelane.video.convert import upload

    spec = spec_for(rung)
    planes = [trial.picture(spec, number) for number in range(4)]
    made = [upload(trial._frame(replace(spec, device="cpu"), one), "cuda") for one in planes]
    layout = Layout(spec.width, spec.height, spec.time_base, 0, spec.colour)
    batch = FrameBatch(tuple(made), (0, 3000, 6000, 9000), (3000,) * 4, 0, layout)
    COPIES.reset()
    session = SESSIONS[rung](tmp_path / "s.nut", spec, True)
    for index in range(4):
        session.encode(batch, index)
    session.finish()
    counted = COPIES.counted()
    assert (counted["uploads"], counted["downloads"]) == (0, 0)


@pytest.mark.parametrize(("encoder", "pixels"), [("libx264", "yuv420p"), ("libx265", "yuv420p10le")])
def test_a_surface_comes_down_exactly(encoder, pixels):
    """x264 after a card: one copy of 1.5 samples a pixel through pinned memory."""
    from framelane.video.convert import upload

    spec = replace(SPEC, encoder=encoder, pixel_format=pixels, rung="cpu")
    planes = trial.picture(spec, 3)
    surface = upload(trial._frame(replace(spec, device="cpu"), planes), "cuda")
    surface.host = None
    frame = pictures.downloaded(surface)
    for got, wanted in zip(trial._planes(frame), planes, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("processor", ["copy", "repaint"])
def test_a_whole_job(rung, processor, tmp_path):
    working(rung)
    overrides = {
        "hardware.encoder": rung, "hardware.device": "cuda", "gif.enabled": False, "engine.segment_seconds": 1,
        "engine.min_free_mb": 0,
    }  # fmt: skip
    result = framelane.process_video(STREET, processor, output=tmp_path / "o.mp4", overrides=overrides)
    assert result.report["encoder"].startswith("h264_nvenc p3 cq 20")
    assert frame_times(tmp_path / "o.mp4") == pytest.approx(frame_times(STREET), abs=1e-4)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_how_cq_and_crf_compare(codec, tmp_path, capsys):
    """Prints size and PSNR of both at the same numbers; CQ must follow the number as CRF does."""
    working("pyav", codec)
    with av.open(str(STREET)) as container:
        frames = [frame.reformat(format="yuv420p") for frame in container.decode(video=0)][:60]
    sizes: dict[str, list[tuple[int, int, float]]] = {}
    for encoder, rung, preset in (
        (f"{codec}_nvenc", "pyav", "p3"),
        (f"libx26{4 if codec == 'h264' else 5}", "cpu", "medium"),
    ):
        for quality in (16, 20, 24, 28):
            sizes.setdefault(encoder, []).append(_measure(frames, encoder, rung, preset, quality, tmp_path / "s.nut"))
    with capsys.disabled():
        for encoder, rows in sizes.items():
            print(f"\n{encoder}: " + ", ".join(f"{q}: {size / 1e3:.0f} kB {psnr:.1f} dB" for q, size, psnr in rows))
    nvenc = sizes[f"{codec}_nvenc"]
    assert [row[1] for row in nvenc] == sorted((row[1] for row in nvenc), reverse=True)


def _measure(frames, encoder, rung, preset, quality, path):
    width, height = frames[0].width, frames[0].height
    device = "cuda" if rung != "cpu" else "cpu"
    spec = replace(
        SPEC, encoder=encoder, rung=rung, preset=preset, quality=quality, width=width, height=height, device=device
    )
    batch = FrameBatch(
        tuple(frames), tuple(range(0, 3000 * len(frames), 3000)), (3000,) * len(frames), 0,
        Layout(width, height, spec.time_base, 0, spec.colour),
    )  # fmt: skip
    session = SESSIONS[rung](path, spec, True)
    for index in range(len(frames)):
        session.encode(batch, index)
    session.finish()
    with av.open(str(path)) as made:
        back = [trial._planes(frame)[0] for frame in made.decode(video=0)]
    psnr = np.mean([trial._psnr(trial._planes(one)[0], two) for one, two in zip(frames, back, strict=True)])
    return quality, path.stat().st_size, float(psnr)
