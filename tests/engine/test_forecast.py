"""What a job says of its end, against what came of it."""

from __future__ import annotations

import framelane
import support.processors  # noqa: F401
from framelane.engine.forecast import Forecast
from support.clips import WALKER


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def told(seconds, frames=100, done=0, pause=None):
    """A forecast after a job whose frames took ``seconds(frame)``."""
    clock = Clock()
    forecast = Forecast(frames, done, clock)
    for frame in range(done + 1, frames + 1):
        if frame == pause:
            forecast.hear({"event": "degraded", "message": "hot", "pause": 1})
            clock.now += 1000
            forecast.hear({"event": "recovered", "message": "cool", "pause": 0})
        clock.now += seconds(frame)
        left = forecast.left(frame, frames)
    return forecast, left


def test_an_even_job_is_told_rightly_and_a_pause_is_no_work():
    for options in ({}, {"done": 40}, {"pause": 50}):
        forecast, left = told(lambda _: 0.5, **options)
        assert left == 0
        assert forecast.errors()["worst"] < 0.02, options


def test_a_job_that_slows_down_was_told_too_soon():
    errors = told(lambda frame: 0.1 if frame <= 50 else 0.3)[0].errors()
    assert -0.6 < errors["after_a_tenth"] < -0.4, "10 s were told, 20 s it took"
    assert errors["worst"] >= errors["mean"] > 0.1


def test_what_is_over_at_once_is_not_judged():
    assert Forecast(10).errors() is None
    assert told(lambda _: 0.1, frames=3)[0].errors() is None


def test_memory_stays_flat_however_long_the_job():
    forecast, _ = told(lambda _: 0.01, frames=5000)
    assert len(forecast._said) <= 512
    assert forecast.errors()["worst"] < 0.05


def test_the_report_of_a_real_job_has_it(tmp_path):
    events = []
    made = framelane.process_video(
        WALKER, "slow_averager", output=tmp_path / "o.mp4", profile="cpu", progress=events.append,
        overrides={"gif.enabled": False, "engine.segment_seconds": 1, "output.preset": "ultrafast"},
    )  # fmt: skip
    assert set(made.report["eta_error"]) == {"after_a_tenth", "mean", "worst"}
    etas = [event["eta_s"] for event in events if event["event"] == "progress"]
    assert etas[-1] == 0
    assert max(eta for eta in etas if eta is not None) > 0.5
