"""YOLO26-pose of the AGPL-3.0 package ``ultralytics``: opt-in, with weights that the user brings.

As for the detector (:mod:`framelane.perception.yolo`, which says why) neither the publisher's pickle nor the package is
opened: the user exports the weights once to ONNX, and puts that file into the cache.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.errors import FramelaneError, UsageError, chain
from framelane.perception.poses import Floats, Options, PoseEstimator, people
from framelane.perception.yolo import INPUT_TYPES, LETTER, LICENCE, export_command, letterboxed, missing
from framelane.resources import cache_dir

if TYPE_CHECKING:
    import supervision
    import torch

_COLUMNS = 6 + 17 * 3
"""Of the output: x1, y1, x2, y2, score, class, then x, y, score of every joint (ultralytics/nn/modules/head.py, Pose)."""
_OTHERS = "pose.model=movenet, rtmpose or rtmo (all Apache-2.0)"


class YoloPose(PoseEstimator):
    """YOLO26-pose as exported to ONNX: end to end, so without non-maximum suppression."""

    name = "yolo"
    notice = (
        f"pose.model=yolo: Ultralytics YOLO and its weights are licensed under {LICENCE}, or commercially by Ultralytics "
        f"(https://ultralytics.com/license); without that: {_OTHERS}."
    )

    def __init__(self, options: Options) -> None:
        """Open the user's weights."""
        super().__init__(options)
        from framelane.models.onnx import open_session

        path = weights_path(options.size)
        if not path.is_file():
            raise UsageError(missing(path, "pose.model", _OTHERS))
        opened = open_session(path, options.device, options.threads)
        self.session = opened.session
        self.provider, self.downgrade = opened.provider, opened.downgrade
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.own_weights = {"name": path.stem, "sha256": digest, "licence": LICENCE}
        self._input = self.session.get_inputs()[0]
        self._side = _read_side(self.session, path)

    @classmethod
    def catalogue_names(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003  (they have no name in it)
        """None: its weights are no model of the catalogue."""
        return ()

    def find(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """See :meth:`PoseEstimator.find`."""
        return [self._one(frame.permute(1, 2, 0).cpu().numpy()) for frame in rgb]

    def _one(self, rgb: Any) -> supervision.Detections:
        height, width = rgb.shape[:2]
        pixels, gain, corner = letterboxed(rgb, self._side, self._input.type)
        rows: Floats = self.session.run(None, {self._input.name: pixels})[0][0].astype(np.float32)
        rows = rows[rows[:, 4] >= self.options.lowest]
        size = np.array([width, height])
        boxes = np.clip((rows[:, :4] - np.tile(corner, 2)) / np.tile(gain, 2), 0, np.tile(size, 2)).astype(np.float32)
        joints = rows[:, 6:].reshape(-1, 17, 3).copy()
        joints[..., :2] = np.clip((joints[..., :2] - corner) / gain, 0, size)
        solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return people(joints[solid], rows[solid, 4], boxes[solid])


def weights_path(size: str) -> Path:
    """Where the exported weights of a size must lie."""
    return cache_dir() / "models" / f"yolo26{LETTER[size]}-pose.onnx"


def _read_side(session: Any, path: Path) -> tuple[int, int]:
    """Height and width of the input, from what the export wrote into the file."""
    about = session.get_modelmeta().custom_metadata_map
    given, shape = session.get_inputs()[0].type, session.get_outputs()[0].shape
    try:
        height, width = ast.literal_eval(about["imgsz"])
        kind, joints = about["task"], tuple(ast.literal_eval(about.get("kpt_shape", "()")))
        end_to_end = about["end2end"] == "True" and shape[-1] == _COLUMNS
    except (KeyError, ValueError, SyntaxError, TypeError, AttributeError) as error:
        raise FramelaneError(f"{path} is no YOLO that ultralytics exported to ONNX ({chain(error)}).") from error
    if kind != "pose" or joints != (17, 3) or not end_to_end or given not in INPUT_TYPES:
        raise FramelaneError(
            f"{path} is a YOLO for {kind} with joints {joints}, output {shape} and input {given}; framelane takes one for "
            f"pose with 17 joints that was exported end to end, of which the output ends in {_COLUMNS}: "
            f"{export_command(path)}."
        )
    return int(height), int(width)
