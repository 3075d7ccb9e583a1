"""The depth processor as a whole: planted truth, without weights, resumed, its views and its tones."""

from __future__ import annotations

import csv
import threading

import av
import numpy as np
import pytest

import framelane
from framelane.bench import depth as bench
from framelane.bench.rendered import FOV, RATE, SIZE, Cuboid, Scene, depth_model, detector_model, write
from framelane.errors import Cancelled, UsageError
from support.clips import WALKER, ffmpeg, needs_ffmpeg
from support.depth_nets import small_depth_anything
from support.read import audio_packets, frame_hashes

FAST = {
    "gif.enabled": False, "output.preset": "ultrafast", "engine.min_free_mb": 0, "engine.segment_seconds": 1,
    "hardware.batch_size": 4,
}  # fmt: skip
COMES = Scene("comes", (Cuboid(lambda t: (0.1, 7.6 - 3 * t)),), seconds=1.6)
GOES = Scene("goes", (Cuboid(lambda t: (0.1, 1.6 + 2 * t)),), seconds=1.2)


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A made detector in a cache of its own, and the options of a run with a made depth model."""
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    detector_model(tmp_path / "cache" / "models" / "yolo26n.onnx")
    model = depth_model(tmp_path / "truth.onnx")
    return {"depth.model": str(model), "depth.detector": "yolo", "depth.fov": FOV, "depth.every": 3}


def run(clip, output, options, **more):
    return framelane.process_video(
        clip, "depth", output=output, profile="cpu", overrides={**FAST, **options, **more.pop("overrides", {})}, **more
    )


def table(output, kind):
    with output.with_suffix(f".{kind}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("every", [3, 6])
def test_what_comes_alerts_in_time_and_its_distance_is_the_rendered_one(tmp_path, planted, every):
    clip, events = write(COMES, tmp_path / "in.mp4"), []
    result = run(clip, tmp_path / "out.mp4", {**planted, "depth.every": every}, progress=events.append)
    rows = table(tmp_path / "out.mp4", "objects")
    off = [abs(float(r["distance_m"]) / COMES.distance(0, int(r["frame"]) / RATE) - 1) for r in rows]
    assert np.median(off) < 0.02
    assert max(off) < 0.06
    assert len(rows) >= COMES.frames - 2
    alerts = table(tmp_path / "out.mp4", "alerts")
    assert len(alerts) == 1
    assert abs(int(alerts[0]["frame"]) - bench.alert_frame(COMES)) <= 3
    said = [event for event in events if event["event"] == "alert"]
    assert [str(event["frame"]) for event in said] == [alerts[0]["frame"]]
    assert "m away" in str(said[0])
    assert result.report["metrics"]["alerts"] == {"danger": 1}
    assert result.report["metrics"]["distance"] == "metres"
    assert any(model["name"] == "truth" for model in result.report["models"])


def test_a_scenes_last_frame_has_a_depth_of_its_own(tmp_path, planted):
    def jumps(time):
        return (0.0, 0.0) if time < 0.35 else (300.0, 0.0)

    box = Cuboid(lambda t: (jumps(t)[0] + 0.1, 5 - 4 * t))
    clip = write(Scene("jumps", (box,), seconds=0.72, camera=jumps), tmp_path / "in.mp4")
    result = run(clip, tmp_path / "out.mp4", {**planted, "depth.every": 6, "depth.cut_threshold": 0.05})
    assert result.report["metrics"]["cuts"] == 1
    assert result.report["metrics"]["depth_frames"] == len((0, 6, 8, 9, 12, 17)), "the cut is at 9"
    off = {
        int(r["frame"]): float(r["distance_m"]) / (5 - 4 * int(r["frame"]) / RATE)
        for r in table(tmp_path / "out.mp4", "objects")
    }
    assert off[8] == pytest.approx(1, abs=0.03)
    assert off[17] == pytest.approx(1, abs=0.03)


def test_what_goes_away_never_alerts(tmp_path, planted):
    result = run(write(GOES, tmp_path / "in.mp4"), tmp_path / "out.mp4", planted)
    rows = table(tmp_path / "out.mp4", "objects")
    assert float(rows[0]["distance_m"]) < 2, "it begins in the danger zone"
    assert result.report["metrics"]["alerts"] == {}
    assert table(tmp_path / "out.mp4", "alerts") == []


def test_without_weights_everything_else_goes_on_and_says_so(tmp_path, planted):
    options = {"depth.detector": "yolo", "depth.view": "side_by_side"}
    result = run(write(COMES, tmp_path / "in.mp4"), tmp_path / "out.mp4", options)
    said = [text for text in result.report["degradations"] if "no depth" in text]
    assert len(said) == 1
    assert "framelane models fetch depth_anything_v2_metric_outdoor" in said[0]
    rows = table(tmp_path / "out.mp4", "objects")
    assert {row["distance_m"] for row in rows} == {"unknown"}
    assert {row["zone"] for row in rows} >= {"safe", "danger"}, "zones come from the boxes"
    assert result.report["metrics"]["nearest_m"] is None
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert made.streams.video[0].width == SIZE[1], "there is nothing to stand beside"


@pytest.mark.parametrize("kind", ["metric", "relative"])
def test_depth_anything_in_its_real_class_goes_the_same_way(tmp_path, planted, kind):
    """Random weights of the real class, tiny: for plumbing only; the distances mean nothing."""
    folder = small_depth_anything(tmp_path / "weights", kind)
    short = Scene("short", COMES.cuboids, seconds=0.4)
    options = {**planted, "depth.model": str(folder), "depth.size": 98}
    result = run(write(short, tmp_path / "in.mp4"), tmp_path / "out.mp4", options)
    made = run(tmp_path / "in.mp4", tmp_path / "made.mp4", planted)
    assert set(table(tmp_path / "out.mp4", "objects")[0]) == set(table(tmp_path / "made.mp4", "objects")[0])
    boxes = [[row[k] for k in ("frame", "track", "x1", "y2")] for row in table(tmp_path / "out.mp4", "objects")]
    assert boxes == [
        [row[k] for k in ("frame", "track", "x1", "y2")] for row in table(tmp_path / "made.mp4", "objects")
    ]
    assert result.report["metrics"]["depth_frames"] == made.report["metrics"]["depth_frames"]
    unknown = {row["distance_m"] for row in table(tmp_path / "out.mp4", "objects")} == {"unknown"}
    assert unknown == (kind == "relative")
    assert (result.report["metrics"]["depth_kind"], "relative" in str(result.report["warnings"])) == (kind, unknown)


def test_a_cut_job_goes_on_with_equal_frames(tmp_path, planted):
    clip = write(Scene("long", (Cuboid(lambda t: (-1 + t / 2, 6 - t)),), seconds=2.6), tmp_path / "in.mp4")
    whole = run(clip, tmp_path / "whole.mp4", planted)
    cancel = threading.Event()

    def stop(event):
        if event["event"] == "segment":
            cancel.set()

    with pytest.raises(Cancelled):
        run(clip, tmp_path / "cut.mp4", planted, progress=stop, cancel=cancel)
    starts = []
    again = run(clip, tmp_path / "cut.mp4", planted, progress=lambda e: e["event"] == "start" and starts.append(e))
    assert starts[0]["resumed_at_frame"] > 0
    assert frame_hashes(tmp_path / "cut.mp4") == frame_hashes(tmp_path / "whole.mp4")
    assert again.report["metrics"] == whole.report["metrics"]
    assert (tmp_path / "cut.objects.csv").read_text() == (tmp_path / "whole.objects.csv").read_text()


def test_a_clip_with_nobody_in_it(tmp_path, planted):
    """With depth and without objects: all frames come, the tables are there and empty, and nothing alerts."""
    clip, events = write(Scene("empty", (), seconds=0.6), tmp_path / "in.mp4"), []
    done = run(clip, tmp_path / "out.mp4", planted, progress=events.append)
    assert done.report["frames"] == len(frame_hashes(done.output_path)) == 15
    assert table(tmp_path / "out.mp4", "objects") == table(tmp_path / "out.mp4", "alerts") == []
    assert done.report["metrics"]["tracks"] == 0
    assert not [event for event in events if event["event"] == "alert"]


def test_a_batch_goes_on_past_a_broken_clip(tmp_path, planted):
    """Through a real worker, as the command does: the batch's page is made of what this processor reports, too."""
    (tmp_path / "in").mkdir()
    clip = write(Scene("short", COMES.cuboids, seconds=0.3), tmp_path / "in" / "a.mp4")
    (tmp_path / "in" / "b.mp4").write_bytes(clip.read_bytes()[:900])
    (tmp_path / "in" / "c.mp4").write_bytes(clip.read_bytes())
    result = framelane.process_folder(
        tmp_path / "in", "depth", output=tmp_path / "out", profile="cpu", overrides={**FAST, **planted}
    )
    assert {job.name: job.state for job in result.jobs} == {"a.mp4": "done", "b.mp4": "failed", "c.mp4": "done"}, [
        job.reason for job in result.jobs
    ]
    assert result.exit_code == 3
    assert (tmp_path / "out" / "a.objects.csv").read_text() == (tmp_path / "out" / "c.objects.csv").read_text()
    assert (tmp_path / "out" / "index.html").read_text().count("data:image/jpeg") == 2, "the page has both results"


