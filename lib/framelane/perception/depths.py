"""Depth estimators: frames in, a depth map a frame out.

What a model gives is one of two things, and its ``kind`` says which. ``"metric"``: metres along the camera's axis.
``"relative"``: inverse depth, larger is nearer, of a scale and a shift that nobody knows and that differ from frame to
frame; no distance can be read from it. A subclass of :class:`DepthEstimator` with a ``name`` registers itself;
:func:`load_estimator` opens one. An estimator is stateless: the same frames give the same maps.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from framelane.errors import UsageError

if TYPE_CHECKING:
    import torch

_METRES = (0.01, 10_000.0)  # what a checkpoint's float16 can tell from nothing and from infinity
Kind = Literal["metric", "relative"]
DepthMaps = npt.NDArray[np.float32]

IMAGENET = (np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32))
"""Mean and standard deviation of RGB from 0 to 1."""


@dataclass(frozen=True)
class DepthOptions:
    """How an estimator is opened.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``: where the model runs. The frames may lie elsewhere.
        threads: threads of the model on the CPU; 0 is the number of cores.
        size: shorter side in pixels of what the model sees, where it takes any.
        half: FP16 under autocast, where the model runs in torch on a GPU.
        kind: what a user's own file gives; None reads it from the file.
        normalisation: what a user's own file takes: ``"imagenet"`` or ``"unit"`` (0 to 1); None reads it from the file,
            and takes ImageNet's where that does not say.
    """

    device: str = "cpu"
    threads: int = 0
    size: int = 518
    half: bool = False
    kind: Kind | None = None
    normalisation: str | None = None


class DepthEstimator(ABC):
    """Gives every pixel a depth. A subclass with a ``name`` registers itself.

    Attributes:
        name: what kind of file it opens.
        kind: what its maps are, see the module's docstring.
        provider: what really runs the model, as in ``"CPUExecutionProvider"``.
        downgrade: why that is not the device asked for, as a sentence; None when it is.
        notice: what the user must be told once when this estimator runs; None when there is nothing.
        own_weights: name, sha256 and licence of weights that are not in the catalogue, for the report; else None.
    """

    name: ClassVar[str] = ""
    kind: Kind
    provider: str
    downgrade: str | None = None
    notice: str | None = None
    own_weights: dict[str, str] | None = None
    _registry: ClassVar[dict[str, type[DepthEstimator]]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            DepthEstimator._registry[cls.name] = cls

    def __init__(self, path: Path, options: DepthOptions) -> None:
        """Open a model.

        Args:
            path: a file, or a folder as a model hub holds it.
            options: see :class:`DepthOptions`.
        """
        self.path, self.options = path, options

    @abstractmethod
    def estimate(self, rgb: torch.Tensor) -> DepthMaps:
        """Depth of every frame; each frame by itself, so that it does not matter how frames are cut into batches.

        Args:
            rgb: uint8 ``(N, 3, H, W)``, planar RGB on any device.

        Returns:
            float32 ``(N, h, w)`` that covers the frame at the model's own resolution: metres (metric, above 0), or
            inverse depth (relative, at least 0).
        """


def load_estimator(name: str, path: Path, options: DepthOptions) -> DepthEstimator:
    """Open an estimator.

    Args:
        name: ``"depth_anything"`` (a folder), ``"onnx"`` or ``"yolo"`` (a file).
        path: where the weights lie.
        options: see :class:`DepthOptions`.

    Raises:
        UsageError: an unknown name, or a file that does not say what it gives.
        FramelaneError: the model is missing, damaged, or cannot be opened.
    """
    from framelane.perception import depth_anything, depth_onnx  # noqa: F401  (they register themselves)

    known = DepthEstimator._registry
    if name not in known:
        raise UsageError(f"There is no depth estimator {name!r}; there are {', '.join(sorted(known))}.")
    return known[name](path, options)


def sane(depth: DepthMaps, kind: Kind) -> DepthMaps:
    """Finite numbers in range: what is not finite, or a distance of nothing, becomes the farthest that the map has.

    Args:
        depth: float32 ``(..., h, w)`` as the model gave it.
        kind: what it is.
    """
    wrong = ~np.isfinite(depth)
    if kind == "metric":
        wrong |= depth <= 0
    if wrong.any():
        depth = depth.copy()
        rest = depth[~wrong]
        farthest = (rest.max() if kind == "metric" else rest.min()) if rest.size else np.float32(1.0)
        depth[wrong] = farthest
    return np.clip(depth, *_METRES) if kind == "metric" else np.maximum(depth, 0)


def own_weights(path: Path, licence: str) -> dict[str, str]:
    """What the report says of a user's own file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.stem, "sha256": digest, "licence": licence}


def input_size(frame: tuple[int, int], shorter: int, multiple: int) -> tuple[int, int]:
    """Height and width of what a model sees: the frame's aspect, sides multiples of the model's patch.

    Args:
        frame: (H, W) in pixels.
        shorter: side in pixels that the shorter one should have.
        multiple: the patch in pixels.
    """
    scale = shorter / min(frame)
    height, width = (max(multiple, multiple * round(side * scale / multiple)) for side in frame)
    return height, width
