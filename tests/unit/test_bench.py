"""The benchmarks measure what they say, in tiny forms; no figure of time decides a test."""

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from statistics import median

import av
import numpy as np
import pytest
from rich.console import Console

from framelane import bench
from framelane.bench import (
    about,
    attention,
    child,
    engine,
    faceswap,
    motion,
    pose,
    stages,
    tracking,
    transcode,
    video,
)
from framelane.bench.clips import loop_clip, make_clip
from framelane.errors import FramelaneError, UsageError
from framelane.processors.attention.methods import method_names
from support.driver import in_machine_with
from support.read import frame_hashes


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path, (192, 108), 6)
    return path


@pytest.fixture(scope="module")
def tiny_engine():
    """A whole run on a machine that has no ffmpeg command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "which", lambda _: None)
        return engine.measure(repeats=1, size=(192, 108), seconds=1, frames=24, long=2, tries=1)


@pytest.fixture(scope="module")
def tiny_attention():
    return attention.measure(frames=1, seeds=(3,), size=(90, 160), repeats=1, most=3)


@pytest.fixture(scope="module")
def tiny_motion():
    return motion.measure(clips=3, repeats=1, large_repeats=0)


@pytest.fixture(scope="module")
def tiny_faceswap():
    pytest.importorskip("insightface", reason="insightface is not installed; it is the peer of this benchmark")
    return faceswap.measure(repeats=1, size=(320, 180), many={2: (1, 2)}, few={1: (1, 2)}, width=4)


@pytest.fixture(scope="module")
def tiny_tracking():
    return tracking.measure(strides=(1, 3), sequences=("TUD-Campus",))


@pytest.fixture(scope="module")
def tiny_video():
    return video.measure(sizes={"tiny": (192, 108)}, seconds=2, repeats=1, tries=1)


@pytest.fixture(scope="module")
def tiny_pose():
    pytest.importorskip("pycocotools", reason="pycocotools is not installed; it scores the exported poses")
    return pose.measure(sources=(60,), strides=(2,), frames=24, sizes=(0.5,))


def test_planted_joints_are_followed_without_lag_and_steadier_than_found(tiny_pose):
    """A real frame moved by a known path: error, jitter and delay of the processor's own lane."""
    raw, causal, smooth = (
        next(row for row in tiny_pose["rows"] if row["smoothing"] == name) for name in ("none", "one_euro", "loess")
    )
    assert abs(smooth["lag"]) <= pose.MOST_LAG
    assert smooth["jitter"] < 0.8 * raw["jitter"]
    assert smooth["error"] < 2.0, "of 220 pixels of height"
    assert causal["lag"] > smooth["lag"], "who knows the past only is late"
    assert smooth["missed"] == 0


def test_small_people_are_found_by_the_second_look(tiny_pose):
    """110 pixels tall in a frame of 960: AP by pycocotools of the exported file, and the error against planted truth."""
    (row,) = tiny_pose["closer"]
    assert row["closer"]["missed"] <= row["once"]["missed"]
    assert row["closer"]["ap"] > row["once"]["ap"] + 20
    assert row["closer"]["error"] < 0.03 * row["height"]


