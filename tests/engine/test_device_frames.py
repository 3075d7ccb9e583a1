"""Processors and whole jobs on frames that lie on a device: the same results, and nothing crosses that need not."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import framelane
from framelane.errors import Cancelled
from framelane.overlay import Boxes, Labels, Legend, Mark, ObjectShadow, Trails, Weight, shadow
from framelane.perception.superres import Network
from framelane.perception.upscale import Lanczos, SuperResolution, resample
from framelane.processors.attention.processor import Attention
from framelane.processors.base import Context
from framelane.processors.scaled import Scaled
from framelane.settings import load
from framelane.video import writer as writer_module
from framelane.video.clip import probe
from framelane.video.copies import COPIES
from framelane.video.encoders.pictures import HostPictures
from support.batches import cut
from support.clips import STREET, excerpt, needs_ffmpeg
from support.device import FAR, far, far_device, near, to_far
from support.processors import Repaint
from support.read import frame_hashes
from support.surfaces import batches, decode_to_surfaces

FAST = {"gif.enabled": False, "output.preset": "ultrafast", "engine.segment_seconds": 0.5, "engine.min_free_mb": 0}
COUNT, SIZE = 2, 2


def context() -> Context:
    return Context(load(profile="cpu").settings, "cpu", 1)


def worked(processor, clip, given):
    """Everything that a processor makes of some batches."""
    done = [out for batch in given for out in processor.commit(batch, processor.infer(batch))]
    return done + processor.flush()


def attention(clip, move=None):
    processor = Attention()
    processor.open(clip, context())
    return worked(processor, clip, batches(clip, COUNT, SIZE, processor.history, move))


@pytest.fixture(scope="module")
def on_host():
    """What attention draws on the host's own frames."""
    return attention(probe(STREET))


def test_attention_draws_the_same_on_surfaces(on_host):
    found = attention(probe(STREET), lambda surface: surface)
    assert len(found) == COUNT * SIZE
    for one, other in zip(found, on_host, strict=True):
        assert (one.pts, one.rows) == (other.pts, other.rows)
        assert torch.equal(one.rgb, other.rgb)


def test_attention_on_a_device_fetches_no_frame_and_draws_the_same(on_host):
    clip = probe(STREET)
    COPIES.reset()
    with far_device() as crossed:
        found = attention(clip, to_far)
        assert {batch.rgb.device for batch in found} == {FAR}
    # The networks' own inputs and thumbnails come down, labels, legend and small maps go up; no frame does either.
    assert max(crossed.down + crossed.up) < 3 * clip.width * clip.height / 2
    assert crossed.waits == 0
    assert COPIES.counted()["downloads"] == 0
    for one, other in zip(found, on_host, strict=True):
        # torch makes bytes smaller for the networks on a CPU and floats elsewhere: maps differ in their fifth digit, boxes
        # by tenths of a pixel, and a line may so lie a pixel further. What is drawn is compared below, from equal boxes.
        (row,), (wanted,) = one.rows, other.rows
        assert (row["frame"], row["cut"]) == (wanted["frame"], wanted["cut"])
        assert row["entropy"] == pytest.approx(wanted["entropy"], abs=1e-3)
        assert [(t["id"], t["class"]) for t in row["tracks"]] == [(t["id"], t["class"]) for t in wanted["tracks"]]
        for track, same in zip(row["tracks"], wanted["tracks"], strict=True):
            assert track["box"] == pytest.approx(same["box"], abs=1)
        apart = (near(one.rgb).int() - other.rgb.int()).abs()
        assert (apart > 2).float().mean() < 0.01
    assert sum(len(batch.rows[0]["tracks"]) for batch in found) > 10


def test_lines_labels_trails_and_legend_are_drawn_alike():
    rng, drawn = np.random.default_rng(0), []
    frame = torch.from_numpy(rng.integers(0, 256, (3, 270, 480)).astype(np.uint8))
    marks = [
        Mark(
            (40.2, 60.7, 160.1, 200.0),
            (255, 120, 0),
            "person 1 · 12 %",
            ((10.0, 9.5), (60.0, 80.2), (99.0, 130.0)),
            1.0,
        ),
        Mark((120.0, 90.0, 300.5, 260.9), (0, 200, 90), "car 2", ((470.0, 9.5), (300.0, 80.2)), 0.6),
    ]
    with far_device() as crossed:
        for rgb in (frame.clone(), far(frame)):
            legend = Legend("attention", "gmar", ((30, 90, 255), 0.5))
            layers = (Boxes(tint=0.2), Trails(), Labels())
            for layer in layers:
                layer.annotate(rgb, marks)
            drawn.append(legend.annotate(rgb, [("people", (255, 120, 0))]))
        assert (drawn[1].device, crossed.down) == (FAR, [])
    assert (near(drawn[1]).int() - drawn[0].int()).abs().max() <= 1


def test_the_objects_own_shadow_is_made_large_on_the_device():
    rng = np.random.default_rng(0)
    weights = [Weight(rng.random((27, 48), np.float32), colour) for colour in ((255, 120, 0), (0, 200, 90))]
    size, marks = (216, 384), [Mark((40.0, 30.0, 200.0, 180.0), (255, 120, 0), "", (), 1.0)]
    frame = torch.from_numpy(rng.integers(0, 256, (3, *size)).astype(np.uint8))
    drawn = []
    with far_device() as crossed:
        for rgb in (frame.clone(), far(frame)):
            layer = ObjectShadow(weights, size, 0.4)
            smooth = torch.from_numpy(np.full((27, 48), 0.7, np.float32)).to(rgb.device)
            shadow(rgb, smooth, (30, 90, 255), 0.5, marks=marks, tint=layer.plane(str(rgb.device)))
            drawn.append(layer.annotate(rgb))
        assert drawn[1].device == FAR
        assert max(crossed.up) <= 27 * 48 * 4, "a layer of the frame's size went up"
        assert crossed.down == []
    apart = (near(drawn[1]).int() - drawn[0].int()).abs()
    assert apart.max() <= 2, "two layers, within one level each"


