"""``framelane bench pose``: joints whose motion is known, before and after smoothing; and the tables through pycocotools.

A frame of the demo clip with a walker is shifted, scaled and turned by a known path, and noise is laid over every picture.
Where a joint lies in the first frame nobody knows better than the model; how it *moves* is known exactly. So the truth is
the path, laid through the median of where the model saw the joint, and the figures are what a constant offset of the
model leaves out: jitter, lag, and what interpolation loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.bench.moved_person import FRAMES, NOISE, RATE, SOURCES, Floats, Planted, look, path, start_of, walker_of
from framelane.perception.poses import MoveNet, Options
from framelane.sections.pose import PoseSettings

if TYPE_CHECKING:
    from rich.table import Table

STRIDES = (1, 2, 3)
MOST_LAG = 0.5
"""Frames by which the default smoothing may lag."""
SMALL = (1.0, 0.5, 0.35)
"""Sizes at which people are looked at again closer: 220, 110 and 77 pixels of a frame of 960."""


def followed(planted: Planted, number: int, every: int, smoothing: str) -> list[Floats | None]:
    """What the processor's own lane makes of it: per frame (17, 4) of the walker, or None."""
    from framelane.processors.pose.lane import Lane

    lane = Lane(PoseSettings.model_validate({"smoothing": smoothing}), rate=RATE, every=every)
    answers: list[Floats | None] = []
    count = len(planted.found)
    for index in range(count + lane.ahead):
        if index < count:
            lane.give(index, index / RATE, 0, planted.found[index] if index % every == 0 else None)
        if index >= lane.ahead:
            at = index - lane.ahead
            people = lane.take(at, at / RATE, 0)
            matrix = path(at / RATE, planted.centre, planted.size)
            answers.append(_one_of([person.joints for person in people], matrix, number))
    return answers


def _one_of(people: Sequence[Floats], matrix: Floats, number: int) -> Floats | None:
    import supervision as sv

    if not people:
        return None
    joints = np.stack(people)
    found = sv.Detections(xyxy=np.zeros((len(people), 4)), data={"joints": joints})
    return walker_of(found, matrix, number)


def errors(planted: Planted, answers: Sequence[Floats | None], late: float = 0.0) -> Floats:
    """Distances in pixels of all joints that the model is sure of, in all frames but the first and last five.

    Args:
        planted: the truth.
        answers: per frame (17, 3 or more), or None.
        late: frames by which the truth is held back before it is compared.
    """
    found = []
    for index, joints in enumerate(answers):
        if joints is None or not 5 <= index < len(answers) - 5:
            continue
        use = planted.seen & (joints[:, 2] > 0)
        truth = planted.truth((index - late) / RATE)
        found.append(np.linalg.norm(joints[use, :2] - truth[use], axis=1))
    return np.concatenate(found) if found else np.zeros(0)


def lag(planted: Planted, answers: Sequence[Floats | None]) -> float:
    """The delay in frames at which the answers fit the truth best, to a twentieth."""
    delays = np.arange(-2, 6, 0.05)
    costs = [float((errors(planted, answers, delay) ** 2).mean()) for delay in delays]
    return round(float(delays[int(np.argmin(costs))]), 2)


def jitter(planted: Planted, answers: Sequence[Floats | None]) -> float:
    """Root mean square of how far a joint's error changes from one frame to the next, in pixels."""
    changes, before = [], None
    for index, joints in enumerate(answers):
        if joints is None or not 5 <= index < len(answers) - 5:
            before = None
            continue
        error = joints[:, :2] - planted.truth(index / RATE)
        if before is not None:
            changes.append(((error - before)[planted.seen] ** 2).sum(axis=1))
        before = error
    return float(np.sqrt(np.concatenate(changes).mean())) if changes else float("nan")


