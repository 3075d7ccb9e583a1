"""Public-domain faces, and motions of them whose truth is known."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image


@cache
def astronaut() -> np.ndarray:
    """Eileen Collins (NASA, public domain), (512, 512, 3) uint8."""
    from skimage import data

    return data.astronaut()


@cache
def hopper() -> np.ndarray:
    """Grace Hopper (US Navy, public domain), (600, 512, 3) uint8."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return np.array(Image.open(path).convert("RGB"))


def frames(*pictures: np.ndarray) -> torch.Tensor:
    """(N, 3, H, W) uint8."""
    return torch.stack([torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1) for picture in pictures])


def paste(picture: np.ndarray, patch) -> np.ndarray:
    """A picture (h, w, 3) uint8 with a patch in it, blended as the contract says."""
    result = picture.astype(np.float32)
    alpha = patch.alpha[0].numpy()[..., None]
    rows, columns = slice(patch.top, patch.top + len(alpha)), slice(patch.left, patch.left + alpha.shape[1])
    result[rows, columns] = result[rows, columns] * (1 - alpha) + patch.rgb.permute(1, 2, 0).numpy() * alpha
    return np.round(result).clip(0, 255).astype(np.uint8)


def similarity(angle: float, scale: float, shift: tuple[float, float], centre: np.ndarray) -> np.ndarray:
    """(2, 3) turn by degrees and scale about a point, then shift."""
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, scale)
    matrix[:, 2] += shift
    return matrix


def move(picture: np.ndarray, mesh: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture and the landmarks in it, moved by a similarity transform."""
    height, width = picture.shape[:2]
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    moved = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    flat = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return moved, np.concatenate([flat, mesh[:, 2:] * scale], axis=1).astype(np.float32)


def express(picture: np.ndarray, mesh: np.ndarray, amount: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture with the mouth's corners drawn apart, the brows raised and the chin dropped, and where landmarks went.

    The field is a sum of Gaussian bumps, told for where pixels come from; landmarks are moved by solving it backwards,
    so nothing of the library takes part.
    """
    eyes = float(np.linalg.norm(mesh[263, :2] - mesh[33, :2]))
    bumps = [
        (mesh[61, :2], np.array([-0.06, -0.05])),
        (mesh[291, :2], np.array([0.06, -0.05])),
        (mesh[105, :2], np.array([0.0, -0.07])),
        (mesh[334, :2], np.array([0.0, -0.07])),
        (mesh[17, :2], np.array([0.0, 0.10])),
    ]

    def field(points: np.ndarray) -> np.ndarray:
        total = np.zeros_like(points)
        for centre, push in bumps:
            near = np.exp(-((points - centre) ** 2).sum(-1) / (2 * (0.25 * eyes) ** 2))
            total += near[..., None] * push * eyes * amount
        return total

    height, width = picture.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)
    source = (grid - field(grid)).astype(np.float32)
    moved = cv2.remap(picture, source[..., 0], source[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    flat = mesh[:, :2].astype(np.float64)
    for _ in range(60):
        flat = mesh[:, :2] + field(flat)
    return moved, np.concatenate([flat, mesh[:, 2:]], axis=1).astype(np.float32)


def planted(picture: np.ndarray, mesh: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """A short clip of known motion: name, picture, landmarks of each frame."""
    centre = mesh[:, :2].mean(axis=0)
    result = []
    for step in range(1, 4):
        result.append((f"shift {step}", *move(picture, mesh, similarity(0, 1, (9.25 * step, 5.5 * step), centre))))
        result.append((f"turn {step}", *move(picture, mesh, similarity(8.0 * step - 12, 1, (0, 0), centre))))
        result.append((f"scale {step}", *move(picture, mesh, similarity(0, 0.75 + 0.35 * step, (0, 20), centre))))
        result.append((f"express {step}", *express(picture, mesh, 0.5 * step)))
    return result


def turned(picture: np.ndarray, mesh: np.ndarray, yaw: float, pitch: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The face alone as a solid on a plain ground, turned to the right and then down by degrees; picture and landmarks."""
    from framelane.perception.faces.topology import filled
    from framelane.processors.faceswap.raster import place

    height, width = picture.shape[:2]
    centre = mesh.mean(axis=0)
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    angle = np.radians(pitch)
    nod = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    turn = nod @ turn
    solid = ((mesh - centre) @ turn.T + centre).astype(np.float32)
    at = place(solid, filled(), width, height).carry(mesh[:, :2], empty=-10)
    seen = cv2.remap(picture, at[..., 0], at[..., 1], cv2.INTER_CUBIC)
    ground = np.full_like(picture, 90)
    return np.where((at[..., :1] > -5), seen, ground), solid
