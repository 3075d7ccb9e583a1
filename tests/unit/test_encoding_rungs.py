"""Encoding rungs: their options as values, the choice among them, and what the session of each writes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from framelane.errors import FramelaneError
from framelane.identity import encoded_with
from framelane.settings import load
from framelane.video import writer
from framelane.video.clip import probe as probe_clip
from framelane.video.colour import ColourTags
from framelane.video.copies import COPIES
from framelane.video.encoders import (
    SESSIONS,
    SessionRefused,
    choice,
    choose_encoder,
    cpu_encoder,
    pictures,
    probe,
    trial,
)
from framelane.video.encoders.cpu import CpuSession
from framelane.video.encoders.nvcodec import decode_time
from framelane.video.encoders.options import (
    encoder_options,
    ffmpeg_command,
    keyframes,
    metadata_filter,
    nvcodec_options,
    segment_frames,
)
from framelane.video.encoders.ring import Ring
from framelane.video.encoders.spec import EncodeSpec, keeps
from framelane.video.encoders.trial import Trial, try_rung
from framelane.video.frames import FrameBatch, Layout
from framelane.video.surface import Surface, host_planes, to_av
from support.clips import STREET, WALKER

BT709 = ColourTags(1, 1, 1, 1, 720)
CPU = EncodeSpec(
    encoder="libx264", width=320, height=240, pixel_format="yuv420p", rate=Fraction(25), time_base=Fraction(1, 12800),
    colour=BT709, quality=20, preset="ultrafast", threads=1,
)  # fmt: skip
NVENC = replace(CPU, encoder="h264_nvenc", preset="p3", rung="pyav")


def is_sentence(text):
    return text[0] == text[0].upper() and text.endswith(".") and "\n" not in text


# -- options ---------------------------------------------------------------------------------------------------------


def test_options_of_x264_are_what_they_were():
    assert encoder_options(replace(CPU, preset="medium")) == {"preset": "medium", "crf": "20"}
    assert encoder_options(replace(CPU, keyframes=50))["g"] == "50"
    assert encoder_options(replace(CPU, b_frames=0))["bf"] == "0"
    rate = encoder_options(replace(CPU, bitrate=6_000_000))
    assert rate["b"] == "6000000"
    assert "crf" not in rate
    hevc = encoder_options(replace(CPU, encoder="libx265", threads=4))
    assert hevc["x265-params"] == "log-level=error:pools=4:frame-threads=2"


def test_options_of_nvenc():
    said = encoder_options(replace(NVENC, keyframes=250, b_frames=2))
    assert said == {
        "preset": "p3", "tune": "hq", "rc": "vbr", "rc-lookahead": "0", "cq": "20", "b": "0", "bf": "2", "g": "250",
        "profile": "high",
    }  # fmt: skip
    assert encoder_options(replace(NVENC, quality=0))["cq"] == "1", "FFmpeg takes 0 for none"
    assert "cq" not in encoder_options(replace(NVENC, bitrate=8_000_000))
    assert encoder_options(replace(NVENC, encoder="hevc_nvenc", pixel_format="yuv420p10le"))["profile"] == "main10"


@pytest.mark.parametrize("encoder", ["h264_nvenc", "hevc_nvenc"])
@pytest.mark.parametrize("more", [{}, {"bitrate": 5_000_000, "keyframes": 100, "b_frames": 3}])
def test_ffmpeg_knows_every_option_and_value_that_nvenc_is_given(encoder, more):
    """The real encoder's own tables, without a card: a typo would be swallowed, or refused at the first frame."""
    context = av.CodecContext.create(encoder, "w")
    known = {option.name: option for option in (*context.supported_options.generic, *context.supported_options.private)}
    for ten in ("yuv420p", "yuv420p10le") if encoder == "hevc_nvenc" else ("yuv420p",):
        for name, value in encoder_options(replace(NVENC, encoder=encoder, pixel_format=ten, **more)).items():
            assert name in known
            choices = {one.name for one in known[name].choices}
            assert value.lstrip("-").isdigit() or value in choices, (name, value)


def test_options_of_pynvvideocodec():
    said = nvcodec_options(replace(NVENC, encoder="hevc_nvenc", keyframes=100, b_frames=0, rate=Fraction(30000, 1001)))
    assert said == {
        "codec": "hevc", "preset": "P3", "tuning_info": "high_quality", "rc": "vbr", "fps": "30", "repeatspspps": "1",
        "gpu_id": "0", "cq": "20", "bitrate": "0", "maxbitrate": "0", "bf": "0", "gop": "100", "idrperiod": "100",
    }  # fmt: skip


