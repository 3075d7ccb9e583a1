"""Clips whose answer is known in space and time: one green disk decides the class by how it moves, others distract.

The others move all the time, in directions of their own: a green square, a disk of another colour, and a third that is
one of the two. Neither colour nor shape alone tells the green disk from them, and all have the same size and contrast
(conjunction search: Treisman & Gelade 1980, "A feature-integration theory of attention"). The green disk stands still
but for a few frames, in which it moves left, right, up or down. Looking at what moves finds the others; only a map of
what the model used finds the disk, and the moment in which it moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

CLASSES = ["left", "right", "up", "down"]
_DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1))  # x, y
FRAMES = 8
SIDE = 48
MOVING = 4  # of the 7 steps from frame to frame
SPEED = 4  # pixels a frame
RADIUS = 5
OTHERS = 3
_GREEN = (0, 210, 0)  # R, G, B
_COLOURS = ((210, 0, 0), (0, 0, 210), (210, 0, 210))


@dataclass(frozen=True)
class Scene:
    """Clips and their answers.

    Attributes:
        clips: uint8 (N, T, 3, S, S).
        labels: int64 (N,), indices into :data:`CLASSES`.
        boxes: float (N, T, 4): x1, y1, x2, y2 of the disk in pixels.
        moves: bool (N, T): the disk is elsewhere than in the frame before or after.
    """

    clips: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    moves: np.ndarray


def make_scene(count: int, seed: int) -> Scene:
    """So many clips.

    Args:
        count: how many.
        seed: the same seed gives the same clips.
    """
    rng = np.random.default_rng(seed)
    made = [_clip(rng) for _ in range(count)]
    clips, labels, boxes, moves = (np.stack(part) for part in zip(*made, strict=True))
    return Scene(clips, labels, boxes, moves)


def _clip(rng: np.random.Generator) -> tuple[np.ndarray, np.int64, np.ndarray, np.ndarray]:
    import cv2

    label = rng.integers(len(CLASSES))
    coarse = rng.integers(40, 160, (6, 6), dtype=np.uint8)
    ground = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    frames = np.repeat(np.repeat(ground[None, :, :, None], 3, 3), FRAMES, 0)
    for number in range(OTHERS):
        like_in_shape = number == 1 or (number > 1 and rng.random() < 0.5)
        colour = _COLOURS[rng.integers(len(_COLOURS))] if like_in_shape else _GREEN
        _draw(frames, _other_path(rng), colour, disk=like_in_shape)
    path, moves = _disk_path(rng, _DIRECTIONS[label])
    _draw(frames, path, _GREEN, disk=True)
    noisy = frames + rng.normal(0, 4, frames.shape)
    boxes = np.concatenate([path - RADIUS, path + RADIUS + 1], axis=1).astype(np.float64)
    return np.clip(noisy, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2), label, boxes, moves


def _disk_path(rng: np.random.Generator, direction: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    first = rng.integers(0, FRAMES - MOVING)
    steps = np.zeros((FRAMES, 2), int)
    steps[first + 1 : first + 1 + MOVING] = np.array(direction) * SPEED
    moved = np.cumsum(steps, axis=0)
    low, high = RADIUS - moved.min(0), SIDE - 1 - RADIUS - moved.max(0)
    moves = np.zeros(FRAMES, bool)
    moves[first : first + MOVING + 1] = True
    return rng.integers(low, high + 1) + moved, moves


def _other_path(rng: np.random.Generator) -> np.ndarray:
    speed = rng.integers(SPEED - 1, SPEED + 1)
    step = np.array(_DIRECTIONS[rng.integers(4)]) * speed
    moved = step * np.arange(FRAMES)[:, None]
    low, high = RADIUS - moved.min(0), SIDE - 1 - RADIUS - moved.max(0)
    return np.asarray(rng.integers(low, np.maximum(high, low) + 1) + moved)


def _draw(frames: np.ndarray, path: np.ndarray, colour: tuple[int, int, int], *, disk: bool) -> None:
    import cv2

    for frame, (x, y) in zip(frames, path.tolist(), strict=True):
        if disk:
            cv2.circle(frame, (x, y), RADIUS, colour, -1)
        else:
            cv2.rectangle(frame, (x - RADIUS, y - RADIUS), (x + RADIUS, y + RADIUS), colour, -1)


def build_model() -> Any:
    """A small MViTv2 of torchvision's own class for these clips, with random weights."""
    from framelane.models.torch_compat import ensure_torchvision

    ensure_torchvision()
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    def block(heads: int, channels: tuple[int, int], q: int, kv: int) -> Any:
        return MSBlockConfig(
            heads, *channels, [1, q + 1, q + 1] if q > 1 else [1, 1, 1], [3, 3, 3], [1, q, q], [1, kv, kv]
        )

    return MViT(
        spatial_size=(SIDE, SIDE),
        temporal_size=FRAMES,
        block_setting=[
            block(4, (64, 64), 1, 2),
            block(8, (64, 64), 2, 1),
            *[block(8, (64, 64), 1, 1)] * 6,
        ],
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        dropout=0.0,
        num_classes=len(CLASSES),
        patch_embed_stride=(1, 6, 6),
    )