@pytest.mark.slow
@needs_ffmpeg
def test_depth_survives_kills(tmp_path, planted):
    from test_survives import SETTINGS, _as_dict, kill_and_resume

    more = tuple(f"{key}={value}" for key, value in planted.items())
    clip = write(Scene("long", (Cuboid(lambda t: (-1 + t / 2, 8 - t)),), seconds=6), tmp_path / "in.mp4")
    whole = framelane.process_video(
        clip, "depth", output=tmp_path / "whole.mp4", overrides=_as_dict((*SETTINGS, *more))
    )
    folder = tmp_path / "killed"
    folder.mkdir()
    results, starts = kill_and_resume(folder, "depth", clip, 3, 4, 4, *more)
    assert all(result == frame_hashes(whole.output_path) for result in results)
    assert any(before > 0 for before in starts)


@needs_ffmpeg
def test_tones_sound_at_the_alert_and_other_tracks_stay_as_they_are(tmp_path, planted):
    silent = write(COMES, tmp_path / "silent.mp4")
    clip = tmp_path / "in.mp4"
    tones = [("-f", "lavfi", "-i", f"sine=frequency={hz}:duration=1.6:sample_rate=44100") for hz in (200, 300)]
    ffmpeg(
        "-i", silent, *tones[0], *tones[1], "-map", "0", "-map", "1", "-map", "2", "-c:v", "copy", "-c:a", "aac", clip
    )
    run(clip, tmp_path / "out.mp4", {**planted, "depth.tones": True})
    at = float(table(tmp_path / "out.mp4", "alerts")[0]["time_s"])
    assert _heard(tmp_path / "out.mp4", 1320) == pytest.approx((at, at + 0.18), abs=0.04)
    assert _heard(tmp_path / "out.mp4", 200)[1] > 1.5, "the track's own sound is still there"
    assert audio_packets(tmp_path / "out.mp4")[1] == audio_packets(clip)[1]
    run(silent, tmp_path / "alone.mp4", {**planted, "depth.tones": True})
    assert _heard(tmp_path / "alone.mp4", 1320) == pytest.approx((at, at + 0.18), abs=0.04)
    with av.open(str(tmp_path / "alone.mp4")) as made:
        assert float(made.duration / 1e6) == pytest.approx(1.6, abs=0.05)