def test_the_command_of_the_program():
    spec = replace(NVENC, program="/opt/ffmpeg", rung="ffmpeg", encoder="hevc_nvenc", pixel_format="yuv420p10le")
    old, new = (ffmpeg_command(spec, Path("-x/s.nut"), version) for version in ((4, 4), (6, 1)))
    assert old[0] == "/opt/ffmpeg"
    assert old[-1] == "file:-x/s.nut", "a name that begins with a dash is no option"
    assert old[old.index("-vsync") + 1] == new[new.index("-fps_mode") + 1] == "passthrough"
    assert new[new.index("-pix_fmt") + 1] == "p010le"
    assert new[new.index("-enc_time_base") + 1] == "1/12800"
    assert new[new.index("-cq:v") + 1] == "20"


@given(
    st.floats(0.1, 60), st.floats(0.5, 60), st.sampled_from([Fraction(10), Fraction(30000, 1001), Fraction(60)]),
    st.integers(1, 64),
)  # fmt: skip
def test_groups_of_pictures_fill_a_segment(gop, segment, rate, batch):
    frames, group = segment_frames(segment, rate, batch), keyframes(gop, segment, rate, batch)
    assert frames % batch == 0
    assert float((frames - 1) / rate) >= segment - 1e-5, "closed too early"
    assert group <= max(1, float(rate) * gop + 0.01), "not longer than asked for"
    groups = -(-frames // group)
    assert frames - (groups - 1) * group > 0
    assert group - (frames - (groups - 1) * group) < groups, "the last group is as long as the others, but for rounding"
    assert keyframes(0, segment, rate) == 0


@pytest.mark.parametrize(("gop", "wanted"), [(1.0, {0, 8, 16}), (0.75, {0, 6, 12, 18}), (60, {0})])
def test_key_frames_of_a_job_stand_evenly_in_segments_that_end_with_a_frame_batch(gop, wanted, tmp_path):
    """10 frames a second, segments of 2 s, batches of 8: a segment has 24 frames, not 20."""
    import support.processors  # noqa: F401
    from framelane import process_video

    overrides = {
        "output.gop_seconds": gop, "engine.segment_seconds": 2, "hardware.batch_size": 8, "hardware.device": "cpu",
        "output.preset": "ultrafast", "gif.enabled": False, "engine.min_free_mb": 0,
    }  # fmt: skip
    process_video(STREET, "copy", output=tmp_path / "o.mp4", overrides=overrides)
    with av.open(str(tmp_path / "o.mp4")) as made:
        shown = sorted((p.pts, p.is_keyframe) for p in made.demux(video=0) if p.size)
    keys = [index for index, (_, key) in enumerate(shown) if key]
    assert len(shown) > 72
    assert {index % 24 for index in keys} == wanted


@given(st.integers(1, 5), st.integers(1, 40))
def test_decode_times_of_reordered_packets(ahead, count):
    """A group of B-frames is coded after the P-frame that follows it: decode times must rise and never come late."""
    shown = [3 * number + number * number for number in range(count)]
    coded = []
    for start in range(0, count, ahead + 1):
        group = list(range(start, min(start + ahead + 1, count)))
        coded += [group[-1], *group[:-1]]
    given_so_far = [min(count, max(coded[: place + 1]) + 1) for place in range(count)]
    times = [decode_time(shown[: given_so_far[place]], place) for place in range(count)]
    assert all(a < b for a, b in pairwise(times))
    assert all(time <= shown[number] for time, number in zip(times, coded, strict=True))


# -- trials ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_cpu_passes_its_trial(codec):
    found = probe("cpu", codec)
    assert found.ok, found.reason
    assert is_sentence(found.reason)


@pytest.mark.parametrize("rung", ["pyav", "nvcodec", "ffmpeg"])
def test_a_gpu_rung_that_refuses_gives_a_sentence(rung):
    found = probe(rung)
    assert found.name == rung
    assert is_sentence(found.reason)


class _Broken(CpuSession):
    """A rung with a fault, over the real encoder."""

    fault = ""

    def encode(self, batch, index):
        if self.fault == "drop" and index == 3:
            return
        frame = pictures.HostPictures(self.spec).frame(batch, index)
        if self.fault == "swap":
            y, u, v = trial._planes(frame)
            frame = av.VideoFrame.from_ndarray(
                np.concatenate([y.ravel(), v.ravel(), u.ravel()]).reshape(-1, y.shape[1]), format="yuv420p"
            )
        if self.fault == "shift":
            array = frame.to_ndarray(format="yuv420p")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(array, 24, axis=0)), format="yuv420p")
        number = round(batch.pts[0] + index * 512) if self.fault == "count" else batch.pts[index]
        self._send(frame, number, batch.durations[index])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("", "came back with their timestamps"),
        ("drop", "8 frames went in and 7 came back."),
        ("swap", "came back wrong"),
        ("shift", "came back wrong"),
        ("count", "other timestamps"),
    ],
)
def test_a_rung_with_a_fault_fails_its_trial(fault, said, monkeypatch):
    monkeypatch.setitem(SESSIONS, "broken", type("Faulty", (_Broken,), {"fault": fault}))
    found = try_rung(replace(CPU, rung="broken"))
    assert found.ok == (not fault)
    assert said in found.reason


