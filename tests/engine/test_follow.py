"""The ``follow`` processor, end to end."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import av
import numpy as np
import pytest

import framelane
from framelane.bench.balls import background, make_scene, picture_of, planted
from framelane.bench.follow import NAIVE, OURS, compare
from framelane.errors import Cancelled
from framelane.processors.follow.plan import plan_clip
from framelane.processors.follow.sightings import Sightings
from framelane.sections.follow import FollowSettings
from support.clips import WALKER, ffmpeg, needs_ffmpeg, synthetic
from support.read import frame_hashes, frame_times, probe

BOXES = Path(__file__).parents[1] / "data" / "walker-boxes.csv"
FAST = {
    "gif.enabled": False,
    "output.preset": "ultrafast",
    "engine.segment_seconds": 1,
    "engine.min_free_mb": 0,
    "follow.detect_every": 5,
    "hardware.batch_size": 8,
}
pytestmark = needs_ffmpeg


def run(clip, output, **more):
    return framelane.process_video(
        clip, "follow", output=output, overrides={**FAST, **more.pop("overrides", {})}, **more
    )


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def walker(tmp_path_factory):
    output = tmp_path_factory.mktemp("walker") / "out.mp4"
    return run(WALKER, output), table(output.with_suffix(".camera.csv"))


def test_the_walker_stays_inside_the_window(walker):
    """Boxes labelled by eye on every ninth frame; the window may cut a hand off, but not the walker's middle half."""
    result, camera = walker
    labelled = table(BOXES)
    assert len(labelled) == 15
    whole = 0
    for row in labelled:
        at = camera[int(row["frame"])]
        left, top = float(at["x"]), float(at["y"])
        right, bottom = left + float(at["w"]), top + float(at["h"])
        x1, y1, x2, y2 = (float(row[key]) for key in ("x1", "y1", "x2", "y2"))
        middle = (x1 + x2) / 2
        assert left <= middle - (x2 - x1) / 4, f"frame {row['frame']}"
        assert middle + (x2 - x1) / 4 <= right, f"frame {row['frame']}"
        whole += left - 4 <= x1 and x2 <= right + 4 and top - 4 <= y1 and y2 <= bottom + 4
    assert whole == 15, "the whole walker, to within the eye's four pixels"
    assert result.report["metrics"]["in_frame"] == 1.0
    assert len(result.report["metrics"]["tracks_followed"]) == 1


def test_the_output_is_upright_of_its_size_and_keeps_times(walker):
    result, camera = walker
    stream = next(s for s in probe(result.output_path)["streams"] if s["codec_type"] == "video")
    assert (stream["width"], stream["height"]) == (304, 540)
    assert frame_times(result.output_path) == frame_times(WALKER)
    assert len(camera) == 150
    for row in camera:
        assert float(row["x"]) >= 0
        assert float(row["x"]) + float(row["w"]) <= 960.01
        assert float(row["y"]) + float(row["h"]) <= 540.01


def test_cut_and_resumed_in_either_pass_it_makes_the_same_frames(tmp_path, walker):
    for phase in ("first pass", None):
        cancel = threading.Event()

        def stop(event, phase=phase, cancel=cancel):
            looked = (
                event["event"] == "progress" and event.get("phase") == phase == "first pass" and event["frame"] > 40
            )
            if looked or (phase is None and event["event"] == "segment"):  # the second pass may end between two reports
                cancel.set()

        with pytest.raises(Cancelled):
            run(WALKER, tmp_path / "cut.mp4", progress=stop, cancel=cancel)
    run(WALKER, tmp_path / "cut.mp4")
    assert frame_hashes(tmp_path / "cut.mp4") == frame_hashes(walker[0].output_path)
    assert table(tmp_path / "cut.camera.csv") == walker[1]


def test_a_clip_with_nobody_in_it_gets_a_still_window_and_a_sentence(tmp_path):
    clip = synthetic(tmp_path / "clip.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", seconds=1)
    result = run(clip, tmp_path / "out.mp4", overrides={"follow.aspect": "1:1", "follow.size": "480p"})
    assert any("Nobody was found in the clip" in text for text in result.report["warnings"])
    assert any("scaled up" in text for text in result.report["warnings"])
    camera = table(tmp_path / "out.camera.csv")
    assert len({(row["x"], row["y"], row["w"]) for row in camera}) == 1
    assert {row["state"] for row in camera} == {"nobody"}
    assert {row["subject_x"] for row in camera} == {""}
    kinds = {s["codec_type"] for s in probe(tmp_path / "out.mp4")["streams"]}
    assert kinds == {"video", "audio"} or "audio" not in {s["codec_type"] for s in probe(clip)["streams"]}


