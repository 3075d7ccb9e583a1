"""YOLO26 of the AGPL-3.0 package ``ultralytics``: opt-in, with weights that the user brings.

Ultralytics publishes pickles without digests, and its package downloads and unpickles them by itself, so neither the
pickle nor the package is opened here. The user exports the weights once with it to ONNX, which cannot run code, and puts
that file into the cache. Running the file ourselves also says truthfully which provider runs it, and spares the process
what importing the package does: it turns off OpenCV's threads, asks the network whether it is there, and counts usage.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.errors import FramelaneError, UsageError, chain
from framelane.perception.detectors import COCO_NAMES, Detector, DetectorOptions, FloatArray, coco_ids
from framelane.resources import cache_dir
from framelane.video.copies import to_host

if TYPE_CHECKING:
    import supervision
    import torch

LICENCE = "AGPL-3.0"
_APACHE = "rfdetr, rtdetr, deformable_detr or nanodet (all Apache-2.0)"
INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
LETTER = {"nano": "n", "small": "s", "medium": "m", "large": "l"}
_GREY = 114  # of the bars, as the network was trained


class Yolo(Detector):
    """YOLO26 as exported to ONNX: end to end, so without non-maximum suppression.

    Boxes are those of ``ultralytics`` itself, but a box with two labels (car 0.8, truck 0.3) is one object, the better.
    """

    name = "yolo"
    most = 100

    def __init__(self, options: DetectorOptions) -> None:
        """Open the user's weights (see :func:`~framelane.perception.detectors.load_detector`)."""
        super().__init__(options)
        from framelane.models.onnx import open_session

        setting, path = f"{options.section}.detector", weights_path(options.size)
        if not path.is_file():
            raise UsageError(missing(path, setting, f"{setting}={_APACHE}"))
        self.notice = (
            f"{setting}=yolo: Ultralytics YOLO and its weights are licensed under {LICENCE}, or commercially by "
            f"Ultralytics (https://ultralytics.com/license); without that: {setting}={_APACHE}."
        )
        opened = open_session(path, options.device, options.threads)
        self.session = opened.session
        self.provider, self.downgrade = opened.provider, opened.downgrade
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.own_weights = {"name": path.stem, "sha256": digest, "licence": LICENCE}
        self._input = self.session.get_inputs()[0]
        self._side, self._coco = _read_about(self.session, path)

    @classmethod
    def catalogue_name(cls, size: str) -> None:
        """None: its weights are no model of the catalogue."""

    def detect(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """See :meth:`Detector.detect`. The model takes one frame at a time."""
        return [self._one(to_host(frame).transpose(1, 2, 0)) for frame in rgb]

    def _one(self, rgb: Any) -> supervision.Detections:
        import supervision as sv

        height, width = rgb.shape[:2]
        pixels, gain, corner = self.letterbox(rgb)
        rows: FloatArray = self.session.run(None, {self._input.name: pixels})[0][0].astype(np.float32)
        boxes = (rows[:, :4] - np.tile(corner, 2)) / np.tile(gain, 2)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height])).astype(np.float32)
        ids = self._coco[rows[:, 5].astype(np.int64)]
        kept = (rows[:, 4] >= self.lowest_score) & np.isin(ids, sorted(self.class_ids))
        kept &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        order = np.flatnonzero(kept)[np.argsort(-rows[kept, 4], kind="stable")]
        # Two labels of one thing share its box to the bit.
        first = np.sort(np.unique(rows[order, :4], axis=0, return_index=True)[1])
        best = order[first][: self.most]
        names = np.array([COCO_NAMES[index] for index in ids[best]], dtype=np.str_)
        return sv.Detections(xyxy=boxes[best], confidence=rows[best, 4], class_id=ids[best], data={"class_name": names})

    def letterbox(self, rgb: Any) -> tuple[Any, Any, Any]:
        """A frame (H, W, 3) as the network was trained to see it (``ultralytics/data/augment.py``, ``LetterBox``).

        Returns:
            (1, 3, side, side) of 0 to 1; the scales x, y from frame to network; left and top margin in pixels.
        """
        return letterboxed(rgb, self._side, self._input.type)


def letterboxed(rgb: Any, side: tuple[int, int], kind: str) -> tuple[Any, Any, Any]:
    """See :meth:`Yolo.letterbox`.

    Args:
        rgb: uint8 (H, W, 3).
        side: height and width of the network's input.
        kind: its type as onnxruntime names it, one of :data:`INPUT_TYPES`.
    """
    import cv2

    height, width = rgb.shape[:2]
    scale = min(side[0] / height, side[1] / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    small = rgb if (rows, columns) == (height, width) else cv2.resize(rgb, (columns, rows))
    top, left = (round((whole - part) / 2 - 0.1) for whole, part in zip(side, (rows, columns), strict=True))
    canvas = np.full((*side, 3), _GREY, dtype=np.uint8)
    canvas[top : top + rows, left : left + columns] = small
    pixels = canvas.transpose(2, 0, 1)[None].astype(INPUT_TYPES[kind]) / 255
    return np.ascontiguousarray(pixels), np.array([columns / width, rows / height]), np.array([left, top])


def weights_path(size: str) -> Path:
    """Where the exported weights of a size must lie."""
    return cache_dir() / "models" / f"yolo26{LETTER[size]}.onnx"


def export_command(path: Path) -> str:
    """The command that makes a file of the user's own; to be typed, never run here."""
    # nms=False keeps the end-to-end head; from ultralytics 8.4 on, the default exports the other one.
    return f"yolo export model={path.stem}.pt format=onnx nms=False"


def missing(path: Path, setting: str, others: str) -> str:
    """What to do where there are no weights, in a sentence.

    Args:
        path: where they must lie.
        setting: that asked for them, as in ``"attention.detector"``.
        others: what to take instead.
    """
    export = export_command(path)
    if importlib.util.find_spec("ultralytics") is None:
        return (
            f"{setting}=yolo needs weights made with the package ultralytics, which is licensed under {LICENCE} and is "
            f"not installed; install it (pip install ultralytics), run: {export}, and move {path.name} to {path.parent}. "
            f"Or take {others}."
        )
    return (
        f"{setting}=yolo found no weights at {path}; run: {export}, and move {path.name} there. They are licensed under "
        f"{LICENCE}, as is the package ultralytics. Or take {others}."
    )


def _read_about(session: Any, path: Path) -> tuple[tuple[int, int], Any]:
    """Height and width of the input and the COCO ids of the labels, from what the export wrote into the file."""
    about = session.get_modelmeta().custom_metadata_map
    given, shape = session.get_inputs()[0].type, session.get_outputs()[0].shape
    try:
        height, width = ast.literal_eval(about["imgsz"])
        coco = coco_ids(ast.literal_eval(about["names"]))
        kind, end_to_end = about["task"], about["end2end"] == "True" and shape[-1] == 6
    except (KeyError, ValueError, SyntaxError, TypeError, AttributeError) as error:
        raise FramelaneError(f"{path} is no YOLO that ultralytics exported to ONNX ({chain(error)}).") from error
    if kind != "detect" or not end_to_end or given not in INPUT_TYPES:
        raise FramelaneError(
            f"{path} is a YOLO for {kind} with output {shape} and input {given}; framelane takes one for detection that "
            f"was exported end to end, of which the output ends in 6: {export_command(path)}."
        )
    if (coco < 0).all():
        raise FramelaneError(f"The model in {path} knows none of the COCO classes; yolo needs one that does.")
    return (int(height), int(width)), coco