def test_a_trial_is_of_the_clips_size_depth_and_range():
    for spec in (
        replace(CPU, width=642, height=362, pad=(1, 1)),
        replace(CPU, encoder="libx265", pixel_format="yuv420p10le"),
        replace(CPU, colour=ColourTags(9, 2, 9, 16, 240)),
        replace(CPU, b_frames=3, preset="medium"),
    ):
        found = try_rung(spec)
        assert found.ok, (found.reason, spec)


# -- the choice ------------------------------------------------------------------------------------------------------


@pytest.fixture
def rungs(monkeypatch):
    """What each rung answers to its trial, instead of a card's answer; asked for is kept."""
    asked = []
    answers = {
        "pyav": Trial(True, "It works."),
        "nvcodec": Trial(True, "It works."),
        "ffmpeg": Trial(True, "It works."),
    }

    def answer(spec):
        asked.append(spec)
        found = answers[spec.rung]
        return found(spec) if callable(found) else found

    monkeypatch.setattr(choice, "try_rung", answer)
    monkeypatch.setattr(choice, "_known", {})
    monkeypatch.setattr(choice, "_missing", lambda rung: ("", "/opt/ffmpeg" if rung == "ffmpeg" else ""))
    return answers, asked


def settings(**overrides):
    return load(overrides=overrides).settings


CLIP = probe_clip(WALKER)


def chosen(device="cuda", begun="", touches=True, clip=CLIP, **overrides):
    return choose_encoder(clip, settings(**overrides), device, touches, begun)


def test_without_a_gpu_the_cpu_is_chosen_without_a_word(rungs):
    assert chosen("cpu") == choice.EncoderChoice("cpu", "libx264")
    assert chosen("cuda", **{"hardware.prefer_gpu": False}).name == "libx264"
    assert chosen("cuda", **{"hardware.encoder": "cpu", "output.codec": "hevc"}).name == "libx265"
    assert rungs[1] == [], "nothing was tried"


def test_the_first_rung_that_proves_itself_is_taken(rungs):
    answers, asked = rungs
    assert chosen().name == "h264_nvenc (pyav)"
    answers["pyav"] = Trial(False, "It is too old.")
    choice._known.clear()
    found = chosen()
    assert (found.name, found.reason) == ("h264_nvenc (nvcodec)", None)
    assert [(p.name, p.reason) for p in found.refused] == [("pyav", "It is too old.")]
    assert (asked[0].width, asked[0].height, asked[0].device) == (CLIP.width, CLIP.height, "cuda")


def test_a_rung_is_tried_once_but_a_refused_session_again(rungs):
    answers, asked = rungs
    chosen()
    chosen()
    assert len(asked) == 1
    answers["pyav"] = Trial(False, "NVENC refused another session.", "session refused")
    choice._known.clear()
    chosen()
    chosen()
    assert [spec.rung for spec in asked[1:]] == ["pyav", "nvcodec", "pyav"]


def test_unfinished_work_goes_on_with_its_rung(rungs):
    assert chosen(begun="h264_nvenc (ffmpeg)").name == "h264_nvenc (ffmpeg)"
    assert chosen(begun="libx264").name == "h264_nvenc (pyav)"