def test_a_track_by_its_number_with_the_shape_as_it_is_typed(tmp_path, walker):
    """As --set gives them: YAML makes numbers of 1 and of 4:5."""
    number = walker[0].report["metrics"]["tracks"][0]["track"]
    clip = tmp_path / "clip.mp4"
    ffmpeg("-i", WALKER, "-t", "1", "-an", "-c:v", "libx264", "-preset", "ultrafast", clip)
    result = run(clip, tmp_path / "out.mp4", overrides={"follow.subject": number, "follow.aspect": 4 * 60 + 5})
    assert result.report["metrics"]["tracks_followed"] == [number]
    assert result.report["metrics"]["output"] == [432, 540]
    by_hand = table(BOXES)[2]  # frame 18
    at = table(tmp_path / "out.camera.csv")[int(by_hand["frame"])]
    assert float(by_hand["x1"]) < float(at["subject_x"]) < float(by_hand["x2"])


def test_a_clip_of_one_frame_still_finds_the_walker(tmp_path):
    clip = tmp_path / "one.mp4"
    ffmpeg("-i", WALKER, "-frames:v", "1", "-an", "-c:v", "libx264", "-preset", "ultrafast", clip)
    result = run(clip, tmp_path / "out.mp4")
    at, by_hand = table(tmp_path / "out.camera.csv")[0], table(BOXES)[0]
    assert result.report["metrics"]["states"] == {"seen": 1.0}
    assert float(at["x"]) <= float(by_hand["x1"])
    assert float(by_hand["x2"]) <= float(at["x"]) + float(at["w"])


def test_show_draws_the_whole_frame_with_numbers(tmp_path, walker):
    clip = tmp_path / "clip.mp4"
    ffmpeg("-i", WALKER, "-t", "0.7", "-an", "-c:v", "libx264", "-preset", "ultrafast", clip)
    result = run(clip, tmp_path / "out.mp4", overrides={"follow.show": True})
    stream = next(s for s in probe(result.output_path)["streams"] if s["codec_type"] == "video")
    assert (stream["width"], stream["height"]) == (960, 540)
    before, after = (frame_of(path, 18).astype(int) for path in (clip, result.output_path))
    at = table(tmp_path / "out.camera.csv")[18]
    left, right = float(at["x"]), float(at["x"]) + float(at["w"])
    assert after[:, : int(left) - 9].mean() < 0.6 * before[:, : int(left) - 9].mean(), "outside the window it is dim"
    inside = slice(int(left) + 9, int(left) + 60)
    rows = slice(int(float(at["y"])) + 9, int(float(at["y"])) + 90)
    assert np.abs(after[rows, inside] - before[rows, inside]).mean() < 6, "inside it is the clip"
    x, y = round(float(at["subject_x"])), 285  # over the walker's head: a label, light blue
    label = after[y - 40 : y + 5, max(0, x - 30) : min(int(right), x + 30)]
    assert (np.abs(label - [160, 200, 255]).max(axis=2) < 40).sum() > 40


def frame_of(path, number):
    with av.open(str(path)) as clip:
        return next(f for i, f in enumerate(clip.decode(video=0)) if i == number).to_ndarray(format="rgb24")


def test_a_ball_with_a_double_is_kept_in_the_picture_and_calmly():
    """Planted detections: misses, occlusions, a false ball and litter (framelane.bench.balls)."""
    scene = make_scene(12, 1)
    figures = compare(scene, planted(scene, 11))
    assert figures[OURS]["in_frame"] >= 0.99
    assert figures[OURS]["p99_jerk"] <= 0.1 * figures[NAIVE]["p99_jerk"]
    assert figures[NAIVE]["in_frame"] < 0.95, "the scene is too easy"


def _lab(picture):
    import cv2

    small = cv2.resize(picture.clip(0, 255).astype(np.uint8), (640, 360), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2LAB)


def test_the_ball_is_found_by_colour_and_motion():
    """The cue on rendered frames themselves: no detector, a false ball of another colour."""
    from framelane.processors.follow.cue import blobs

    scene, ground = make_scene(3, 4), background()
    hits = looked = 0
    for i in range(6, 90, 7):
        if scene.hidden[i]:
            continue
        here, near, far = (_lab(picture_of(scene, k, ground)) for k in (i, i - 3, i - 6))
        looked += 1
        hits += any(np.hypot(b.x - scene.ball[i, 0], b.y - scene.ball[i, 1]) < 6 for b in blobs(here, near, far, 1.5))
    assert looked >= 8
    assert hits >= 0.75 * looked


def test_a_cut_is_jumped_over():
    rows = []
    for i in range(120):
        x = 150.0 if i < 60 else 800.0
        box = [x - 30, 200.0, x + 30, 400.0]
        rows.append({"frame": i, "time": i / 30, "cut": i in (0, 60), "tracks": [[1 + (i >= 60), "person", *box, 0.9]]})
    from framelane.processors.follow.framing import Framing

    camera = plan_clip(Sightings.of(rows), Framing((960, 540), (304, 540), (303.75, 540.0)), FollowSettings())
    assert np.ptp(camera.left[:60]) < 1
    assert np.ptp(camera.left[60:]) < 1
    assert camera.left[60] - camera.left[59] > 400
