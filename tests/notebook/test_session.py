"""The session behind a notebook: real batches in processes of their own, asked and killed while they run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import framelane
import support.processors  # noqa: F401
from framelane.engine.control import Control
from framelane.engine.controls import PAUSED, Controls
from framelane.engine.events import Event
from framelane.engine.guard import Guard
from framelane.errors import UsageError
from framelane.jobs import worker
from framelane.jobs.carry import carry_out
from framelane.jobs.figures import observe
from framelane.jobs.state import DONE_BEFORE
from framelane.notebook import session as session_module
from framelane.notebook.session import Session
from framelane.settings import load
from framelane.video.clip import probe
from support.batches import FAST, TESTS, alive, cut, workplace  # noqa: F401
from support.clips import needs_ffmpeg

pytestmark = needs_ffmpeg
SETTINGS = [part for key, value in FAST.items() for part in ("--set", f"{key}={json.dumps(value)}")]


@pytest.fixture
def place(workplace, monkeypatch):  # noqa: F811
    """Two clips of 30 frames, which take 1.5 s each; sessions know the test processors."""
    monkeypatch.setattr(session_module, "MODULE", "support.cli")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    clip = cut(workplace / "in" / "a.mp4", seconds=3)
    shutil.copy(clip, workplace / "in" / "b.mp4")
    return workplace


def command(place, processor="slow_copy", *more):
    return ["batch", processor, str(place / "in"), "-o", str(place / "out"), "--profile", "cpu", "--budget", "none",
            *SETTINGS, *more]  # fmt: skip


class Heard(Session):
    """A session whose events are taken one by one, so that none is lost between two questions."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.untaken = []

    def until(self, wanted, seconds=60):
        """Events up to the first that is wanted; the test fails where the session ends before."""
        seen, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            self.untaken += self.poll(0.2)
            while self.untaken:
                seen.append(self.untaken.pop(0))
                if wanted(seen[-1]):
                    return seen
                assert seen[-1]["event"] != "ended", (seen[-1], self.last_words)
        raise AssertionError([str(event) for event in seen[-10:]])

    def rest(self):
        return self.until(kind("ended"))


def kind(*names):
    return lambda event: event["event"] in names


def worker_of(session):
    found = Path(f"/proc/{session.pid}/task").glob("*/children")
    return int(next(pid for text in found for pid in text.read_text().split()))


def gone(*pids, seconds=10):
    end = time.monotonic() + seconds
    while any(map(alive, pids)):
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.05)


