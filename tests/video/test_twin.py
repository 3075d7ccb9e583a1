"""Promise 3: the output is the input's twin. Everything is read back by ffprobe and PyAV's demuxer."""

from __future__ import annotations

import numpy as np
import pytest

import framelane
import support.processors  # noqa: F401
from framelane.errors import FramelaneError
from framelane.video.clip import probe as probe_clip
from framelane.video.verification import verify
from framelane.video.writer import SegmentInfo
from support.clips import STREET, WALKER, ffmpeg, needs_ffmpeg, synthetic
from support.read import audio_packets, frame_times, probe, rgb_frames

pytestmark = needs_ffmpeg
FAST = {"gif.enabled": False, "output.preset": "ultrafast", "engine.segment_seconds": 0.5, "engine.min_free_mb": 0}


def run(clip, output, processor="copy", **more):
    return framelane.process_video(clip, processor, output=output, overrides={**FAST, **more})


def x264(*more):
    return ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-c:a", "aac", *more)


CONTAINERS = {
    "mp4": x264(),
    "mov": x264(),
    "mkv": x264(),
    "ts": x264(),
    "webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
    "avi": ("-c:v", "mjpeg", "-q:v", "4", "-pix_fmt", "yuvj420p", "-c:a", "libmp3lame"),
    "gif": ("-an",),
}


