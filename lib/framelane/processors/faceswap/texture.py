"""A source as one picture of a face with its mesh, at several sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framelane.errors import UsageError
from framelane.perception.faces.base import Floats
from framelane.perception.faces.topology import areas, filled, triangles
from framelane.processors.faceswap.raster import Drawn, place
from framelane.processors.faceswap.relight import skin_likeness
from framelane.processors.faceswap.swapper import Source

_SMALLEST = 48
_AROUND = 0.04  # share of the face's size
_FRONT = 6  # power of how much a triangle faces the camera: the picture that sees it best decides nearly alone


@dataclass(frozen=True, eq=False)
class Texture:
    """A face to be laid on other meshes.

    Attributes:
        levels: pictures (h, w, 3) uint8 RGB of the face, each half as large as the one before.
        mesh: (468, 3) in pixels of the first.
        bare: (468,) 0 to 1: where the picture shows skin, not hair over the forehead.
    """

    levels: tuple[NDArray[np.uint8], ...]
    mesh: Floats
    bare: Floats

    @classmethod
    def of(cls, source: Source) -> Texture:
        """The texture of a source: its first picture, and where others see more of a cheek, theirs.

        Raises:
            UsageError: a picture has no mesh.
        """
        import cv2

        pairs = []
        for image, face in zip(source.images, source.faces, strict=True):
            if face.mesh is None:
                raise UsageError(
                    f"No mesh could be laid on the source {source.name}; give a clearer picture of the face."
                )
            pairs.append(_cut(image, face.mesh))
        picture, mesh = pairs[0] if len(pairs) == 1 else _average(pairs)
        levels = [picture]
        while min(levels[-1].shape[:2]) >= 2 * _SMALLEST:
            height, width = levels[-1].shape[:2]
            levels.append(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
        return cls(tuple(levels), mesh, skin_likeness(_around(picture, mesh)))

    def sample(self, drawn: Drawn, target: Floats) -> Floats:
        """The face as a mesh in a clip shows it, as sharp as the clip's pixels can hold.

        Args:
            drawn: pixels that the clip's mesh covers.
            target: (468, 3) the clip's mesh.

        Returns:
            (h, w, 3) float32, 0 to 255; 0 outside the mesh.
        """
        import cv2

        scale = float(np.sqrt(_area(self.mesh) / max(_area(target), 1e-6)))
        level = int(np.clip(np.floor(np.log2(max(scale, 1.0))), 0, len(self.levels) - 1))
        picture = self.levels[level]
        shrink = np.divide(picture.shape[1::-1], self.levels[0].shape[1::-1])
        rest = scale / 2**level
        if rest > 1:
            picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * float(np.sqrt(rest * rest - 1)) + 1e-3)
        at = drawn.carry(((self.mesh[:, :2] + 0.5) * shrink - 0.5).astype(np.float32), empty=-10)
        return np.asarray(
            cv2.remap(picture, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT),
            np.float32,
        )


def _around(picture: NDArray[np.uint8], mesh: Floats) -> Floats:
    """(468, 3) the picture's colour around each landmark."""
    import cv2

    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), _AROUND * float(np.sqrt(_area(mesh) / 2)))
    return np.asarray(cv2.remap(smooth, mesh[:, :1], mesh[:, 1:2], cv2.INTER_LINEAR)[:, 0], np.float32)


def _area(mesh: Floats) -> float:
    return float(np.maximum(areas(mesh, triangles()), 0).sum())


def _cut(image: NDArray[np.uint8], mesh: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """The part of a picture around the mesh; where the mesh leaves the picture, its last pixels go on."""
    import cv2

    low = np.floor(mesh[:, :2].min(axis=0)).astype(int) - 8
    high = np.ceil(mesh[:, :2].max(axis=0)).astype(int) + 9
    height, width = image.shape[:2]
    before, after = np.maximum(-low, 0), np.maximum(high - [width, height], 0)
    part = image[max(low[1], 0) : high[1], max(low[0], 0) : high[0]]
    whole = cv2.copyMakeBorder(part, before[1], after[1], before[0], after[0], cv2.BORDER_REPLICATE)
    return np.asarray(whole, np.uint8), (mesh - np.array([*low, 0], np.float32)).astype(np.float32)


def _average(pairs: list[tuple[NDArray[np.uint8], Floats]]) -> tuple[NDArray[np.uint8], Floats]:
    """All pictures laid on the mesh of the first, weighted by how well each sees a place; in the first one's colours."""
    import cv2

    base, mesh = pairs[0]
    drawn = place(mesh, filled(), base.shape[1], base.shape[0])
    covered = drawn.mask.astype(bool)
    total, weight = np.zeros(base.shape, np.float32), np.zeros((*base.shape[:2], 1), np.float32)
    for picture, other in pairs:
        at = drawn.carry(other[:, :2], empty=-10)
        laid = cv2.remap(picture, at[..., 0], at[..., 1], cv2.INTER_CUBIC).astype(np.float32)
        laid *= base[covered].mean(axis=0) / np.maximum(laid[covered].mean(axis=0), 1)
        detail = min(1.0, _area(other) / _area(mesh))
        seen = (_frontal(other) ** _FRONT * detail).astype(np.float32)
        share = drawn.carry(seen[:, None]) + np.float32(1e-6)
        total += laid * share
        weight += share
    merged = np.where(covered[..., None], np.clip(total / weight, 0, 255), base)
    return np.round(merged).astype(np.uint8), mesh


def _frontal(mesh: Floats) -> Floats:
    """(468,) 0 to 1: how much the surface at each landmark faces the camera."""
    corners = triangles()
    first, second, third = (mesh[corners[:, side]] for side in range(3))
    normal = np.cross(second - first, third - first)
    facing = np.maximum(normal[:, 2], 0) / np.maximum(np.linalg.norm(normal, axis=1), 1e-6)
    total, count = np.zeros(468), np.zeros(468)
    for side in range(3):
        np.add.at(total, corners[:, side], facing)
        np.add.at(count, corners[:, side], 1)
    return np.asarray(total / np.maximum(count, 1), np.float32)
