"""Faces as every detector, swapper and check of this project knows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Face:
    """A face in one frame. Coordinates are pixels of the frame as displayed: x to the right, y down.

    A whole number is the centre of a pixel, as OpenCV and insightface have it.

    Attributes:
        box: (4,) left, top, right, bottom; may reach beyond the frame.
        score: of the detection, 0 to 1.
        points: (5, 2) the eye on the left of the picture, the other eye, nose, the left corner of the mouth, the other.
        mesh: (468, 3) landmarks of the face mesh, z in pixels too (towards the camera is negative); None where there is
            none.
        presence: 0 to 1, how sure the mesh is that it sees a face; 0 without a mesh.
        embedding: (512,) of length 1, who it is; None where the model in use cannot tell.
        age: in years, as estimated; None where the model in use cannot tell.
    """

    box: Floats
    score: float
    points: Floats
    mesh: Floats | None = None
    presence: float = 0.0
    embedding: Floats | None = None
    age: float | None = None

    @property
    def size(self) -> float:
        """The longer side of the box in pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


class FaceFinder(ABC):
    """Finds faces with five points, and whatever else the model in use can tell.

    Attributes:
        models: what is in use, as ``Context.models`` lists it.
        tells_who: whether faces have an embedding.
        tells_age: whether faces have an age.
    """

    models: list[dict[str, Any]]
    tells_who: bool = False
    tells_age: bool = False

    @abstractmethod
    def find(self, rgb: torch.Tensor) -> list[list[Face]]:
        """The faces of frames, the largest first.

        Args:
            rgb: (N, 3, H, W) uint8.

        Returns:
            A list for each frame; the result for a frame does not depend on the others.
        """

    def close(self) -> None:
        """Release models and memory."""