def test_where_no_rung_works_the_cpu_says_why_once(rungs):
    for rung in rungs[0]:
        rungs[0][rung] = Trial(False, "The card does not encode this codec.", "no NVENC")
    found = chosen()
    assert found.reason == "H.264 is encoded on the CPU with libx264: The card does not encode this codec."
    assert [p.name for p in found.refused] == ["pyav", "nvcodec", "ffmpeg"]
    rungs[0]["ffmpeg"] = Trial(False, "There is no program.")
    choice._known.clear()
    assert "[pyav] The card does not" in chosen().reason
    with pytest.raises(FramelaneError, match=r"GPU encoder is required .* The card does not encode"):
        chosen(**{"output.require_gpu": True})
    with pytest.raises(FramelaneError, match=r"--encoder nvcodec cannot encode this clip in H\.264: The card does not"):
        chosen(**{"hardware.encoder": "nvcodec"})
    with pytest.raises(FramelaneError, match=r"--encoder cpu asks for the CPU's"):
        chosen(**{"output.require_gpu": True, "hardware.encoder": "cpu"})


def test_pixels_that_only_the_cpu_keeps_stay_with_the_cpu(rungs):
    deep = replace(CLIP, pixel_format="yuv420p10le", bit_depth=10)
    assert chosen(clip=deep, touches=False).name == "libx264"
    assert chosen(clip=deep, touches=False, **{"output.codec": "hevc"}).name == "hevc_nvenc (pyav)"
    assert rungs[1][-1].surface_format == "p010le"
    assert chosen(clip=deep, touches=True).name == "h264_nvenc (pyav)"
    assert chosen(clip=deep, touches=False, **{"hardware.encoder": "pyav"}).rung == "pyav", "who asks by name gets it"
    assert not keeps("h264_nvenc", replace(CLIP, pixel_format="yuv444p"))
    assert not keeps("hevc_nvenc", replace(CLIP, width=321))


def test_b_frames_that_the_card_does_not_make_are_left_out(rungs):
    def pascal(spec):
        return Trial(False, "The card makes 0 B-frames.", "no B-frames") if spec.b_frames else Trial(True, "It works.")

    rungs[0]["pyav"] = pascal
    found = chosen(**{"output.codec": "hevc", "output.b_frames": 3})
    assert (found.rung, found.b_frames) == ("pyav", 0)
    spec, notes = choice.spec_of(
        CLIP, settings(**{"output.b_frames": 3}), found, threads=2, touches=True, device="cuda"
    )
    assert spec.b_frames == 0
    assert any("output.b_frames=3" in note for note in notes)


def test_no_working_encoder_is_an_error(monkeypatch):
    monkeypatch.setattr(choice, "probe_encoder", lambda name: choice.Probe(name, False, "It is broken."))
    with pytest.raises(FramelaneError, match=r"No H\.264 encoder works here"):
        cpu_encoder("h264")


def test_settings_that_the_encoder_does_not_read_are_not_in_the_identity():
    flat = {"output.preset": "medium", "output.nvenc_preset": "p3", "output.quality": 20, "output.bitrate_mbps": 0}
    assert "output.nvenc_preset" not in encoded_with("libx264", flat)
    assert encoded_with("libx264", flat)["output.preset"] == "medium"
    nvenc = encoded_with("h264_nvenc (pyav)", {**flat, "output.bitrate_mbps": 5})
    assert sorted(nvenc) == ["output.bitrate_mbps", "output.nvenc_preset"]


def test_the_t4_is_held_to_p3():
    assert load(mode="quality", profile="t4").settings.output.nvenc_preset == "p3"
    assert load(mode="quality", profile="high_quality").settings.output.nvenc_preset == "p5"
    assert load(mode="fast", profile="t4").settings.output.nvenc_preset == "p1"
    held = load(mode="quality", profile="t4").limited
    assert any("output.nvenc_preset is p3 instead of p5 (mode quality)" in sentence for sentence in held)
    own = load(mode="quality", profile="t4", overrides={"output.nvenc_preset": "p7"})
    assert own.settings.output.nvenc_preset == "p7"


# -- pictures --------------------------------------------------------------------------------------------------------


def surfaces(spec, count=2):
    """The trial's pictures as surfaces in host memory that know no host frame, with what they hold."""
    from framelane.video.convert import upload

    planes = [trial.picture(spec, number) for number in range(count)]
    made = [upload(trial._frame(replace(spec, device="cpu"), one), "cpu") for one in planes]
    for one in made:
        one.host = None
    return planes, made


def batch_of(spec, frames, **more):
    layout = Layout(spec.width, spec.height, spec.time_base, 0, spec.colour)
    count = len(frames)
    return FrameBatch(tuple(frames), tuple(range(0, 512 * count, 512)), (512,) * count, 0, layout, **more)


