"""The guard: as a state machine on made-up traces, and in real runs with real processors."""

from __future__ import annotations

import itertools
import json
import threading
import time
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import framelane
import support.processors
from framelane import fallback
from framelane.engine.control import Control
from framelane.engine.guard import LOST_S, Guard
from framelane.engine.rungs import QUANTITIES
from framelane.errors import Cancelled, FramelaneError, OutOfMemory, UsageError
from framelane.job import Job
from framelane.schema import Settings
from framelane.sections.guard import GuardSettings
from framelane.settings import load
from framelane.video.clip import probe
from support.clips import STREET, WALKER, excerpt
from support.read import frame_hashes

FAST = {"gif.enabled": False, "output.preset": "ultrafast", "engine.segment_seconds": 1, "engine.min_free_mb": 0}
RULES = GuardSettings()
CALM = {"vram": 20.0, "thermal_margin": 40.0, "ram": 20.0, "process_ram": 20.0, "disk_spare_mb": 9000.0}
SEGMENT_S = 10  # seconds between two segment starts in the traces


def play(guard, samples, begin=0.0, every=SEGMENT_S):
    """Samples, one a second, with a segment start every so often; returns (time, action) of all actions."""
    return [
        (begin + second, action)
        for second, sample in enumerate(samples)
        for action in guard.step(sample, begin + second, second % every == 0)
    ]


def kinds(actions):
    return [(action.kind, action.value) for _, action in actions]


def most_in_a_minute(actions, rule):
    times = [moment for moment, action in actions if action.rule == rule]
    return max((sum(start <= moment < start + 60 for moment in times) for start in times), default=0)


# -- made-up traces ------------------------------------------------------------------------------------------------------


def test_vram_that_climbs_steadily_takes_every_rung_and_gives_them_all_back():
    guard = Guard(RULES, batch_size=8, height=1080)
    up = play(guard, [{"vram": min(99.0, 50 + second / 2)} for second in range(300)])
    assert kinds(up) == [
        ("batch", 4), ("batch", 2), ("batch", 1), ("height", 720), ("height", 480), ("height", 360), ("stride", 2),
    ]  # fmt: skip
    assert all(action.worse for _, action in up)
    assert guard.held == {"vram": {"batch": 1, "height": 360, "stride": 2}}
    down = play(guard, [{"vram": 40.0}] * 1000, begin=300)
    assert kinds(down)[0] == ("stride", 1)
    assert kinds(down)[-1] == ("batch", 8)
    assert guard.held == {}
    assert [later - earlier >= RULES.vram.recover_s for (earlier, _), (later, _) in itertools.pairwise(down)]


def test_heat_slows_the_pace_then_pauses_until_it_is_cool():
    guard = Guard(RULES, batch_size=8)
    hot = play(guard, [{"thermal_margin": max(1.0, 30 - second)} for second in range(80)])
    assert kinds(hot) == [("pace", 0.7), ("pace", 0.4), ("pause", 1)]
    assert "1 °C below its slowdown point" in hot[-1][1].sentence
    cool = play(guard, [{"thermal_margin": 20.0}] * 300, begin=80)
    assert kinds(cool) == [("pause", 0), ("pace", 0.7), ("pace", 1)]


@pytest.mark.parametrize("low", [79.0, 81.0, 91.0], ids=["below leave", "between", "just below enter"])
@pytest.mark.parametrize("period", [2, 7, 20, 45, 130])
def test_a_saw_tooth_at_the_threshold_does_not_oscillate(low, period):
    guard = Guard(RULES, batch_size=16, height=1080)
    trace = [{"vram": low + (92.5 - low) * (second % period) / (period - 1)} for second in range(3600)]
    actions = play(guard, trace)
    turns = sum(a.worse != b.worse for (_, a), (_, b) in itertools.pairwise(actions))
    assert turns <= 2, "it went back and forth"
    assert most_in_a_minute(actions, "vram") <= 60 / RULES.vram.dwell_s + 1


