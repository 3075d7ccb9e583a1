"""Many short jobs through one worker: memory and file handles stay flat in the worker and in the runner."""

from __future__ import annotations

import os
import statistics
import time

import pytest

import framelane
import support.processors  # noqa: F401
from framelane.jobs.executors import LocalExecutor
from support.batches import FAST, copies, cut, open_files, resident, workplace  # noqa: F401
from support.clips import needs_ffmpeg

WARM = 8  # jobs after which caches and pools have their size


def soak(place, count):
    """A batch of ``count`` equal jobs; per job: (memory, handles) of the worker and of this process."""
    clip = cut(place / "clip.mp4", seconds=1)
    copies(place / "in", clip, count)
    executor, seen, pids = LocalExecutor(), [], set()
    worker = executor._workers[0]

    def watch(event):
        if event["event"] == "batch" and event.get("state") == "done":
            pids.add(worker.pid)
            seen.append([f(pid) for pid in (worker.pid, os.getpid()) for f in (resident, open_files)])

    started = time.monotonic()
    result = framelane.process_folder(
        place / "in", "averager", output=place / "out", profile="cpu", overrides=FAST, progress=watch, executor=executor
    )
    seconds = time.monotonic() - started
    assert result.counts["done"] == count, result.jobs
    assert len(pids) == 1, "one worker does them all"
    framelane.process_video(clip, "averager", output=place / "warm.mp4", profile="cpu", overrides=FAST)
    began = time.monotonic()
    for index in range(3):
        framelane.process_video(clip, "averager", output=place / f"bare-{index}.mp4", profile="cpu", overrides=FAST)
    bare = (time.monotonic() - began) / 3
    print(f"\n{count} jobs: {seconds / count:.2f} s a job, {bare:.2f} s bare, {seconds / count / bare:.2f} times")
    return seen


def check(seen, growth):
    """The last tenth against the first after warming up: ``growth`` bytes a job at most, and no handle more."""
    part = max(3, len(seen) // 10)
    first, last = seen[WARM : WARM + part], seen[-part:]
    columns = list(
        zip(*[[statistics.median(c) for c in zip(*rows, strict=True)] for rows in (first, last)], strict=True)
    )
    (worker_memory, worker_files, own_memory, own_files) = columns
    print(f"worker {worker_memory} bytes, {worker_files} handles; runner {own_memory} bytes, {own_files} handles")
    between = len(seen) - WARM - part
    assert worker_files[1] <= worker_files[0]
    assert own_files[1] <= own_files[0]
    assert worker_memory[1] - worker_memory[0] < growth * between
    assert own_memory[1] - own_memory[0] < growth * between


@needs_ffmpeg
def test_20_jobs_leave_no_handle_open(workplace):  # noqa: F811
    check(soak(workplace, 20), growth=2_000_000)


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_500_jobs_in_flat_memory(workplace):  # noqa: F811
    check(soak(workplace, 500), growth=40_000)