@pytest.mark.parametrize(("encoder", "pixels"), [("libx264", "yuv420p"), ("libx265", "yuv420p10le")])
def test_a_surface_comes_down_exactly_in_one_copy_of_one_and_a_half_samples(encoder, pixels):
    spec = replace(CPU, encoder=encoder, pixel_format=pixels)
    planes, made = surfaces(spec)
    host = pictures.HostPictures(spec)
    batch = batch_of(spec, made)
    COPIES.reset()
    for index, wanted in enumerate(planes):
        frame = host.frame(batch, index)
        assert frame.format.name == pixels
        for got, plane in zip(trial._planes(frame), wanted, strict=True):
            np.testing.assert_array_equal(got, plane)
    size = 320 * 240 * 3 // 2 * (2 if "10" in pixels else 1)
    assert COPIES.counted() == {"uploads": 0, "downloads": 2, "upload_bytes": 0, "download_bytes": 2 * size}
    assert host.frame(batch, 0) is host.frame(batch, 1), "the memory is allocated once"


def test_a_surface_that_was_uploaded_is_encoded_as_it_was():
    spec = CPU
    _, made = surfaces(spec, 1)
    frame = av.VideoFrame(320, 240, "yuv420p")
    made[0].host = frame
    assert pictures.HostPictures(spec).frame(batch_of(spec, made), 0) is frame


def test_chroma_is_laid_right_behind_luma():
    spec = replace(NVENC, device="cpu")
    _, made = surfaces(spec, 1)
    apart = Surface(made[0].y, torch.cat([made[0].uv, made[0].uv])[: made[0].uv.shape[0]].clone(), "nv12")
    frame = pictures.in_one_piece(pictures.DevicePictures(spec).surface(batch_of(spec, [apart]), 0))
    assert frame.uv.data_ptr() == frame.y.data_ptr() + 320 * 240
    assert torch.equal(frame.y, apart.y)
    assert torch.equal(frame.uv, apart.uv)
    assert pictures.in_one_piece(frame) is frame, "what lies right is not copied"


@pytest.mark.parametrize("kind", ["nv12", "p010le"])
def test_what_nvenc_reads_has_rows_that_it_takes_and_reaches_ffmpeg_in_place(kind):
    """One address and one row length for both planes, a multiple of 4 bytes: 322 is none."""
    one, of = (torch.uint8, 256) if kind == "nv12" else (torch.int16, 1024)
    y, uv = (torch.randint(0, of, shape).to(one) for shape in ((240, 322), (120, 161, 2)))
    if kind == "p010le":
        y, uv = y.view(torch.uint16), uv.view(torch.uint16)
    placed = Ring().place(Surface(y, uv, kind))
    frame = to_av(placed)
    luma, chroma = frame.planes
    assert (luma.line_size % 4, chroma.line_size) == (0, luma.line_size)
    assert luma.buffer_ptr == placed.y.data_ptr(), "copied once more"
    assert chroma.buffer_ptr == luma.buffer_ptr + 240 * luma.line_size
    for got, wanted in zip(host_planes(frame), (y, uv), strict=True):
        np.testing.assert_array_equal(got, wanted.numpy())


def test_memory_that_nvenc_may_still_read_is_not_written():
    """An encoder that gives each packet 9 frames late, in coding order with 5 B-frames."""
    ring, coded, waiting, addresses = Ring(), 0, {}, set()
    order = [0, *(n for first in range(1, 61, 6) for n in (first + 5, *range(first, first + 5)))]
    for number in range(60):
        ring.coded(coded)
        value = torch.full((4, 6), number, dtype=torch.uint8)
        placed = ring.place(Surface(value, torch.full((2, 3, 2), number, dtype=torch.uint8)))
        waiting[number] = placed
        addresses.add(placed.y.data_ptr())
        if number >= 9:
            assert order[coded] <= number
            done = waiting.pop(order[coded])
            assert (done.y == order[coded]).all()
            coded += 1
        assert all((held.y == n).all() and (held.uv == n).all() for n, held in waiting.items())
    assert len(addresses) <= 9 + 6 + 2, "allocated once"


