"""The poses as tables: COCO keypoint results, and a CSV with a line per joint."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from framelane.perception.skeleton import Layout, arranged, names

COLUMNS = ("frame", "time", "track", "joint", "x", "y", "score", "bridged")


def write_coco(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write COCO keypoint results (cocodataset.org, "Results format"), which ``pycocotools.coco.COCO.loadRes`` reads.

    One object per person and frame: ``image_id`` is the frame's index from 0, ``category_id`` 1 is COCO's person,
    ``keypoints`` are 17 times x, y in pixels (a pixel's centre lies at its half) and the joint's score, all three 0 where
    it is not there, ``score`` is the person's, ``track_id`` its lasting number.

    Args:
        rows: of :func:`framelane.processors.pose.figures.row`, in order.
        path: the file.

    Raises:
        OSError: the disk is full.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        comma = "\n"
        for row in rows:
            for person in row["people"]:
                points = [value for x, y, score, _ in person["joints"] for value in (x, y, score)]
                entry = {
                    "image_id": row["frame"], "category_id": 1, "keypoints": points, "score": person["score"],
                    "track_id": person["id"],
                }  # fmt: skip
                file.write(f"{comma}{json.dumps(entry)}")
                comma = ",\n"
        file.write("\n]\n")


def write_joints(rows: Iterable[dict[str, Any]], path: Path, layout: Layout) -> None:
    """Write a CSV with a line per joint that is there, see :data:`COLUMNS`; ``bridged`` is 1 where it was not seen.

    Args:
        rows: as for :func:`write_coco`.
        path: the file.
        layout: which joints.

    Raises:
        OSError: the disk is full.
    """
    order = names(layout)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            for person in row["people"]:
                joints = arranged(np.array(person["joints"], np.float64), layout)
                for name, (x, y, score, bridged) in zip(order, joints.tolist(), strict=True):
                    if score > 0:
                        where = f"{x:.2f}", f"{y:.2f}", f"{score:.3f}", int(bridged)
                        writer.writerow((row["frame"], f"{row['time']:.4f}", person["id"], name, *where))