def test_a_limit_that_lies_between_two_rungs_ends_in_a_rare_try():
    """The closed loop: what is in use follows the batch, so every way back leads into the same wall."""
    guard = Guard(RULES, batch_size=8)
    tries = []
    for second in range(4 * 3600):
        vram = 60 + 4.2 * guard.value("batch")  # 93.6 % at 8, 76.8 % at 4
        tries += [(second, a) for a in guard.step({"vram": vram}, second, second % SEGMENT_S == 0)]
    last_hour = [moment for moment, _ in tries if moment >= 3 * 3600]
    assert len(last_hour) <= 2 * 3600 / (60 * 16) + 2, "each try and its way back, at most every sixteen minutes"
    assert most_in_a_minute(tries, "vram") <= 2


@pytest.mark.parametrize(("rule", "bad"), [("vram", 99.0), ("temperature", 0.0), ("ram", 99.0)])
def test_a_sensor_that_vanishes_neither_acts_nor_holds_back_for_ever(rule, bad):
    quantity = QUANTITIES[rule][0]
    guard = Guard(RULES, batch_size=8, height=1080)
    taken = play(guard, [{quantity: bad}] * 15)
    assert taken
    assert not play(guard, [{}] * int(LOST_S), begin=15), "nothing happens for a while"
    back = play(guard, [{}] * 1200, begin=15 + LOST_S)
    assert back
    assert not any(action.worse for _, action in back)
    assert guard.held == {}
    assert guard.value("pace") == 1
    assert "does not answer" in back[-1][1].sentence
    flickering = play(guard, [{quantity: bad} if second % 2 else {} for second in range(60)], begin=5000)
    assert most_in_a_minute(flickering, rule) <= 60 / getattr(RULES, rule).dwell_s + 1


def test_a_stuck_hot_sensor_pauses_once_and_goes_on_at_the_lowest_pace():
    guard = Guard(RULES, batch_size=8)
    actions = play(guard, [{"thermal_margin": 0.0}] * 7200)
    assert kinds(actions) == [("pace", 0.7), ("pace", 0.4), ("pause", 1), ("pause", 0)]
    (begin, _), (end, last) = actions[2:]
    assert end - begin == RULES.max_pause_s
    assert "goes on at the lowest pace" in last.sentence
    assert guard.value("pace") == 0.4
    assert kinds(play(guard, [CALM] * 600, begin=7200)) == [("pace", 0.7), ("pace", 1)]
    assert ("pause", 1) in kinds(play(guard, [{"thermal_margin": 0.0}] * 60, begin=7800)), (
        "after cooling it may pause again"
    )


def test_a_pause_is_bounded_even_when_the_sensor_vanishes_in_it():
    guard = Guard(RULES, batch_size=8)
    play(guard, [{"thermal_margin": 0.0}] * 40)
    assert guard.value("pause")
    actions = play(guard, [{}] * 200, begin=40)
    assert kinds(actions)[0] == ("pause", 0)
    assert actions[0][0] <= 40 + LOST_S + RULES.temperature.dwell_s


def test_short_memory_is_an_emergency_at_once_and_smaller_batches_at_the_next_segment():
    guard = Guard(RULES, batch_size=4)
    actions = play(guard, [CALM, *[{"ram": 86.0}] * 12])
    assert kinds(actions)[:2] == [("emergency", 1), ("batch", 2)]
    assert actions[0][0] == 1 + RULES.ram.dwell_s
    assert actions[1][0] == SEGMENT_S
    assert kinds(play(guard, [CALM] * 200, begin=13)) == [("batch", 4), ("emergency", 0)]


def test_little_disk_and_a_broken_ceiling_stop_at_a_segment_only():
    for sample in ({"disk_spare_mb": -1.0}, {"process_ram": 101.0}):
        guard = Guard(RULES, batch_size=4)
        ((moment, action),) = play(guard, [sample] * 25, every=20)
        assert (action.kind, moment) == ("stop", 20)
        assert guard.reason("stop", sample)