def measure(
    *,
    sources: tuple[int, ...] = SOURCES,
    strides: tuple[int, ...] = STRIDES,
    frames: int = FRAMES,
    sizes: tuple[float, ...] = SMALL,
) -> dict[str, Any]:
    """Error, jitter and lag by stride and smoothing; and what looking closer gains by size.

    Args:
        sources: stills, of :data:`SOURCES`.
        strides: a pose on every N-th frame.
        frames: of each clip.
        sizes: at which people are looked at again closer.
    """
    began = perf_counter()
    near = MoveNet(Options(threads=1, closer=True))
    clips = [(number, look(near, number, frames=frames)) for number in sources]  # through its own median: motion only
    seconds = (perf_counter() - began) / (len(sources) * frames)
    rows = []
    for every in strides:
        for smoothing in ("none", "one_euro", "loess"):
            rows.append({"every": every, "smoothing": smoothing, **_scored(clips, every, smoothing)})
    figures = {
        "clips": len(sources), "frames": frames, "noise": NOISE, "rows": rows, "closer": closer(clips, frames, sizes),
        "ms_per_look": round(1000 * seconds, 1),
    }  # fmt: skip
    return {**figures, "sentences": sentences(figures)}


def _scored(clips: Sequence[tuple[int, Planted]], every: int, smoothing: str) -> dict[str, float]:
    done = [(planted, followed(planted, number, every, smoothing)) for number, planted in clips]
    distances = np.concatenate([errors(*each) for each in done])
    return {
        "error": round(float(distances.mean()), 2),
        "p95": round(float(np.percentile(distances, 95)), 2),
        "jitter": round(float(np.mean([jitter(*each) for each in done])), 2),
        "lag": round(float(np.mean([lag(*each) for each in done])), 2),
        "missed": round(100 * float(np.mean([answer is None for _, answers in done for answer in answers])), 1),
    }


def closer(clips: Sequence[tuple[int, Planted]], frames: int, sizes: Sequence[float] = SMALL) -> list[dict[str, Any]]:
    """Error of single looks, as a share of the walker's height, with and without the second look, by size."""
    found = []
    starts = {number: start_of(number) for number, _ in clips}
    for size in sizes:
        row: dict[str, Any] = {"size": size, "height": round(size * 220)}
        for name, again in (("once", False), ("closer", True)):
            estimator = MoveNet(Options(threads=1, closer=again))
            parts, scored, missed, began = [], [], 0, perf_counter()
            for number, large in clips:
                planted = look(estimator, number, size, max(12, frames // 3), start=starts[number])
                answers = [
                    walker_of(people, path(index / RATE, planted.centre, size), number)
                    for index, people in enumerate(planted.found)
                ]
                missed += sum(answer is None for answer in answers)
                same = Planted(planted.found, planted.centre, size, large.start, large.seen)
                parts.append(errors(same, answers))
                scored.append((same, answers))
            looks = len(clips) * max(12, frames // 3)
            precision = average_precision(scored)
            distances = np.concatenate(parts)
            row[name] = {
                "error": round(float(np.median(distances)), 2) if len(distances) else None,
                "share": round(100 * float(np.median(distances)) / (220 * size), 2) if len(distances) else None,
                "missed": round(100 * missed / looks, 1),
                "ap": precision,
                "ms": round(1000 * (perf_counter() - began) / looks, 1),
            }
        found.append(row)
    return found


def average_precision(scored: Sequence[tuple[Planted, Sequence[Floats | None]]]) -> float | None:
    """COCO's keypoint AP (0 to 100) of answers to planted truth, through the exported file and pycocotools itself.

    The area of a person is 0.53 of a box, as mmpose 1.3.2 takes it for data sets without outlines
    (datasets/datasets/base/base_coco_style_dataset.py:306); of the box around the joints, which is smaller than the
    person's own, and so stricter. Somebody else in the picture is left out on both sides.

    Returns:
        None where pycocotools is not installed.
    """
    import tempfile

    from framelane.perception.pose_tracks import Person
    from framelane.perception.skeleton import COCO17
    from framelane.processors.pose.figures import row
    from framelane.processors.pose.tables import write_coco

    if find_spec("pycocotools") is None:
        return None
    truths: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for planted, answers in scored:
        for index, joints in enumerate(answers):
            true, image = planted.truth(index / RATE), len(rows)
            low, size = true.min(axis=0), np.ptp(true, axis=0)
            points = np.column_stack([true, 2.0 * planted.seen])
            truths.append(
                {
                    "id": image + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                    "num_keypoints": int(planted.seen.sum()), "area": 0.53 * float(size.prod()),
                    "bbox": [*low.tolist(), *size.tolist()], "keypoints": points.ravel().tolist(),
                }
            )  # fmt: skip
            people = [] if joints is None else [Person(1, np.pad(joints[:, :3], ((0, 0), (0, 1))), joints[:, 2].mean())]
            rows.append(row(image, image / RATE, people, cut=False))
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17)}]
    truth = {"images": [{"id": data["frame"]} for data in rows], "categories": categories, "annotations": truths}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.coco.json"
        write_coco(rows, path)
        return round(100 * coco_scores(truth, path)[0], 1)


