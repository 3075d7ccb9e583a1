"""``framelane bench tracking``: what is lost by detecting on every N-th frame only, scored on annotated videos.

People in two street scenes (TUD-Campus and TUD-Stadtmitte, 250 frames, as shipped with ``motmetrics``) were outlined by
hand in every frame. The trackers are given those boxes as detections, on every N-th frame; what they answer is brought
to every frame and scored against the hand's. So the tables show what trackers and gaps lose, and nothing of a detector.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from framelane.errors import FramelaneError
from framelane.perception.camera import Motion, compose, moved
from framelane.perception.trackers import load_tracker, tracker_names

if TYPE_CHECKING:
    import supervision
    from rich.table import Table

    from framelane.perception.lanes import BoxLane, Pending, Track

SEQUENCES = ("TUD-Campus", "TUD-Stadtmitte")
RATE = 25  # frames a second, of both
STRIDES = (1, 2, 3, 5, 10)
LARGEST = 3
"""The largest stride that a mode may set by default."""
MOST_LOST = 5.0
"""Points of MOTA that interpolation over the largest default stride may lose to a detection on every frame."""
SHAKE = 30.0  # pixels by which a planted camera jumps about, at most, to either side

Answer = tuple[list[int], npt.NDArray[np.float64]]
"""One frame: ids, and boxes ``(N, 4)`` as x1, y1, x2, y2 in pixels."""


def load(name: str, file: str = "gt.txt") -> list[Answer]:
    """An annotated video of ``motmetrics``.

    Args:
        name: one of :data:`SEQUENCES`.
        file: ``gt.txt``, by hand, or ``test.txt``, what a tracker of 2013 made of detections.

    Returns:
        One answer a frame.

    Raises:
        FramelaneError: ``motmetrics`` is not installed.
    """
    metrics = _motmetrics()
    rows = metrics.io.loadtxt(str(Path(metrics.__file__).parent / "data" / name / file))
    frames = rows.index.get_level_values(0).to_numpy()
    ids = rows.index.get_level_values(1).to_numpy()
    boxes = rows[["X", "Y", "Width", "Height"]].to_numpy(dtype=np.float64)
    boxes[:, 2:] += boxes[:, :2]
    return [(ids[frames == k].tolist(), boxes[frames == k]) for k in range(1, int(frames.max()) + 1)]


def _motmetrics() -> Any:
    try:
        import motmetrics
    except ImportError as error:
        raise FramelaneError(
            "bench tracking scores with the package motmetrics, which is not installed: pip install motmetrics==1.4.0"
        ) from error
    return motmetrics


def score(pairs: Iterable[tuple[list[Answer], list[Answer]]]) -> dict[str, float]:
    """CLEAR MOT and identity scores over several videos, a match being an IoU of at least 0.5.

    Args:
        pairs: what is true, and what was answered, frame by frame.

    Returns:
        ``mota`` and ``idf1`` in percent, ``switches``, ``misses`` and ``false`` boxes as counts.
    """
    import supervision as sv

    metrics, videos = _motmetrics(), []
    for truth, answers in pairs:
        video = metrics.MOTAccumulator()
        for index, ((ids, boxes), (own, found)) in enumerate(zip(truth, answers, strict=True)):
            # Not by motmetrics' own iou_matrix: version 1.4.0 calls np.asfarray, which NumPy 2 no longer has.
            overlap = sv.box_iou_batch(boxes, found) if len(ids) and len(own) else np.zeros((len(ids), len(own)))
            video.update(ids, own, np.where(overlap >= 0.5, 1 - overlap, np.nan), frameid=index)
        videos.append(video)
    names = {"mota": "mota", "idf1": "idf1", "switches": "num_switches", "misses": "num_misses"}
    names["false"] = "num_false_positives"
    table = metrics.metrics.create().compute_many(videos, metrics=list(names.values()), generate_overall=True)
    scores = {short: float(table.loc["OVERALL", name]) for short, name in names.items()}
    return {short: round(100 * value, 1) if short in ("mota", "idf1") else value for short, value in scores.items()}


def detections(boxes: npt.NDArray[np.float64]) -> supervision.Detections:
    """Boxes as a detector that is sure of its people would give them."""
    import supervision as sv

    count = len(boxes)
    return sv.Detections(
        xyxy=boxes.astype(np.float32),
        confidence=np.ones(count, np.float32),
        class_id=np.zeros(count, np.int64),
        data={"class_name": np.array(["person"] * count, dtype=np.str_)},
    )


# -- from every N-th frame to every frame --------------------------------------------------------------------------------


def follow(truth: list[Answer], tracker: str, every: int) -> tuple[BoxLane, deque[Pending]]:
    """Run the processor's own lane over a video whose detections are the true boxes of every N-th frame."""
    from framelane.perception.lanes import BoxLane, Pending
    from framelane.perception.motion import Step
    from framelane.video.colour import ColourTags
    from framelane.video.frames import FrameBatch, Layout

    layout = Layout(640, 480, Fraction(1, RATE), 0, ColourTags(height=480))
    lane, waiting = BoxLane(load_tracker(tracker, rate=RATE / every), (480, 640)), deque[Pending]()
    for index, (_, boxes) in enumerate(truth):
        frame = FrameBatch((None,), (index,), (1,), index, layout)
        found = detections(boxes) if index % every == 0 else None
        waiting.append(Pending(frame, Step(index == 0, (1, 1)), False, found))
        lane.track(waiting[-1])
    return lane, waiting


