"""Piecewise affine maps between two meshes of a face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Floats
from framelane.perception.faces.topology import Integers, areas

_SHIFT = 4  # bits of a pixel that OpenCV draws with


def draw(points: Floats, corners: Integers, width: int, height: int) -> NDArray[np.int32]:
    """Which triangle is seen at each pixel; those farther away are drawn first, those seen from behind not at all.

    Args:
        points: (n, 3) landmarks in pixels of the picture.
        corners: (m, 3) landmarks of each triangle.
        width: of the picture.
        height: of the picture.

    Returns:
        (height, width) index of the triangle, -1 where there is none.
    """
    import cv2

    seen = np.full((height, width), -1, np.int32)
    fixed = np.round(points[:, :2] * (1 << _SHIFT)).astype(np.int32)
    front = np.flatnonzero(areas(points, corners) > 0)
    depth = points[corners[front], 2].mean(axis=1)
    for index in front[np.argsort(-depth, kind="stable")]:
        cv2.fillConvexPoly(seen, fixed[corners[index]], int(index), shift=_SHIFT)
    return seen


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pixels that a mesh covers, each with its place between three landmarks.

    Attributes:
        rows: (n,) of the pixels.
        columns: (n,) of the pixels.
        corners: (n, 3) the landmarks around each.
        weights: (n, 3) barycentric, their sum is 1.
        shape: height and width of the picture.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    corners: Integers
    weights: Floats
    shape: tuple[int, int]

    def carry(self, values: Floats, empty: float = 0.0) -> Floats:
        """What is known at the landmarks, (468, d), as a picture (h, w, d); ``empty`` where the mesh is not."""
        picture = np.full((*self.shape, values.shape[1]), empty, np.float32)
        picture[self.rows, self.columns] = np.einsum("nc,ncd->nd", self.weights, values[self.corners])
        return picture

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(h, w) 1 where the mesh is."""
        covered = np.zeros(self.shape, np.uint8)
        covered[self.rows, self.columns] = 1
        return covered


def place(points: Floats, corners: Integers, width: int, height: int) -> Drawn:
    """The pixels of a picture that a mesh covers (arguments as :func:`draw` has them)."""
    seen = draw(points, corners, width, height)
    rows, columns = np.nonzero(seen >= 0)
    index = seen[rows, columns]
    first, second, third = (points[corners[:, side], :2].astype(np.float64) for side in range(3))
    one, two = second - first, third - first
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    x, y = columns - first[index, 0], rows - first[index, 1]
    across = (x * two[index, 1] - y * two[index, 0]) / area[index]
    down = (y * one[index, 0] - x * one[index, 1]) / area[index]
    # A pixel on the rim of a thin triangle may lie a little outside of it.
    across, down = np.clip(across, -1, 2), np.clip(down, -1, 2)
    weights = np.stack([1 - across - down, across, down], axis=1).astype(np.float32)
    return Drawn(rows, columns, corners[index], weights, (height, width))
