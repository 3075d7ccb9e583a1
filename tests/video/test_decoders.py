"""Rungs give what the CPU's decoder gives, say why where they cannot, and hand over where they break."""

from __future__ import annotations

import stat
import subprocess
import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import framelane
import support.processors  # noqa: F401
from framelane.errors import FramelaneError
from framelane.video import decoders
from framelane.video.clip import open_container, video_stream
from framelane.video.clip import probe as probe_clip
from framelane.video.decoders import Broken, CpuRung, Pass, choose, choose_decoder, nvcodec, sentences, try_rung
from framelane.video.decoders.driver import driver_problem
from framelane.video.decoders.ffmpeg import FfmpegRung, command
from framelane.video.decoders.nvcodec import NvCodecRung
from framelane.video.reader import Reader
from framelane.video.surface import Surface
from framelane.video.transfer import upload
from support.clip_kinds import H264, make
from support.clips import WALKER, needs_ffmpeg, synthetic
from support.rungs import OnCard, pictures, position, surface_of

no_driver = pytest.mark.skipif(driver_problem() is None, reason="an NVIDIA driver answers here")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Small clips by kind."""
    return make(tmp_path_factory.mktemp("clips"))


# -- the ffmpeg program --------------------------------------------------------------------------------------------------


@needs_ffmpeg
@pytest.mark.parametrize(
    "kind", ["plain", "ten_bits", "full_range", "four_two_two", "odd", "variable", "cut", "negative", "rotated"]
)
def test_frames_over_the_pipe_are_the_cpus_from_the_start_and_from_the_middle(clips, kind):
    """The same class as with NVDEC, with the program's own decoder."""
    clip = clips[kind]
    rung = FfmpegRung(accelerated=False)
    ours, _ = pictures(clip)
    theirs, reader = pictures(clip, rung=rung)
    assert len(ours) > 15
    assert theirs == ours
    assert reader.decoder.startswith("ffmpeg")
    where = position(clip, len(ours) - 8)
    assert pictures(clip, after=where, rung=rung)[0] == ours[-7:]
    first = next(Reader(clip, 1, rung=rung).batches(1)).planes[0]
    assert first.format.name == clip.pixel_format


