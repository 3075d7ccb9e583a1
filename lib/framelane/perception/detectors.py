"""Object detectors: frames in, ``supervision.Detections`` in pixels of those frames out.

A subclass of :class:`Detector` with a ``name`` registers itself; :func:`load_detector` opens one by that name. A
detector is stateless: the same frames give the same detections, so the engine may repeat a call.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from framelane.errors import UsageError

if TYPE_CHECKING:
    import supervision
    import torch

Family = Literal["person", "vehicle", "animal", "ball", "other"]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

FAMILIES: tuple[Family, ...] = ("person", "vehicle", "animal", "ball", "other")
SIZES = ("nano", "small", "medium", "large")
"""The sizes that a detector may come in."""
LOW_SCORE = 0.1
"""Boxes are reported down to this score: ByteTrack's second association keeps a track alive with them."""

# In the order of the models' outputs.
# fmt: off
COCO_NAMES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""The 80 classes of COCO."""

# What the configs of some models call them; a difference in spaces or capitals is none.
_OTHER_NAMES = {
    "aeroplane": "airplane",
    "hairdryer": "hair drier",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "tvmonitor": "tv",
}
_FAMILY: dict[str, Family] = {
    "person": "person",
    **dict.fromkeys(COCO_NAMES[1:9], "vehicle"),
    **dict.fromkeys(COCO_NAMES[14:24], "animal"),
    # Sports gear that flies shares the ball's colour.
    **dict.fromkeys(("sports ball", "frisbee"), "ball"),
}


def family_of(class_name: str) -> Family:
    """The family whose colour a class gets; names that are not COCO's belong to ``"other"``.

    Example:
        >>> family_of("truck"), family_of("zebra"), family_of("teddy bear")
        ('vehicle', 'animal', 'other')
    """
    return _FAMILY.get(class_name, "other")


def class_ids(names: Sequence[str]) -> frozenset[int]:
    """COCO class names to their ids (0 to 79); no names means all classes.

    Raises:
        UsageError: a name is none of COCO's; the text gives the nearest one.
    """
    for name in names:
        if name not in COCO_NAMES:
            near = difflib.get_close_matches(name.lower(), COCO_NAMES, n=1, cutoff=0.0)[0]
            raise UsageError(f"attention.classes: {name!r} is no COCO class; the nearest is {near!r}.")
    return frozenset(COCO_NAMES.index(name) for name in names or COCO_NAMES)


def coco_ids(labels: Mapping[int, str]) -> IntArray:
    """COCO ids of a model's own labels, by name: models count to 80, or to 91 with gaps.

    Args:
        labels: as ``id2label`` in a model's config.

    Returns:
        int64, from label 0 to the highest: 0 to 79, or -1 for a label that is none of COCO's 80 (``"N/A"``, background).
    """
    known = {name.replace(" ", ""): index for index, name in enumerate(COCO_NAMES)}
    known.update({other: COCO_NAMES.index(name) for other, name in _OTHER_NAMES.items()})
    ids = np.full(max(labels, default=-1) + 1, -1, dtype=np.int64)
    for label, name in labels.items():
        ids[label] = known.get(name.lower().replace(" ", "").replace("_", ""), -1)
    return ids


class Detector(ABC):
    """Finds objects in frames. A subclass with a ``name`` can be loaded by it.

    Attributes:
        name: the word in ``attention.detector``.
        provider: what really runs the model, as in ``"CPUExecutionProvider"``.
        downgrade: why that is not the device asked for, as a sentence; None when it is.
        notice: what the user must be told once when this detector runs, such as its licence; None when there is nothing.
        own_weights: name, sha256 and licence of weights that are not in the catalogue, for the report; else None.
        has_attention: whether each object comes with its own attention, ``data["attention"]``: float32 (n, gh, gw),
            over the whole frame, at least 0, each with sum 1.
    """

    name: ClassVar[str] = ""
    has_attention: ClassVar[bool] = False
    provider: str
    downgrade: str | None = None
    notice: str | None = None
    own_weights: dict[str, str] | None = None
    _registry: ClassVar[dict[str, type[Detector]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            Detector._registry[cls.name] = cls

    def __init__(
        self, *, device: str, threads: int, threshold: float, classes: Sequence[str], size: str = "nano"
    ) -> None:
        """Take the options that every detector has (see :func:`load_detector`)."""
        self.device = device
        self.size = size
        self.threads = threads
        self.lowest_score = min(LOW_SCORE, threshold)
        self.class_ids = class_ids(classes)

    @classmethod
    def catalogue_name(cls, size: str) -> str | None:  # noqa: ARG003  (others come in sizes)
        """The name of the weights in the model catalogue; None where the user brings them."""
        return cls.name

    @abstractmethod
    def detect(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """Find objects.

        Args:
            rgb: uint8 (N, 3, H, W), planar RGB on any device.

        Returns:
            N detections, each with ``xyxy`` float32 (n, 4) in pixels of the given frames, clipped to them;
            ``confidence`` float32 (n,), highest first, from :data:`LOW_SCORE` up; ``class_id`` int64 (n,);
            and ``data["class_name"]`` (n,). Few of them are good enough to start a track.
        """


def detector_names() -> list[str]:
    """The names that :func:`load_detector` knows."""
    from framelane.perception import detr, yolo  # noqa: F401  (they register themselves)

    return sorted(Detector._registry)


def catalogue_name(name: str, size: str = "nano") -> str | None:
    """The name in the model catalogue of a detector's weights; None where the user brings them.

    Raises:
        UsageError: an unknown detector or size.
    """
    return _known(name, size).catalogue_name(size)


def load_detector(
    name: str, *, device: str, threads: int, threshold: float, classes: Sequence[str], size: str = "nano"
) -> Detector:
    """Open a detector.

    Args:
        name: one of :func:`detector_names`.
        device: ``"cpu"`` or ``"cuda"``: where the model runs. The frames may lie elsewhere.
        threads: threads of the model on the CPU; 0 is the number of cores.
        threshold: the score that starts a track. Weaker boxes, down to :data:`LOW_SCORE`, are reported all the same.
        classes: COCO class names to keep; empty keeps all.
        size: one of :data:`SIZES`; a detector that comes in one size ignores it.

    Raises:
        UsageError: an unknown detector, class or size.
        FramelaneError: the model is missing, damaged, or cannot be opened.
    """
    known = _known(name, size)
    return known(device=device, threads=threads, threshold=threshold, classes=classes, size=size)


def _known(name: str, size: str) -> type[Detector]:
    if name not in (names := detector_names()):
        raise UsageError(f"attention.detector: {name!r} is unknown; allowed are {', '.join(names)}.")
    if size not in SIZES:
        raise UsageError(f"attention.detector_size: {size!r} is unknown; allowed are {', '.join(SIZES)}.")
    return Detector._registry[name]


class NanoDet(Detector):
    """NanoDet-Plus-m at 416 pixels, COCO-80, 7.6 MB: made for a CPU.

    Frames are letterboxed, not stretched: a 16:9 frame squeezed into the square makes people 1.8 times thinner than
    the network learned them. On the demo clip ``walker.mp4`` stretching halves the number of people found.
    It misses small or blurred people and takes litter for a ball.
    """

    name = "nanodet"
    side = 416
    strides = (8, 16, 32)
    nms_iou = 0.6  # as in NanoDet's own multiclass_nms
    # Two labels on one thing (car and truck) become the better one; a rider and the bicycle overlap less than this.
    same_thing_iou = 0.8
    most = 100
    mean = (103.53, 116.28, 123.675)  # of BGR, 0 to 255
    std = (57.375, 57.12, 58.395)

    def __init__(
        self, *, device: str, threads: int, threshold: float, classes: Sequence[str], size: str = "nano"
    ) -> None:
        """Open the embedded model (see :func:`load_detector`)."""
        super().__init__(device=device, threads=threads, threshold=threshold, classes=classes, size=size)
        from framelane.models.onnx import open_session
        from framelane.models.store import resolve

        opened = open_session(resolve("nanodet"), device, threads)
        self.session = opened.session
        self.provider, self.downgrade = opened.provider, opened.downgrade
        self._input = self.session.get_inputs()[0].name
        self._kept = np.array(sorted(self.class_ids), dtype=np.int64)

    def detect(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """See :meth:`Detector.detect`. The model takes one frame at a time."""
        height, width = int(rgb.shape[-2]), int(rgb.shape[-1])
        return [self._one(frame, height, width) for frame in rgb]

    def _one(self, rgb: torch.Tensor, height: int, width: int) -> supervision.Detections:
        pixels, scale, left, top = self.letterbox(rgb)
        outputs = self.session.run(None, {self._input: pixels})
        boxes, scores, ids = self._candidates(outputs)
        boxes = (boxes - np.array([left, top, left, top], np.float32)) / np.float32(scale)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        return self._suppress(boxes, scores, ids)

    def letterbox(self, rgb: torch.Tensor) -> tuple[FloatArray, float, int, int]:
        """A frame (3, H, W) as the network wants it, resized on the frame's device so that only 0.5 MB leaves it.

        Returns:
            float32 (1, 3, 416, 416) normalised BGR; the scale from frame to network; left and top margin in pixels.
        """
        from torch.nn.functional import interpolate

        height, width = rgb.shape[-2:]
        scale = self.side / max(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        # torch resizes bytes on a CPU only; elsewhere through float.
        source = rgb[None] if rgb.device.type == "cpu" else rgb[None].float()
        small = interpolate(source, size, mode="bilinear", antialias=True, align_corners=False)[0]
        small = small if small.dtype == rgb.dtype else small.round_().clamp_(0, 255).to(rgb.dtype)
        top, left = (self.side - size[0]) // 2, (self.side - size[1]) // 2
        pixels = np.empty((1, 3, self.side, self.side), np.float32)
        for plane, source_plane, mean, std in zip(
            pixels[0], small.cpu().numpy()[::-1], self.mean, self.std, strict=True
        ):
            plane.fill(-mean / std)  # black bars
            np.multiply(source_plane, np.float32(1 / std), out=plane[top : top + size[0], left : left + size[1]])
            plane[top : top + size[0], left : left + size[1]] -= np.float32(mean / std)
        return pixels, scale, left, top

    def _candidates(self, outputs: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray, IntArray]:
        """All (point, class) pairs above the lowest score: boxes (n, 4) in network pixels, scores (n,), ids (n,)."""
        by_shape = {output.shape: output[0] for output in outputs}
        found: list[tuple[FloatArray, FloatArray, IntArray]] = []
        for stride in self.strides:
            cells = self.side // stride
            scores = by_shape[1, cells * cells, len(COCO_NAMES)][:, self._kept]
            points, columns = np.nonzero(scores >= self.lowest_score)
            sides = distances(by_shape[1, cells * cells, 44][points]) * np.float32(stride)
            centre = (np.stack([points % cells, points // cells], axis=1).astype(np.float32) + 0.5) * np.float32(stride)
            boxes = np.concatenate([centre - sides[:, :2], centre + sides[:, 2:]], axis=1)
            found.append((boxes, scores[points, columns], self._kept[columns]))
        boxes, kept_scores, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return boxes, kept_scores, ids

    def _suppress(self, boxes: FloatArray, scores: FloatArray, ids: IntArray) -> supervision.Detections:
        import cv2
        import supervision as sv

        size = boxes[:, 2:] - boxes[:, :2]
        solid = (size > 0).all(axis=1)
        boxes, scores, ids = boxes[solid], scores[solid], ids[solid]
        xywh = np.concatenate([boxes[:, :2], size[solid]], axis=1)
        if len(boxes):
            dnn: Any = cv2.dnn  # its stubs do not know that it takes arrays
            best = dnn.NMSBoxesBatched(xywh, scores, ids.astype(np.int32), 0.0, self.nms_iou)
            again = dnn.NMSBoxes(xywh[best], scores[best], 0.0, self.same_thing_iou)
            kept = best[again][: self.most]
            boxes, scores, ids = boxes[kept], scores[kept], ids[kept]
        names = np.array([COCO_NAMES[index] for index in ids], dtype=np.str_)
        return sv.Detections(xyxy=boxes, confidence=scores, class_id=ids, data={"class_name": names})


def distances(distributions: FloatArray) -> FloatArray:
    """Distribution focal loss read backwards (Li et al. 2020, eq. 6): the expected bin of each side.

    Args:
        distributions: (n, 4 * bins) logits, for left, top, right and bottom.

    Returns:
        (n, 4) distances in strides.
    """
    logits = distributions.reshape(len(distributions), 4, distributions.shape[-1] // 4)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    bins = np.arange(logits.shape[-1], dtype=np.float32)
    return np.asarray((weights @ bins) / weights.sum(axis=-1), dtype=np.float32)