def test_rungs_that_change_nothing_are_left_out():
    guard = Guard(RULES, batch_size=1, height=480, stride=2)
    assert kinds(play(guard, [{"vram": 99.0}] * 200)) == [("height", 360)]


def test_off_is_off():
    guard = Guard(GuardSettings(enabled=False), 8)
    assert not play(guard, [{"vram": 100.0, "ram": 100.0, "thermal_margin": -9.0, "disk_spare_mb": -9.0}] * 100)


# -- properties ----------------------------------------------------------------------------------------------------------

_VALUES = {
    "vram": st.one_of(st.floats(0, 100), st.sampled_from([79.9, 80, 91.9, 92, 99])),
    "thermal_margin": st.one_of(st.floats(-20, 60), st.sampled_from([2.9, 3, 9.9, 10])),
    "ram": st.one_of(st.floats(0, 100), st.sampled_from([74.9, 75, 85, 99])),
    "disk_spare_mb": st.floats(-10, 200),
}
_SAMPLE = st.fixed_dictionaries({}, optional=_VALUES)
_TRACE = st.lists(st.tuples(_SAMPLE, st.integers(1, 40)), min_size=1, max_size=25)  # a sample, and for how many seconds
_LADDERS = st.builds(
    lambda dwell, recover, pause: GuardSettings.model_validate(
        {
            "max_pause_s": max(pause, dwell),
            **{name: {"dwell_s": dwell, "recover_s": recover} for name in QUANTITIES},
        }
    ),
    st.integers(1, 30), st.integers(1, 90), st.integers(1, 120),
)  # fmt: skip


@given(_LADDERS, _TRACE, st.integers(1, 16), st.integers(1, 30))
@hypothesis_settings(max_examples=80, deadline=None)
def test_any_trace_switches_seldom_pauses_briefly_and_recovers(rules, trace, batch, every):
    guard = Guard(rules, batch, height=1080)
    samples = [sample for sample, seconds in trace for _ in range(seconds)]
    actions = play(guard, samples, every=every)
    for name in QUANTITIES:
        rule = getattr(rules, name)
        assert most_in_a_minute(actions, name) <= 60 / rule.dwell_s + 1
        mine = [(moment, action) for moment, action in actions if action.rule == name]
        for (before, first), (after, second) in itertools.pairwise(mine):
            assert after - before >= rule.dwell_s
            if first.kind == second.kind == "pause" and first.worse:
                assert after - before <= rules.max_pause_s
            if first.worse and not second.worse and first.kind != "pause":
                assert after - before >= rule.recover_s
    assert all(moment % every == 0 for moment, a in actions if a.kind in ("batch", "height", "stride", "stop"))
    assert 1 <= guard.value("batch") <= batch
    rung_s = max(getattr(rules, name).recover_s for name in QUANTITIES) * 16 + every + 1
    play(guard, [CALM] * int(12 * rung_s), begin=len(samples), every=every)
    assert guard.held == {}
    assert (guard.value("batch"), guard.value("pace"), guard.value("stride")) == (batch, 1, 1)
    assert not any(guard.value(kind) for kind in ("pause", "emergency", "stop"))


@given(_TRACE, st.integers(1, 64))
@hypothesis_settings(max_examples=100, deadline=None)
def test_what_is_stored_is_what_a_resume_begins_with(trace, batch):
    guard = Guard(RULES, batch, height=1080)
    play(guard, [sample for sample, seconds in trace for _ in range(seconds)])
    again = Guard(RULES, batch, height=1080)
    again.resume(json.loads(json.dumps(guard.held)), now=5.0)
    assert again.held == guard.held
    for kind in ("batch", "height", "stride"):
        assert again.value(kind) == guard.value(kind)
    assert not again.value("pause")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"guard.vram.enter": 70}, "leave (80) must be below enter (70)"),
        ({"guard.temperature.leave": 1}, "leave (1) must be above enter (3)"),
        ({"guard.max_pause_s": 5}, "at least temperature.dwell_s (10)"),
        ({"guard.vram.ladder": ["nap"]}, "guard.vram.ladder"),
        ({"guard.heat.enter": 3}, "Unknown setting"),
    ],
)
def test_rules_that_cannot_work_are_refused(setting, says):
    with pytest.raises(UsageError, match=says.replace("(", r"\(").replace(")", r"\)")):
        load(overrides=setting)


