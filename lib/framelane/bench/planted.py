"""Scenes whose answer is known: a photographed object moves over a photographed surface, with its box in every frame.

The pictures come with installed packages and are free to use:

- ``skimage.data``: ``astronaut`` (Eileen Collins, NASA, public domain; the shuttle model is in the same photograph),
  ``chelsea`` (CC0, Stefan van der Walt), ``coffee`` (CC0, Rachel Michetti), ``grass``, ``gravel`` and ``brick``
  (CC0 textures), ``hubble_deep_field`` (NASA, public domain);
- matplotlib's ``grace_hopper.jpg`` (US Navy, public domain).

Outlines are set by hand on the original pictures. A cut-out has hard errors (light, scale, no shadow), so the scenes
rank methods; they are no stand-in for a benchmark of real footage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from framelane.bench.outlines import OBJECTS, Outline
from framelane.bench.pointing import centre_bias, mass_in_box, pointing_game, random_map
from framelane.errors import FramelaneError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "BACKGROUNDS", "Cutout", "Scene", "Score", "background", "centre_bias", "cutout", "evaluate", "mass_in_box", "paste",
    "pointing_game", "random_map", "scenes",
]  # fmt: skip

# Photographs without an object, and the tint (red, green, blue) of those that are grey.
BACKGROUNDS: dict[str, tuple[float, float, float] | None] = {
    "grass": (0.80, 1.05, 0.45),
    "gravel": (1.00, 0.96, 0.88),
    "brick": (1.25, 0.78, 0.62),
    "hubble_deep_field": None,
}
_SMALLEST, _LARGEST = 0.15, 0.35
_TRAVEL = 0.25  # of the free range, at most, in the whole scene
_FEATHER = 0.012  # of the cut-out's size


@dataclass(frozen=True)
class Scene:
    """A short clip of one object.

    Attributes:
        frames: uint8 tensor (T, 3, H, W), RGB.
        boxes: float32 tensor (T, 4): x1, y1, x2, y2 in pixels, the far edges exclusive. The smallest box around every
            pixel that the object touches.
        object: what moves.
        background: what it moves over.
    """

    frames: Tensor
    boxes: Tensor
    object: str
    background: str


@dataclass(frozen=True)
class Cutout:
    """An object at one size: float32 colours (H, W, 3) in 0 to 255 and opacity (H, W) in 0 to 1, cropped to it."""

    colours: np.ndarray
    alpha: np.ndarray


def scenes(frames: int = 8, size: tuple[int, int] = (360, 640), seed: int = 0) -> list[Scene]:
    """Every object over every background, moving in a straight line.

    The root of the box's area is 15 to 35 % of the root of the frame's. The first position is uniform over all places
    where the object is whole, so that most are off-centre: a centre bias must not win.

    Args:
        frames: frames a scene.
        size: (height, width) in pixels, at least 64 each.
        seed: positions, sizes and directions follow from it.

    Returns:
        20 scenes.

    Raises:
        FramelaneError: scikit-image or matplotlib is missing, or the size is too small.
    """
    if frames < 1 or min(size) < 64:
        raise FramelaneError("Planted scenes need at least one frame, of at least 64 by 64 pixels.")
    rng = np.random.default_rng(seed)
    return [_scene(name, ground, frames, size, rng) for name in OBJECTS for ground in BACKGROUNDS]


def _scene(name: str, ground: str, frames: int, size: tuple[int, int], rng: np.random.Generator) -> Scene:
    import torch

    height, width = size
    cut = cutout(name, rng.uniform(_SMALLEST, _LARGEST) * (height * width) ** 0.5, size)
    behind = background(ground, size)
    high, wide = cut.alpha.shape
    room = np.array([width - wide, height - high], float)
    begin = rng.uniform(0, 1, 2)
    end = np.clip(begin + rng.uniform(-_TRAVEL, _TRAVEL, 2), 0, 1)
    places = np.rint(np.linspace(begin, end, frames) * room).astype(int)
    pictures = np.stack([paste(behind, cut, int(x), int(y)) for x, y in places])
    boxes = np.concatenate([places, places + np.array([wide, high])], axis=1)
    return Scene(
        torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(boxes.astype(np.float32)),
        name,
        ground,
    )


def background(name: str, size: tuple[int, int]) -> np.ndarray:
    """A photograph that fills the frame: uint8 (H, W, 3); a key of :data:`BACKGROUNDS`, size (height, width)."""
    import cv2

    picture, tint = _photograph(name), BACKGROUNDS[name]
    height, width = size
    scale = max(height / picture.shape[0], width / picture.shape[1])
    across, down = max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale))
    large = cv2.resize(picture, (across, down), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (down - height) // 2, (across - width) // 2
    crop = large[top : top + height, left : left + width].astype(np.float32)
    if tint:
        crop *= np.array(tint, np.float32)
    return np.asarray(np.clip(np.rint(crop), 0, 255), np.uint8)


def cutout(name: str, extent: float, frame: tuple[int, int]) -> Cutout:
    """An object with feathered edges.

    Args:
        name: a key of ``outlines.OBJECTS``.
        extent: root of the wanted box area, in pixels; less where the frame is too small for the object's shape.
        frame: (height, width) in pixels that it must fit into.
    """
    import cv2

    picture, alpha = _traced(name)
    high, wide = alpha.shape
    scale = min(extent / (high * wide) ** 0.5, 0.9 * frame[0] / high, 0.9 * frame[1] / wide)
    size = max(2, round(wide * scale)), max(2, round(high * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    colours = cv2.resize(picture, size, interpolation=method).astype(np.float32)
    small = cv2.resize(alpha, size, interpolation=method)
    small = np.minimum(small, 1)
    small[small < 0.02] = 0  # what nobody can see must not make the box larger
    rows, columns = np.flatnonzero(small.any(1)), np.flatnonzero(small.any(0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Cutout(colours[window], small[window])


def paste(behind: np.ndarray, cut: Cutout, left: int, top: int) -> np.ndarray:
    """``behind`` (uint8 (H, W, 3)) with the object's box at (left, top), in pixels; a copy."""
    high, wide = cut.alpha.shape
    picture = behind.copy()
    under = picture[top : top + high, left : left + wide]
    alpha = cut.alpha[..., None]
    under[:] = np.rint(alpha * cut.colours + (1 - alpha) * under).astype(np.uint8)
    return picture


