"""``framelane prepare``: smaller, plainer, and still the same clip. Read back by ffprobe and PyAV's demuxer."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import framelane
from framelane.cli import main
from framelane.errors import Cancelled, FramelaneError, UsageError
from framelane.preparation import PrepareOptions
from support.clips import STREET, WALKER, ffmpeg, needs_ffmpeg, synthetic
from support.read import audio_packets, frame_hashes, frame_times, probe, rgb_frames

pytestmark = needs_ffmpeg


def prepare(clip, output, progress=None, cancel=None, **options):
    options = PrepareOptions(**{"preset": "ultrafast", "min_free_mb": 0, **options})
    return framelane.prepare(clip, output, options=options, progress=progress, cancel=cancel)


def video(path):
    return probe(path)["streams"][0]


def test_fewer_lines_8_bits_and_everything_else_kept(tmp_path):
    made = prepare(WALKER, tmp_path / "o.mp4", height=270)
    stream = video(tmp_path / "o.mp4")
    assert made.paths == (tmp_path / "o.mp4",)
    assert (stream["codec_name"], stream["pix_fmt"]) == ("h264", "yuv420p")
    assert (stream["width"], stream["height"]) == (480, 270)
    assert frame_times(tmp_path / "o.mp4") == frame_times(WALKER)
    assert audio_packets(tmp_path / "o.mp4") == audio_packets(WALKER)
    assert made.report["size"] == [480, 270]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.mp4", "o.report.json"], "nothing half-made is left"


def test_nothing_is_enlarged(tmp_path):
    prepare(STREET, tmp_path / "o.mp4")
    assert (video(tmp_path / "o.mp4")["width"], video(tmp_path / "o.mp4")["height"]) == (768, 576)


def test_key_frames_come_often_enough_to_seek(tmp_path):
    import av

    clip = synthetic(tmp_path / "in.mp4", "-c:v", "libx264", "-g", "1000", seconds=4, audio=False)
    prepare(clip, tmp_path / "o.mp4", keyframe_seconds=1)
    with av.open(str(tmp_path / "o.mp4")) as container:
        keys = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.size and p.is_keyframe]
    assert len(keys) >= 4
    assert max(np.diff(keys)) <= 1.01


@pytest.mark.parametrize("kind", ["rotated", "variable", "silent", "ten bit", "odd", "opus"])
def test_odd_clips(tmp_path, kind):
    clip = tmp_path / ("in.webm" if kind == "opus" else "in.mp4")
    plain = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-c:a", "aac")
    how = {
        "variable": ("-vf", "select='not(mod(n,3))+lt(n,20)',setpts=PTS+0.1*random(7)/TB", "-vsync", "vfr",
                     "-enc_time_base", "1/90000", *plain),
        "ten bit": ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=error", "-c:a", "aac"),
        "odd": ("-vf", "crop=301:201", "-c:v", "libx264", "-pix_fmt", "yuv444p", "-c:a", "aac"),
        "opus": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
    }  # fmt: skip
    synthetic(tmp_path / "plain.mp4" if kind == "rotated" else clip, *how.get(kind, plain), audio=kind != "silent")
    if kind == "rotated":
        import av

        with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(clip), "w") as target:
            tracks = {s.index: target.add_stream_from_template(s) for s in source.streams}
            tracks[0].set_display_rotation(90)
            for packet in source.demux():
                if packet.size:
                    packet.stream = tracks[packet.stream.index]
                    target.mux(packet)
    out = tmp_path / "o.mp4"
    prepare(clip, out, height=120)
    before, after = video(clip), video(out)
    assert (after["codec_name"], after["pix_fmt"]) == ("h264", "yuv420p")
    wanted = (180, 120) if kind == "odd" else (160, 120)
    assert (after["width"], after["height"]) == wanted
    assert len(frame_times(clip)) == len(frame_times(out)) > 10
    assert np.abs(np.subtract(frame_times(clip), frame_times(out))).max() <= 0.0011
    assert [len(track) for track in audio_packets(out)] == [len(track) for track in audio_packets(clip)]
    assert len(audio_packets(out)) == (0 if kind == "silent" else 1)
    if kind == "rotated":
        assert after["side_data_list"][0]["rotation"] == before["side_data_list"][0]["rotation"]
    small = rgb_frames(out)[8].astype(int)
    large = rgb_frames(clip)[8].astype(int)
    step = large.shape[0] / small.shape[0]
    picked = large[(np.arange(small.shape[0]) * step).astype(int)][:, (np.arange(small.shape[1]) * step).astype(int)]
    assert np.abs(small - picked).mean() < 25, "the same picture"
    assert abs(small.mean() - large.mean()) < 3, "and as bright"


def test_a_clip_that_was_cut_off_is_prepared_as_far_as_it_goes(tmp_path):
    clip = tmp_path / "cut.mkv"
    whole = synthetic(tmp_path / "in.mkv", "-c:v", "libx264", "-g", "10", seconds=4)
    clip.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    made = prepare(clip, tmp_path / "o.mp4")
    assert 10 < made.report["frames"] < 100
    assert any("cut off" in text or "damaged" in text for text in made.report["warnings"])


@pytest.mark.parametrize("target", ["folder", "name"])
def test_pieces_begin_at_zero_and_hold_every_frame_and_sound_once(tmp_path, target):
    output = tmp_path / "parts" if target == "folder" else tmp_path / "parts" / "mine.mp4"
    made = prepare(WALKER, output, height=270, piece_seconds=1.5)
    stem = "walker" if target == "folder" else "mine"
    assert [p.name for p in made.paths] == [f"{stem}-{index:03d}.mp4" for index in range(len(made.paths))]
    assert len(made.paths) == 4
    assert {p.name for p in (tmp_path / "parts").iterdir()} == {*(p.name for p in made.paths), f"{stem}.report.json"}
    assert made.report["pieces"] == [p.name for p in made.paths]
    times, sounds, begins = [], [], 0.0
    for path in made.paths:
        own = frame_times(path)
        assert own[0] == 0
        times += [begins + t for t in own]
        track = audio_packets(path)[0]
        assert abs(track[0][0]) < 0.03
        assert abs(track[-1][0] - own[-1]) < 0.07
        sounds += [digest for _, digest in track]
        begins += float(video(path)["duration"])
    assert np.abs(np.subtract(times, frame_times(WALKER))).max() < 0.002
    assert sounds == [digest for _, digest in audio_packets(WALKER)[0]]


def test_fewer_pieces_than_before_leave_none_of_the_old(tmp_path):
    assert len(prepare(STREET, tmp_path, piece_seconds=3).paths) == 4
    assert len(prepare(STREET, tmp_path, piece_seconds=7).paths) == 2
    assert len(list(tmp_path.glob("street-*.mp4"))) == 2


def test_foreign_files_are_not_replaced(tmp_path):
    mine = tmp_path / "o.mp4"
    mine.write_text("a diary")
    with pytest.raises(UsageError, match="not made by framelane"):
        prepare(STREET, mine)
    assert mine.read_text() == "a diary"
    piece = tmp_path / "street-001.mp4"
    piece.write_text("another diary")
    with pytest.raises(UsageError, match=r"street-001\.mp4 exists"):
        prepare(STREET, tmp_path, piece_seconds=3)
    assert piece.read_text() == "another diary"
    assert len(prepare(STREET, tmp_path, piece_seconds=3, overwrite=True).paths) == 4
    prepare(STREET, tmp_path, piece_seconds=3)  # our own may be made anew


def test_cancelled_it_leaves_no_file_under_the_name_and_goes_on(tmp_path):
    clip = synthetic(
        tmp_path / "in.mp4", "-c:v", "libx264", "-preset", "ultrafast", seconds=25, rate="10", size="640x480"
    )
    stop, seen = threading.Event(), []

    def listener(event):
        seen.append(event["event"])
        if event["event"] == "segment":
            stop.set()

    with pytest.raises(Cancelled):
        prepare(clip, tmp_path / "o.mp4", listener, stop, height=360, preset="medium")
    assert not (tmp_path / "o.mp4").exists()
    assert seen[0] == "start"
    assert seen[-1] == "cancelled"
    assert "progress" in seen
    first: list[dict] = []
    prepare(clip, tmp_path / "o.mp4", first.append, height=360, preset="medium")
    assert first[0]["resumed_at_frame"] >= 96
    plain = prepare(clip, tmp_path / "p.mp4", height=360, preset="medium")
    assert frame_hashes(tmp_path / "o.mp4") == frame_hashes(plain.paths[0])


def test_errors_are_sentences(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(FramelaneError, match="cannot be opened as a video"):
        prepare(tmp_path / "text.mp4", tmp_path / "o.mp4")
    for options in ({"height": -1}, {"quality": 60}, {"piece_seconds": 0}, {"preset": "quick"}):
        with pytest.raises(UsageError, match="allowed"):
            prepare(STREET, tmp_path / "o.mp4", **options)
    with pytest.raises(UsageError, match="is the input itself"):
        prepare(tmp_path / "text.mp4", tmp_path / "text.mp4")


def test_the_command(tmp_path, capsys):
    ffmpeg("-t", "1", "-i", STREET, "-c", "copy", tmp_path / "in.mp4")
    for arguments, code in (
        (["prepare", tmp_path / "in.mp4", "-o", tmp_path / "o.mp4", "--height", "240"], 0),
        (["prepare", tmp_path / "in.mp4", "-o", tmp_path / "o.txt"], 2),
        (["prepare", tmp_path / "none.mp4", "-o", tmp_path / "o.mp4"], 2),
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        assert ended.value.code == code
    said = capsys.readouterr()
    assert str(tmp_path / "o.mp4") in said.out
    assert "must end in" in said.err
    assert "does not exist" in said.err
    assert video(tmp_path / "o.mp4")["height"] == 240