def test_a_smaller_working_size_stays_on_the_device():
    clip, drawn = probe(STREET), []
    with far_device() as crossed:
        for move in (None, to_far):
            processor = Scaled(Repaint(), (clip.width // 2, clip.height // 2))
            processor.open(clip, context())
            drawn += [torch.cat([near(b.rgb) for b in worked(processor, clip, batches(clip, 1, 3, 1, move))])]
        assert crossed.down == []
    assert drawn[1].shape == (3, 3, clip.height, clip.width)
    assert (drawn[0].int() - drawn[1].int()).abs().max() <= 1


@pytest.mark.parametrize("size", [(97, 61), (64, 36), (40, 80), (20, 11)])
def test_lanczos_on_a_device_is_opencvs(size):
    frame = np.random.default_rng(1).integers(0, 256, (3, 36, 64)).astype(np.uint8)
    with far_device() as crossed:
        found = Lanczos(size).next(far(torch.from_numpy(frame)))
        assert found.device == FAR
        assert crossed.down == []
    assert np.abs(near(found).numpy().astype(int) - resample(frame, size)).max() <= 1


class _Plain(torch.nn.Module):
    def forward(self, pixels):
        return torch.nn.functional.interpolate(pixels, scale_factor=2, mode="bilinear")


def test_super_resolution_says_what_it_fetches():
    """Its stabiliser needs OpenCV: the frame is fetched and the result taken back, both counted."""
    frame = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 36, 64)).astype(np.uint8))
    network = Network(_Plain(), 2, 4, "cpu")
    wanted = SuperResolution((128, 72), network, 64).next(frame)
    COPIES.reset()
    with far_device():
        found = SuperResolution((128, 72), network, 64).next(far(frame))
        assert found.device == FAR
    assert torch.equal(near(found), wanted)
    assert COPIES.counted() == {
        "uploads": 1, "downloads": 1, "upload_bytes": 3 * 72 * 128, "download_bytes": frame.nbytes,
    }  # fmt: skip


# -- whole jobs --------------------------------------------------------------------------------------------------------


def run(output, processor, clip=STREET, cancel=None, progress=None):
    return framelane.process_video(clip, processor, output=output, overrides=FAST, cancel=cancel, progress=progress)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """All frames of the street, small."""
    return excerpt(tmp_path_factory.mktemp("street") / "street.mp4", STREET, 12, 144)


def test_untouched_surfaces_reach_the_file_as_the_host_frames_do(tmp_path, monkeypatch, street):
    run(tmp_path / "host.mp4", "copy", street)
    given = decode_to_surfaces(monkeypatch)
    COPIES.reset()
    run(tmp_path / "device.mp4", "copy", street)
    assert frame_hashes(tmp_path / "device.mp4") == frame_hashes(tmp_path / "host.mp4")
    assert COPIES.counted()["downloads"] == len(given) > 100, "one a frame: the encoder's"


@needs_ffmpeg
def test_an_attention_job_on_surfaces_gives_the_file_of_the_host_frames(tmp_path, monkeypatch):
    clip = cut(tmp_path / "clip.mp4", seconds=0.5)
    host = run(tmp_path / "host.mp4", "attention", clip)
    given = decode_to_surfaces(monkeypatch)
    device = run(tmp_path / "device.mp4", "attention", clip)
    assert frame_hashes(tmp_path / "device.mp4") == frame_hashes(tmp_path / "host.mp4")
    assert device.report["metrics"] == host.report["metrics"]
    assert len(given) == len(frame_hashes(clip))


def test_a_resume_may_change_where_frames_lie(tmp_path, monkeypatch):
    """The position's checksum is the same, so the job goes on from there, and does not decode from the start."""
    run(tmp_path / "whole.mp4", "averager")
    stop, events = threading.Event(), []

    def listener(event):
        if event["event"] == "segment" and event["index"] >= 8:
            stop.set()

    with pytest.raises(Cancelled):
        run(tmp_path / "out.mp4", "averager", cancel=stop, progress=listener)
    given = decode_to_surfaces(monkeypatch)
    run(tmp_path / "out.mp4", "averager", progress=events.append)
    resumed = events[0]["resumed_at_frame"]
    assert resumed > 60
    whole = frame_hashes(tmp_path / "whole.mp4")
    assert frame_hashes(tmp_path / "out.mp4") == whole
    assert len(given) <= len(whole), "the position was not believed: decoded to it, and then again from the start"


def test_the_host_encoder_fetches_each_drawn_frame_once():
    """What the writer is handed on a device is turned there and fetched."""
    clip = probe(STREET)
    with far_device() as crossed:
        (batch,) = batches(clip, 1, 1, 1, to_far)
        drawn = batch.replace(rgb=batch.rgb.clone())
        spec, _ = writer_module.encode_spec(
            clip, encoder="libx264", quality=20, preset="ultrafast", threads=1, touches=True
        )
        COPIES.reset()
        frame = HostPictures(spec).frame(drawn, 0)
        assert COPIES.counted()["downloads"] == 1
        assert crossed.down == [3 * clip.width * clip.height // 2], "as 4:2:0, not as RGB"
    assert (frame.width, frame.height) == (clip.width, clip.height)
