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
Frames = dict[int, tuple[int, int]]
"""Faces a frame to frames of a loop in memory, and of a whole run from clip to clip."""
MANY: Frames = {1: (12, 24), 3: (8, 24), 6: (6, 24)}
FEW: Frames = {1: (2, 8), 3: (2, 4), 6: (2, 4)}
WIDTH, NARROW = 128, 4
PASTE_TARGET, PNG_TARGET = 3.0, 3.0


def quick() -> dict[str, Any]:
    """:func:`measure` without the network of real size, which takes most of the time."""
    return measure(few={})


def measure(
    *,
    repeats: int = 3,
    size: tuple[int, int] = SIZE,
    many: Frames = MANY,
    few: Frames = FEW,
    width: int = WIDTH,
) -> dict[str, Any]:
    """All figures, twice: with a network of the real size on few frames, and with a narrow one on many.

    Around the network both do the same. The first says what the whole takes; on a CPU its few frames are seconds of
    network each, in which whatever else the machine does is larger than what stands around it. That the second shows.

    Args:
        repeats: runs of each way with the narrow network, in turn; medians are compared. With the real one it is one run.
        size: width and height of the clips.
        many: frames for the narrow network.
        few: frames for the real one; none leaves it out.
        width: of the real network; 128 is the published one's.

    Raises:
        FramelaneError: insightface is not installed.
    """
    from framelane.container import usable_cores

    threads = usable_cores()
    started, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    found: dict[str, Any] = {"clip": {"width": size[0], "height": size[1]}, "threads": threads}
    with tempfile.TemporaryDirectory() as name:
        for key, channels, frames, runs in (("narrow", NARROW, many, repeats), ("real", width, few, 1)):
            if not frames:
                continue
            folder = Path(name) / key
            folder.mkdir()
            found[key] = _all(folder, channels, frames, runs, size, threads)
    others = (busy_seconds() - busy - own_seconds() + own) / (time.perf_counter() - started)
    found["others"] = round(max(0.0, others), 2)
    return {**found, "sentences": sentences(found)}


def _all(folder: Path, width: int, frames: Frames, repeats: int, size: tuple[int, int], threads: int) -> dict[str, Any]:
    """Every number of faces with a network of one width."""
    from framelane.bench.clips import make_clip
    from framelane.bench.facenets import write_inswapper

    weights = write_inswapper(folder / "random.onnx", width)
    theirs, ours = _opened(weights, threads)
    make_clip(folder / "first.mp4", size, Fraction(2, 30))
    compare(_contest(folder / "first.mp4", 1, 1, theirs, ours, folder, threads), 2, 1)  # what loads late is here now
    faces = {}
    for count, (some, whole) in frames.items():
        clip = folder / f"{count}.mp4"
        make_clip(clip, size, Fraction(whole, 30))
        faces[count] = compare(_contest(clip, some, count, theirs, ours, folder, threads), whole, repeats)
    del theirs, ours
    megabytes = round(weights.stat().st_size / 1e6, 1)
    return {"network_mb": megabytes, "faces": faces, "together": together(weights, threads, repeats)}


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
    for count, result in found["narrow"]["faces"].items():
        ratios, ways = result["ratios"], result["ways"]
        text = f"{_faces(count)} a frame: alignment and paste-back {_met(ratios['paste'], PASTE_TARGET)}"
        if "png" in ways:
            text += (
                f"; everything but the network, against PNG files, {_met(ratios['png'], PNG_TARGET)}; "
                f"{ways['png']['images']} pictures ({ways['png']['image_mb']:.0f} MB) on the disk there, "
                f"{ways['job']['images']} here"
            )
        said.append(f"{text}.")
    for count, result in found.get("real", {"faces": {}})["faces"].items():
        ratios = result["ratios"]
        text = f"{_faces(count)} a frame with the network of real size: {ratios['swap']:.2f}x in memory"
        said.append(f"{text}, {ratios['whole']:.2f}x from clip to clip." if "whole" in ratios else f"{text}.")
    if found["others"] > DISTURBED:
        said.append(f"Other processes kept {found['others']:.1f} cores busy meanwhile: compare within this run only.")
    if any("png" not in result["ways"] for result in found["narrow"]["faces"].values()):
        said.append("There is no ffmpeg command on this machine; the way of PNG files is left out.")
    return said


def _faces(count: int) -> str:
    return "With one face" if int(count) == 1 else f"With {count} faces"


def _met(ratio: float, target: float) -> str:
    return f"{ratio:.1f}x (target {target:.0f}x: {'met' if ratio >= target else 'MISSED'})"


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures of :func:`measure`."""
    from rich.table import Table

    clip, found = figures["clip"], []
    for part in [figures[key] for key in ("narrow", "real") if key in figures]:
        title = (
            f"{clip['width']}x{clip['height']}, a random network of {part['network_mb']:.0f} MB, "
            f"{figures['threads']} threads; milliseconds a frame"
        )
        table = Table("faces", "way", "frames", "whole", "network", "around it", "frames/s", "runs, s", title=title)
        for count, result in part["faces"].items():
            for name, way in result["ways"].items():
                cells = [way["frames"], way["frame_ms"], way["network_ms"], way["around_ms"], way["fps"]]
                table.add_row(str(count), LABELS[name], *map(str, cells), " ".join(f"{s:.1f}" for s in way["runs_s"]))
        found.append(table)
    both = figures.get("real", figures["narrow"])["together"]
    batch = Table("the network alone", "seconds", title=f"{both['faces']} faces")
    for key, what in (("one_by_one", "one by one"), ("together", "in one batch")):
        batch.add_row(what, f"{both[key]:.2f}")
    return [*found, batch]


LABELS = {
    "insightface": "INSwapper.get in a loop, frames in memory",
    "ours": "framelane, frames in memory",
    "png": "clip to PNG files to clip (roop)",
    "job": "clip to clip, a job of framelane",
}
