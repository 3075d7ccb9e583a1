"""Object detectors: frames in, ``supervision.Detections`` in pixels of those frames out.

A subclass of :class:`Detector` with a ``name`` registers itself; :func:`load_detector` opens one by that name. A
detector is stateless: the same frames give the same detections, so the engine may repeat a call.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def class_ids(names: Sequence[str], section: str = "attention") -> frozenset[int]:
    """COCO class names to their ids (0 to 79); no names means all classes.

    Args:
        names: as in :data:`COCO_NAMES`.
        section: of the settings, that the names come from.

    Raises:
        UsageError: a name is none of COCO's; the text gives the nearest one.
    """
    for name in names:
        if name not in COCO_NAMES:
            near = difflib.get_close_matches(name.lower(), COCO_NAMES, n=1, cutoff=0.0)[0]
            raise UsageError(f"{section}.classes: {name!r} is no COCO class; the nearest is {near!r}.")
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


@dataclass(frozen=True)
class DetectorOptions:
    """What every detector is asked for.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``: where the model runs. The frames may lie elsewhere.
        threads: threads of the model on the CPU; 0 is the number of cores.
        threshold: the score that starts a track. Weaker boxes, down to :data:`LOW_SCORE`, are reported all the same.
        classes: COCO class names to keep; empty keeps all.
        size: one of :data:`SIZES`; a detector that comes in one size ignores it.
        section: of the settings, that this was asked for in: sentences name it.
    """

    device: str = "cpu"
    threads: int = 0
    threshold: float = 0.35
    classes: tuple[str, ...] = ()
    size: str = "nano"
    section: str = "attention"


class Detector(ABC):
    """Finds objects in frames. A subclass with a ``name`` can be loaded by it.

    Attributes:
        name: the word in ``attention.detector`` and its like.
        provider: what really runs the model, as in ``"CPUExecutionProvider"``.
        downgrade: why that is not the device asked for, as a sentence; None when it is.
        notice: what the user must be told once when this detector runs, such as its licence; None when there is nothing.
        own_weights: name, sha256 and licence of weights that are not in the catalogue, for the report; else None.
        half: FP16 under autocast, where the model runs in torch on a GPU.
        has_attention: whether each object comes with its own attention, ``data["attention"]``: float32 (n, gh, gw),
            over the whole frame, at least 0, each with sum 1.
    """

    name: ClassVar[str] = ""
    has_attention: ClassVar[bool] = False
    provider: str
    downgrade: str | None = None
    notice: str | None = None
    own_weights: dict[str, str] | None = None
    half: bool = False
    _registry: ClassVar[dict[str, type[Detector]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            Detector._registry[cls.name] = cls

    def __init__(self, options: DetectorOptions) -> None:
        """Take the options that every detector has."""
        self.options = options
        self.device = options.device
        self.lowest_score = min(LOW_SCORE, options.threshold)
        self.class_ids = class_ids(options.classes, options.section)

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
    from framelane.perception import detr, nanodet, yolo  # noqa: F401  (they register themselves)

    return sorted(Detector._registry)


def catalogue_name(name: str, size: str = "nano") -> str | None:
    """The name in the model catalogue of a detector's weights; None where the user brings them.

    Raises:
        UsageError: an unknown detector or size.
    """
    return _known(name, size).catalogue_name(size)


def load_detector(name: str, options: DetectorOptions) -> Detector:
    """Open a detector.

    Args:
        name: one of :func:`detector_names`.
        options: for it.

    Raises:
        UsageError: an unknown detector, class or size.
        FramelaneError: the model is missing, damaged, or cannot be opened.
    """
    return _known(name, options.size, options.section)(options)


def _known(name: str, size: str, section: str = "attention") -> type[Detector]:
    if name not in (names := detector_names()):
        raise UsageError(f"{section}.detector: {name!r} is unknown; allowed are {', '.join(names)}.")
    if size not in SIZES:
        raise UsageError(f"{section}.detector_size: {size!r} is unknown; allowed are {', '.join(SIZES)}.")
    return Detector._registry[name]