@pytest.mark.parametrize("processor", ["copy", "repaint"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_keeps_times_audio_and_duration(tmp_path, container, processor):
    clip = synthetic(tmp_path / f"in.{container}", *CONTAINERS[container], audio=container != "gif")
    out = tmp_path / "out.mp4"
    run(clip, out, processor)
    before, after = frame_times(clip), frame_times(out)
    assert len(before) == len(after) > 10
    assert np.abs(np.subtract(before, after)).max() <= 0.0011
    assert _without_times(audio_packets(clip)) == _without_times(audio_packets(out))
    shift = 0.03  # an encoder's priming may stand in an edit list instead of the first packet's time
    for mine, theirs in zip(audio_packets(clip), audio_packets(out), strict=True):
        assert abs(mine[0][0] - theirs[0][0]) < shift
        assert abs(mine[-1][0] - theirs[-1][0]) < shift
    assert abs(_video_seconds(out) - (before[-1] - before[0] + 0.04)) < 0.03


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_clip_that_begins_before_zero_is_shown_whole(tmp_path, suffix):
    """A player shows what its demuxer and the edit list leave: so the frames that a decoder gives are counted."""
    clip = tmp_path / "in.ts"
    plain = synthetic(tmp_path / "plain.ts", *x264())
    ffmpeg(
        "-i", plain, "-c", "copy", "-output_ts_offset", "-2.4", "-avoid_negative_ts", "disabled", "-muxdelay", "0", clip
    )
    before, out = frame_times(clip), tmp_path / f"out{suffix}"
    assert before[0] < -0.5
    result = run(clip, out)
    after = frame_times(out)
    assert len(after) == len(before) == len(rgb_frames(out))
    assert np.abs(np.subtract(before, after) - before[0]).max() <= 0.0011
    assert any("players show nothing before 0" in said for said in result.report["degradations"])
    (mine,), (theirs,) = audio_packets(clip), audio_packets(out)
    assert [digest for _, digest in mine] == [digest for _, digest in theirs]
    assert abs((mine[0][0] - before[0]) - (theirs[0][0] - after[0])) < 0.03, "sound and picture stay together"


def _without_times(tracks):
    return [[digest for _, digest in track] for track in tracks]


def _video_seconds(path):
    return float(probe(path)["streams"][0]["duration"])


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_other_output_containers(tmp_path, suffix):
    clip = synthetic(tmp_path / "in.mp4", *x264())
    run(clip, tmp_path / f"out.{suffix}")
    assert np.abs(np.subtract(frame_times(clip), frame_times(tmp_path / f"out.{suffix}"))).max() <= 0.0011


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_codecs(tmp_path, codec):
    run(WALKER, tmp_path / "out.mp4", **{"output.codec": codec})
    stream = probe(tmp_path / "out.mp4")["streams"][0]
    assert stream["codec_name"] == codec
    assert stream["codec_tag_string"] == {"h264": "avc1", "hevc": "hvc1"}[codec]
    assert frame_times(tmp_path / "out.mp4") == frame_times(WALKER)


@pytest.mark.parametrize("processor", ["copy", "repaint"])
def test_variable_frame_rate_keeps_every_timestamp(tmp_path, processor):
    clip = tmp_path / "vfr.mp4"
    picked = "select='not(mod(n,3))+lt(n,20)+between(n,60,63)',setpts=PTS+0.1*random(7)/TB"
    synthetic(tmp_path / "cfr.mp4", *x264(), seconds=4)
    ffmpeg("-i", tmp_path / "cfr.mp4", "-vf", picked, "-vsync", "vfr", "-enc_time_base", "1/90000", *x264(), clip)
    run(clip, tmp_path / "out.mp4", processor)
    before, after = frame_times(clip), frame_times(tmp_path / "out.mp4")
    assert len(set(np.round(np.diff(before), 4))) > 10, "the clip is not variable"
    assert len(before) == len(after)
    assert np.abs(np.subtract(before, after)).max() <= 0.0002


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_last_frame_of_a_variable_rate_keeps_its_time(tmp_path, suffix):
    """The longest gap first: decode times that step by it would leave nothing for the packet coded last."""
    clip = tmp_path / "vfr.mp4"
    picked = "select='not(between(mod(n,5),1,2))'"
    ffmpeg("-t", "1", "-i", STREET, "-an", "-vf", picked, "-vsync", "vfr", "-c:v", "libx264", "-bf", "3", clip)
    run(clip, tmp_path / f"out.{suffix}")
    before, after = (probe(p)["format"] for p in (clip, tmp_path / f"out.{suffix}"))
    assert float(after["duration"]) == pytest.approx(float(before["duration"]), abs=0.002)


def test_what_is_lost_is_said(tmp_path):
    woven = synthetic(
        tmp_path / "woven.mp4", "-vf", "tinterlace=4", "-flags", "+ildct+ilme", "-c:v", "libx264", audio=False
    )
    assert any("interlaced" in text for text in run(woven, tmp_path / "a.mp4").report["degradations"])
    clear = synthetic(tmp_path / "clear.mov", "-c:v", "prores_ks", "-pix_fmt", "yuva444p10le", audio=False, seconds=1)
    said = " ".join(run(clear, tmp_path / "b.mp4", "repaint").report["degradations"])
    assert "8-bit" in said
    assert "yuva444p" in said
    late = tmp_path / "late.ts"
    ffmpeg("-i", WALKER, "-c", "copy", "-output_ts_offset", "9000", late)
    assert any("begins at 900" in text for text in run(late, tmp_path / "c.mp4").report["degradations"])


def test_deep_pcm_is_read_rightly_by_old_players(tmp_path):
    clip = synthetic(tmp_path / "in.mkv", "-c:v", "libx264", "-c:a", "pcm_s24le", seconds=1)
    assert any("transcoded to AAC" in t for t in run(clip, tmp_path / "out.mp4").report["degradations"])
    assert not run(clip, tmp_path / "deep.mov").report["degradations"]
    import av

    with av.open(str(tmp_path / "deep.mov")) as container:
        assert container.streams.audio[0].codec_context.name == "pcm_s24le"


def test_start_time_is_kept(tmp_path):
    clip = tmp_path / "late.mp4"
    ffmpeg("-i", WALKER, "-output_ts_offset", "5", "-c", "copy", clip)
    run(clip, tmp_path / "out.mp4")
    assert frame_times(clip)[0] == 5.0
    assert frame_times(tmp_path / "out.mp4") == frame_times(clip)


def test_a_clip_cut_without_encoding_is_whole(tmp_path):
    """Its header also counts the frames before the cut, which are there to be decoded and never shown."""
    clip = tmp_path / "cut.mp4"
    ffmpeg("-ss", "2", "-t", "3", "-i", STREET, "-c", "copy", clip)
    events = []
    made = framelane.process_video(clip, "copy", output=tmp_path / "o.mp4", overrides=FAST, progress=events.append)
    shown = len(frame_times(clip))
    assert clip_header_frames(clip) > shown + 2, "nothing is hidden in this clip"
    assert frame_times(tmp_path / "o.mp4") == frame_times(clip)
    assert made.report["warnings"] == []
    assert abs(next(event for event in events if event["event"] == "start")["frames"] - shown) <= 5


def clip_header_frames(path):
    import av

    with av.open(str(path)) as container:
        return container.streams.video[0].frames


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("processor", ["copy", "repaint"])
def test_rotation_is_kept_and_seen_upright(tmp_path, degrees, processor):
    clip = _rotated(tmp_path, degrees)
    run(clip, tmp_path / "out.mp4", processor)
    before, after = probe(clip)["streams"][0], probe(tmp_path / "out.mp4")["streams"][0]
    assert (before["width"], before["height"]) == (after["width"], after["height"])
    assert before["side_data_list"][0]["rotation"] == after["side_data_list"][0]["rotation"]
    difference = np.abs(rgb_frames(clip)[3].astype(int) - rgb_frames(tmp_path / "out.mp4")[3])
    assert difference.mean() < 6


def _rotated(folder, degrees):
    import av

    plain = synthetic(folder / "plain.mp4", *x264(), seconds=1)
    with av.open(str(plain)) as source, av.open(str(folder / "rot.mp4"), "w") as target:
        tracks = {s.index: target.add_stream_from_template(s) for s in source.streams}
        tracks[0].set_display_rotation(degrees)
        for packet in source.demux():
            if packet.size:
                packet.stream = tracks[packet.stream_index]
                target.mux(packet)
    return folder / "rot.mp4"


def test_a_processor_sees_a_rotated_clip_upright(tmp_path):
    """ffmpeg's own autorotation is the reference."""
    from framelane.video.clip import probe as probe_clip
    from framelane.video.reader import open_reader

    for degrees in (90, 180, 270):
        clip = _rotated(tmp_path, degrees)
        upright = tmp_path / "upright.mp4"
        ffmpeg("-i", clip, "-c:v", "libx264", "-crf", "10", "-an", upright)
        seen = next(open_reader(probe_clip(clip)).batches(2)).rgb[0].permute(1, 2, 0).numpy()
        wanted = rgb_frames(upright)[0]
        assert seen.shape == wanted.shape
        assert np.abs(seen.astype(int) - wanted).mean() < 8


def test_sample_aspect_ratio_is_kept(tmp_path):
    clip = synthetic(tmp_path / "in.mp4", "-vf", "setsar=4/3", *x264(), seconds=1)
    run(clip, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4")["streams"][0]["sample_aspect_ratio"] == "4:3"


COLOURS = {
    "709": ("bt709", "bt709", "bt709", "tv"),
    "601": ("smpte170m", "smpte170m", "smpte170m", "tv"),
    "2020": ("bt2020nc", "bt2020", "bt2020-10", "tv"),
    "full": ("bt709", "bt709", "bt709", "pc"),
}


@pytest.mark.parametrize("processor", ["copy", "repaint"])
@pytest.mark.parametrize("kind", COLOURS)
def test_colour_tags_and_colours_are_kept(tmp_path, kind, processor):
    matrix, primaries, transfer, range_ = COLOURS[kind]
    tags = ("-colorspace", matrix, "-color_primaries", primaries, "-color_trc", transfer, "-color_range", range_)
    name = {"smpte170m": "bt601", "bt2020nc": "bt2020"}.get(matrix, matrix)
    scale = f"scale=out_color_matrix={name}:out_range={range_}"
    clip = synthetic(tmp_path / "in.mp4", "-vf", scale, *x264("-crf", "5"), *tags, seconds=1)
    run(clip, tmp_path / "out.mp4", processor, **{"output.quality": 5})
    before, after = probe(clip)["streams"][0], probe(tmp_path / "out.mp4")["streams"][0]
    for key in ("color_space", "color_primaries", "color_transfer", "color_range"):
        assert before.get(key) == after.get(key), key
    import av

    planes = [next(av.open(str(p)).decode(video=0)).to_ndarray(format="yuv420p") for p in (clip, tmp_path / "out.mp4")]
    drift = planes[1].astype(int) - planes[0]
    assert np.abs(drift).mean() < 2.5
    assert abs(drift.mean()) < 0.75


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p", "yuv422p10le", "gbrp"])
@pytest.mark.parametrize("processor", ["copy", "repaint"])
def test_odd_sizes(tmp_path, processor, pixels):
    crop = f"format={pixels},crop=321:241:0:0:exact=1"
    clip = synthetic(tmp_path / "in.mkv", "-vf", crop, "-c:v", "ffv1", "-pix_fmt", pixels, size="322x242", seconds=1)
    result = run(clip, tmp_path / "out.mp4", processor)
    stream = probe(tmp_path / "out.mp4")["streams"][0]
    assert (stream["width"], stream["height"]) == (322, 242)
    assert any("repeated once" in text for text in result.report["degradations"])
    inside = rgb_frames(tmp_path / "out.mp4")[5][:241, :321].astype(int)
    assert np.abs(inside - rgb_frames(clip)[5]).mean() < 12


@pytest.mark.parametrize(("processor", "pixels"), [("copy", "yuv420p10le"), ("repaint", "yuv420p")])
def test_ten_bit(tmp_path, processor, pixels):
    clip = synthetic(
        tmp_path / "in.mp4", "-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", seconds=1
    )
    result = run(clip, tmp_path / "out.mp4", processor, **{"output.codec": "hevc"})
    assert probe(tmp_path / "out.mp4")["streams"][0]["pix_fmt"] == pixels
    assert bool(result.report["degradations"]) == (processor == "repaint")


def test_several_audio_tracks_are_copied_with_their_languages(tmp_path):
    clip = tmp_path / "two.mkv"
    ffmpeg("-i", WALKER, "-i", WALKER, "-map", "0:v", "-map", "0:a", "-map", "1:a", "-c", "copy", "-c:a:1", "libopus",
           "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", clip)  # fmt: skip
    run(clip, tmp_path / "out.mp4")
    assert _without_times(audio_packets(tmp_path / "out.mp4")) == _without_times(audio_packets(clip))
    import av

    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [s.language for s in container.streams.audio] == ["eng", "fra"]


def test_audio_that_the_container_forbids_is_transcoded_and_said(tmp_path):
    clip = synthetic(tmp_path / "in.avi", "-c:v", "mpeg4", "-c:a", "adpcm_ms", seconds=2)
    result = run(clip, tmp_path / "out.mp4")
    assert any("transcoded to AAC" in text for text in result.report["degradations"])
    import av

    with av.open(str(tmp_path / "out.mp4")) as container:
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    assert abs(len(samples) / rate - 2) < 0.1
    loudest = np.abs(np.fft.rfft(samples[rate // 2 : rate])).argmax() * 2
    assert abs(loudest - 440) <= 4, "the tone is still there"


def test_no_audio(tmp_path):
    run(STREET, tmp_path / "out.mp4")
    assert audio_packets(tmp_path / "out.mp4") == []
    assert frame_times(tmp_path / "out.mp4") == frame_times(STREET)


def test_wrong_frame_count_in_the_header(tmp_path):
    """A live-style Matroska file has neither duration nor frame count."""
    clip = tmp_path / "live.mkv"
    ffmpeg("-i", WALKER, "-c", "copy", "-f", "matroska", "-live", "1", clip)
    result = run(clip, tmp_path / "out.mp4")
    assert result.report["frames"] == 150
    assert result.report["warnings"] == []


@pytest.mark.parametrize("container", ["mkv", "ts", "avi"])
def test_a_truncated_file_gives_what_decodes_and_a_warning(tmp_path, container):
    whole = synthetic(tmp_path / f"whole.{container}", *CONTAINERS[container], seconds=6)
    clip = tmp_path / f"cut.{container}"
    clip.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.55)])
    result = run(clip, tmp_path / "out.mp4")
    frames = result.report["frames"]
    assert 30 < frames < 140
    assert len(frame_times(tmp_path / "out.mp4")) == frames
    if container != "ts":  # a transport stream has no header that promises a length
        assert any("s of the 6" in w or "damaged at" in w for w in result.report["warnings"]), result.report["warnings"]


def test_damage_in_the_middle_is_skipped_and_said(tmp_path):
    whole = synthetic(tmp_path / "whole.ts", *x264("-g", "25"), seconds=6)
    data = bytearray(whole.read_bytes())
    rng = np.random.default_rng(3)
    for offset in rng.integers(len(data) // 3, len(data) // 2, 400):
        data[offset] = int(rng.integers(256))
    clip = tmp_path / "damaged.ts"
    clip.write_bytes(data)
    result = run(clip, tmp_path / "out.mp4")
    assert result.report["frames"] > 90
    assert np.all(np.diff(frame_times(tmp_path / "out.mp4")) > 0)


def test_a_joined_file_that_does_not_decode_to_its_end_is_refused(tmp_path):
    made = run(WALKER, tmp_path / "o.mp4", "repaint").output_path
    clip, times = probe_clip(made), sorted(pts for pts, _ in packets(made))
    first, last = SegmentInfo(len(times), times[0], times[-1]), SegmentInfo(len(times), times[0], times[-1])
    verify(made, clip, first, last, len(times))
    position, size = last_packet(made)
    data = bytearray(made.read_bytes())
    data[position : position + size] = bytes(size)
    made.write_bytes(data)
    with pytest.raises(FramelaneError, match="its end cannot be decoded"):
        verify(made, clip, first, last, len(times))


def packets(path):
    import av

    with av.open(str(path)) as container:
        return [(packet.pts, packet.pos) for packet in container.demux(video=0) if packet.size]


def last_packet(path):
    """Where the packet of the last frame shown lies in the file, and its size."""
    import av

    with av.open(str(path)) as container:
        found = [(packet.pts, packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    return max(found)[1:]