def interpolated(lane: BoxLane, waiting: deque[Pending]) -> list[Answer]:
    """As ``attention`` fills the gaps: between the detections before and after."""
    lane.fill(waiting, ended=True)
    return [_answer(item.tracks or []) for item in waiting]


def held(lane: BoxLane, waiting: deque[Pending]) -> list[Answer]:
    """The last boxes stay."""
    return [_answer(lane.tracked[_last(lane, item.index)]) for item in waiting]


def extrapolated(lane: BoxLane, waiting: deque[Pending]) -> list[Answer]:
    """The last boxes go on as they moved between the last two detections, as one who must not wait would do."""
    answers = []
    for item in waiting:
        last = _last(lane, item.index)
        ids, boxes = _answer(lane.tracked[last])
        earlier = _last(lane, last - 1) if last else last
        known = dict(zip(*_answer(lane.tracked[earlier]), strict=True))
        for row, index in enumerate(ids):
            if index in known and last > earlier:
                boxes[row] += (boxes[row] - known[index]) * (item.index - last) / (last - earlier)
        answers.append((ids, boxes))
    return answers


FILLS: dict[str, Callable[[BoxLane, deque[Pending]], list[Answer]]] = {
    "hold the last": held,
    "constant velocity": extrapolated,
    "interpolate": interpolated,
}


def _last(lane: BoxLane, index: int) -> int:
    return max(known for known in lane.tracked if known <= index)


def _answer(tracks: list[Track]) -> Answer:
    return [track.index for track in tracks], np.array([track.box for track in tracks], np.float64).reshape(-1, 4)


# -- under a camera that shakes ------------------------------------------------------------------------------------------


def shaken(truth: list[Answer], seed: int) -> tuple[list[Answer], list[Motion]]:
    """The same video under a camera that jumps about; and where it is in each frame."""
    offsets = np.random.default_rng(seed).uniform(-SHAKE, SHAKE, (len(truth), 2))
    cameras: list[Motion] = [np.column_stack([np.eye(2), offset]) for offset in offsets]
    return [(ids, moved(boxes, camera)) for (ids, boxes), camera in zip(truth, cameras, strict=True)], cameras


def follow_shaken(truth: list[Answer], tracker: str, every: int, *, told: bool) -> tuple[list[Answer], list[Answer]]:
    """What is true and what was answered at the detected frames of a shaken video.

    Args:
        truth: the still video.
        tracker: its name.
        every: detect on every N-th frame.
        told: whether the tracker hears of the camera's motion.
    """
    video, cameras = shaken(truth, 0)
    current, answers = load_tracker(tracker, rate=RATE / every), []
    for index in range(0, len(video), every):
        back = cameras[max(0, index - every)].copy()
        back[:, 2] *= -1
        camera = compose(back, cameras[index]) if told and index else None
        answer = current.update(detections(video[index][1]), index / RATE, camera)
        answers.append((answer.tracker_id.tolist(), answer.xyxy.astype(np.float64)))
    return video[::every], answers