# -- in real runs --------------------------------------------------------------------------------------------------------


class Trace:
    """A source whose sample follows the frames that a processor has been given, and a clock that does too."""

    def __init__(self, sample_at):
        self.sample_at, self.frames = sample_at, 0

    def read(self):
        return self.sample_at(self.frames)

    def close(self):
        pass


def witness(name, base=support.processors.Averager):
    """A real processor that remembers what it was given, and moves its trace on with every frame."""

    def infer(self, batch):
        cls.seen.append((batch.first_index, len(batch)))
        found = base.infer(self, batch)
        if cls.trace is not None:
            cls.trace.frames += len(batch)
            cls.control.monitor.tick()
        return found

    cls = type(name, (base,), {"name": name, "infer": infer, "seen": [], "trace": None, "control": None})
    return cls


def run_with(cls, clip, output, trace, cancel=None, listener=None, held=None, **settings):
    """A whole job whose only made-up part is what the sensors read; a frame is a second to the guard."""
    cls.trace, cls.seen = trace, []

    def watch(guard, _settings, _disk, _device):
        cls.control = Control(guard, [trace], period_s=0, clock=lambda: float(trace.frames))
        return cls.control

    events = []

    def hear(event):
        events.append(event)
        if listener:
            listener(event)

    loaded = load(profile="cpu", overrides={**FAST, **settings})
    cls.job = Job(clip, cls.name, output, loaded, hear, cancel or threading.Event(), held, watch)
    return cls.job.run(), events


QUICK = {"guard.vram.dwell_s": 3, "guard.vram.recover_s": 20, "hardware.batch_size": 4}


def pressure(frames):
    """High for the first 40 of 120 frames, then gone."""
    return {"vram": 97.0 if frames < 40 else 30.0, "ram": 40.0}


def test_a_trace_changes_the_batch_size_that_a_real_processor_is_given(tmp_path):
    cls = witness("witness_guard")
    result, events = run_with(cls, STREET, tmp_path / "o.mp4", Trace(pressure), **QUICK)
    sizes = dict(cls.seen)
    assert sizes[0] == 4
    assert 1 in sizes.values(), "the batch never became smaller"
    assert cls.seen[-1][1] == 4, "it never came back"
    acted = [(e["event"], e["batch_size"]) for e in events if "batch_size" in e]
    assert acted == [("degraded", 2), ("degraded", 1), ("recovered", 2), ("recovered", 4)]
    said = [text for text in result.report["degradations"] if text.startswith("After ")]
    assert len(said) == 4
    assert "The batch size is 2 from here on: GPU memory in use: 97 %" in said[0]
    assert [row["value"] for row in result.report["guard"]["actions"]] == [2, 1, 2, 4]
    seen = result.report["sensors"]["vram"]
    assert (seen["min"], seen["max"], seen["samples"]) == (30, 97, len(cls.seen))
    assert 30 < seen["mean"] < 97
    progress = [e for e in events if e["event"] == "progress"]
    assert progress[-1]["ram"] == 40.0
    plain = framelane.process_video(
        STREET, "averager", output=tmp_path / "p.mp4", overrides={**FAST, "hardware.batch_size": 4}
    )
    assert frame_hashes(result.output_path) == frame_hashes(plain.output_path)


def test_the_batch_changes_only_where_a_segment_begins(tmp_path):
    cls = witness("witness_boundary")
    starts = {0}
    run_with(
        cls, STREET, tmp_path / "o.mp4", Trace(pressure),
        listener=lambda e: starts.add(e["frame"]) if e["event"] == "segment" else None, **QUICK,
    )  # fmt: skip
    changes = [b[0] for a, b in itertools.pairwise(cls.seen) if a[1] != b[1]]
    # The processor holds 5 frames back, so the frame that closes a segment is committed up to 5 + a batch before.
    assert changes
    assert all(min(abs(change - start) for start in starts) <= 5 + 4 for change in changes), (changes, starts)