@cache
def _traced(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The object's photograph and its feathered mask (float32), both cropped to the outline."""
    import cv2

    outline = OBJECTS[name]
    picture = _photograph(outline.picture)
    mask = _fill(outline, picture.shape[:2])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    mask, picture = mask[window], picture[window]
    # Feather inwards only: outside the outline is the photograph's own background.
    width = max(1.5, _FEATHER * (mask.shape[0] * mask.shape[1]) ** 0.5)
    inside = cv2.distanceTransform(np.pad(mask, 1) if not outline.cropped else mask, cv2.DIST_L2, 5)
    if not outline.cropped:
        inside = inside[1:-1, 1:-1]
    return picture, np.clip(inside / width, 0, 1).astype(np.float32)


def _fill(outline: Outline, size: tuple[int, int]) -> np.ndarray:
    import cv2

    mask = np.zeros(size, np.uint8)
    for polygon in outline.polygons:
        cv2.fillPoly(mask, [np.array(polygon, np.int32)], 1)
    for x, y, half_width, half_height, degrees in outline.ellipses:
        cv2.ellipse(mask, (x, y), (half_width, half_height), degrees, 0, 360, 1, -1)
    return mask


@cache
def _photograph(name: str) -> np.ndarray:
    """A picture by name: uint8 (H, W, 3).

    Raises:
        FramelaneError: the package that carries it is not installed.
    """
    import cv2

    try:
        if name == "grace_hopper":
            import matplotlib

            picture = cv2.imread(str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"))
            if picture is None:
                raise FileNotFoundError("grace_hopper.jpg")
            return np.asarray(picture)[..., ::-1].copy()
        import skimage.data

        picture = np.asarray(getattr(skimage.data, name)())
    except (ImportError, OSError) as error:
        raise FramelaneError(
            f"The planted scenes need the photograph {name!r}, which comes with scikit-image and matplotlib. "
            "Install them: pip install scikit-image matplotlib."
        ) from error
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture[..., :3]


@dataclass(frozen=True)
class Score:
    """How well maps point at planted objects; the mean over all frames of all scenes, each in 0 to 1.

    Attributes:
        pointing: share of frames whose highest point lies inside the box (the pointing game).
        mass: share of the map's mass inside the box.
        area: share of the frame that the box covers, which is what chance reaches in both.
    """

    pointing: float
    mass: float
    area: float


def evaluate(planted: list[Scene], predict: Callable[[Tensor], Tensor]) -> Score:
    """Score one method on scenes.

    Args:
        planted: from :func:`scenes`.
        predict: from frames, uint8 (T, 3, H, W), to their maps (T, gh, gw), not negative.

    Raises:
        FramelaneError: there is no scene, or the maps are not one for each frame.
    """
    hits: list[bool] = []
    masses: list[float] = []
    areas: list[float] = []
    for scene in planted:
        count, _, height, width = scene.frames.shape
        maps = predict(scene.frames).detach().cpu()
        if maps.ndim != 3 or len(maps) != count:
            raise FramelaneError(f"{count} frames need maps of shape ({count}, gh, gw), not {tuple(maps.shape)}.")
        for attention, box in zip(maps, scene.boxes, strict=True):
            hits.append(pointing_game(attention, box, (height, width)))
            masses.append(mass_in_box(attention, box, (height, width)))
            areas.append(float((box[2] - box[0]) * (box[3] - box[1])) / (height * width))
    if not hits:
        raise FramelaneError("There is no planted scene to score.")
    return Score(*(float(np.mean(values)) for values in (hits, masses, areas)))
