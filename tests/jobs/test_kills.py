"""Folders survive SIGKILL of the runner or of the worker at any moment: nothing lost, nothing twice, equal frames."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import framelane
import support.processors  # noqa: F401
from support.batches import FAST, TESTS, six_cuts, three_cuts, workplace  # noqa: F401
from support.clips import needs_ffmpeg
from support.read import frame_hashes

MOMENTS = ("start", "segment", "join", "copy", "between")


def read_events(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def child_of(pid):
    """The worker of a runner; None where there is none just now."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return None
    # Started by a thread, it may be listed with that one.
    for task in Path(f"/proc/{pid}/task").iterdir() if not found else ():
        found += (task / "children").read_text().split() if (task / "children").exists() else []
    return int(found[0]) if found else None


class Batch:
    """A folder that is processed under fire.

    Every run of the command is killed once at most; the same command follows until the folder is done.
    """

    def __init__(self, place, seed, latest):
        self.place, self.out, self.rng, self.latest = place, place / f"out-{seed}", random.Random(seed), latest
        self.logs, self.hits = [], []

    def start(self):
        log = self.out.with_suffix(f".{len(self.logs)}.jsonl")
        self.logs.append(log)
        arguments = [str(self.place / "in"), str(self.out), str(log)]
        return subprocess.Popen(
            [sys.executable, "-m", "support.slow_runner", *arguments], cwd=TESTS, stderr=subprocess.PIPE, text=True
        )

    def reached(self, moment, number):
        """Whether the newest run is at a moment for the ``number``-th time."""
        if moment == "copy":
            return any(self.out.rglob("*.part"))
        kinds = {"start": "start", "segment": "segment", "join": "sealing", "between": "done"}
        return sum(event["event"] == kinds[moment] for event in read_events(self.logs[-1])) >= number

    def fire(self, moment, victim):
        """Run the command and kill it there; False where it came to its end before."""
        runner = self.start()
        number = self.rng.randint(1, self.latest)
        while not self.reached(moment, number):
            if runner.poll() is not None:
                self.finish(runner)
                return False
            time.sleep(0.002)
        time.sleep(self.rng.uniform(0, 0.15))
        pid = runner.pid if victim == "runner" else child_of(runner.pid)
        if runner.poll() is not None or pid is None:
            self.finish(runner)
            return False
        os.kill(pid, signal.SIGKILL)
        self.hits.append((moment, victim))
        if victim == "worker":
            self.finish(runner)
        else:
            runner.wait()
            runner.stderr.close()
        return True

    def finish(self, runner=None):
        runner = runner or self.start()
        _, err = runner.communicate(timeout=300)
        assert runner.returncode == 0, err

    def check(self, wanted):
        made = {name: frame_hashes(self.out / name) for name in wanted}
        assert made == wanted
        assert not list(self.out.rglob("*.part")), "a copy was left unfinished"
        assert len(list((self.out / ".framelane" / "records").iterdir())) == len(wanted)
        assert not list((self.out / ".framelane").rglob("claims/*")), "a claim was left"
        assert not list((self.place / "cache" / "work").iterdir()), "work was left"
        finished = set()
        for log in self.logs:
            events = read_events(log)
            started = [event["job"] for event in events if event["event"] == "start"]
            assert not finished & set(started), "a finished job was begun again"
            done = [event["job"] for event in events if event["event"] == "batch" and event.get("state") == "done"]
            assert len(done) == len(set(done))
            finished |= set(done)


def undisturbed(place, clips):
    wanted = {}
    for clip in clips:
        result = framelane.process_video(
            clip, "averager", output=place / "whole" / clip.name, profile="cpu", overrides=FAST
        )
        wanted[str(clip.relative_to(place / "in"))] = frame_hashes(result.output_path)
    return wanted


def shuffled(seed):
    moments = [(moment, victim) for moment in MOMENTS for victim in ("runner", "worker")]
    random.Random(seed).shuffle(moments)
    return moments


def under_fire(place, clips, kills, seed, moments, latest):
    wanted = undisturbed(place, clips)
    hits, rounds = [], 0
    while len(hits) < kills:
        batch = Batch(place, 1000 * seed + rounds, latest)
        rounds += 1
        for _ in range(4):  # so many kills to a folder at most, then it may come to its end
            if len(hits) + len(batch.hits) >= kills:
                break
            batch.fire(*moments[(len(hits) + len(batch.hits)) % len(moments)])
        batch.finish()
        batch.check(wanted)
        hits += batch.hits
    return hits


@needs_ffmpeg
def test_kill_9_of_runner_and_worker(workplace):  # noqa: F811
    """The short form: three clips, and one kill each in a segment, in a copy and between two jobs."""
    moments = [("segment", "worker"), ("copy", "runner"), ("between", "worker")]
    hits = under_fire(workplace, three_cuts(workplace / "in"), kills=3, seed=1, moments=moments, latest=1)
    assert set(hits) == set(moments)


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kills", "seed"), [(4, 1), (30, 2)])
def test_kill_9_at_many_moments(workplace, kills, seed):  # noqa: F811
    moments = shuffled(seed)
    hits = under_fire(workplace, six_cuts(workplace / "in"), kills, seed, moments, latest=3)
    assert set(hits) == set(moments[:kills])