def packets(path, kind):
    """Time in seconds of every packet of a kind, exact."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [packet.pts * packet.time_base for packet in container.demux(stream) if packet.size]


def text_of(parts):
    console = Console(width=160)
    with console.capture() as shown:
        for part in parts:
            console.print(part)
    return shown.get()


def test_an_unknown_name_is_a_usage_error_that_gives_the_nearest():
    with pytest.raises(UsageError, match=r"no benchmark 'engin'.*attention.*engine.*Did you mean 'engine'\?"):
        bench.run("engin", as_json=False)


def test_a_ratio_is_one_median_over_the_other():
    assert about.ratio([3.0, 1.0, 2.0], [4.0, 4.0, 100.0]) == 0.5
    found = transcode.ratios({"copy": [2.2, 2.4, 2.3], "repaint": [3.0], "ffmpeg": [2.0, 2.0, 9.0], "cv2": [1.5]})
    assert found["copy_to_ffmpeg"] == 1.15
    assert found["repaint_to_ffmpeg"] == 1.5
    assert found["repaint_to_cv2"] == 2.0
    assert not [name for name in found if "pyav" in name]


def test_runs_are_taken_in_turn():
    order = []
    tasks = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    assert about.in_turn(tasks, 3) == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert order == list("ababab")


def test_a_disturbed_run_is_made_again_and_the_least_disturbed_counts(monkeypatch):
    clock, busy, own = iter(range(0, 1000, 10)), iter([0, 12, 20, 31, 40, 51]), iter([0, 5, 5, 13, 13, 23])
    monkeypatch.setattr(about.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(about, "busy_seconds", lambda: next(busy))
    monkeypatch.setattr(about, "own_seconds", lambda: next(own))
    runs = iter([{"seconds": 1.0}, {"seconds": 2.0}, {"seconds": 3.0}])
    found = about.undisturbed(lambda: next(runs), tries=4)
    # Others took 7, 3 and 1 of 10 seconds: only the last is left alone.
    assert found == {"seconds": 3.0, "others": pytest.approx(0.1)}
    assert next(runs, None) is None


def test_the_made_clip_is_what_it_says(clip):
    video, audio = (packets(clip, kind) for kind in ("video", "audio"))
    seconds = sorted(map(float, video))
    assert len(video) == 180
    assert seconds == pytest.approx([k / 30 for k in range(180)])
    assert 5.9 < max(audio) < 6
    hashes = frame_hashes(clip)
    assert len(set(hashes)) > 170  # real pictures that move, not one repeated


def test_a_looped_clip_is_the_same_content_again(clip, tmp_path):
    loop_clip(clip, tmp_path / "long.mp4", 3)
    hashes = frame_hashes(clip)
    assert frame_hashes(tmp_path / "long.mp4") == hashes * 3
    for kind in ("video", "audio"):
        times = packets(tmp_path / "long.mp4", kind)
        assert len(set(times)) == len(times)
        assert Fraction(17) < max(times) < Fraction(37, 2)


def test_the_stages_go_through_the_real_pipeline(tmp_path):
    seconds = stages.pipelined(tmp_path, 20)
    assert seconds >= 20 * stages.PROCESS_S
    assert list(tmp_path.iterdir()) == []
    assert stages.slowest_alone(3) >= 3 * stages.PROCESS_S


def test_bench_processors_are_listed_only_once_imported():
    code = (
        "import framelane.bench, framelane.bench.engine, framelane.bench.transcode; "
        "from framelane.processors.base import names; print(names())\n"
        "import framelane.bench.processors; print(names())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert "bench_" not in before
    assert "bench_copy" in after
    assert "bench_repaint" in after


def test_peak_memory_is_the_childs_own():
    held = np.ones(400_000_000, np.uint8)  # a large parent: getrusage would hand this on through exec
    code = "from framelane.bench.child import peak_mb; print(peak_mb()); x = bytearray(50_000_000); print(peak_mb())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert child.peak_mb() >= held.nbytes / 1e6
    assert before < 300
    assert 45 < after - before < 60


def test_a_failing_part_is_a_sentence(tmp_path):
    with pytest.raises(FramelaneError, match=r"part .pipeline. failed: .*no processor 'bench_paint'"):
        about.child("pipeline", "bench_paint", tmp_path / "in.mp4", tmp_path / "out.mp4", "1")


def test_without_ffmpeg_the_other_figures_still_come(tiny_engine):
    assert any("no ffmpeg command" in sentence for sentence in tiny_engine["sentences"])
    compared = tiny_engine["transcode"]
    assert set(compared["seconds"]) == {"copy", "repaint", "pyav", "cv2"}
    assert set(compared["ratios"]) == {"repaint_to_pyav", "repaint_to_cv2"}
    assert compared["cv2_codec"] in ("avc1", "mp4v")


def test_the_engines_figures_fit_together(tiny_engine):
    compared, memory = tiny_engine["transcode"], tiny_engine["memory"]
    for name, (ours, theirs, _, _) in transcode.RATIOS.items():
        if name in compared["ratios"]:
            expected = median(compared["seconds"][ours]) / median(compared["seconds"][theirs])
            assert compared["ratios"][name] == pytest.approx(expected, rel=0.02)
    assert set(compared["cpu_s"]) == set(compared["others"]) == set(compared["seconds"])
    assert all(0 < run < 100 for runs in compared["cpu_s"].values() for run in runs)
    assert memory["ratio"] == pytest.approx(median(memory["long_mb"]) / median(memory["short_mb"]), abs=2e-3)
    assert 20 < memory["short_mb"][0] < 5000
    assert tiny_engine["stages"]["ratio"] >= 1
    assert tiny_engine["import"]["seconds"] > 0


def test_a_missed_target_is_said(tiny_engine):
    worse = json.loads(json.dumps(tiny_engine))
    worse["import"]["seconds"], worse["memory"]["ratio"], worse["stages"]["ratio"] = 0.7, 1.2, 1.01
    lines = text_of(engine.tables(worse)).splitlines()
    assert [("NO" in line, "yes" in line) for line in lines if "import framelane" in line] == [(True, False)]
    assert [("NO" in line, "yes" in line) for line in lines if "peak memory" in line] == [(True, False)]
    assert [("NO" in line, "yes" in line) for line in lines if "5/10/5" in line] == [(False, True)]


def test_the_face_swaps_figures_fit_together(tiny_faceswap):
    for result in (*tiny_faceswap["narrow"]["faces"].values(), *tiny_faceswap["real"]["faces"].values()):
        ways, ratios = result["ways"], result["ratios"]
        for way in ways.values():
            assert way["frame_ms"] == pytest.approx(way["network_ms"] + way["around_ms"], abs=0.2)
            assert way["network_ms"] > 0
        assert ratios["paste"] == pytest.approx(
            ways["insightface"]["around_ms"] / ways["ours"]["around_ms"], rel=0.02, abs=0.006
        )
        assert ways["job"]["images"] == 0
        if "png" in ways:
            assert ways["png"]["images"] == ways["png"]["frames"]
            assert ratios["whole"] == pytest.approx(
                ways["png"]["frame_ms"] / ways["job"]["frame_ms"], rel=0.02, abs=0.006
            )
    said = tiny_faceswap["sentences"]
    assert "With 2 faces a frame: alignment" in said[0]
    assert "With one face a frame with the network of real size" in said[1]
    assert tiny_faceswap["real"]["together"]["one_by_one"] > 0


def test_a_random_network_of_full_width_would_have_the_published_size():
    """554,253,681 bytes: counted from the layers, nothing of that size is written."""
    w, blocks = 128, 6
    convs = [(3, w, 7), (w, 2 * w, 3), (2 * w, 4 * w, 3), (4 * w, 8 * w, 3), (8 * w, 4 * w, 3), (4 * w, 2 * w, 3)]
    convs += [(2 * w, w, 3), (w, 3, 7)] + 2 * blocks * [(8 * w, 8 * w, 3)]
    numbers = sum(ins * outs * k * k + outs for ins, outs, k in convs)
    numbers += 2 * blocks * (512 * 16 * w + 16 * w) + 512 * 512
    assert 4 * numbers == pytest.approx(554_253_681, rel=1e-3)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg command")
def test_the_ffmpeg_command_makes_the_same_frames(clip, tmp_path):
    done = subprocess.run(transcode.ffmpeg_command(clip, tmp_path / "out.mp4", 1), capture_output=True, check=True)
    assert done.stderr == b""
    assert len(packets(tmp_path / "out.mp4", "video")) == 180
    assert len(packets(tmp_path / "out.mp4", "audio")) == len(packets(clip, "audio"))


def test_every_method_and_both_controls_are_scored(tiny_attention):
    found = tiny_attention
    kinds = (str, attention.field_name, attention.all_layers)
    maps = {kind(name) for kind in kinds for name in method_names()}
    assert set(found["scores"]) == {*maps, *attention.CONTROLS}
    assert found["frames"] == 3
    assert all(0 <= value <= 100 for score in found["scores"].values() for value in score.values())
    assert set(found["ms"]) == set(method_names())
    assert found["default"] in method_names()
    assert 1 < found["area"] < 15  # percent: boxes are 15 to 35 % of the side
    for control, points in found["margins"].items():
        expected = found["scores"][found["default"]]["pointing"] - found["scores"][control]["pointing"]
        assert points == pytest.approx(expected, abs=0.06)


def test_the_verdict_is_as_found():
    scores = {"gmar": {"pointing": 78.0}, "centre bias": {"pointing": 14.0}, "random map": {"pointing": 50.5}}
    margins = attention.judge(scores, "gmar")
    assert margins == {"centre bias": 64.0, "random map": 27.5}
    assert "MISSED" in attention.sentence("gmar", margins)
    assert ": met" in attention.sentence("gmar", {"centre bias": 64.0, "random map": 30.0})


def test_fields_have_the_size_the_processor_gives_them():
    assert attention.field_size((360, 640)) == (108, 192)
    assert attention.field_size((90, 160)) == (90, 160)


@pytest.fixture(scope="module")
def tiny_depth():
    from framelane.bench import depth

    return depth.measure(every=(6,), most=1, timed=False)


@pytest.fixture(scope="module")
def tiny_follow():
    from framelane.bench import follow

    return follow.measure(seconds=3, rendered_seconds=0.8, rounds=3, most=1)


@pytest.mark.parametrize("name", bench.NAMES)
def test_both_forms_are_printed(name, request, monkeypatch, capsys):
    figures = request.getfixturevalue(f"tiny_{name}")
    monkeypatch.setattr(f"framelane.bench.{name}.measure", lambda: figures)
    bench.run(name, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["bench"] == name
    assert printed["machine"]["cpu"]
    assert printed["machine"]["cores"] >= 1
    assert printed["versions"]["av"]
    assert len(printed["date"]) == len("2026-01-31")
    assert {key: printed[key] for key in figures} == json.loads(json.dumps(figures))
    bench.run(name, as_json=False)
    shown = capsys.readouterr().out
    assert printed["machine"]["cpu"] in shown
    for sentence in figures["sentences"]:
        assert sentence.split()[0] in shown


def test_the_camera_is_measured_on_what_it_was_tuned_on_and_on_what_it_was_not(tiny_follow):
    from framelane.bench.balls import FIRST, HELD_OUT, TUNING

    assert not set(HELD_OUT) & (set(TUNING) | set(FIRST) | {4})
    seeds = {part["set"]: set(part["each"]) for part in tiny_follow["parts"] if "planted" in part["what"]}
    sets = {"tuning": TUNING, "held out at first, failed then": FIRST, "held out": HELD_OUT}
    assert seeds == {name: {next(iter(every))} for name, every in sets.items()}, "the short form has one of each"
    verdicts = [text for text in tiny_follow["sentences"] if "both targets" in text or "missed by" in text]
    assert len(verdicts) == len(tiny_follow["parts"])
    for size in tiny_follow["cutting"]["sizes"].values():
        assert size["planes_luma_off"] == 0 < size["rgb_luma_off"]


def test_a_scene_that_misses_a_target_is_named():
    from framelane.bench.follow import _verdict

    part = {"set": "held out", "what": "scenes", "each": {5: {"in_frame": 1.0, "jerk_of_naive": 0.01}}}
    assert "every scene meets both targets" in _verdict(part)
    part["each"][6] = {"in_frame": 0.98, "jerk_of_naive": 0.01}
    assert "missed by seed 6 (in frame 98.0 %" in _verdict(part)
    assert "seed 5" not in _verdict(part)


def test_the_videos_figures_fit_together(tiny_video):
    found = tiny_video["sizes"]["tiny"]
    parts = found["parts"]
    assert {f"{stage} cpu" for stage in video.STAGES} <= set(parts)
    assert {"untouched cpu/cpu", "through RGB cpu/cpu"} <= set(parts)
    assert all(part["fps"] > 0 and part["cpu_ms"] > 0 for part in parts.values())
    assert parts["through RGB cpu/cpu"]["frames"] == 60
    assert parts["through RGB cpu/cpu"]["copies"] == {"uploads": 0, "downloads": 0}
    bound = found["bounds"]["cpu/cpu"]
    assert bound["bound"] == min(parts[f"{stage} cpu"]["fps"] for stage in ("decode", "convert", "encode"))
    assert bound["share"] == pytest.approx(parts["through RGB cpu/cpu"]["fps"] / bound["bound"], abs=1e-3)
    if not any(works["decode"] or works["encode"] for works in tiny_video["rungs"].values()):
        assert "nothing was measured on a card" in tiny_video["sentences"][-1]
        assert "ffmpeg cuda/h264_nvenc" in found["refused"]


def test_a_bound_of_the_card_is_its_slowest_engine():
    """A made card: its engines share nothing, so the slowest alone is the bound, and 90 % of it the target."""
    speeds = {"decode pyav": 600, "encode pyav": 450, "convert pyav": 900, "through RGB pyav/pyav": 410}
    speeds |= {"decode cpu": 200, "encode cpu": 50, "convert cpu": 100, "through RGB cpu/cpu": 40}
    parts = {name: {"fps": float(fps), "cpu_ms": 2000 / fps, "others": 0.0} for name, fps in speeds.items()}
    rungs = {"pyav": {"decode": True, "encode": True, "decode_reason": "", "encode_reason": ""}}
    pairs = video.combinations(rungs)
    assert pairs == [("cpu", "cpu"), ("pyav", "pyav")]
    bounds = video.bounds(parts, pairs, threads=2)
    card, cpu = bounds["pyav/pyav"], bounds["cpu/cpu"]
    assert (card["bound"], card["slowest"], card["shared"]) == (450, "encode", None)
    assert card["share"] == pytest.approx(410 / 450, abs=1e-3)
    assert cpu["bound"] == 50
    assert cpu["shared"] == pytest.approx(1 / (1 / 200 + 1 / 50 + 1 / 100), abs=0.1)
    sizes = {"720p": {"parts": parts, "bounds": bounds, "refused": {}}}
    said = video.sentences({"sizes": sizes, "rungs": rungs})
    assert ["met" in line for line in said] == [False, True]


def test_a_card_without_an_encoder_is_paired_with_the_cpus():
    half = {"decode": True, "encode": False}
    assert video.combinations({"pyav": half, "nvcodec": {"decode": False, "encode": False}}) == [
        ("cpu", "cpu"),
        ("pyav", "cpu"),
    ]


def test_engines_are_sampled(tmp_path):
    """Through the stand-in for the driver's library: what is sampled, and that no driver means no figure."""
    code = """
        import json, time
        from framelane.bench.engines import Engines
        with Engines() as engines:
            time.sleep(0.35)
        print(json.dumps([engines.busy(), len(engines.samples)]))
    """
    busy, samples = in_machine_with(tmp_path, code)
    assert busy == {"sm": 40.0, "encoder": 25.0, "decoder": 10.0}
    assert samples >= 1
    assert in_machine_with(tmp_path, code, FAKE_GPU="no driver") == [None, 0]


def test_sizes_belong_to_video():
    with pytest.raises(UsageError, match=r"--size belongs to the benchmark video"):
        bench.run("engine", as_json=False, size="720p")
    with pytest.raises(UsageError, match=r"no size '4k'; there are 720p, 1080p"):
        bench.run("video", as_json=False, size="4k")