def test_a_resume_repeats_what_the_guard_had_set(tmp_path):
    cls = witness("witness_resume")
    stop = threading.Event()
    with pytest.raises(Cancelled):
        run_with(
            cls, STREET, tmp_path / "o.mp4", Trace(lambda frames: {"vram": 97.0}), cancel=stop,
            listener=lambda e: stop.set() if e.get("index") == 4 else None, **QUICK,
        )  # fmt: skip
    records = sorted((tmp_path / ".o.mp4.framelane").glob("segment-??????/record.json"))
    stored = json.loads(records[-1].read_text())["guard"]
    assert stored["batch_size"] < 4
    assert stored["held"]["vram"]["batch"] == stored["batch_size"]
    result, _ = run_with(cls, STREET, tmp_path / "o.mp4", Trace(lambda frames: {"vram": 85.0}), **QUICK)
    assert result.report["resumed_at_frame"] > 0
    assert {size for _, size in cls.seen} == {stored["batch_size"]}, "the resumed run began with another batch size"
    assert any("97 %" in text for text in result.report["degradations"]), (
        "what happened before the resume is in the report"
    )


def test_the_next_clip_begins_where_the_guard_ended_and_comes_back(tmp_path):
    cls = witness("witness_next", support.processors.Repaint)
    clip = WALKER  # 960x540
    first, _ = run_with(cls, clip, tmp_path / "a.mp4", Trace(lambda frames: {"vram": 97.0}), **QUICK)
    held = first.report["guard"]["held"]
    assert first.report["working_size"] is None, "the size never changes within a clip"
    assert held["vram"] == {"batch": 1, "height": 480} | held["vram"]
    second, _ = run_with(cls, clip, tmp_path / "b.mp4", Trace(lambda frames: {"vram": 30.0}), held=held, **QUICK)
    assert min(second.report["working_size"]) == held["vram"]["height"]
    assert cls.seen[0][1] == 1
    assert any("asked for it in the clip before" in text for text in second.report["degradations"])
    last = second.report["guard"]["held"]
    assert len(last.get("vram", {})) < len(held["vram"]), "the way back leads over the clips"


def test_a_pause_waits_and_ends_though_its_sensors_hang(tmp_path):
    """The guard's clock runs 60 times as fast, so that a pause of a minute is one of a second.

    The sensors hang in the middle of it, and without them nobody steps the guard but the pause itself.
    """

    release = threading.Event()

    class Silent:
        asked = 0

        def read(self):
            self.asked += 1
            if self.asked >= 20:
                release.wait()
            return {"thermal_margin": 0.0}

        def close(self):
            pass

    begun = time.monotonic()
    settings = {"guard.max_pause_s": 600, "guard.temperature.ladder": ["pause"]}

    def watch(guard, _settings, _disk, _device):
        return Control(guard, [Silent()], period_s=0.02, clock=lambda: 60 * (time.monotonic() - begun))

    events = []
    job = Job(
        STREET, "slow_averager", tmp_path / "o.mp4", load(profile="cpu", overrides={**FAST, **settings}),
        events.append, threading.Event(), None, watch,
    )  # fmt: skip
    result = job.run()
    release.set()
    begin, end = (e for e in events if "pause" in e)
    assert (begin["event"], end["event"]) == ("degraded", "recovered")
    assert "does not answer" in end["message"]
    assert LOST_S <= result.report["guard"]["paused_s"] < 600
    assert result.report["frames"] == 120


def test_cancelling_ends_a_pause(tmp_path):
    cls = witness("witness_cancel")
    stop = threading.Event()
    settings = {"guard.temperature.ladder": ["pause"], "guard.max_pause_s": 3600, "guard.temperature.dwell_s": 1}
    with pytest.raises(Cancelled):
        run_with(
            cls, STREET, tmp_path / "o.mp4", Trace(lambda frames: {"thermal_margin": 0.0}), cancel=stop,
            listener=lambda e: stop.set() if "pause" in e else None, **settings,
        )  # fmt: skip
    assert not [thread for thread in threading.enumerate() if thread.name in ("process", "monitor")]