def test_pause_go_on_stop_after_a_clip_and_go_on_next_time(place):
    with Heard(command(place), preview_s=0.2) as session:
        seen = session.until(lambda e: e["event"] == "progress" and e["frame"])
        assert session.alive
        assert session.exit_code is None
        session.pause()
        seen += session.until(kind("paused"))
        time.sleep(1.5)
        still, session.untaken = session.untaken + session.poll(0), []
        frames = [event["frame"] for event in still if event["event"] == "progress"]
        assert len(frames) >= 3, "a paused job shows its sensors all the same"
        assert frames[-1] == frames[len(frames) // 2], "but no frame goes on, once those on their way are written"
        assert all("sensors" in event for event in still if event["event"] == "progress")
        assert session.stop_after_clip()
        assert session.resume()
        seen += still + session.rest()
    assert [e["frame"] for e in seen if e["event"] == "progress"][-1] == 30
    states = [(e["job"], e["state"], e["reason"]) for e in seen if e["event"] == "batch" and "state" in e]
    assert states == [
        ("a.mp4", "running", ""), ("a.mp4", "paused", PAUSED), ("a.mp4", "running", ""), ("a.mp4", "done", ""),
    ]  # fmt: skip
    phases = [e["phase"] for e in seen if e["event"] == "batch" and "phase" in e]
    assert (phases[0], phases[-1]) == ("begins", "ends")
    assert {"paused", "resumed", "stopping"} <= set(phases)
    last = next(e for e in seen if e.get("phase") == "ends")
    assert [(job["job"], job["state"]) for job in last["list"]] == [("a.mp4", "done"), ("b.mp4", "waiting")]
    assert "Stopped by the user" in last["list"][1]["reason"]
    assert seen[-1] == {"event": "ended", "exit_code": 0, "message": "The batch has ended."}
    assert session.poll(5) == [], "after the end there is nothing to wait for"
    assert not session.pause()
    assert any(e["before"].startswith("data:image/jpeg") for e in seen if e["event"] == "preview")
    start = next(e for e in seen if e["event"] == "start")
    assert start["guard"]["ram"] == {"sensor": "ram", "enter": 85, "leave": 75, "low": False}
    report = json.loads((place / "out" / "a.report.json").read_text())
    assert 1.4 < report["paused_by_user_s"] < 10
    with Heard(command(place)) as session:
        again = session.rest()
    assert next(e for e in again if e.get("phase") == "ends")["done"] == 1
    assert any(job["reason"] == DONE_BEFORE for job in again[0]["list"])
    assert (place / "out" / "b.mp4").exists()


def test_cancelled_while_paused_it_ends_and_goes_on_next_time(place):
    with Heard(command(place)) as session:
        session.until(kind("segment"))
        session.pause()
        session.until(kind("paused"))
        began = time.monotonic()
        session.cancel()
        seen = session.rest()
        assert time.monotonic() - began < 20
    assert (seen[-1]["exit_code"], session.exit_code) == (130, 130)
    assert "the same command goes on" in seen[-1]["message"]
    with Heard(command(place)) as session:
        assert session.until(kind("start"))[-1]["resumed_at_frame"] > 0
        session.kill()
        seen = session.rest()
    assert seen[-1]["exit_code"] == -signal.SIGKILL
    assert "ended at once" in seen[-1]["message"]


def test_a_cell_that_is_run_again_ends_what_it_left_behind(place):
    first = Heard(command(place))
    first.until(kind("segment"))
    with Heard(command(place)) as second:
        assert not first.alive
        ended = first.rest()[-1]
        assert (ended["exit_code"], first.exit_code) == (130, 130)
        assert "ended at once" in ended["message"]
        start = second.until(kind("start"))[-1]
        assert (start["job"], start["resumed_at_frame"] > 0) == ("a.mp4", True), "no clip is taken by the first"


def test_a_worker_that_dies_is_an_event_and_so_is_the_batch_itself(place):
    with Heard(command(place)) as session:
        session.until(kind("segment"))
        os.kill(worker_of(session), signal.SIGKILL)
        died = session.until(kind("died"))[-1]
        assert died["job"] == "a.mp4"
        assert "SIGKILL" in died["message"]
        start = session.until(kind("start"))[-1]
        assert start["resumed_at_frame"] > 0
        session.pause()
        session.until(kind("paused"))
        batch, worker = session.pid, worker_of(session)
        os.kill(batch, signal.SIGKILL)
        seen = session.rest()
        gone(worker)
    assert seen[-1]["exit_code"] == -signal.SIGKILL
    assert "The batch's process was ended by SIGKILL" in seen[-1]["message"]


def test_what_is_measured_and_planned_can_be_paused_too(place):
    with Heard(command(place, "slow_copy", "--budget", "1h")) as session:
        session.until(lambda event: event.get("phase") == "measuring")
        session.pause()
        session.until(kind("paused"))
        time.sleep(0.8)
        still = session.untaken + session.poll(0)
        assert not any(event["event"] in ("plan", "start") for event in still)
        session.resume()
        plan = session.until(kind("plan"))[-1]
        session.kill()
    assert [(job["clip"], job["state"]) for job in plan["plan"]["jobs"]] == [("a.mp4", "fits"), ("b.mp4", "fits")]
    assert plan["message"].startswith("Of 2 jobs: 2 fits; ")
    took = [job["seconds"] for job in plan["plan"]["jobs"]]
    assert all(1.4 < seconds < 30 for seconds in took), "30 frames at 50 ms, and no pause"


KERNEL = """
import os, sys, time
from framelane.notebook import session
session.MODULE = "support.cli"
made = session.Session(sys.argv[1:])
while True:
    for event in made.poll(0.2):
        print(event["event"], made.pid or 0, flush=True)
"""


def test_it_dies_with_the_kernel_and_the_same_cell_finishes(place):
    kernel = subprocess.Popen(
        [sys.executable, "-c", KERNEL, *command(place)], stdout=subprocess.PIPE, text=True, cwd=TESTS
    )
    batch = 0
    for line in kernel.stdout:
        name, pid = line.split()
        batch = int(pid)
        if name == "segment":
            break
    children = Path(f"/proc/{batch}/task").glob("*/children")
    worker = int(next(pid for text in children for pid in text.read_text().split()))
    kernel.kill()
    kernel.wait()
    gone(batch, worker)
    with Heard(command(place)) as session:
        seen = session.rest()
    assert next(e for e in seen if e["event"] == "start")["resumed_at_frame"] > 0
    assert (seen[-1]["exit_code"], next(e for e in seen if e.get("phase") == "ends")["done"]) == (0, 2)


def test_a_command_that_is_wrong_ends_with_its_sentence(place, monkeypatch):
    with Heard(["batch", "copi", str(place / "in"), "-o", str(place / "out")]) as session:
        seen = session.rest()
    assert [event["event"] for event in seen] == ["ended"]
    assert seen[0]["exit_code"] == 2
    assert "copi" in seen[0]["message"]
    assert "Traceback" not in session.last_words
    monkeypatch.setattr(sys, "executable", str(place / "no python"))
    session = Session(command(place))
    assert session.poll(5) == [
        {"event": "ended", "exit_code": None,
         "message": "The process of the batch could not be started (No such file or directory)."}
    ]  # fmt: skip
    assert not session.alive
    session.close()


def test_the_kernel_stays_light():
    heavy = "[m for m in ('torch', 'cv2', 'av', 'numpy', 'transformers', 'ipywidgets') if m in sys.modules]"
    code = f"import sys; import framelane.notebook.session, framelane.notebook.host; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_nobody_takes_does_not_pile_up(monkeypatch):
    monkeypatch.setattr(session_module, "_CROWDED", 20)
    monkeypatch.setattr(sys, "executable", "/none")
    session = Session(["batch"])
    session.poll()
    for frame in range(1000):
        session._put(Event(event="progress", job="a", frame=frame))
        if frame % 100 == 0:
            session._put(Event(event="segment", job="a", frame=frame))
    kept = session.poll()
    assert len(kept) < 60
    assert [event["frame"] for event in kept if event["event"] == "segment"] == list(range(0, 1000, 100))
    assert kept[-1]["frame"] == 999


# -- controls of the library ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["pause", '{"control": "halt"}', '{"control": ["pause"]}', "[]", "{", '{"pause": 1}', "é" * 99]
)
def test_a_line_that_says_nothing_is_refused_in_a_sentence(line):
    controls = Controls()
    assert "is not known; write it as" in controls.obey(line)
    switches = (controls.paused, controls.stopping, controls.cancelled)
    assert not any(switch.is_set() for switch in switches)


