"""Pose estimators: frames in, people with 17 joints out; and the embedded one, MoveNet MultiPose."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from framelane.errors import UsageError
from framelane.perception.skeleton import box_of, oks

if TYPE_CHECKING:
    import supervision
    import torch

Floats = NDArray[np.float32]
SAME_PERSON = 0.7
"""Object keypoint similarity from which two poses of one frame are one person; 0.9 to 1 is one found twice."""


@dataclass(frozen=True)
class Options:
    """How an estimator is opened.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``: where the model runs. The frames may lie elsewhere.
        threads: threads of the model on the CPU; 0 is the number of cores.
        lowest: score from 0 to 1 below which nobody is reported.
        size: nano, small, medium or large, where a model comes in sizes.
        resolution: longer side in pixels of what a model of free size is given.
        closer: look at small people a second time, on a crop (where the model gains by it).
    """

    device: str = "cpu"
    threads: int = 0
    lowest: float = 0.1
    size: str = "nano"
    resolution: int = 256
    closer: bool = True


class PoseEstimator(ABC):
    """Finds people and their joints. A subclass with a ``name`` can be loaded by it.

    Attributes:
        name: the word in ``pose.model``.
        provider: what really runs the model, as in ``"CPUExecutionProvider"``.
        downgrade: why that is not the device asked for, as a sentence; None when it is.
        notice: what the user must be told once when it runs, such as a licence; None when there is nothing.
        own_weights: name, sha256 and licence of weights that are not in the catalogue, for the report; else None.
    """

    name: ClassVar[str] = ""
    provider: str
    downgrade: str | None = None
    notice: str | None = None
    own_weights: dict[str, str] | None = None
    _registry: ClassVar[dict[str, type[PoseEstimator]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            PoseEstimator._registry[cls.name] = cls

    def __init__(self, options: Options) -> None:
        """Open the model.

        Raises:
            UsageError: a file that the user must bring is missing.
            FramelaneError: the model is missing, damaged, or cannot be opened.
        """
        self.options = options

    @classmethod
    def catalogue_names(cls, size: str) -> tuple[str, ...]:  # noqa: ARG003  (others come in sizes)
        """The weights that it opens, as the model catalogue names them; none where the user brings them."""
        return (cls.name,)

    @abstractmethod
    def find(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """Find people.

        Args:
            rgb: uint8 (N, 3, H, W), planar RGB on any device.

        Returns:
            N detections, see :func:`people`. A model sees one frame at a time.
        """


def people(joints: Floats, scores: Floats, boxes: Floats | None = None) -> supervision.Detections:
    """Poses as detections, the surest first, nobody twice.

    Args:
        joints: (n, 17, 3): x, y in pixels of the frame, score from 0 to 1.
        scores: (n,), of the whole person.
        boxes: (n, 4); None takes those around the joints.

    Returns:
        ``xyxy`` float32 (n, 4), ``confidence`` float32 (n,), ``class_id`` 0, ``data["class_name"]`` ``"person"``, and
        ``data["joints"]`` float32 (n, 17, 3).
    """
    import supervision as sv

    if not len(joints):
        return sv.Detections.empty()
    if boxes is None:
        boxes = np.stack([box_of(each, 0.1, 0.1) for each in joints]).astype(np.float32)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        area = float(np.prod(np.maximum(boxes[index, 2:] - boxes[index, :2], 1)))
        if not kept or oks(joints[index], joints[kept], area).max() < SAME_PERSON:
            kept.append(index)
    return sv.Detections(
        xyxy=boxes[kept].astype(np.float32),
        confidence=scores[kept].astype(np.float32),
        class_id=np.zeros(len(kept), np.int64),
        data={"class_name": np.array(["person"] * len(kept), np.str_), "joints": joints[kept].astype(np.float32)},
    )


def estimator_names() -> list[str]:
    """The names that :func:`load_estimator` knows."""
    return sorted(PoseEstimator._registry)


def estimator_class(name: str) -> type[PoseEstimator]:
    """The class of an estimator.

    Raises:
        UsageError: an unknown name.
    """
    if name not in (known := estimator_names()):
        raise UsageError(f"pose.model: {name!r} is unknown; allowed are {', '.join(known)}.")
    return PoseEstimator._registry[name]


def load_estimator(name: str, options: Options) -> PoseEstimator:
    """Open an estimator.

    Raises:
        UsageError: an unknown name, or a file that the user must bring is missing.
        FramelaneError: the model is missing, damaged, or cannot be opened.
    """
    return estimator_class(name)(options)


class MoveNet(PoseEstimator):
    """MoveNet MultiPose Lightning, 9.6 MB: made for a CPU; up to six people, best where they fill much of the frame.

    The longer side should be 256 (the model's card); more finds smaller people, at a cost that grows with the area.
    """

    name = "movenet"
    most = 6

    def __init__(self, options: Options) -> None:
        """Open the embedded model."""
        super().__init__(options)
        from framelane.models.onnx import open_session
        from framelane.models.store import resolve

        opened = open_session(resolve("movenet"), options.device, options.threads)
        self.session = opened.session
        self.provider, self.downgrade = opened.provider, opened.downgrade
        self._input = self.session.get_inputs()[0].name

    def find(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """See :meth:`PoseEstimator.find`."""
        return [self._one(frame) for frame in rgb]

    def _one(self, rgb: torch.Tensor) -> supervision.Detections:
        return people(*self.look(rgb))

    def look(self, rgb: torch.Tensor) -> tuple[Floats, Floats, Floats]:
        """The model's own answer for a frame (3, H, W): joints (n, 17, 3), scores (n,), boxes (n, 4) in its pixels."""
        pixels, scale = letterbox(rgb, self.options.resolution)
        rows: Floats = self.session.run(None, {self._input: pixels})[0][0]
        rows = rows[rows[:, 55] >= self.options.lowest]
        size = np.array([pixels.shape[2], pixels.shape[1]], np.float32) / np.float32(scale)
        joints = rows[:, :51].reshape(-1, 17, 3)[..., [1, 0, 2]].copy()
        joints[..., :2] *= size
        boxes = rows[:, [52, 51, 54, 53]] * np.tile(size, 2)
        return joints, rows[:, 55].copy(), boxes


def letterbox(rgb: torch.Tensor, longer: int, multiple: int = 32) -> tuple[NDArray[np.int32], float]:
    """A frame (3, H, W) in the network's size: scaled, and filled up with black on the right and at the bottom.

    Resized on the frame's device, so that only what the network sees leaves it.

    Args:
        rgb: uint8, on any device.
        longer: pixels of the longer side.
        multiple: what both sides become a multiple of.

    Returns:
        int32 (1, h, w, 3), and the scale from frame to network.
    """
    from torch.nn.functional import interpolate

    height, width = int(rgb.shape[-2]), int(rgb.shape[-1])
    scale = longer / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    # torch resizes bytes on a CPU only; elsewhere through float.
    source = rgb[None] if rgb.device.type == "cpu" else rgb[None].float()
    small = interpolate(source, size, mode="bilinear", antialias=True, align_corners=False)[0]
    small = small if small.dtype == rgb.dtype else small.round_().clamp_(0, 255).to(rgb.dtype)
    pixels = np.zeros((1, *(-(-side // multiple) * multiple for side in size), 3), np.int32)
    pixels[0, : size[0], : size[1]] = small.cpu().numpy().transpose(1, 2, 0)
    return pixels, scale


def joints_of(detections: supervision.Detections) -> Sequence[Floats]:
    """The joints (17, 3) of every person of a frame."""
    found: Sequence[Floats] = detections.data.get("joints", ()) if len(detections) else ()
    return found
