"""Small arrays: as plain data for snapshots, and an object's own map as it moves."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

Box = tuple[float, float, float, float]


def pack(array: np.ndarray | None, kind: str = "float32") -> dict[str, Any] | None:
    """An array as JSON-able data: bit for bit as float32, or rounded to half the size as float16."""
    if array is None:
        return None
    data = np.ascontiguousarray(array, dtype=np.dtype(kind).newbyteorder("<"))
    return {"shape": list(data.shape), kind: base64.b64encode(data.tobytes()).decode()}


def unpack(data: dict[str, Any] | None) -> np.ndarray | None:
    """The inverse of :func:`pack`, float32."""
    if data is None:
        return None
    kind = next(key for key in data if key != "shape")
    flat = np.frombuffer(base64.b64decode(data[kind]), np.dtype(kind).newbyteorder("<"))
    return flat.reshape(data["shape"]).astype(np.float32)


def normalised_grid(grid: np.ndarray) -> np.ndarray:
    """Summing to 1; left as it is where nothing is."""
    total = float(grid.sum())
    return np.asarray(grid / total, np.float32) if total > 1e-12 else grid


def follow(grid: np.ndarray, source: Box, target: Box, frame: tuple[int, int]) -> np.ndarray:
    """An object's map, moved as its box moved: bilinear, what leaves the frame is gone, summing to 1.

    Args:
        grid: float32 ``(gh, gw)`` over the frame.
        source: the box that it belongs to, x1, y1, x2, y2 in pixels.
        target: where that box is now.
        frame: (height, width) in pixels.
    """
    import cv2

    scale = grid.shape[1] / frame[1], grid.shape[0] / frame[0]
    moved = [(target[k] + target[k + 2] - source[k] - source[k + 2]) / 2 * scale[k] for k in (0, 1)]
    if max(map(abs, moved)) < 1e-3:
        return grid
    matrix = np.array([[1, 0, moved[0]], [0, 1, moved[1]]], np.float64)
    there = cv2.warpAffine(grid, matrix, grid.shape[::-1], flags=cv2.INTER_LINEAR)
    return normalised_grid(np.asarray(there, np.float32))
