"""The same jobs on a real Ray cluster of two machines (here: two nodes on this one), with the same ledger."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import framelane
import support.processors  # noqa: F401
from framelane.jobs.state import DONE_BEFORE
from support.batches import FAST, TESTS, cut, six_cuts, workplace  # noqa: F401
from support.clips import needs_ffmpeg
from support.read import frame_hashes

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'framelane[ray]')")
pytestmark = needs_ffmpeg


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Two nodes with a core each. The environment is that of the workers: they are started by it."""
    from ray.cluster_utils import Cluster

    kept = {name: os.environ.get(name) for name in ("PYTHONPATH", "FRAMELANE_CACHE", "RAY_USAGE_STATS_ENABLED")}
    os.environ.update(
        PYTHONPATH=str(TESTS), FRAMELANE_CACHE=str(tmp_path_factory.mktemp("cache")), RAY_USAGE_STATS_ENABLED="0"
    )
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()
    for name, value in kept.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def executor(address):
    from framelane.jobs.ray_executor import RayExecutor

    return RayExecutor(address, imports=("support.processors",))


def batch(place, address, processor="averager", **more):
    return framelane.process_folder(
        place / "in", processor, output=place / "out", profile="cpu", overrides=FAST, executor=executor(address), **more
    )


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


def test_two_nodes_do_a_folder(place, address):
    clips = six_cuts(place / "in")
    events = []
    result = batch(place, address, progress=events.append)
    assert result.counts["done"] == 6, [job.reason for job in result.jobs]
    for clip in clips:
        alone = framelane.process_video(
            clip, "averager", output=place / "alone" / clip.name, profile="cpu", overrides=FAST
        )
        made = place / "out" / clip.relative_to(place / "in")
        assert frame_hashes(made) == frame_hashes(alone.output_path)
    order = [(e["event"], e["job"]) for e in events if e["event"] in ("start", "done")]
    running, most = set(), 0
    for kind, name in order:
        running = running | {name} if kind == "start" else running - {name}
        most = max(most, len(running))
    assert most == 2, "both nodes work at the same time"
    # Another session, here without Ray, finds everything done.
    local = framelane.process_folder(place / "in", "averager", output=place / "out", profile="cpu", overrides=FAST)
    assert {job.reason for job in local.jobs} == {DONE_BEFORE}


def test_a_job_whose_task_is_killed_goes_on_once_more(place, address):
    cut(place / "in" / "once-a.mp4", seconds=2)
    cut(place / "in" / "b.mp4", seconds=2)
    events = []
    result = batch(place, address, "deadly", progress=events.append)
    assert result.counts["done"] == 2, [job.reason for job in result.jobs]
    assert any(e["event"] == "died" and "Ray task died" in e["message"] for e in events)
    resumed = [e["resumed_at_frame"] for e in events if e["event"] == "start" and e["job"] == "once-a.mp4"]
    assert resumed[0] == 0
    assert resumed[1] > 0
    assert frame_hashes(place / "out" / "once-a.mp4") == frame_hashes(place / "out" / "b.mp4")


def test_cancelling_keeps_finished_segments(place, address):
    from framelane.errors import Cancelled

    cut(place / "in" / "a.mp4", seconds=4)
    cancel = threading.Event()

    def listen(event):
        if event["event"] == "segment":
            cancel.set()

    with pytest.raises(Cancelled):
        batch(place, address, "slowest_averager", progress=listen, cancel=cancel)
    assert not list(Path(place / "out").glob("*.mp4"))
    events = []
    assert batch(place, address, "slowest_averager", progress=events.append).counts["done"] == 1
    assert next(e for e in events if e["event"] == "start")["resumed_at_frame"] > 0
