"""``framelane bench faceswap``: what is around the network of a face swap costs, ours beside insightface's and roop's.

The network has random weights of the real architecture and size (:mod:`framelane.bench.facenets`): it costs what the
published one costs, and what comes out is noise. Its seconds are counted apart: on a CPU they are nearly all of the
whole, and nobody's code around it changes them.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import time
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.bench.about import DISTURBED, busy_seconds, in_turn, own_seconds
from framelane.errors import FramelaneError, chain

if TYPE_CHECKING:
    from rich.table import Table

    from framelane.bench.swapping import Contest, Run

SIZE = (1920, 1080)
FRAMES = {1: (6, 24), 3: (4, 12), 6: (3, 8)}
"""Faces a frame to frames of a loop in memory, and of a whole run from clip to clip."""
WIDTH = 128
PASTE_TARGET, PNG_TARGET = 3.0, 3.0


def measure(
    *,
    repeats: int = 2,
    size: tuple[int, int] = SIZE,
    frames: dict[int, tuple[int, int]] | None = None,
    width: int = WIDTH,
) -> dict[str, Any]:
    """All figures.

    Args:
        repeats: runs of each way, in turn; medians are compared.
        size: width and height of the clips.
        frames: by faces a frame: how many frames in memory, how many from clip to clip.
        width: of the network; 128 is the real one.

    Raises:
        FramelaneError: insightface is not installed.
    """
    from framelane.bench.clips import make_clip
    from framelane.bench.facenets import write_inswapper
    from framelane.machine import usable_cores

    threads = usable_cores()
    started, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    found: dict[str, Any] = {"clip": {"width": size[0], "height": size[1]}, "threads": threads, "faces": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = write_inswapper(folder / "random.onnx", width)
        found["network_mb"] = round(weights.stat().st_size / 1e6, 1)
        theirs, ours = _opened(weights, threads)
        make_clip(folder / "first.mp4", size, Fraction(2, 30))
        compare(
            _contest(folder / "first.mp4", 1, 1, theirs, ours, folder, threads), 2, 1
        )  # what loads late is here now
        for count, (some, whole) in (frames or FRAMES).items():
            clip = folder / f"{count}.mp4"
            make_clip(clip, size, Fraction(whole, 30))
            contest = _contest(clip, some, count, theirs, ours, folder, threads)
            found["faces"][count] = compare(contest, whole, repeats)
        found["together"] = together(weights, threads, repeats)
    others = (busy_seconds() - busy - own_seconds() + own) / (time.perf_counter() - started)
    found["others"] = round(max(0.0, others), 2)
    return {**found, "sentences": sentences(found)}


def _opened(weights: Path, threads: int) -> tuple[Any, Any]:
    from framelane.bench.swapping import Timed
    from framelane.models.onnx import open_session
    from framelane.processors.faceswap.inswapper import InSwapper, load

    try:
        from insightface.model_zoo.inswapper import INSwapper
    except ImportError as error:
        raise FramelaneError(
            f"The peer of this benchmark is missing ({chain(error)}); run: pip install --no-deps insightface."
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):
        # The same threads and options for both: what is compared is what stands around the network.
        theirs = INSwapper(str(weights), session=Timed(open_session(weights, "cpu", threads).session))
    network = load(weights, "cpu", threads)
    network.session = Timed(network.session)
    return theirs, InSwapper(network)


def _contest(clip: Path, some: int, count: int, theirs: Any, ours: Any, folder: Path, threads: int) -> Contest:
    import av

    from framelane.bench.swapping import Contest

    with av.open(str(clip)) as container:
        pictures = [f.to_ndarray(format="rgb24") for _, f in zip(range(some), container.decode(video=0), strict=False)]
    return Contest(clip, np.stack(pictures), count, theirs, ours, folder, threads)


def compare(contest: Contest, whole: int, repeats: int) -> dict[str, Any]:
    """One number of faces a frame: every way in turn, and ratios of medians.

    Args:
        contest: the ways.
        whole: frames of its clip.
        repeats: runs of each.
    """
    kinds = {"insightface": contest.insightface_loop, "ours": contest.our_batches, "job": contest.job}
    if shutil.which("ffmpeg"):
        kinds["png"] = contest.png_files
    runs = in_turn(kinds, repeats)
    some = len(contest.pictures)
    ways = {name: _way(found, some if name in ("insightface", "ours") else whole) for name, found in runs.items()}
    ratios = {"paste": ways["insightface"]["around_ms"] / ways["ours"]["around_ms"],
              "swap": ways["insightface"]["frame_ms"] / ways["ours"]["frame_ms"]}  # fmt: skip
    if "png" in ways:
        # The job's network shares the cores with its encoder. So that this does not count for it, the quicker network
        # of both is taken off both.
        network = min(ways["png"]["network_ms"], ways["job"]["network_ms"])
        ratios["png"] = (ways["png"]["frame_ms"] - network) / (ways["job"]["frame_ms"] - network)
        ratios["whole"] = ways["png"]["frame_ms"] / ways["job"]["frame_ms"]
    return {"ways": ways, "ratios": {name: round(value, 2) for name, value in ratios.items()}}


def _way(runs: list[Run], frames: int) -> dict[str, Any]:
    def ms(values: list[float]) -> float:
        return round(1000 * median(values) / frames, 1)

    found = {
        "frames": frames,
        "frame_ms": ms([run["seconds"] for run in runs]),
        "network_ms": ms([run["network"] for run in runs]),
        "around_ms": ms([run["seconds"] - run["network"] for run in runs]),
        "fps": round(frames / median([run["seconds"] for run in runs]), 2),
        "runs_s": [round(run["seconds"], 2) for run in runs],
    }
    for key in ("images", "image_mb"):
        if key in runs[0]:
            found[key] = runs[-1][key]
    return found


def together(weights: Path, threads: int, repeats: int, count: int = 3) -> dict[str, Any]:
    """Seconds of the network for some faces one by one, and in one batch."""
    from framelane.processors.faceswap.inswapper import SIDE, load

    random = np.random.default_rng(0)
    crops = random.random((count, 3, SIDE, SIDE), np.float32)
    latents = random.normal(size=(count, 512)).astype(np.float32)
    networks = {"one_by_one": load(weights, "cpu", threads, chunk=1)}
    networks["together"] = load(weights, "cpu", threads, chunk=count)

    def timed(name: str) -> float:
        started = time.perf_counter()
        networks[name].run(crops, latents)
        return time.perf_counter() - started

    runs = in_turn({name: partial(timed, name) for name in networks}, repeats)
    return {"faces": count, **{name: round(median(found), 3) for name, found in runs.items()}}


def sentences(found: dict[str, Any]) -> list[str]:
    """Whether the targets are met, in words."""
    said = []
    for count, result in found["faces"].items():
        ratios, ways = result["ratios"], result["ways"]
        faces = "one face" if int(count) == 1 else f"{count} faces"
        text = f"With {faces} a frame: alignment and paste-back {_met(ratios['paste'], PASTE_TARGET)}"
        if "png" in ways:
            text += (
                f"; everything but the network, against PNG files, {_met(ratios['png'], PNG_TARGET)}; the whole "
                f"{ratios['whole']:.2f}x; {ways['png']['images']} pictures ({ways['png']['image_mb']:.0f} MB) on the disk "
                f"there, {ways['job']['images']} here"
            )
        said.append(f"{text}.")
    if found["others"] > DISTURBED:
        said.append(f"Other processes kept {found['others']:.1f} cores busy meanwhile: compare within this run only.")
    if any("png" not in result["ways"] for result in found["faces"].values()):
        said.append("There is no ffmpeg command on this machine; the way of PNG files is left out.")
    return said


def _met(ratio: float, target: float) -> str:
    return f"{ratio:.1f}x (target {target:.0f}x: {'met' if ratio >= target else 'MISSED'})"


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures of :func:`measure`."""
    from rich.table import Table

    clip = figures["clip"]
    title = (
        f"{clip['width']}x{clip['height']}, a random network of {figures['network_mb']:.0f} MB, "
        f"{figures['threads']} threads; milliseconds a frame"
    )
    table = Table("faces", "way", "frames", "whole", "network", "around it", "frames/s", "runs, s", title=title)
    for count, result in figures["faces"].items():
        for name, way in result["ways"].items():
            cells = [way["frames"], way["frame_ms"], way["network_ms"], way["around_ms"], way["fps"]]
            table.add_row(str(count), LABELS[name], *map(str, cells), " ".join(f"{s:.1f}" for s in way["runs_s"]))
    both = figures["together"]
    batch = Table("network", "seconds", title=f"{both['faces']} faces")
    for key, what in (("one_by_one", "one by one"), ("together", "in one batch")):
        batch.add_row(what, f"{both[key]:.2f}")
    return [table, batch]


LABELS = {
    "insightface": "INSwapper.get in a loop, frames in memory",
    "ours": "framelane, frames in memory",
    "png": "clip to PNG files to clip (roop)",
    "job": "clip to clip, a job of framelane",
}
