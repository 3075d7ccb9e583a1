"""How well a camera did: is the subject in the picture, and is the picture calm."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CENTRAL = 0.6
_MOVES = 0.02  # window widths a second: slower is no motion, and turning then is no reversal


def camera_metrics(
    times: Array, windows: Array, places: Array, known: npt.NDArray[np.bool_], cuts: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Figures of a camera.

    Args:
        times: seconds, ``(n,)``.
        windows: ``(n, 4)``: left, top, width, height.
        places: ``(n, 2)``: where the subject really is, or is believed to be.
        known: bool ``(n,)``: frames that count.
        cuts: bool ``(n,)``: motion over them is none.

    Returns:
        ``in_frame`` and ``central_60`` (shares of the known frames, 0 to 1, None without any), ``worst_loss_s`` (longest
        time outside), ``p99_jerk`` (of the window's middle, in window widths per second cubed),
        ``reversals_per_minute`` (changes of direction sideways).
    """
    size = windows[:, 2:]
    off = np.abs(places - windows[:, :2] - size / 2) / size
    worst = off.max(axis=1)
    inside, central = worst <= 0.5, worst <= CENTRAL / 2
    count = int(known.sum())
    return {
        "in_frame": round(float(inside[known].mean()), 4) if count else None,
        "central_60": round(float(central[known].mean()), 4) if count else None,
        "worst_loss_s": round(_longest(times, known & ~inside, cuts), 3),
        **_calmness(times, windows, cuts),
    }


def _longest(times: Array, missing: npt.NDArray[np.bool_], cuts: npt.NDArray[np.bool_]) -> float:
    longest, since = 0.0, -1.0
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    for time, gone, cut in zip(times.tolist(), missing.tolist(), cuts.tolist(), strict=True):
        if not gone:
            since = -1.0
            continue
        since = time if since < 0 or cut else since
        longest = max(longest, time - since + usual)
    return longest


def _calmness(times: Array, windows: Array, cuts: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """By differences between frames, so that nothing that is seen is smoothed away."""
    jerks, turns, seconds = [np.zeros(0)], 0, 0.0
    starts = [*np.flatnonzero(cuts).tolist(), len(times)]
    starts = starts if starts[0] == 0 else [0, *starts]
    for start, stop in pairwise(starts):
        if stop - start < 4:
            continue
        part, own = times[start:stop], windows[start:stop]
        middle = (own[:, :2] + own[:, 2:] / 2) / own[:, 2:3].mean()
        steps = np.maximum(np.diff(part), 1e-3)[:, None]
        speed = np.diff(middle, axis=0) / steps
        change = np.diff(speed, axis=0) / ((steps[1:] + steps[:-1]) / 2)
        jerk = np.diff(change, axis=0) / ((steps[2:] + steps[1:-1] + steps[:-2]) / 3)
        jerks.append(np.linalg.norm(jerk, axis=1))
        moving = np.sign(speed[np.abs(speed[:, 0]) > _MOVES, 0])
        turns += int((np.diff(moving) != 0).sum())
        seconds += float(part[-1] - part[0])
    every = np.concatenate(jerks)
    return {
        "p99_jerk": round(float(np.percentile(every, 99)), 2) if len(every) else 0.0,
        "reversals_per_minute": round(60 * turns / seconds, 1) if seconds else 0.0,
    }


def fold(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The metrics of a job from the rows of its frames."""
    from array import array

    flat, zoom, known, cuts = array("d"), array("d"), array("b"), array("b")
    states: dict[str, int] = {}
    for row in rows:
        flat.extend((row["time"], *row["window"], *row["subject"]))
        known.append(row["state"] in ("seen", "bridged"))
        cuts.append(row["cut"])
        zoom.append(row["zoom"])
        states[row["state"]] = states.get(row["state"], 0) + 1
    if not zoom:
        return {}
    table = np.array(flat).reshape(-1, 7)
    figures = camera_metrics(table[:, 0], table[:, 1:5], table[:, 5:], np.array(known, bool), np.array(cuts, bool))
    return {
        **figures,
        "zoom": [round(min(zoom), 3), round(max(zoom), 3)],
        "scenes": int(sum(cuts)),
        "states": {name: round(count / len(zoom), 4) for name, count in sorted(states.items())},
    }
