"""The settings of the ``pose`` processor."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from framelane.sections.base import Colour, Section


class PoseSettings(Section):
    """What the ``pose`` processor finds and draws."""

    model: Literal["movenet", "yolo", "rtmpose", "rtmo"] = Field(
        "movenet",
        description="what finds joints: movenet (embedded), yolo (YOLO26-pose, AGPL-3.0, opt-in), rtmpose or rtmo (rtmlib)",
    )
    model_size: Literal["nano", "small", "medium", "large"] = Field(
        "nano", description="how large a model, where it comes in sizes"
    )
    resolution: int = Field(
        256, ge=128, le=1280, multiple_of=32, description="longer side in pixels of what movenet is given"
    )
    closer: bool = Field(
        True, description="movenet looks at small people a second time, on a crop: steadier joints, more time"
    )
    every: int = Field(
        2,
        ge=1,
        le=10,
        description="poses are found on every N-th frame, at once after a cut, and on every 4N-th while the picture stands "
        "still; joints between are interpolated",
    )
    detection_threshold: float = Field(
        0.2, ge=0.05, le=0.95, description="lowest score of a person that starts a track"
    )
    joint_threshold: float = Field(0.2, ge=0.01, le=0.95, description="lowest score of a joint that counts as seen")
    tracker: Literal["bytetrack", "botsort"] = Field(
        "bytetrack", description="the tracker; botsort knows a moving camera"
    )
    smoothing: Literal["loess", "one_euro", "none"] = Field(
        "loess",
        description="loess: a local fit over frames before and after, without lag; one_euro: looks at the past only; none",
    )
    smoothing_s: float = Field(0.12, ge=0.01, le=1, description="seconds before and after that loess looks at")
    min_cutoff: float = Field(1.0, gt=0, le=30, description="one_euro: cutoff in Hz of a joint at rest")
    beta: float = Field(
        40.0, ge=0, le=100, description="one_euro: how much the cutoff rises, in Hz per body height a second"
    )
    gap_s: float = Field(
        0.3, ge=0, le=2, description="longest time for which an unseen joint is bridged; it is drawn dashed and marked"
    )
    layout: Literal["coco17", "openpose18"] = Field(
        "coco17", description="joints drawn and written to the CSV: coco17, or openpose18 with a neck"
    )
    left_colour: Colour = Field("#8fe9ff", description="colour of the person's left limbs")
    right_colour: Colour = Field("#f0480c", description="colour of the person's right limbs; darker than the left")
    middle_colour: Colour = Field("#f4f4f4", description="colour of what is neither left nor right")
    opacity: float = Field(0.95, ge=0.1, le=1, description="opacity of a limb whose joints are sure")
    labels: bool = Field(True, description="write each person's number")
    legend: bool = Field(True, description="draw the legend")
    cut_threshold: float = Field(
        0.3, ge=0.05, le=1, description="how different (0 to 1) two frames must be, motion removed, for a cut"
    )
