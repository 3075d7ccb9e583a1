"""The contract of swappers: what puts a source's face in the place of a face in a frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Face

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Source:
    """A source face, from one image or averaged over a folder of images.

    Attributes:
        name: what the user calls it; file or folder name.
        images: RGB pictures, (H, W, 3) uint8, the best one (largest, most frontal) first.
        faces: the face in each of them.
        embedding: (512,) of length 1, averaged over the images; None where the finder in use cannot tell.
    """

    name: str
    images: tuple[NDArray[np.uint8], ...]
    faces: tuple[Face, ...]
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Wish:
    """One face of one frame that is to be swapped.

    Attributes:
        frame: index into the frames that are given with it.
        face: smoothed in time.
        source: whose face is put there.
    """

    frame: int
    face: Face
    source: Source


@dataclass(frozen=True, eq=False)
class Patch:
    """New pixels for a region of a frame. Pixels outside the region, or where ``alpha`` is 0, stay as they were.

    Attributes:
        left: column of the region's first pixel in the frame; the region lies within the frame.
        top: row of it.
        rgb: (3, h, w) float32, 0 to 255, on the device of the frames.
        alpha: (1, h, w) float32, 0 to 1.
    """

    left: int
    top: int
    rgb: torch.Tensor
    alpha: torch.Tensor


@dataclass(frozen=True)
class Refused:
    """A face that is left alone.

    Attributes:
        reason: why, without a full stop, as in ``"turned too far (52°)"``.
    """

    reason: str


class Swapper(ABC):
    """Makes patches. A subclass with ``name = "..."`` registers itself.

    Attributes:
        name: as in ``faceswap.swapper``.
        models: what is in use, as ``Context.models`` lists it.
    """

    name: str = ""
    models: list[dict[str, Any]]
    _registry: ClassVar[dict[str, type[Swapper]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            Swapper._registry[cls.name] = cls

    @abstractmethod
    def swap(self, frames: torch.Tensor, wishes: list[Wish]) -> list[Patch | Refused]:
        """All faces of a frame batch at once.

        Args:
            frames: (N, 3, H, W) uint8; never changed.
            wishes: in any order.

        Returns:
            An answer for each wish, in their order. It does not depend on the other wishes.
        """

    def close(self) -> None:
        """Release models and memory."""