def test_lines_are_obeyed_to_the_end():
    controls, refused, ended = Controls(), [], threading.Event()
    lines = ['{"control": "pause"}\n', "\n", "nonsense\n", '{"control": "stop_after"}\n']
    controls.follow(lines, refused.append, ended.set)
    assert ended.wait(5)
    assert controls.paused.is_set()
    assert controls.stopping.is_set()
    assert len(refused) == 1
    assert controls.obey('{"control": "resume"}') == controls.obey('{"control": "cancel"}') == ""
    assert not controls.paused.is_set()
    assert controls.cancelled.is_set()


class Here:
    """An executor of somebody's own, which knows of no pauses: jobs run in this process."""

    slots = 1

    def run(self, job, listener, cancel):
        return carry_out(job, worker.process, listener=listener, cancel=cancel)

    def close(self):
        pass


def test_between_two_clips_a_pause_begins_nothing(place):
    """In this process: paused before the first clip, gone on with, paused at the end of it, stopped while paused."""
    controls, events = Controls(), []
    controls.pause()

    def hear(event):
        events.append(event)
        if event.get("phase") == "paused" and len([e for e in events if e.get("phase") == "paused"]) == 1:
            threading.Timer(0.8, controls.resume).start()
        elif event["event"] == "sealing":  # too late for this clip: it is for the next one
            controls.pause()
            threading.Timer(1.5, controls.stop_after_clip).start()

    result = framelane.process_folder(
        place / "in", "slow_copy", output=place / "out", profile="cpu", overrides=FAST, progress=hear, controls=controls,
        executor=Here(),
    )  # fmt: skip
    assert [job.state for job in result.jobs] == ["done", "waiting"]
    order = [event["event"] if event["event"] == "start" else event.get("phase") for event in events]
    order = [name for name in order if name]
    assert order == ["begins", "paused", "resumed", "start", "paused", "stopping", "ends"]
    assert sum("not paused in the middle" in event["message"] for event in events if event["event"] == "warning") == 2
    with pytest.raises(UsageError, match="either cancel or controls"):
        framelane.process_folder(
            place / "in", "copy", output=place / "out", controls=controls, cancel=threading.Event()
        )