def _heard(path, hz):
    """From when to when a pitch is heard in the first audio track, seconds."""
    with av.open(str(path)) as made:
        frames = [(float(f.pts * f.time_base), f.to_ndarray()[0], f.sample_rate) for f in made.decode(audio=0)]
    loud = []
    for start, samples, rate in frames:
        time = np.arange(len(samples)) / rate
        power = abs(np.exp(-2j * np.pi * hz * time) @ samples) / max(1, len(samples))
        if power > 0.02:
            loud.append((start, start + len(samples) / rate))
    return loud[0][0], loud[-1][1]


def test_side_by_side_is_twice_as_wide(tmp_path, planted):
    short = Scene("short", COMES.cuboids, seconds=0.4)
    run(write(short, tmp_path / "in.mp4"), tmp_path / "out.mp4", {**planted, "depth.view": "side_by_side"})
    with av.open(str(tmp_path / "out.mp4")) as made:
        frame = next(made.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert frame.shape == (SIZE[0], 2 * SIZE[1], 3)
    right = frame[:, SIZE[1] :]
    sky, floor = right[100, 20], right[-6, 160]
    assert sky[2] > sky[0] + 40, "what is far is blue"
    assert floor[0] > floor[2] + 40, "what is near is red or yellow"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"depth.model": "depth_anythin"},
            r"depth\.model: 'depth_anythin' is unknown; allowed are depth_anything_v2_small",
        ),
        ({"depth.model": "./nothing.onnx"}, r"there is no file"),
        ({"depth.classes": ["persn"]}, r"depth\.classes: 'persn' is no COCO class; the nearest is 'person'"),
    ],
)
def test_bad_settings_are_sentences(tmp_path, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        run(WALKER, tmp_path / "out.mp4", options)
    assert not (tmp_path / "out.mp4").exists()