def coco_scores(truth: dict[str, Any], path: Path) -> list[float]:
    """What pycocotools' COCOeval says of an exported file of joints.

    Args:
        truth: an annotated COCO data set; only its images are scored.
        path: a ``.coco.json``.

    Returns:
        The ten numbers of its summary, 0 to 1, -1 where there is nothing to score: AP, AP at OKS 0.5 and at 0.75, of
        medium and large people; recalls likewise.
    """
    import contextlib
    import io
    import json

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = COCO()
    dataset.dataset = truth
    images = {image["id"] for image in truth["images"]}
    found = [entry for entry in json.loads(path.read_text(encoding="utf-8")) if entry["image_id"] in images]
    if not found:
        return [0.0] * 10
    with contextlib.redirect_stdout(io.StringIO()):
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes(found), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def sentences(figures: dict[str, Any]) -> list[str]:
    """The targets, and whether they were met."""
    rows = {(row["every"], row["smoothing"]): row for row in figures["rows"]}
    found = []
    for every in sorted({every for every, _ in rows}):
        raw, smooth = rows[every, "none"], rows[every, "loess"]
        fine = abs(smooth["lag"]) <= MOST_LAG and smooth["jitter"] < raw["jitter"]
        found.append(
            f"N = {every}: loess takes the jitter from {raw['jitter']:.2f} to {smooth['jitter']:.2f} px and the error from "
            f"{raw['error']:.2f} to {smooth['error']:.2f} px with a lag of {smooth['lag']:.2f} frames "
            f"(target: steadier, at most {MOST_LAG} frames: {'met' if fine else 'MISSED'})."
        )
    return found


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures of :func:`measure`."""
    from rich.table import Table

    title = (
        f"{figures['clips']} stills moved by a known path over {figures['frames']} frames, noise {figures['noise']:g}"
    )
    table = Table("N", "smoothing", "error px", "95 % px", "jitter px", "lag frames", "missed %", title=title)
    for row in figures["rows"]:
        cells = (f"{row[key]:.2f}" for key in ("error", "p95", "jitter", "lag"))
        table.add_row(str(row["every"]), row["smoothing"], *cells, f"{row['missed']:.1f}")
    title = "one look at people of this height in a frame of 960 x 540"
    again = Table("height px", "model", "median error px", "% of height", "missed %", "AP", "ms a frame", title=title)
    for row in figures["closer"]:
        for name in ("once", "closer"):
            one = row[name]
            again.add_row(
                str(row["height"]), name, _shown(one["error"]), _shown(one["share"]), f"{one['missed']:.1f}",
                _shown(one["ap"]), f"{one['ms']:.0f}",
            )  # fmt: skip
    return [table, again]


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