@needs_ffmpeg
def test_an_ffmpeg_that_dies_hands_over_to_the_cpu(clips, tmp_path, monkeypatch):
    """A real program that ends in the middle of a frame."""
    script = tmp_path / "ffmpeg"
    script.write_text('#!/bin/sh\nffmpeg "$@" | head -c 400000\nexit 3\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FRAMELANE_FFMPEG", str(script))
    said: list[str] = []
    theirs, reader = pictures(clips["plain"], rung=FfmpegRung(accelerated=False), degrade=said.append)
    assert theirs == pictures(clips["plain"])[0]
    assert len(said) == 1
    assert "The decoder ffmpeg stopped at frame" in said[0]
    assert ", then cpu from frame" in reader.decoder


@needs_ffmpeg
def test_no_ffmpeg_is_left_running(clips):
    import psutil

    frames = FfmpegRung(accelerated=False).frames(Pass(clips["plain"]))
    next(frames)
    assert [child for child in psutil.Process().children() if child.name() == "ffmpeg"]
    frames.close()
    assert not [child for child in psutil.Process().children() if child.name() == "ffmpeg"]


def test_the_command_line(clips):
    clip = clips["plain"]
    new = command(Path("/opt/f"), Pass(clip, seek_pts=5120, device="cuda:1"), accelerated=True, version=(7, 1))
    assert new[0] == "/opt/f"
    assert new[new.index("-vf") + 1] == "hwdownload,format=nv12"
    assert new[new.index("-hwaccel_device") + 1] == "1"
    assert new[new.index("-ss") + 1] == f"{float(5120 * clip.time_base):.6f}"
    assert new[new.index("-i") + 1] == f"file:{clip.path}"
    assert "-noautorotate" in new
    assert "-fps_mode" in new
    assert "-vsync" in command(Path("f"), Pass(clip), accelerated=True, version=(4, 4))
    ten = command(Path("f"), Pass(clips["ten_bits"]), accelerated=True, version=(7, 1))
    assert ten[ten.index("-vf") + 1] == "hwdownload,format=p010le,format=yuv420p10le"
    assert clips["negative"].start_pts < 0
    late = command(Path("f"), Pass(clips["negative"]), accelerated=False, version=(7, 1))
    assert f"setpts=PTS+{-clips['negative'].start_pts}" in late[late.index("-vf") + 1]


# -- surfaces ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "ten_bits", "full_range", "variable"])
def test_surfaces_are_read_like_frames(clips, kind):
    """Also from a position that a host frame was remembered with: a resumed job may decode elsewhere."""
    clip = clips[kind]
    ours, _ = pictures(clip)
    assert pictures(clip, rung=OnCard())[0] == ours
    assert pictures(clip, after=position(clip, 20), rung=OnCard())[0] == ours[21:]


def test_a_surface_of_another_size_ends_the_rung(clips):
    class Shrinking(OnCard):
        def changed(self, surface: Surface, index: int) -> Surface:
            return Surface(surface.y[:-2], surface.uv[:-1], pts=surface.pts) if index == 9 else surface

    said: list[str] = []
    assert pictures(clips["plain"], rung=Shrinking(), degrade=said.append)[0] == pictures(clips["plain"])[0]
    assert "changes its size" in said[0]


# -- a rung that breaks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 7])
@pytest.mark.parametrize("at", [0, 1, 2, 13, 28, 49])
def test_where_a_rung_breaks_nothing_is_lost_or_doubled(clips, at, size):
    said: list[str] = []
    theirs, reader = pictures(clips["plain"], size, rung=OnCard(at), degrade=said.append)
    assert theirs == pictures(clips["plain"], size)[0]
    assert len(said) == 1
    # One frame waits for its successor's time, so the frame before the break is the CPU's already.
    assert f"stopped at frame {max(0, at - 1)} " in said[0]
    assert "The card is gone." in said[0]
    assert reader.warnings == []


@pytest.mark.parametrize("at", [3, 30])
def test_a_rung_that_breaks_after_a_position(clips, at):
    clip, where = clips["plain"], position(clips["plain"], 20)
    theirs, _ = pictures(clip, after=where, rung=OnCard(at, RuntimeError("CUDA error: unspecified launch failure")))
    assert theirs == pictures(clip)[0][21:]


def test_memory_that_runs_out_in_a_rung_is_the_engines_to_handle(clips):
    error = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(RuntimeError, match="out of memory"):
        pictures(clips["plain"], rung=OnCard(5, error))


def test_the_cpus_own_errors_are_no_handing_over(clips, monkeypatch):
    monkeypatch.setattr(CpuRung, "frames", lambda *a: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        pictures(clips["plain"])


@needs_ffmpeg
def test_a_job_whose_decoder_breaks_makes_the_same_frames(tmp_path, monkeypatch):
    class Breaking(FfmpegRung):
        def frames(self, work):
            yield from islice(super().frames(work), 40)
            if work.seek_pts is None:
                raise Broken("It broke on purpose.")

    fast = {"engine.segment_seconds": 1.0, "gif.enabled": False, "output.preset": "ultrafast"}
    plain = framelane.process_video(WALKER, "copy", output=tmp_path / "a.mp4", overrides=fast)
    monkeypatch.setattr(choose, "RUNGS", (Breaking(accelerated=False), CpuRung()))
    choose._proof.cache_clear()
    events: list[dict] = []
    made = framelane.process_video(
        WALKER,
        "copy",
        output=tmp_path / "b.mp4",
        overrides=fast | {"hardware.decoder": "ffmpeg"},
        progress=events.append,
    )
    one, two = (subprocess.run(["ffmpeg", "-v", "error", "-i", r.output_path, "-f", "framemd5", "-"],
                               capture_output=True, check=True).stdout for r in (plain, made))  # fmt: skip
    assert one == two
    assert made.report["decoder"] == "ffmpeg (h264), then cpu from frame 39"
    assert [e["message"] for e in events if e["event"] == "degraded"] == made.report["degradations"]
    assert "It broke on purpose." in made.report["degradations"][0]
    assert (plain.report["decoder"], plain.report["rungs_refused"]) == ("cpu (h264)", [])


# -- the choice ----------------------------------------------------------------------------------------------------------


class Spoiling(OnCard):
    name = "nvcodec"

    def changed(self, surface, index):
        if index == 4:
            surface.y[3, 5] ^= 2
        return surface


class Late(OnCard):
    name = "ffmpeg"

    def changed(self, surface, index):
        surface.pts += 1
        return surface


@pytest.fixture
def ladder(monkeypatch):
    """Puts other rungs on the ladder, above the CPU's."""

    def put(*rungs):
        monkeypatch.setattr(choose, "RUNGS", (*rungs, CpuRung()))

    choose._proof.cache_clear()
    yield put
    choose._proof.cache_clear()


def test_the_first_rung_whose_frames_are_the_cpus_is_taken(clips, ladder):
    ladder(OnCard(0), Spoiling(), Late())
    refused = choose_decoder(clips["plain"], device="cuda")
    assert (refused.name, refused.fell_back) == ("cpu", True)
    said = {probe.name: probe.reason for probe in refused.refused}
    assert said["pyav"] == "The card is gone."
    assert "differ by up to 2 (PSNR" in said["nvcodec"]
    assert "timestamps" in said["ffmpeg"]
    assert all(reason in (refused.reason or "") for reason in said.values())
    ladder(Spoiling(), OnCard(), Late())
    taken = choose_decoder(clips["plain"], device="cuda")
    assert (taken.name, taken.fell_back, [p.name for p in taken.refused]) == ("pyav", False, ["nvcodec"])


def test_ten_bits_are_compared_as_ten_bits(clips, ladder):
    class Small(OnCard):
        def changed(self, surface, index):
            surface.uv = (surface.uv.view(torch.int16) ^ 64).view(torch.uint16)  # the lowest of the ten bits
            return surface

    assert "differ by up to 1 (PSNR" in try_rung(Small(), clips["ten_bits"], "cuda").reason
    assert try_rung(OnCard(), clips["ten_bits"], "cuda").ok


def test_a_rung_that_loses_a_frame_is_refused(clips):
    class Losing(OnCard):
        def frames(self, work):
            return (frame for frame in islice(super().frames(work), 5))

    assert "gave 5 frames where the CPU's gives 6" in try_rung(Losing(), clips["plain"], "cuda").reason


def test_a_clip_is_tried_once(clips, ladder):
    rung = OnCard()
    ladder(rung)
    assert {choose_decoder(clips["plain"], device="cuda").name for _ in range(3)} == {"pyav"}
    assert rung.passes == 1
    choose_decoder(clips["variable"], device="cuda")
    assert rung.passes == 2


def test_what_the_settings_say(clips, ladder):
    rung = OnCard()
    ladder(rung)
    clip = clips["plain"]
    assert choose_decoder(clip, device="cpu").name == "cpu"
    assert choose_decoder(clip, device="cuda", prefer_gpu=False).name == "cpu"
    assert choose_decoder(clip, device="cuda", forced="cpu").name == "cpu"
    assert rung.passes == 0, "nothing is tried that is not wanted"
    assert choose_decoder(clip, device="cuda", require_gpu=True).name == "pyav"
    with pytest.raises(FramelaneError, match="decoded on the CPU"):
        choose_decoder(clip, device="cuda", require_gpu=True, forced="cpu")
    ladder(OnCard(0))
    choose._proof.cache_clear()
    with pytest.raises(FramelaneError, match=r"decoded on the CPU: The card is gone\."):
        choose_decoder(clip, device="cuda", require_gpu=True)
    with pytest.raises(FramelaneError, match=r"decoder pyav was asked for .* The card is gone\."):
        choose_decoder(clip, device="cuda", forced="pyav")


@pytest.mark.parametrize(("kind", "word"), [("four_two_two", "yuv422p"), ("odd", "yuv444p")])
def test_clips_that_nvdec_would_change_are_refused_untried(clips, ladder, kind, word):
    rung = OnCard()
    assert word in try_rung(rung, clips[kind], "cuda").reason
    assert rung.passes == 0


def test_what_several_rungs_say_alike_is_said_once():
    probes = [decoders.choose.Probe(name, False, "No driver.") for name in ("a", "b", "c")]
    assert sentences(probes) == "No driver."
    assert sentences([*probes, decoders.choose.Probe("d", False, "Other.")]) == "a, b, c: No driver. d: Other."


@no_driver
def test_every_rung_names_the_missing_driver():
    assert {p.reason for p in map(decoders.probe, ("pyav", "nvcodec", "ffmpeg"))} == {driver_problem()}
    assert decoders.probe("cpu").ok


@no_driver
def test_the_command_line_forces_a_decoder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "framelane.cli", "run", "attention", WALKER,
         "-o", tmp_path / "o.mp4", "--decoder", "nvcodec"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "The decoder nvcodec was asked for" in done.stderr
    assert "NVIDIA driver" in done.stderr
    assert list(tmp_path.iterdir()) == []


# -- PyNvVideoCodec, as far as it goes without a card --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "ten_bits", "variable"])
def test_packets_for_nvdec_decode_by_themselves(clips, kind):
    """Without the file's header: start codes and parameter sets are in the packets, and timestamps stay."""
    import av

    clip = clips[kind]
    with open_container(clip.path) as container:
        stream = video_stream(container, clip.path)
        decoder = av.CodecContext.create(clip.codec, "r")
        frames = []
        for packet in nvcodec._pictures(container.demux(stream), stream, clip):
            if packet is not None and packet.size:
                assert bytes(packet)[:3] in (b"\0\0\0", b"\0\0\1")
            frames += decoder.decode(packet if packet is None or packet.size else None)
    theirs = [(frame.pts, frame.to_ndarray().tobytes()) for frame in frames]
    assert theirs == [(frame.pts, frame.to_ndarray().tobytes()) for frame in CpuRung().frames(Pass(clip))]


@pytest.mark.parametrize("kind", ["plain", "ten_bits"])
def test_a_frame_in_one_piece_is_cut_into_planes(clips, kind):
    surface = surface_of(next(CpuRung().frames(Pass(clips[kind]))))
    whole = torch.cat([surface.y.reshape(-1), surface.uv.reshape(-1)])
    for shape in ((-1,), (clips[kind].height * 3 // 2, clips[kind].width)):
        y, uv = nvcodec.planes_of(whole.reshape(shape), clips[kind])
        assert torch.equal(y, surface.y)
        assert torch.equal(uv, surface.uv)
    with pytest.raises(Broken, match="bytes"):
        nvcodec.planes_of(whole[:-2], clips[kind])


def test_a_timestamp_that_no_packet_has_ends_the_rung(clips):
    times = nvcodec._Times(clips["plain"])
    times._open = {0: (512, False), 512: (512, True), 1024: (100, False)}
    assert times.of(512) == (512, True)
    with pytest.raises(Broken, match="timestamp"):
        times.of(0)  # it would go backwards
    assert times.of(1024) == (100, False)


def test_interlaced_clips_are_not_for_pynvvideocodec(tmp_path):
    clip = synthetic(tmp_path / "i.mp4", *H264, "-flags", "+ilme+ildct", "-x264opts", "tff=1", seconds=1, size="160x128",
                     audio=False)  # fmt: skip
    clip = probe_clip(clip)
    assert clip.interlaced
    assert "interlaced" in (NvCodecRung().refuses(clip, "cuda") or "")


def test_the_cpus_frames_reach_a_device_and_keep_their_host_frame(clips):
    """On "meta", which holds no samples: 4:2:0 frames become surfaces there, others stay."""
    import framelane.video.reader as module

    clip = clips["plain"]
    reader = Reader(clip, 1, device="meta")
    frame = next(CpuRung().frames(Pass(clip)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Staging", lambda device: None)
        surface = reader._conformed(frame)
    assert isinstance(surface, Surface)
    assert surface.device.type == "meta"
    assert surface.host is frame
    other = next(CpuRung().frames(Pass(clips["four_two_two"])))
    assert Reader(clips["four_two_two"], 1, device="meta")._conformed(other) is other
    assert np.array_equal(upload(frame, "cpu").y.numpy()[0], np.frombuffer(frame.planes[0], np.uint8)[: clip.width])
    assert surface.time_base == Fraction(clip.time_base)