def test_a_pause_is_no_work(place):
    """In this process: what is estimated, reported and remembered leaves it out."""
    pause, trace, began = threading.Event(), [], time.monotonic()

    def hear(event):
        trace.append((time.monotonic() - began, event))
        if event["event"] == "segment" and event["index"] == 0:
            pause.set()
            threading.Timer(3.0, pause.clear).start()

    clip, loaded = place / "in" / "a.mp4", load(profile="cpu", overrides=FAST)
    result = framelane.process_video(
        clip, "slow_copy", output=place / "a.mp4", profile="cpu", overrides=FAST, progress=hear, pause=pause
    )
    wall = time.monotonic() - began
    assert result.report["paused_by_user_s"] == pytest.approx(3, abs=0.6)
    assert result.processing_time < wall - 2.3
    seen = observe(trace, probe(clip), loaded, fresh=False)
    assert seen.work_s < wall - 2.3
    last = next(event for _, event in reversed(trace) if event["event"] == "progress")
    assert last["fps"] > 30 / (wall - 1.5), "frames a second of work"


def test_the_users_pause_and_the_guards_are_told_apart():
    """The guard's pause begins before and ends within the user's: the work rests until both are over."""
    heat = {"thermal_margin": 0.0}

    class Sensor:
        def read(self):
            return dict(heat)

        def close(self):
            pass

    settings = load(
        profile="cpu", overrides={"guard.temperature.ladder": ["pause"], "guard.temperature.dwell_s": 1}
    ).settings
    now, events = [0.0], []
    control = Control(Guard(settings.guard, 4), [Sensor()], period_s=0, clock=lambda: now[0])
    control.start(events.append, {}, {})
    control.user_pause.set()
    waiting = threading.Thread(target=control._wait_for_user, args=(lambda: False,))
    waiting.start()
    try:
        for second in range(4):
            now[0] = float(second)
            control.monitor.tick()
        heat["thermal_margin"] = 40.0
        for second in range(4, 12):
            now[0] = float(second)
            control.monitor.tick()
    finally:
        control.user_pause.clear()
        waiting.join(5)
    assert [(event["event"], event["pause"]) for event in events] == [
        ("paused", 1), ("degraded", 1), ("recovered", 1), ("resumed", 0),
    ]  # fmt: skip
    assert control.user_paused_s == pytest.approx(11)