def test_short_memory_empties_the_queues_and_the_frames_stay_the_same(tmp_path, monkeypatch):
    """How far decoding runs ahead is counted in frames, at every batch."""
    from framelane.engine import control

    flushed, ahead = [], {}
    monkeypatch.setattr(control, "free_memory", lambda: flushed.append(1))

    class Slow(support.processors.Averager):
        def infer(self, batch):
            time.sleep(0.05)
            counted = cls.job.attempt.pipeline.meter.seen
            ahead[batch.first_index] = counted["decode"] - counted["process"]
            return super().infer(batch)

    cls = witness("witness_ram", Slow)
    result, events = run_with(
        cls, STREET, tmp_path / "o.mp4", Trace(lambda f: {"ram": 90.0 if 30 < f < 80 else 30.0}),
        **{"guard.ram.recover_s": 10, "guard.ram.ladder": ["emergency"], "engine.queue_batches": 6},
    )  # fmt: skip
    assert flushed
    assert ahead[28] > 3 * 4, "decoding does not run ahead in this test"
    assert all(lead <= 3 * 4 for first, lead in ahead.items() if 64 <= first < 80), (
        "one processed, one waits, one is put"
    )
    assert [e["event"] for e in events if "emergency" in e] == ["degraded", "recovered"]
    plain = framelane.process_video(STREET, "averager", output=tmp_path / "p.mp4", overrides=FAST)
    assert frame_hashes(result.output_path) == frame_hashes(plain.output_path)


def test_little_disk_stops_after_a_segment_and_the_same_command_goes_on(tmp_path):
    cls = witness("witness_disk")
    with pytest.raises(FramelaneError, match=r"stopped the job after a segment.*-5 MB are free.*segments are kept"):
        run_with(
            cls, STREET, tmp_path / "o.mp4", Trace(lambda frames: {"disk_spare_mb": 900.0 if frames < 50 else -5.0})
        )
    kept = list((tmp_path / ".o.mp4.framelane").glob("segment-??????/record.json"))
    assert kept
    assert not list((tmp_path / ".o.mp4.framelane").glob("*.open"))
    result, _ = run_with(cls, STREET, tmp_path / "o.mp4", Trace(lambda frames: {"disk_spare_mb": 900.0}))
    assert result.report["resumed_at_frame"] >= 40
    plain = framelane.process_video(STREET, "averager", output=tmp_path / "p.mp4", overrides=FAST)
    assert frame_hashes(result.output_path) == frame_hashes(plain.output_path)


# -- out of memory -------------------------------------------------------------------------------------------------------


class TooLarge(support.processors.Repaint):
    """Runs out of memory, as a GPU does, on every frame of more than 360 lines."""

    name = "too_large"
    most = 360
    seen: list[int]
    alive: Any = None

    def open(self, clip, context):
        if self.alive is not None:
            assert self.alive() is None, "models are loaded beside the frames that did not fit"
        return super().open(clip, context)

    def infer(self, batch):
        type(self).seen.append(batch.layout.height)
        if batch.layout.height > self.most:
            type(self).alive = weakref.ref(batch)
            raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED")
        time.sleep(0.005 * len(batch))
        return super().infer(batch)


def test_a_clip_that_does_not_fit_is_done_anew_at_360_lines(tmp_path):
    TooLarge.seen, events = [], []
    result = framelane.process_video(
        STREET, "too_large", output=tmp_path / "o.mp4", overrides=FAST, progress=events.append
    )
    assert min(result.report["working_size"]) == 360
    assert set(TooLarge.seen) == {576, 360}
    (said,) = [text for text in result.report["degradations"] if "360 lines" in text]
    assert "Memory ran out" in said
    assert said in [e.get("message") for e in events if e["event"] == "degraded"]
    assert not (tmp_path / ".o.mp4.framelane").exists()
    asked = framelane.process_video(
        STREET, "repaint", output=tmp_path / "p.mp4", overrides={**FAST, "hardware.working_height": 360}
    )
    assert frame_hashes(result.output_path) == frame_hashes(asked.output_path)