def test_drawn_frames_on_a_device_are_turned_padded_and_converted():
    from framelane.video.colour import Orientation

    spec = replace(NVENC, width=322, height=242, pad=(1, 1), device="cpu")
    shown = torch.randint(0, 256, (1, 3, 321, 241), dtype=torch.uint8)  # a quarter turn
    layout = Layout(321, 241, spec.time_base, 0, spec.colour, Orientation(1))
    batch = FrameBatch((None,), (0,), (512,), 0, layout).replace(rgb=shown)
    found = pictures.DevicePictures(spec).surface(batch, 0)
    coded = Orientation(1).coded(shown[0])
    assert (found.width, found.height) == (322, 242)
    wanted = pictures.from_rgb(
        np.pad(coded.numpy(), ((0, 0), (0, 1), (0, 1)), mode="edge"), spec.colour, "yuv420p"
    )  # the CPU's way
    for got, plane in zip((found.y, found.uv[..., 0], found.uv[..., 1]), trial._planes(wanted), strict=True):
        assert np.abs(got.numpy().astype(int) - plane).max() <= 1


def test_an_odd_surface_is_padded_on_its_planes():
    spec = replace(NVENC, width=6, height=4, pad=(1, 1), device="cpu")
    y, uv = torch.arange(15, dtype=torch.uint8).view(3, 5), torch.arange(12, dtype=torch.uint8).view(2, 3, 2)
    found = pictures.as_wanted(Surface(y, uv), spec)
    assert found.y.tolist() == [
        [0, 1, 2, 3, 4, 4],
        [5, 6, 7, 8, 9, 9],
        [10, 11, 12, 13, 14, 14],
        [10, 11, 12, 13, 14, 14],
    ]
    assert torch.equal(found.uv, uv)


# -- sessions --------------------------------------------------------------------------------------------------------


def test_a_refused_session_is_tried_once_more(tmp_path, monkeypatch):
    opened = []

    class Busy(CpuSession):
        def __init__(self, path, spec, explain=False):
            opened.append(explain)
            super().__init__(path, spec, explain)

        def encode(self, batch, index):
            if len(opened) < 2:
                raise SessionRefused("NVENC is busy.")
            super().encode(batch, index)

    monkeypatch.setitem(SESSIONS, "busy", Busy)
    monkeypatch.setattr(writer, "RETRY_S", 0.0)
    spec = replace(CPU, rung="busy")
    _, made = surfaces(spec, 3)
    made_of = writer.SegmentWriter(tmp_path / "s.nut", spec)
    made_of.write(batch_of(spec, made))
    assert made_of.close().frames == 3
    assert opened == [False, True], "the second time the reason is listened for"
    with av.open(str(tmp_path / "s.nut")) as found:
        assert len(list(found.decode(video=0))) == 3


def test_a_session_refused_twice_says_what_to_do(tmp_path, monkeypatch):
    class Never(CpuSession):
        def encode(self, batch, index):
            raise SessionRefused("NVENC is busy.")

    monkeypatch.setitem(SESSIONS, "never", Never)
    monkeypatch.setattr(writer, "RETRY_S", 0.0)
    spec = replace(CPU, rung="never")
    made_of = writer.SegmentWriter(tmp_path / "s.nut", spec)
    with pytest.raises(FramelaneError, match=r"refused this segment twice\. NVENC is busy\. Finished .* --encoder cpu"):
        made_of.write(batch_of(spec, surfaces(spec, 1)[1]))


def test_colours_and_aspect_are_written_into_a_stream_that_says_nothing(tmp_path):
    """What the rung ``nvcodec`` does with its packets, on x264's."""
    from av.bitstream import BitStreamFilterContext

    spec = replace(CPU, colour=ColourTags(9, 2, 9, 16, 240), sample_aspect=Fraction(4, 3))
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 320, 240, "yuv420p", spec.time_base
    sets = BitStreamFilterContext(metadata_filter(spec), "h264")
    with av.open(str(tmp_path / "s.nut"), "w", format="nut") as target:
        stream = target.add_mux_stream("h264", rate=25, width=320, height=240)
        stream.time_base = spec.time_base
        for frame in [trial._frame(spec, trial.picture(spec, 0)), None]:
            if frame:
                frame.pts = 0
            for packet in encoder.encode(frame):
                for part in sets.filter(packet):
                    part.stream, part.time_base = stream, spec.time_base
                    target.mux(part)
    with av.open(str(tmp_path / "s.nut")) as found:
        context = found.streams.video[0].codec_context
        frame = next(found.decode(video=0))
        assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (9, 2, 9, 16)
        assert frame.format.name in ("yuv420p", "yuvj420p")
        assert context.sample_aspect_ratio == Fraction(4, 3)
