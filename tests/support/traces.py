"""Traces of jobs over time: recorded ones from ``tests/data/throughput``, and made-up ones with a known end.

A trace is a list of (wall seconds, event), as a job gives them.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from framelane.jobs.figures import observe
from framelane.settings import load
from framelane.video.clip import Clip
from framelane.video.colour import ColourTags

FOLDER = Path(__file__).parents[1] / "data" / "throughput"
RECORDED = sorted(path.stem for path in FOLDER.glob("*.json"))


def clip(path="clip.mp4", *, width=1280, height=720, rate=30, frames=900, duration=None):
    """A clip as probing describes it, without a file."""
    rate = Fraction(rate)
    return Clip(
        path=Path(path), format="mov,mp4", codec="h264", width=width, height=height, pixel_format="yuv420p", bit_depth=8,
        time_base=Fraction(1, 90000), start_pts=0, duration=frames / float(rate) if duration is None else duration,
        rate=rate, frames=frames, colour=ColourTags(1, 1, 1, 1, height), display_matrix=None, sample_aspect=None,
    )  # fmt: skip


def recorded(name):
    """(trace, clip, settings) of a job that really ran."""
    data = json.loads((FOLDER / f"{name}.json").read_text())
    about = data["clip"]
    what = clip(f"{name}.mp4", **{**about, "rate": Fraction(*about["rate"])})
    loaded = load(mode=data["mode"], profile="cpu", overrides={"gif.enabled": data["gif"]})
    return [(t, event) for t, event in data["trace"]], what, loaded


def observed(name, **changes):
    """What a recorded job says of its cost."""
    trace, what, loaded = recorded(name)
    return replace(observe(trace, what, loaded, fresh=True), **changes)


def made_up(frame_seconds, *, startup=5.0, seal=3.0, pauses=(), every=0.25):
    """A trace of a job whose frames take the seconds given.

    Args:
        frame_seconds: wall seconds of each frame.
        startup: seconds before the first.
        seal: seconds after the last.
        pauses: (before which frame, for how many seconds) the guard pauses.
        every: seconds between two progress events.
    """
    total, now, said = len(frame_seconds), startup, startup
    trace = [(now, {"event": "start", "frames": total, "resumed_at_frame": 0})]
    trace.append((now, {"event": "progress", "frame": 0, "frames": total}))
    pauses = dict(pauses)
    for frame, seconds in enumerate(frame_seconds):
        if frame in pauses:
            trace.append((now, {"event": "degraded", "message": "too hot", "pause": 1}))
            now += pauses[frame]
            trace.append((now, {"event": "recovered", "message": "cool", "pause": 0}))
        now += seconds
        if now - said >= every or frame == total - 1:
            said = now
            trace.append((now, {"event": "progress", "frame": frame + 1, "frames": total}))
    trace.append((now, {"event": "sealing", "message": "joining"}))
    trace.append((now + seal, {"event": "done", "frames": total}))
    return trace


def noise(seed, spread):
    """A source of factors around 1 whose logarithm has the standard deviation ``spread``."""
    source = random.Random(seed)
    return lambda: source.lognormvariate(0, spread)


def errors(trace, estimator, after=0.1, every=1):
    """What an estimator said of a trace, from its first tenth on.

    Args:
        trace: of a whole job.
        estimator: fresh; it is fed here.
        after: share of the frames that are done before it counts.
        every: ask at every so many events only.

    Returns:
        Rows of (share of frames done, error of the predicted end as a share of the whole time, whether the true end lay in
        the interval). The predicted end is the time gone plus the time left, pauses after that moment left out.
    """
    end = trace[-1][0]
    total = max(event["frames"] for _, event in trace if "frames" in event)
    rows, pausing = [], None
    spans = []
    for now, event in trace:
        if "pause" in event:
            if event["pause"]:
                pausing = now
            else:
                spans.append((pausing, now))
    frame = 0
    for index, (now, event) in enumerate(trace[:-1]):
        estimator.feed(event, now)
        frame = event.get("frame", frame)
        if frame < after * total or (event["event"] == "progress" and index % every):
            continue
        left = end - now - sum(b - max(a, now) for a, b in spans if b > now)
        eta = estimator.eta(now)
        rows.append((frame / total, (eta.left_s - left) / end, eta.low_s <= left <= eta.high_s))
    return rows
