"""Sliding windows through a video transformer: the small trained MViT of ``framelane bench motion``, nothing made up."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import framelane
from framelane.bench.motion import load_model
from framelane.bench.moving import FRAMES, SIDE, make_scene
from framelane.bench.pointing import pointing_game
from framelane.errors import Cancelled, OutOfMemory
from framelane.processors.attention import processor as processor_module
from framelane.processors.attention.methods import get_method
from framelane.processors.attention.processor import Attention
from framelane.processors.attention.windows import WindowMaps, in_time
from support.clips import STREET, excerpt, ffmpeg, needs_ffmpeg
from support.read import frame_hashes


@pytest.fixture(scope="module")
def model():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the model is too small to be shared out
    yield load_model()
    torch.set_num_threads(threads)


def windows(model, overlap=0.5, method="rollout"):
    return WindowMaps("moving-mvit", model, get_method(method), rate=10, overlap=overlap, start_layer=0, target="top-1")


@pytest.fixture(scope="module")
def pixels(model):
    """Forty frames at the model's size."""
    clips = make_scene(5, seed=77).clips.reshape(-1, 3, SIDE, SIDE)
    return [torch.from_numpy(frame[None]) for frame in clips]


def run(maps, pixels, cuts=(0,)):
    for index, frame in enumerate(pixels):
        maps.add(index, frame, cut=index in cuts)
    maps.finish()
    return maps.take()


def starts_of(count, hop):
    """Where the windows of a shot begin, by the words of the module's docstring."""
    regular = [start for start in range(0, count, hop) if start + FRAMES <= count]
    last = max(0, count - FRAMES)
    return sorted({*regular, last})


