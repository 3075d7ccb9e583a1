"""The whole job on real pixels under a shaken camera: ``botsort`` keeps people's ids, also across interruptions."""

from __future__ import annotations

import threading
from itertools import islice

import av
import cv2
import numpy as np
import pytest

import framelane
from framelane.errors import Cancelled
from support.clips import STREET
from support.read import frame_hashes

SETTINGS = {
    "attention.channels": "b",
    "attention.tracker": "botsort",
    "attention.detect_every": 3,
    "engine.segment_seconds": 1.0,
    "engine.min_free_mb": 0,
    "gif.enabled": False,
    "output.preset": "ultrafast",
}


@pytest.fixture(scope="module")
def shaken(tmp_path_factory):
    """The street, filmed by a camera that jumps up to 40 pixels between frames."""
    path = tmp_path_factory.mktemp("clip") / "shaken.mp4"
    rng = np.random.default_rng(11)
    with av.open(str(STREET)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=source.streams.video[0].average_rate, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 688, 496, "yuv420p"
        for frame in islice(source.decode(video=0), 72):
            x, y = rng.uniform(-40, 0, 2)
            view = cv2.warpAffine(frame.to_ndarray(format="rgb24"), np.array([[1, 0, x], [0, 1, y]]), (688, 496))
            target.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        target.mux(stream.encode(None))
    return path


def run(clip, output, **more):
    return framelane.process_video(clip, "attention", output=output, overrides=SETTINGS, **more)


@pytest.fixture(scope="module")
def whole(shaken, tmp_path_factory):
    return run(shaken, tmp_path_factory.mktemp("whole") / "out.mp4")


def test_fewer_ids_are_spent_than_without_the_cameras_motion(shaken, whole, tmp_path, monkeypatch):
    from framelane.perception.botsort import BoTSORT

    monkeypatch.setattr(BoTSORT, "wants_camera", False)
    blind = run(shaken, tmp_path / "blind.mp4")
    assert len(whole.report["metrics"]["tracks"]) < 0.7 * len(blind.report["metrics"]["tracks"])


def test_a_job_stopped_at_every_segment_gives_equal_frames(shaken, whole, tmp_path):
    starts, result = [], None
    for _ in range(40):
        stop = threading.Event()

        def listen(event, stop=stop):
            if event["event"] == "start":
                starts.append(event["resumed_at_frame"])
            if event["event"] == "segment":
                stop.set()

        try:
            result = run(shaken, tmp_path / "out.mp4", progress=listen, cancel=stop)
            break
        except Cancelled:
            continue
    assert len(set(starts)) >= 3, starts
    assert frame_hashes(result.output_path) == frame_hashes(whole.output_path)
    assert result.report["metrics"] == whole.report["metrics"]
