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

    from framelane.perception.detectors import Detector

Floats = NDArray[np.float32]
_SMALL = 0.6  # of the frame's longer side: a crop smaller than that shows the person larger than the frame did
_AROUND = 1.5  # of a person's longer side: the side of the crop
_CROP = (
    192  # pixels of the crop as the network sees it; 256 finds joints no better (bench pose), and takes twice as long
)
_LEAST = 24  # pixels of a crop; smaller ones hold nothing more to see
_SAME_AGAIN = 0.3  # OKS between two looks at one person; somebody else beside gives less than 0.1
_SURE = 0.4  # score of a person of the detector's who deserves a crop
_COVERED = 0.3  # IoU from which a detector's box and a pose's are one person's
_MOST_CROPS = 12  # crops of a frame for people that only the detector has seen
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
    def catalogue_names(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003  (others come in sizes)
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
    from framelane.perception import poses_rtm, poses_yolo  # noqa: F401  (they register themselves)

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
        self._detector = _person_detector(options) if options.closer else None

    @classmethod
    def catalogue_names(cls, options: Options) -> tuple[str, ...]:
        """MoveNet, and what finds whom it overlooks."""
        return ("movenet", "nanodet") if options.closer else ("movenet",)

    def find(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """See :meth:`PoseEstimator.find`."""
        return [self._one(frame) for frame in rgb]

    def _one(self, rgb: torch.Tensor) -> supervision.Detections:
        joints, scores, boxes = self.look(rgb)
        if not self._detector:
            return people(joints, scores, boxes)
        for index in range(len(joints)):
            self._again(rgb, joints[index], boxes[index])
        return people(*self._with_overlooked(rgb, joints, scores, boxes))

    def _again(self, rgb: torch.Tensor, joints: Floats, box: Floats) -> None:
        """Look again at a small person, on a crop, and take over its joints in place where it is the same person."""
        found = self._crop(rgb, box)
        if found is None:
            return
        area = float(np.prod(np.maximum(box[2:] - box[:2], 1)))
        alike = oks(joints, found[0], area)
        best = int(alike.argmax())
        if alike[best] >= _SAME_AGAIN:
            joints[:] = found[0][best]

    def _crop(self, rgb: torch.Tensor, box: Floats) -> tuple[Floats, Floats, Floats] | None:
        """The answer for a square around a box, in pixels of the frame; None where a crop shows nothing larger."""
        height, width = int(rgb.shape[-2]), int(rgb.shape[-1])
        side = _AROUND * float(max(box[2] - box[0], box[3] - box[1]))
        x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
        left, top = max(0, round(x - side / 2)), max(0, round(y - side / 2))
        right, bottom = min(width, round(x + side / 2)), min(height, round(y + side / 2))
        if side >= _SMALL * max(height, width) or min(right - left, bottom - top) < _LEAST:
            return None
        joints, scores, boxes = self.look(rgb[:, top:bottom, left:right], _CROP)
        joints[..., :2] += np.array([left, top], np.float32)
        return (joints, scores, boxes + np.array([left, top, left, top], np.float32)) if len(joints) else None

    def _with_overlooked(
        self, rgb: torch.Tensor, joints: Floats, scores: Floats, boxes: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """And those whom only the detector has seen: the model sees no more than six, and no small ones."""
        import supervision as sv

        assert self._detector is not None
        seen = self._detector.detect(rgb[None])[0]
        seen = seen[seen.confidence >= _SURE]
        taken = sv.box_iou_batch(seen.xyxy, boxes).max(axis=1) >= _COVERED if len(seen) and len(boxes) else None
        for index, box in enumerate(seen.xyxy[:_MOST_CROPS]):
            if taken is not None and taken[index]:
                continue
            found = self._crop(rgb, box)
            if found is None:
                continue
            best = int(sv.box_iou_batch(box[None], found[2])[0].argmax())
            if sv.box_iou_batch(box[None], found[2][best : best + 1])[0, 0] >= _COVERED:
                joints = np.concatenate([joints, found[0][best : best + 1]])
                scores = np.append(scores, found[1][best])
                boxes = np.concatenate([boxes, found[2][best : best + 1]])
        return joints, scores, boxes

    def look(self, rgb: torch.Tensor, resolution: int = 0) -> tuple[Floats, Floats, Floats]:
        """The model's own answer for a frame (3, H, W): joints (n, 17, 3), scores (n,), boxes (n, 4) in its pixels."""
        pixels, scale = letterbox(rgb, resolution or self.options.resolution)
        rows: Floats = self.session.run(None, {self._input: pixels})[0][0]
        rows = rows[rows[:, 55] >= self.options.lowest]
        size = np.array([pixels.shape[2], pixels.shape[1]], np.float32) / np.float32(scale)
        joints = rows[:, :51].reshape(-1, 17, 3)[..., [1, 0, 2]].copy()
        joints[..., :2] *= size
        boxes = rows[:, [52, 51, 54, 53]] * np.tile(size, 2)
        return joints, rows[:, 55].copy(), boxes


def _person_detector(options: Options) -> Detector:
    from framelane.perception.detectors import DetectorOptions, load_detector

    return load_detector("nanodet", DetectorOptions(options.device, options.threads, _SURE, ("person",)))


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
