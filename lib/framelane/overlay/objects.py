"""The objects' own attention: one coloured layer over the frame, each place in the colour of whom it matters most to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from framelane.overlay.blend import Bytes, blend, fixed
from framelane.overlay.marks import RGB

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Weight:
    """Where one object looks.

    Attributes:
        plane: float32 ``(h, w)`` over the frame, 0 to 1; of one size for all objects of a frame.
        colour: the object's.
        strength: 0 to 1; below 1 while the object fades.
    """

    plane: np.ndarray
    colour: RGB
    strength: float = 1.0


class ObjectShadow:
    """The layer of one frame.

    Every pixel is tinted once, so that the balance rule holds however many objects look at it: with the colour of the
    object whose weight is largest there.

    Args:
        weights: of the objects; none make a layer of nothing.
        size: (height, width) of the frame.
        alpha: opacity where a weight is 1, 0 to 0.5.
    """

    def __init__(self, weights: Sequence[Weight], size: tuple[int, int], alpha: float) -> None:
        self.opacity: np.ndarray = np.zeros(size, np.int16)
        self.colour: Bytes | None = None
        if weights:
            self._compose(weights, size, min(0.5, alpha))

    def _compose(self, weights: Sequence[Weight], size: tuple[int, int], alpha: float) -> None:
        import cv2

        planes = np.stack([weight.plane * weight.strength for weight in weights])
        winner = planes.argmax(axis=0)
        palette = np.array([weight.colour for weight in weights], np.uint8)
        strongest = cv2.resize(planes.max(axis=0), size[::-1], interpolation=cv2.INTER_LINEAR)
        self.opacity = (strongest.clip(0, 1) * np.float32(fixed(alpha))).astype(np.int16)
        colour = cv2.resize(palette[winner], size[::-1], interpolation=cv2.INTER_LINEAR)
        self.colour = np.ascontiguousarray(colour.transpose(2, 0, 1))

    def plane(self, device: str) -> torch.Tensor:
        """The layer's opacity, int16 (H, W) from 0 to 128, for :func:`~framelane.overlay.balanced_alpha`."""
        import torch

        return torch.from_numpy(self.opacity).to(device)

    def annotate(self, rgb: torch.Tensor) -> torch.Tensor:
        """Lay it over a frame, uint8 (3, H, W), in place."""
        return rgb if self.colour is None else blend(rgb, self.colour, self.opacity)
