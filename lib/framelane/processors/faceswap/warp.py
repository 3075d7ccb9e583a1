"""The embedded swapper: the source's face laid on the mesh of the clip's, in the clip's light. No weights of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Face, Floats
from framelane.perception.faces.topology import (
    INNER_LIPS,
    LEFT_EYE_RING,
    OUTER_LIPS,
    RIGHT_EYE_RING,
    areas,
    filled,
    head_pose,
    triangles,
)
from framelane.processors.faceswap import relight
from framelane.processors.faceswap.raster import Drawn, place
from framelane.processors.faceswap.swapper import Patch, Refused, Source, Swapper, Wish
from framelane.processors.faceswap.texture import Texture

if TYPE_CHECKING:
    import torch

FARTHEST_TURN = 40.0  # degrees; beyond, half of the face would be made of what the source's picture does not show
_PRESENT = 0.5
_NARROWEST = 8  # pixels of a region that is worth anything
# Lengths as shares of the face's size, which is the square root of its area in the picture.
_FEATHER, _EYE, _LIPS, _MOUTH, _LIGHT = 0.10, 0.012, 0.012, 0.05, 0.06
_CONTRAST = 0.6, 1.1
_LIGHT_SIZE = 64.0  # light is smooth: it is measured on a picture in which the face has this size


class Warp(Swapper):
    """Piecewise affine warp on 468 landmarks, then a membrane that fits light and colour.

    The clip's face keeps its shape, its expression, its gaze (the eyes between the lids stay the clip's) and the inside
    of its mouth; skin, brows, nose and lips are the source's.
    """

    name = "warp"

    def __init__(self, *, device: str = "cpu", threads: int = 0, keep_mouth: bool = False) -> None:
        """Make ready.

        Args:
            device: of the frames; the work is done on the CPU, and only the face's region leaves the device.
            threads: of the mesh's model, which is opened only where a face comes without a mesh.
            keep_mouth: leave the whole mouth of the clip, with what is in front of it.
        """
        self.models: list[dict[str, Any]] = []
        self.keep_mouth = keep_mouth
        self._textures: dict[Source, Texture] = {}

    def swap(self, frames: torch.Tensor, wishes: list[Wish]) -> list[Patch | Refused]:
        """See :meth:`Swapper.swap`."""
        return [self._one(frames[wish.frame], wish) for wish in wishes]

    def close(self) -> None:
        """Forget the sources."""
        self._textures.clear()

    def _one(self, frame: torch.Tensor, wish: Wish) -> Patch | Refused:
        reason = unfit(wish.face)
        if reason or wish.face.mesh is None:
            return Refused(reason or "it has no mesh")
        if wish.source not in self._textures:
            self._textures[wish.source] = Texture.of(wish.source)
        return self._paste(frame, wish.face.mesh, self._textures[wish.source])

    def _paste(self, frame: torch.Tensor, mesh: Floats, texture: Texture) -> Patch | Refused:
        import torch

        left, top, right, bottom = _bounds(mesh, frame.shape[-1], frame.shape[-2])
        if right - left < _NARROWEST or bottom - top < _NARROWEST:
            return Refused("hardly any of it is in the picture")
        local = mesh - np.array([left, top, 0], np.float32)
        drawn = place(local, filled(), right - left, bottom - top)
        below = frame[:, top:bottom, left:right].permute(1, 2, 0).cpu().numpy().astype(np.float32)
        pasted = texture.sample(drawn, local)
        light = _measure(below, pasted, local, drawn)
        correction = relight.membrane(light.below, light.pasted, light.seen)
        contrast = np.clip(np.sqrt(light.contrast), *_CONTRAST)
        pasted = relight.apply(pasted, drawn.carry(light.pasted), drawn.carry(correction), float(contrast))
        bare = relight.spread_low(relight.skin_likeness(light.below) * texture.bare)
        alpha = _opacity(local, drawn, self.keep_mouth) * np.clip(drawn.carry(bare[:, None])[..., 0], 0, 1)
        return Patch(
            left,
            top,
            torch.from_numpy(pasted).permute(2, 0, 1).to(frame.device),
            torch.from_numpy(alpha)[None].to(frame.device),
        )


def unfit(face: Face) -> str | None:
    """Why a face cannot be swapped by warping, or None."""
    if face.mesh is None:
        return "it has no mesh"
    if face.presence < _PRESENT:
        return "the mesh is not sure that it is a face"
    yaw, pitch, _ = head_pose(face.mesh)
    turn = max(abs(yaw), abs(pitch))
    return f"turned too far ({turn:.0f}°)" if turn > FARTHEST_TURN else None


def face_size(mesh: Floats) -> float:
    """The square root of a face's area in the picture, in pixels."""
    return float(np.sqrt(np.maximum(areas(mesh, triangles()), 0).sum() / 2))