def test_after_a_kill_it_goes_on_at_360_lines(tmp_path):
    stop = threading.Event()
    TooLarge.seen = []
    with pytest.raises(Cancelled):
        framelane.process_video(
            STREET, "too_large", output=tmp_path / "o.mp4", overrides=FAST, cancel=stop,
            progress=lambda e: stop.set() if e.get("index") == 2 else None,
        )  # fmt: skip
    TooLarge.seen = []
    result = framelane.process_video(STREET, "too_large", output=tmp_path / "o.mp4", overrides=FAST)
    assert result.report["resumed_at_frame"] >= 30
    assert set(TooLarge.seen) == {360}, "it tried the clip's own size again"
    assert any("360 lines" in text for text in result.report["degradations"])


def test_changed_settings_forget_what_memory_had_forced(tmp_path):
    stop = threading.Event()
    TooLarge.seen = []
    with pytest.raises(Cancelled):
        framelane.process_video(
            STREET, "too_large", output=tmp_path / "o.mp4", overrides=FAST, cancel=stop,
            progress=lambda e: stop.set() if e.get("index") == 1 else None,
        )  # fmt: skip
    result = framelane.process_video(
        STREET, "too_large", output=tmp_path / "o.mp4", overrides={**FAST, "hardware.working_height": 240}
    )
    assert min(result.report["working_size"]) == 240
    assert not any("360 lines" in text for text in result.report["degradations"])


@pytest.mark.parametrize("where", ["infer", "commit", "open"])
def test_at_the_end_of_the_ladder_stands_a_sentence(tmp_path, where):
    def fail(self, *arguments):
        raise MemoryError("Unable to allocate 1. GiB")

    cls = type("Hopeless", (support.processors.Repaint,), {"name": f"hopeless_{where}", where: fail})
    with pytest.raises(OutOfMemory, match="Memory ran out") as caught:
        framelane.process_video(STREET, cls.name, output=tmp_path / "o.mp4", overrides=FAST)
    assert caught.value.next_step == {}
    assert threading.active_count() < 5


def test_the_ladder_is_360_lines_then_the_cpu_then_nothing():
    clip, settings = probe(STREET), Settings()
    assert fallback.next_step(settings, clip, "cuda") == {"hardware.working_height": 360}
    loaded = fallback.applied(load(profile="cpu"), {"hardware.working_height": 360})
    assert loaded.origin["hardware.working_height"] == fallback.BY
    assert fallback.next_step(loaded.settings, clip, "cuda") == {"hardware.device": "cpu"}
    assert fallback.next_step(loaded.settings, clip, "cpu") == {}
    strict = fallback.applied(loaded, {"output.require_gpu": True})
    assert fallback.next_step(strict.settings, clip, "cuda") == {}, "a GPU that is required is not given up"
    assert "on the CPU" in fallback.sentence({"hardware.device": "cpu"}, "Memory ran out.")


def test_the_stride_makes_models_run_more_seldom(tmp_path, monkeypatch):
    from framelane.processors.attention.maps import FrameMaps

    looked, counts = [], []
    clip = excerpt(tmp_path / "in.mp4", seconds=3)
    real = FrameMaps.look
    monkeypatch.setattr(FrameMaps, "look", lambda self, rgb: looked.append(1) or real(self, rgb))
    for stride in (1, 2):
        looked.clear()
        framelane.process_video(
            clip, "attention", output=tmp_path / f"{stride}.mp4",
            overrides={
                **FAST, "hardware.stride": stride, "hardware.working_height": 120, "attention.channels": "a",
                "attention.spatial_resolution": 112, "attention.smoothing_s": 0,
            },
        )  # fmt: skip
        counts.append(len(looked))
    assert counts[0] > 10
    assert abs(counts[1] - counts[0] / 2) <= 1
