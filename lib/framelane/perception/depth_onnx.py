"""Depth from an ONNX file: of the catalogue, a user's own, or YOLO26-depth as ``ultralytics`` exports it.

The file takes float32 or float16 ``(1, 3, h, w)``, fixed or free, and gives ``(1, h, w)`` or ``(1, 1, h, w)``. What it
gives (metric, relative) and takes (imagenet, unit) is written into the file's metadata as ``framelane.kind`` and
``framelane.normalisation``, or said in the settings, which win.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.errors import FramelaneError, UsageError, chain
from framelane.perception.depths import (
    IMAGENET,
    DepthEstimator,
    DepthMaps,
    DepthOptions,
    Kind,
    input_size,
    own_weights,
    sane,
)
from framelane.resources import cache_dir

if TYPE_CHECKING:
    import torch

YOLO_LICENCE = "AGPL-3.0"
_PATCH = 14  # of a file whose sides are free: those are transformers of the DINOv2 family
_STRETCHED = 1.5  # how far the shape of a map may be from that of the picture: sides are rounded to patches
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxDepth(DepthEstimator):
    """Any depth model as ONNX."""

    name = "onnx"

    def __init__(self, path: Path, options: DepthOptions) -> None:
        """Open a file (see :func:`~framelane.perception.depths.load_estimator`)."""
        super().__init__(path, options)
        from framelane.models.onnx import open_session

        if not path.is_file():
            raise UsageError(f"depth.model: there is no file {path}.")
        opened = open_session(path, options.device, options.threads)
        self.session, self.provider, self.downgrade = opened.session, opened.provider, opened.downgrade
        self.about: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        self._input = self._checked_input()
        self.kind, self.unit = self._kind(), self._unit()

    def estimate(self, rgb: torch.Tensor) -> DepthMaps:
        """See :meth:`DepthEstimator.estimate`."""
        return np.stack([self._one(frame.permute(1, 2, 0).cpu().numpy()) for frame in rgb])

    def _one(self, rgb: Any) -> DepthMaps:
        import cv2

        height, width = self._size(rgb.shape[:2])
        how = cv2.INTER_AREA if height * width < rgb.shape[0] * rgb.shape[1] else cv2.INTER_CUBIC
        pixels = cv2.resize(rgb, (width, height), interpolation=how).astype(np.float32) / 255
        if not self.unit:
            pixels = (pixels - IMAGENET[0]) / IMAGENET[1]
        given = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None].astype(_TYPES[self._input.type]))
        try:
            found = np.asarray(self.session.run(None, {self._input.name: given})[0], np.float32)
        except Exception as error:
            raise FramelaneError(
                f"The depth model {self.path} failed on a frame of {width}x{height} ({chain(error)})."
            ) from error
        if not _is_map(found.shape, height / width):
            raise FramelaneError(
                f"The depth model {self.path} gives {found.shape} for a frame of {width}x{height}; one map of the frame, "
                "(1, h, w), is wanted."
            )
        return sane(found.reshape(found.shape[-2:]), self.kind)

    def _size(self, frame: tuple[int, int]) -> tuple[int, int]:
        """The file's own height and width; where it takes any, the frame's aspect in multiples of its patch."""
        free = input_size(frame, self.options.size, _PATCH)
        height, width = (
            own if isinstance(own, int) else side for own, side in zip(self._input.shape[-2:], free, strict=True)
        )
        return height, width

    def _checked_input(self) -> Any:
        inputs = self.session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else None
        fits = (
            shape is not None
            and len(shape) == 4
            and shape[1] == 3
            and (shape[0] == 1 or isinstance(shape[0], str | None))
        )
        if not fits or inputs[0].type not in _TYPES:
            raise FramelaneError(
                f"{self.path} is no depth model that framelane can run: it takes "
                f"{', '.join(f'{i.type} {i.shape}' for i in inputs)}, and one picture of (1, 3, h, w) is wanted."
            )
        return inputs[0]

    def _kind(self) -> Kind:
        said = self.options.kind or self.about.get("framelane.kind")
        if said == "metric":
            return "metric"
        if said == "relative":
            return "relative"
        raise UsageError(
            f"The file {self.path} does not say what it gives; add --set depth.kind=metric (metres) or "
            "depth.kind=relative (inverse depth of unknown scale)."
        )

    def _unit(self) -> bool:
        return (self.options.normalisation or self.about.get("framelane.normalisation", "imagenet")) == "unit"


def _is_map(shape: tuple[int, ...], aspect: float) -> bool:
    """Whether an output is one map, in about the input's shape: a table of boxes is one array, too."""
    if len(shape) < 2 or 0 in shape or any(side != 1 for side in shape[:-2]):
        return False
    return 1 / _STRETCHED < shape[-2] / shape[-1] / aspect < _STRETCHED


class YoloDepth(OnnxDepth):
    """YOLO26-depth (metric) as ``ultralytics`` exports it: the whole frame stretched to the input, RGB from 0 to 1.

    ``ultralytics/models/yolo/depth/predict.py``: ``scale_fill``; the map is stretched back over the frame.
    """

    name = "yolo"
    notice = (
        f"depth.model=yolo: Ultralytics YOLO and its weights are licensed under {YOLO_LICENCE}, or commercially by "
        "Ultralytics (https://ultralytics.com/license); without that take Depth Anything V2 Small (Apache-2.0)."
    )

    def __init__(self, path: Path, options: DepthOptions) -> None:
        """Open the user's export (see :func:`~framelane.perception.depths.load_estimator`)."""
        if not path.is_file():
            raise UsageError(_missing(path))
        super().__init__(path, options)
        self.own_weights = own_weights(path, YOLO_LICENCE)

    def _kind(self) -> Kind:
        if self.about.get("task") != "depth":
            raise FramelaneError(
                f"{self.path} is no YOLO for depth that ultralytics exported (its task is {self.about.get('task')!r})."
            )
        return "metric"

    def _unit(self) -> bool:
        return True


def yolo_path() -> Path:
    """Where the user's exported weights must lie."""
    return cache_dir() / "models" / "yolo26n-depth.onnx"


def _missing(path: Path) -> str:
    install = "" if importlib.util.find_spec("ultralytics") else "pip install ultralytics, then "
    return (
        f"depth.model=yolo found no weights at {path}; run: {install}yolo export model={path.stem}.pt format=onnx, and "
        f"move {path.name} there. They are licensed under {YOLO_LICENCE}, as is the package ultralytics. Or take "
        "depth.model=depth_anything_v2_metric_outdoor (Apache-2.0)."
    )
