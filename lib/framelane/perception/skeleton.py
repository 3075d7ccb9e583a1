"""The joints of a person: their names, their limbs, how alike two poses are, and the 18-joint form with a neck."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Side = Literal["left", "right", "middle"]
Layout = Literal["coco17", "openpose18"]

COCO17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""The joints in COCO's order; left is the person's own left."""

OPENPOSE18 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip
"""The joints in OpenPose's order (its doc/02_output.md, POSE_COCO_BODY_PARTS)."""

SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
"""How far people who mark the same joint lie apart, in units of the person's size (pycocotools 2.0.11, cocoeval.py:523)."""

_LIMBS17 = (
    ("left_ankle", "left_knee"), ("left_knee", "left_hip"), ("right_ankle", "right_knee"), ("right_knee", "right_hip"),
    ("left_hip", "right_hip"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow"),
    ("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"), ("nose", "left_eye"), ("nose", "right_eye"),
    ("left_eye", "left_ear"), ("right_eye", "right_ear"),
)  # fmt: skip
_LIMBS18 = (
    ("neck", "right_shoulder"), ("neck", "left_shoulder"), ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("neck", "right_hip"),
    ("right_hip", "right_knee"), ("right_knee", "right_ankle"), ("neck", "left_hip"), ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"), ("neck", "nose"), ("nose", "right_eye"), ("right_eye", "right_ear"),
    ("nose", "left_eye"), ("left_eye", "left_ear"),
)  # fmt: skip


def names(layout: Layout) -> tuple[str, ...]:
    """The joints of a layout, in its order."""
    return COCO17 if layout == "coco17" else OPENPOSE18


def limbs(layout: Layout) -> tuple[tuple[int, int], ...]:
    """Pairs of joints between which a limb is drawn, by their place in the layout."""
    order = names(layout)
    pairs = _LIMBS17 if layout == "coco17" else _LIMBS18
    return tuple((order.index(one), order.index(other)) for one, other in pairs)


def side(*joints: str) -> Side:
    """Which side of the body a joint, or a limb between joints, belongs to.

    Example:
        >>> side("left_hip", "left_knee"), side("left_hip", "right_hip"), side("neck", "left_hip")
        ('left', 'middle', 'left')
    """
    found = {joint.split("_")[0] for joint in joints} & {"left", "right"}
    if len(found) != 1:
        return "middle"
    return "left" if "left" in found else "right"


def arranged(joints: Floats, layout: Layout) -> NDArray[np.float64]:
    """Joints of COCO-17 in a layout; the neck is the mean of the shoulders, as sure as the less sure of them.

    Args:
        joints: (17, k): x, y, score, and in further columns what is larger where the joint is worse (bridged).
        layout: what is wanted.

    Returns:
        (17, k) or (18, k).
    """
    given = np.asarray(joints, np.float64)
    if layout == "coco17":
        return given
    left, right = given[COCO17.index("left_shoulder")], given[COCO17.index("right_shoulder")]
    neck = (left + right) / 2
    neck[2] = min(left[2], right[2])
    neck[3:] = np.maximum(left[3:], right[3:])
    if neck[2] <= 0:
        neck[:] = 0
    return np.stack([neck if name == "neck" else given[COCO17.index(name)] for name in OPENPOSE18])


def oks(one: Floats, others: Floats, area: float) -> NDArray[np.float64]:
    """Object keypoint similarity (COCO's; pycocotools/cocoeval.py, computeOks), of one pose to others.

    Args:
        one: (17, 3): x, y, score; joints whose score is 0 or less do not count.
        others: (n, 17, 3).
        area: of the one, in square pixels.

    Returns:
        (n,), 0 to 1; 0 where no joint is known of both.
    """
    both = (one[None, :, 2] > 0) & (others[..., 2] > 0)
    squares = ((others[..., :2] - one[None, :, :2]) ** 2).sum(-1)
    alike = np.exp(-squares / (2 * max(area, 1e-6) * (2 * SIGMAS) ** 2)) * both
    return np.asarray(alike.sum(-1) / np.maximum(both.sum(-1), 1), np.float64)


def box_of(joints: Floats, lowest: float = 0.0, margin: float = 0.0) -> NDArray[np.float64]:
    """The box around the joints that are surer than ``lowest`` (around all where none is): x1, y1, x2, y2.

    Args:
        joints: (17, 3): x, y, score.
        lowest: score.
        margin: added on each side, as a share of the box's longer side.
    """
    kept = joints[joints[:, 2] > lowest, :2] if (joints[:, 2] > lowest).any() else joints[:, :2]
    low, high = kept.min(axis=0), kept.max(axis=0)
    more = margin * float((high - low).max())
    return np.concatenate([low - more, high + more]).astype(np.float64)
