"""What jobs cost on this machine: observed of jobs that ran, and said of jobs to come.

The model of a job's time is a sum: opening, so much per frame (models that see every frame at a fixed size), per second
of the clip (models that see so many frames a second), per megapixel of frames (decoding, drawing, encoding), and sealing
(joining, per frame; the GIF, per megapixel of its frames). What a single job cannot tell apart is split by its stages'
busy times, and jobs of other sizes and rates correct that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from framelane.settings import Loaded
from framelane.video.clip import Clip

_OLDER = 0.85  # weight of an observation, compared with the next newer one
_HEAD_WEIGHT = 0.3  # of the head of a clip, compared with a whole job
_TRUST_IN_SPLIT = 0.01  # weight of the split by stages; observed jobs weigh 1, in squares of relative error
_LEAST_SPREAD, _UNTRIED_SPREAD = 0.08, 0.25


@dataclass(frozen=True)
class Observation:
    """What one job, or the head of a clip, took.

    Attributes:
        frames: frames processed.
        seconds: of the clip, for those frames.
        mpx: megapixels of all those frames together, at the clip's size.
        work_s: wall seconds from the opened processor to the last frame encoded, pauses left out.
        codec_share: of the stages' busy time, what decoding and encoding had; 0 to 1.
        startup_s: wall seconds until the processor was open.
        fresh: whether those included starting Python and loading the models.
        join_s: wall seconds of joining and checking; None where it did not come to that.
        gif_s: wall seconds of making the GIF; None where there was none.
        gif_mpx: megapixels of all the GIF's frames together.
        head: whether it was only the head of a clip.
    """

    frames: int
    seconds: float
    mpx: float
    work_s: float
    codec_share: float = 0.3
    startup_s: float = 0.0
    fresh: bool = True
    join_s: float | None = None
    gif_s: float | None = None
    gif_mpx: float = 0.0
    head: bool = False

    def sound(self) -> bool:
        """Whether all numbers can be: finite, none below 0, and something was done."""
        numbers = [v for v in asdict(self).values() if v is not None]
        return all(math.isfinite(v) and v >= 0 for v in numbers) and min(self.frames, self.work_s, self.mpx) > 0


@dataclass(frozen=True)
class Figures:
    """What jobs of one kind cost on this machine, in wall seconds.

    Attributes:
        startup_s: starting a worker and loading the models; once for all jobs of a batch.
        open_s: opening one more clip in a worker that runs.
        frame_s: per frame, whatever its size.
        second_s: per second of the clip.
        mpx_s: per megapixel of frames.
        join_frame_s: joining, per frame.
        gif_mpx_s: the GIF, per megapixel of its frames; None where none was ever made.
        spread: relative standard deviation of a job's time from what these figures say.
        source: where they are from, in words.
    """

    startup_s: float
    open_s: float
    frame_s: float
    second_s: float
    mpx_s: float
    join_frame_s: float = 0.0
    gif_mpx_s: float | None = None
    spread: float = _UNTRIED_SPREAD
    source: str = ""

    def work_s(self, clip: Clip, frames: int | None = None) -> float:
        """Seconds of decoding, processing and encoding.

        Args:
            clip: its size and rate count.
            frames: how many frames; None takes all that are expected.
        """
        count = clip.expected_frames if frames is None else frames
        return count * (self.frame_s + self.second_s / float(clip.rate) + self.mpx_s * clip.width * clip.height / 1e6)

    def seal_s(self, clip: Clip, loaded: Loaded) -> float:
        """Seconds of joining, checking and the GIF."""
        return self.join_frame_s * clip.expected_frames + (self.gif_mpx_s or 0.0) * gif_megapixels(clip, loaded)

    def cover(self, loaded: Loaded) -> bool:
        """Whether these figures say everything that a job with these settings needs."""
        return self.gif_mpx_s is not None or not loaded.settings.gif.enabled


def gif_megapixels(clip: Clip, loaded: Loaded) -> float:
    """Megapixels of all frames of the GIF that a clip gets; 0 where it gets none."""
    wanted = loaded.settings.gif
    if not wanted.enabled:
        return 0.0
    width, height = clip.display_size
    shown = min(wanted.seconds, clip.duration or wanted.seconds)
    scale = min(1.0, wanted.width / width)
    return shown * min(wanted.fps, float(clip.rate)) * width * height * scale * scale / 1e6


def observe(
    trace: Iterable[tuple[float, Mapping[str, Any]]], clip: Clip, loaded: Loaded, *, fresh: bool, head: bool = False
) -> Observation | None:
    """What a job's events say of its cost.

    Args:
        trace: (wall seconds since the job's beginning, event) of the job, in order.
        clip: what was processed.
        loaded: with which settings.
        fresh: whether the job began with starting Python and loading the models.
        head: whether ``clip`` is the head of a clip.

    Returns:
        None where too little was done to say anything.
    """
    rows = list(trace)
    start = next(((t, e) for t, e in rows if e["event"] == "start"), None)
    newest = next(((t, e) for t, e in reversed(rows) if e["event"] == "progress" and e["frame"]), None)
    if start is None or newest is None:
        return None
    sealing = [t for t, e in rows if e["event"] == "sealing"]
    done = next((t for t, e in rows if e["event"] == "done"), None)
    frames = newest[1]["frame"] - start[1]["resumed_at_frame"]
    busy = newest[1]["stage_ms"]
    codec = busy["decode"] + busy["encode"]
    gif = done - sealing[1] if done is not None and len(sealing) > 1 else None
    end = sealing[0] if sealing else newest[0]
    made = Observation(
        frames=frames, seconds=frames / float(clip.rate), mpx=frames * clip.width * clip.height / 1e6,
        work_s=end - start[0] - _paused(rows, end), codec_share=codec / ((codec + busy["process"]) or 1.0),
        startup_s=start[0], fresh=fresh,
        join_s=None if done is None else (sealing[1] if gif is not None else done) - sealing[0],
        gif_s=gif, gif_mpx=gif_megapixels(clip, loaded) if gif is not None else 0.0, head=head,
    )  # fmt: skip
    return made if made.sound() else None


def _paused(rows: list[tuple[float, Mapping[str, Any]]], end: float) -> float:
    total, began = 0.0, None
    for time, event in rows:
        if "pause" not in event:
            continue
        if event["pause"] and began is None:
            began = time
        elif not event["pause"] and began is not None:
            total, began = total + time - began, None
    return total + (end - began if began is not None else 0.0)


# -- from observations to figures -----------------------------------------------------------------------------------------


def fit(observations: list[Observation], source: str) -> Figures:
    """The figures that explain what was observed, newer and whole jobs first.

    Minimises the weighted squares of relative errors, plus a small weight on the split that the newest one's stages
    suggest; no figure below 0.

    Args:
        observations: oldest first; at least one.
        source: what to say of them.
    """
    weights = [
        _OLDER ** (len(observations) - 1 - i) * (_HEAD_WEIGHT if o.head else 1.0) for i, o in enumerate(observations)
    ]
    frame_s, second_s, mpx_s = _least_squares(observations, weights)
    figures = Figures(
        startup_s=_mean([(o.startup_s, w) for o, w in zip(observations, weights, strict=True) if o.fresh]) or 0.0,
        open_s=_mean([(o.startup_s, w) for o, w in zip(observations, weights, strict=True) if not o.fresh]) or 0.0,
        frame_s=frame_s, second_s=second_s, mpx_s=mpx_s, source=source,
    )  # fmt: skip
    joined = [(o.join_s / o.frames, w) for o, w in zip(observations, weights, strict=True) if o.join_s is not None]
    gifs = [
        (o.gif_s / o.gif_mpx, w)
        for o, w in zip(observations, weights, strict=True)
        if o.gif_s is not None and o.gif_mpx > 0
    ]
    figures = replace(figures, join_frame_s=_mean(joined) or 0.0, gif_mpx_s=_mean(gifs))
    return replace(figures, spread=_spread(figures, observations, weights))


def _mean(pairs: list[tuple[float, float]]) -> float | None:
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None


def _least_squares(observations: list[Observation], weights: list[float]) -> tuple[float, float, float]:
    import numpy as np

    newest = observations[-1]
    share = min(0.95, max(0.05, newest.codec_share))
    # Half of what models take goes with frames, half with seconds: which of the two, one job alone cannot say.
    shares = ((1 - share) / 2, (1 - share) / 2, share)
    prior = np.array([s * newest.work_s / x for s, x in zip(shares, _amounts(newest), strict=True)])
    rows = np.array([[x / o.work_s for x in _amounts(o)] for o in observations]) * prior
    root = np.sqrt(np.array(weights))[:, None]
    matrix = np.vstack([rows * root, np.eye(3) * math.sqrt(_TRUST_IN_SPLIT)])
    target = np.concatenate([root[:, 0], np.full(3, math.sqrt(_TRUST_IN_SPLIT))])
    active = [0, 1, 2]
    found = np.zeros(3)
    while active:  # three unknowns: those that would be below 0 are taken out, the worst first
        solved = np.linalg.lstsq(matrix[:, active], target, rcond=None)[0]
        if solved.min() >= 0:
            found[active] = solved
            break
        active.pop(int(solved.argmin()))
    frame_s, second_s, mpx_s = (float(v) for v in found * prior)
    return frame_s, second_s, mpx_s


def _amounts(seen: Observation) -> tuple[float, float, float]:
    return float(seen.frames), seen.seconds, seen.mpx


def _spread(figures: Figures, observations: list[Observation], weights: list[float]) -> float:
    said = [sum(a * f for a, f in zip(_amounts(o), (figures.frame_s, figures.second_s, figures.mpx_s), strict=True))
            for o in observations]  # fmt: skip
    squares = [((s - o.work_s) / o.work_s) ** 2 for s, o in zip(said, observations, strict=True)]
    error = math.sqrt(_mean(list(zip(squares, weights, strict=True))) or 0.0)
    whole = sum(not o.head for o in observations)
    return max(_LEAST_SPREAD, error, _UNTRIED_SPREAD / math.sqrt(1 + whole))