# -- the benchmark -------------------------------------------------------------------------------------------------------


def measure(*, strides: tuple[int, ...] = STRIDES, sequences: tuple[str, ...] = SEQUENCES) -> dict[str, Any]:
    """Score every tracker, stride and way to fill the gaps; and every tracker under a shaken camera.

    Args:
        strides: detect on every N-th frame; the first is what the others are compared with.
        sequences: of :data:`SEQUENCES`.
    """
    truths = [load(name) for name in sequences]
    gaps, shakes = [], []
    for tracker in tracker_names():
        for every in strides:
            for fill, bring in FILLS.items():
                found = score((truth, bring(*follow(truth, tracker, every))) for truth in truths)
                gaps.append({"tracker": tracker, "every": every, "fill": fill, **found})
    for tracker, told in (("bytetrack", False), ("botsort", False), ("botsort", True)):
        for every in strides:
            found = score(follow_shaken(truth, tracker, every, told=told) for truth in truths)
            shakes.append({"tracker": tracker, "told": told, "every": every, **found})
    figures = {
        "sequences": list(sequences),
        "frames": sum(len(truth) for truth in truths),
        "boxes": sum(len(ids) for truth in truths for ids, _ in truth),
        "gaps": gaps,
        "shaken": shakes,
    }
    return {**figures, "sentences": sentences(figures)}


def sentences(figures: dict[str, Any]) -> list[str]:
    """The targets, and whether they were met."""
    found = []
    mota = {(row["tracker"], row["every"]): row["mota"] for row in figures["gaps"] if row["fill"] == "interpolate"}
    for tracker in sorted({tracker for tracker, _ in mota}):
        if (tracker, 1) in mota and (tracker, LARGEST) in mota:
            lost = mota[tracker, 1] - mota[tracker, LARGEST]
            found.append(
                f"{tracker}: interpolating over N = {LARGEST} loses {lost:.1f} points of MOTA to N = 1 "
                f"(target at most {MOST_LOST:.0f}: {'met' if lost <= MOST_LOST else 'MISSED'})."
            )
    switches = {(row["tracker"], row["told"]): row["switches"] for row in figures["shaken"] if row["every"] == 1}
    told, untold = switches.get(("botsort", True)), switches.get(("botsort", False))
    if told is not None and untold is not None:
        found.append(
            f"botsort under a shaken camera switches ids {told:.0f} times if told of its motion, {untold:.0f} times if "
            f"not (target: fewer: {'met' if told < untold else 'MISSED'})."
        )
    return found


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures of :func:`measure`."""
    from rich.table import Table

    title = f"{figures['boxes']} true boxes in {figures['frames']} frames of {', '.join(figures['sequences'])}"
    gaps = Table("tracker", "N", *(f"{fill}: MOTA / IDF1 / switches" for fill in FILLS), title=title)
    cells: dict[tuple[str, int], list[str]] = {}
    for row in figures["gaps"]:
        cells.setdefault((row["tracker"], row["every"]), []).append(_cell(row))
    for (tracker, every), shown in cells.items():
        gaps.add_row(tracker, str(every), *shown)
    shakes = Table(
        "tracker",
        "told",
        "N",
        "MOTA / IDF1 / switches",
        title=f"the same, detected frames only, camera shaken by {SHAKE:.0f} px",
    )
    for row in figures["shaken"]:
        shakes.add_row(row["tracker"], "yes" if row["told"] else "no", str(row["every"]), _cell(row))
    return [gaps, shakes]


def _cell(row: dict[str, Any]) -> str:
    return f"{row['mota']:.1f} / {row['idf1']:.1f} / {row['switches']:.0f}"
