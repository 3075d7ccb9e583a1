"""468 landmarks of a face, from an upright crop of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from framelane.perception.faces.base import Floats

if TYPE_CHECKING:
    import torch

SIDE = 192
_MARGIN = 1.5  # side of the crop to side of the face: 25 % on each side
# Landmarks: the corners of the eye on the left of the picture, those of the other, nose, corners of the mouth.
LEFT_EYE, RIGHT_EYE, NOSE, MOUTH = (33, 133), (362, 263), 4, (61, 291)


class FaceMesh:
    """MediaPipe's face mesh (Kartynnik et al. 2019, arXiv 1907.06724), 1.2 MB.

    Attributes:
        provider: the execution provider that really runs it.
        downgrade: why that is not the device asked for; None when it is.
    """

    def __init__(self, *, device: str = "cpu", threads: int = 0) -> None:
        """Open the embedded model (arguments as :class:`CenterFace` has them)."""
        from framelane.models.onnx import open_session
        from framelane.models.store import resolve

        opened = open_session(resolve("face_mesh"), device, threads)
        self.session = opened.session
        self.provider, self.downgrade = opened.provider, opened.downgrade
        self._input = self.session.get_inputs()[0].name

    def locate(self, rgb: torch.Tensor, box: Floats, points: Floats) -> tuple[Floats, float]:
        """The mesh of a face that was found.

        Two looks: the box of a detector ends where its makers drew it, the second crop is that of the first look's mesh,
        as MediaPipe crops a face that it tracks.

        Args:
            rgb: (3, H, W) uint8.
            box: (4,) of the face, in pixels.
            points: (5, 2) as in :class:`~framelane.perception.faces.base.Face`.

        Returns:
            (468, 3) in pixels of the frame, z on the same scale; how sure it is to see a face, 0 to 1.
        """
        across = points[1] - points[0]
        size = float(max(box[2] - box[0], box[3] - box[1]))
        centre = np.asarray((box[:2] + box[2:]) / 2, np.float32)
        mesh, _ = self._look(rgb, upright(centre, size * _MARGIN, across))
        across = mesh[RIGHT_EYE[1], :2] - mesh[LEFT_EYE[0], :2]
        centre, size = extent(mesh, across)
        return self._look(rgb, upright(centre, size * _MARGIN, across))

    def _look(self, rgb: torch.Tensor, crop: Floats) -> tuple[Floats, float]:
        pixels = cut(rgb, crop, SIDE).astype(np.float32) / np.float32(255)
        landmarks, logit = self.session.run(None, {self._input: pixels[None]})
        raw = landmarks.reshape(468, 3)
        scale = np.float32(np.hypot(crop[0, 0], crop[1, 0]))
        flat = (raw[:, :2] - np.float32(0.5)) @ crop[:, :2].T + crop[:, 2]
        mesh = np.concatenate([flat, raw[:, 2:] * scale], axis=1)
        return mesh.astype(np.float32), float(1 / (1 + np.exp(-float(logit.reshape(-1)[0]))))


def upright(centre: Floats, side: float, across: Floats) -> Floats:
    """A square crop whose rows run along the eyes.

    Args:
        centre: (2,) of the crop, in pixels of the frame.
        side: of the crop, in pixels of the frame.
        across: (2,) from the eye on the left to the other; may have length 0.

    Returns:
        (2, 3) float32: from pixels of a crop of :data:`SIDE` to those of the frame.
    """
    angle = np.arctan2(across[1], across[0])
    scale = max(side, 1.0) / SIDE
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    shift = centre - turn @ np.full(2, (SIDE - 1) / 2)
    return np.concatenate([turn, shift[:, None]], axis=1).astype(np.float32)


def extent(mesh: Floats, across: Floats) -> tuple[Floats, float]:
    """Centre (2,) and longer side of the upright box around a mesh (n, 2 or 3)."""
    length = max(float(np.hypot(*across)), 1e-6)
    axis = across / length
    basis = np.stack([axis, np.array([-axis[1], axis[0]], np.float32)])
    turned = mesh[:, :2] @ basis.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    return np.asarray(((low + high) / 2) @ basis, np.float32), float((high - low).max())


def five_points(mesh: Floats) -> Floats:
    """The five points of a face, (5, 2), from its mesh."""
    flat = mesh[:, :2]
    return np.stack([flat[list(LEFT_EYE)].mean(0), flat[list(RIGHT_EYE)].mean(0), flat[NOSE], *flat[list(MOUTH)]])


def cut(rgb: torch.Tensor, crop: Floats, side: int) -> np.ndarray:
    """The pixels of a crop; only the frame's part around it leaves the device, black beyond the frame.

    Args:
        rgb: (3, H, W) uint8.
        crop: (2, 3) from pixels of the crop to pixels of the frame.
        side: of the crop in pixels.

    Returns:
        (side, side, 3) uint8.
    """
    import cv2

    height, width = rgb.shape[-2:]
    ends = np.array([[0, 0], [side, 0], [0, side], [side, side]], np.float32) @ crop[:, :2].T + crop[:, 2]
    low = np.floor(ends.min(axis=0)).astype(int) - 2
    high = np.ceil(ends.max(axis=0)).astype(int) + 3
    left, top = np.clip(low, 0, [width, height])
    right, bottom = np.clip(high, 0, [width, height])
    if right <= left or bottom <= top:
        return np.zeros((side, side, 3), np.uint8)
    part = np.ascontiguousarray(rgb[:, top:bottom, left:right].permute(1, 2, 0).cpu().numpy())
    scale = float(np.hypot(crop[0, 0], crop[1, 0]))
    if scale > 1:  # Linear sampling of a larger face would alias, and landmarks would shiver.
        part = cv2.GaussianBlur(part, (0, 0), 0.5 * float(np.sqrt(scale * scale - 1)))
    local = crop.copy()
    local[:, 2] -= np.array([left, top], np.float32)
    return np.asarray(cv2.warpAffine(part, local, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