def _bounds(mesh: Floats, width: int, height: int) -> tuple[int, int, int, int]:
    low = np.floor(mesh[:, :2].min(axis=0)).astype(int) - 1
    high = np.ceil(mesh[:, :2].max(axis=0)).astype(int) + 2
    left, top = np.clip(low, 0, [width, height])
    right, bottom = np.clip(high, 0, [width, height])
    return int(left), int(top), int(right), int(bottom)


@dataclass(frozen=True, eq=False)
class _Light:
    """Colours around each landmark, and how much detail there is.

    Attributes:
        below: (468, 3) of the clip, 0 to 255.
        pasted: (468, 3) of the pasted face.
        seen: (468,) 0 to 1, share of the surroundings that is skin and in the picture.
        contrast: detail of the clip's face to that of the pasted one.
    """

    below: Floats
    pasted: Floats
    seen: Floats
    contrast: float


def _measure(below: Floats, pasted: Floats, mesh: Floats, drawn: Drawn) -> _Light:
    import cv2

    size = face_size(mesh)
    skin = drawn.mask.astype(np.float32)
    skin = np.maximum(skin - _rings(mesh, drawn.shape, (LEFT_EYE_RING, RIGHT_EYE_RING, OUTER_LIPS), 0, 0), 0)
    shrink = min(1.0, _LIGHT_SIZE / size)
    small = tuple(max(1, round(side * shrink)) for side in drawn.shape[::-1])
    planes = [*cv2.split(below * skin[..., None]), *cv2.split(pasted * skin[..., None]), skin]
    planes = [cv2.resize(plane, small, interpolation=cv2.INTER_AREA) for plane in planes]
    sigma = _LIGHT * size * shrink
    smooth = [cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for plane in planes]
    scale = np.array(small, np.float32) / np.array(drawn.shape[::-1], np.float32)
    at = (mesh[:, :2] + np.float32(0.5)) * scale - np.float32(0.5)
    found = np.stack([cv2.remap(plane, at[:, :1], at[:, 1:], cv2.INTER_LINEAR)[:, 0] for plane in smooth], axis=1)
    inside = ((mesh[:, :2] >= 0) & (mesh[:, :2] <= np.array(drawn.shape[::-1]) - 1)).all(axis=1)
    divisor = np.maximum(found[:, 6:], np.float32(1e-3))
    details = []
    whole = np.maximum(smooth[6], 1e-3)
    for start in (0, 3):
        green, mean = planes[start + 1], smooth[start + 1] / whole * planes[6]
        details.append(float(np.sqrt(((green - mean) ** 2).sum() / max(float(planes[6].sum()), 1.0))))
    return _Light(
        found[:, :3] / divisor,
        found[:, 3:6] / divisor,
        np.where(inside, found[:, 6], 0).astype(np.float32),
        (details[0] + 1) / (details[1] + 1),
    )


def _opacity(mesh: Floats, drawn: Drawn, keep_mouth: bool) -> Floats:
    """(h, w) 0 to 1: soft at the rim of the face and inwards only, 0 in the eyes and inside the lips."""
    import cv2

    size = face_size(mesh)
    # The region's own rim is no rim of the face where the picture cuts it off: the distance is to what is drawn empty.
    distance = cv2.distanceTransform(drawn.mask, cv2.DIST_L2, 5)
    ramp = np.clip((distance - 0.5) / max(_FEATHER * size, 1.0), 0, 1)
    alpha = ramp * ramp * (3 - 2 * ramp)
    kept = _rings(mesh, drawn.shape, (LEFT_EYE_RING, RIGHT_EYE_RING), 0, _EYE * size)
    if keep_mouth:
        mouth = _rings(mesh, drawn.shape, (OUTER_LIPS,), _MOUTH * size, _MOUTH * size / 2)
    else:
        mouth = _rings(mesh, drawn.shape, (INNER_LIPS,), 0, _LIPS * size)
    return np.asarray(alpha * (1 - kept) * (1 - mouth), np.float32)


def _rings(
    mesh: Floats, shape: tuple[int, int], rings: tuple[tuple[int, ...], ...], grow: float, soft: float
) -> NDArray[np.float32]:
    """(h, w) 1 inside rings of landmarks, grown and softened by so many pixels."""
    import cv2

    picture = np.zeros(shape, np.uint8)
    for ring in rings:
        cv2.fillPoly(
            picture, [np.round(mesh[list(ring), :2] * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4
        )
    if grow >= 1:
        side = 2 * round(grow) + 1
        picture = cv2.dilate(picture, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    result = picture.astype(np.float32) / np.float32(255)
    return cv2.GaussianBlur(result, (0, 0), soft) if soft > 0.3 else result