def reference(model, shot, overlap):
    """All windows of a shot at once, in float64; a last window off the beat says nothing of what was settled."""
    hop = max(1, round(FRAMES * (1 - overlap)))
    total, weights = [0.0] * len(shot), [0.0] * len(shot)
    for start in starts_of(len(shot), hop):
        window = [shot[min(start + i, len(shot) - 1)] for i in range(FRAMES)]
        capture = model.capture(model.prepare(torch.cat(window)), False)
        volume = get_method("rollout").maps(capture)[0].numpy().astype(np.float64)
        settled = 0 if start % hop == 0 else (start // hop) * hop + hop
        for i in range(FRAMES):
            if settled <= start + i < len(shot):
                weight = min(i + 1, FRAMES - i)
                total[start + i] = total[start + i] + weight * in_time(volume, FRAMES)[i]
                weights[start + i] += weight
    return [t / w for t, w in zip(total, weights, strict=True)]


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("count", [1, 3, 8, 9, 19, 24])
def test_every_sample_is_the_blend_of_the_windows_that_cover_it(model, pixels, overlap, count):
    found = run(windows(model, overlap), pixels[:count])
    assert sorted(found) == list(range(count))
    for index, want in enumerate(reference(model, pixels[:count], overlap)):
        np.testing.assert_allclose(found[index].grid, want, atol=1e-5)


def test_no_window_reaches_over_a_cut(model, pixels):
    both = run(windows(model), pixels[:30], cuts=(0, 13))
    first, second = run(windows(model), pixels[:13]), run(windows(model), pixels[13:30])
    for index, seen in both.items():
        alone = first[index] if index < 13 else second[index - 13]
        np.testing.assert_array_equal(seen.grid, alone.grid)
        assert seen.action == alone.action


@pytest.mark.parametrize("overlap", [0, 0.3, 0.6])
def test_going_on_anywhere_gives_the_same_maps(model, pixels, overlap):
    """At every third sample: what is still needed then comes out bit for bit as if nothing had happened."""
    whole = run(windows(model, overlap), pixels, cuts=(0, 23))
    maps, known = windows(model, overlap), {}
    for index, frame in enumerate(pixels):
        maps.add(index, frame, cut=index in (0, 23))
        known |= maps.take()
        if index % 3:
            continue
        shot = 23 if index >= 23 else 0
        # Frames before the first sample that is not known wait for it, so the one before it is needed too.
        missing = min(set(range(index + 1)) - set(known), default=index)
        needed = max(shot, missing - 1)
        begin, state = maps.replay(needed)
        again = windows(model, overlap)
        again.restore(state)
        for later in range(begin, len(pixels)):
            again.add(later, pixels[later], cut=later in (0, 23))
        again.finish()
        found = again.take()
        for later in range(needed, len(pixels)):
            np.testing.assert_array_equal(found[later].grid, whole[later].grid)
            assert found[later].action == whole[later].action


def test_where_memory_runs_out_a_window_is_done_with_checkpointing_and_it_is_said(model, pixels, monkeypatch):
    want = run(windows(model, method="gmar"), pixels[:9])
    said, plain = [], model.capture

    def capture(*arguments):
        if not model.checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(*arguments)

    monkeypatch.setattr(model, "capture", capture)
    monkeypatch.setattr(model, "checkpointing", False)
    maps = windows(model, method="gmar")
    maps.degrade = said.append
    found = run(maps, pixels[:9])
    (sentence,) = said
    assert "checkpointing" in sentence
    for index in want:
        np.testing.assert_allclose(found[index].grid, want[index].grid, atol=1e-5)


@pytest.mark.parametrize("method", ["gmar", "rollout"])
def test_where_memory_stays_short_the_job_ends_with_a_sentence(tmp_path, model, monkeypatch, method):
    def capture(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model, "capture", capture)
    monkeypatch.setattr(model, "checkpointing", False)
    monkeypatch.setattr(processor_module, "open_maps", lambda *_: windows(model, method=method))
    events = []
    with pytest.raises(OutOfMemory, match=r"^Memory ran out where nothing can be made smaller"):
        framelane.process_video(
            STREET, "attention", output=tmp_path / "out.mp4", overrides=SETTINGS, progress=events.append
        )
    assert events[-1]["event"] == "failed"


def test_events_come_in_the_callers_thread_whoever_noticed(tmp_path, model, monkeypatch):
    maps = windows(model, method="gmar")
    plain = model.capture

    def capture(*arguments):
        maps.degrade("said in the process thread")
        return plain(*arguments)

    def opened(context, *_):
        maps.degrade = context.degrade
        return maps

    monkeypatch.setattr(model, "capture", capture)
    monkeypatch.setattr(processor_module, "open_maps", opened)
    heard = []
    framelane.process_video(
        excerpt(tmp_path / "street.mp4", STREET, 2.0, 288),
        "attention",
        output=tmp_path / "out.mp4",
        overrides=SETTINGS,
        progress=lambda event: heard.append((event["event"], threading.get_ident())),
    )
    assert {thread for kind, thread in heard if kind == "degraded"} == {threading.get_ident()}


def test_eighty_windows_leave_nothing_behind(model, pixels):
    maps = windows(model, overlap=0.5)
    sizes = []
    for index in range(80 * 4):
        maps.add(index, pixels[index % len(pixels)], cut=index == 0)
        maps.take()
        sizes.append((len(maps._pixels), len(maps._blends), len(maps._index), len(maps._done)))
    assert max(sizes[100:]) == max(sizes[40:100])
    assert all(max(size) <= 3 * FRAMES for size in sizes)


def test_frames_are_sampled_evenly_at_any_rate():
    processor = Attention()
    for clip_rate in (1, 24, 29.97, 50, 60, 144, 200, 240):
        for rate in (0.5, 2, 7.5, 10):
            processor.rate = clip_rate
            ticks = [processor._ticks(i / clip_rate, rate) for i in range(3000)]
            samples = [0, *(i for i in range(1, 3000) if ticks[i] != ticks[i - 1])]
            gaps = np.diff(samples)
            assert gaps.max() <= 33
            if clip_rate / rate <= 32:
                assert gaps.max() - gaps.min() <= 1, (clip_rate, rate)


def test_slots_become_frames_without_a_loss():
    volume = np.random.default_rng(0).random((4, 3, 5)).astype(np.float32)
    volume /= volume.sum()
    frames = in_time(volume, 8)
    np.testing.assert_allclose(frames.sum() / 8, 1, atol=0.15)
    np.testing.assert_allclose(frames[0], 4 * volume[0], rtol=1e-6)
    np.testing.assert_allclose(frames[3], 4 * (0.75 * volume[1] + 0.25 * volume[2]), rtol=1e-6)
    np.testing.assert_array_equal(in_time(volume[:1], 3), np.repeat(volume[:1], 3, 0))


def test_maps_blended_from_windows_point_at_the_object_that_decides(model):
    """Of a longer clip, in which the deciding disk rests, moves, and rests again among others that always move."""
    hits, areas = [], []
    for seed in range(10):
        scene = make_scene(1, seed=900_000 + seed)
        frames = scene.clips[0]
        long = np.concatenate([np.repeat(frames[:1], 8, 0), frames, np.repeat(frames[-1:], 8, 0)])
        found = run(windows(model, 0.75, "gmar"), [torch.from_numpy(frame[None]) for frame in long])
        best = int(np.argmax([found[i].grid.max() for i in range(8, 16)]))
        grid, box = found[8 + best].grid, scene.boxes[0][best]
        hits.append(pointing_game(torch.from_numpy(grid), torch.from_numpy(box), (SIDE, SIDE)))
        areas.append((box[2] - box[0]) * (box[3] - box[1]) / SIDE**2)
    assert np.mean(hits) > 5 * np.mean(areas)


@pytest.fixture
def tiny(monkeypatch, model):
    """The attention processor with the small video transformer; everything else is its own."""
    monkeypatch.setattr(processor_module, "open_maps", lambda *_: windows(model, method="gmar"))


SETTINGS = {
    "engine.segment_seconds": 1,
    "engine.min_free_mb": 0,
    "gif.enabled": False,
    "output.preset": "ultrafast",
    "attention.channels": "a",
}


@needs_ffmpeg
def test_a_clip_through_windows_and_how_it_is_cut_into_batches_does_not_matter(tmp_path, tiny, model):
    clip = excerpt(tmp_path / "street.mp4", STREET, 5.0, 288)
    results = [
        framelane.process_video(
            clip,
            "attention",
            output=tmp_path / f"{size}.mp4",
            # One segment: where x264 closes one depends on the batches.
            overrides={**SETTINGS, "hardware.batch_size": size, "engine.segment_seconds": 100},
        )
        for size in (1, 7)
    ]
    assert frame_hashes(results[0].output_path) == frame_hashes(results[1].output_path)
    metrics = results[0].report["metrics"]
    assert metrics["window"] == FRAMES
    assert metrics["target"] == "top-1"
    assert {span["action"] for span in metrics["actions"]} <= set(model.classes)
    assert abs(np.mean([value for _, value in metrics["moments"]]) - 1) < 0.3


@needs_ffmpeg
def test_resumed_in_the_middle_of_a_window_the_frames_are_equal(tmp_path, tiny):
    clip = tmp_path / "two.mp4"  # with a cut in it
    inputs = ["-i", STREET, "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15:duration=2.5"]
    graph = "[0:v]trim=0:2.5,scale=320:180,fps=15,setsar=1[a];[1:v]setsar=1[b];[a][b]concat=n=2:v=1"
    ffmpeg(*inputs, "-filter_complex", graph, "-c:v", "libx264", "-preset", "ultrafast", clip)
    whole = framelane.process_video(clip, "attention", output=tmp_path / "whole.mp4", overrides=SETTINGS)
    output, cancel, resumed = tmp_path / "resumed.mp4", threading.Event(), []
    for stop_after in (1, 2, 3, 4, None):

        def listen(event, stop_after=stop_after):
            if event["event"] == "start":
                resumed.append(event["resumed_at_frame"])
            if stop_after and event["event"] == "segment":
                cancel.set()

        cancel.clear()
        try:
            framelane.process_video(
                clip, "attention", output=output, overrides=SETTINGS, progress=listen, cancel=cancel
            )
            break
        except Cancelled:
            continue
    assert sum(frame > 0 for frame in resumed) >= 3
    assert frame_hashes(output) == frame_hashes(whole.output_path)
