"""The objects' own attention: one coloured layer over the frame, each place in the colour of whom it matters most to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from framelane.overlay.blend import blend, fixed
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
        self.size, self.most = size, fixed(min(0.5, alpha))
        self._small: tuple[np.ndarray, np.ndarray] | None = None
        self._large: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        if weights:
            planes = np.stack([weight.plane * weight.strength for weight in weights])
            palette = np.array([weight.colour for weight in weights], np.uint8)
            self._small = planes.max(axis=0), palette[planes.argmax(axis=0)]

    def _layer(self, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Opacity int16 (H, W) and colour uint8 (3, H, W) on a device, made large where they are needed."""
        if device not in self._large:
            self._large[device] = self._on_cpu() if device == "cpu" else self._on_device(device)
        return self._large[device]

    def _on_cpu(self) -> tuple[torch.Tensor, torch.Tensor]:
        import cv2
        import torch

        assert self._small is not None
        strongest, colour = (cv2.resize(part, self.size[::-1], interpolation=cv2.INTER_LINEAR) for part in self._small)
        opacity = (strongest.clip(0, 1) * np.float32(self.most)).astype(np.int16)
        return torch.from_numpy(opacity), torch.from_numpy(np.ascontiguousarray(colour.transpose(2, 0, 1)))

    def _on_device(self, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        import torch
        from torch.nn.functional import interpolate

        assert self._small is not None
        strongest, colour = (torch.from_numpy(part).to(device).float() for part in self._small)
        weight, paint = (
            interpolate(part[None], self.size, mode="bilinear", align_corners=False)[0]
            for part in (strongest[None], colour.permute(2, 0, 1))
        )
        opacity = weight[0].clamp_(0, 1).mul_(self.most).to(torch.int16)
        return opacity, paint.add_(0.5).clamp_(0, 255).to(torch.uint8)

    @property
    def opacity(self) -> np.ndarray:
        """The layer's opacity as an array of the host."""
        array: np.ndarray = self.plane("cpu").numpy()
        return array

    def plane(self, device: str) -> torch.Tensor:
        """The layer's opacity, int16 (H, W) from 0 to 128, for :func:`~framelane.overlay.balanced_alpha`."""
        import torch

        if self._small is None:
            return torch.zeros(self.size, dtype=torch.int16, device=device)
        return self._layer(device)[0]

    def annotate(self, rgb: torch.Tensor) -> torch.Tensor:
        """Lay it over a frame, uint8 (3, H, W), in place."""
        if self._small is None:
            return rgb
        opacity, colour = self._layer(str(rgb.device))
        return blend(rgb, colour.numpy() if rgb.device.type == "cpu" else colour, opacity)
