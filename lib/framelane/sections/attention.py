"""The settings of the ``attention`` processor."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from framelane.sections.base import Colour, Section


class FamilyColours(Section):
    """The colour of each class family, as ``#rrggbb``; one track's shade varies around it."""

    person: Colour = Field("#ff8c1a", description="people")
    vehicle: Colour = Field("#ffd21a", description="bicycles, cars, buses, trains, boats")
    animal: Colour = Field("#4fd35a", description="birds and four-legged animals")
    ball: Colour = Field("#ff4fa3", description="balls and other sports gear that flies")
    other: Colour = Field("#c58cff", description="everything else")


class AttentionSettings(Section):
    """What the ``attention`` processor computes and draws."""

    channels: Literal["a", "b", "ab"] = Field(
        "ab", description="a: the frame's attention; b: tracked objects; ab: both"
    )
    method: Literal["gmar", "rollout", "last_layer", "chefer", "gradcam"] = Field(
        "gmar", description="how attention maps of all layers and heads become one map"
    )
    gmar_norm: Literal["l1", "l2"] = Field("l1", description="norm of the gradient that weighs a head (gmar)")
    start_layer: int | None = Field(
        None,
        ge=0,
        le=47,
        description="first layer that counts; 0 takes all, as published; null is the backbone's own (DINOv2: 7, for its "
        "early layers dilute the map; video transformers: 0)",
    )
    backbone: Literal["dinov2_vits14", "mvit_v2_s", "mvit_v2_b", "videomae"] = Field(
        "dinov2_vits14", description="the vision transformer that is looked into: of images, or of windows of video"
    )
    target: str = Field(
        "top-1",
        min_length=1,
        description="whose attention a video transformer shows: top-1, the name of a class, or mean",
    )
    pooling: Literal["uniform", "learned"] = Field(
        "uniform", description="how pooled attention is brought back to full resolution (learned is an ablation)"
    )
    detector: Literal["nanodet", "rfdetr", "deformable_detr", "rtdetr", "yolo"] = Field(
        "nanodet",
        description="the object detector of channel B; yolo (AGPL-3.0) runs an ONNX file that you exported yourself",
    )
    detector_size: Literal["nano", "small", "medium", "large"] = Field(
        "nano", description="how large a detector, where it comes in sizes"
    )
    tracker: Literal["bytetrack", "botsort"] = Field("bytetrack", description="the tracker of channel B")
    sample_fps: float = Field(
        4.0, gt=0, le=240, description="maps of an image backbone computed per second; frames between are interpolated"
    )
    window: int | None = Field(
        None,
        ge=2,
        le=64,
        description="frames in a video transformer's window; null is what it was trained with (16 or 32)",
    )
    window_fps: float | None = Field(
        None,
        gt=0,
        le=60,
        description="frames per second in a video transformer's window; null is what it was trained at",
    )
    overlap: float = Field(
        0.5, ge=0, le=0.9, description="share of a window that the next one covers again, blended in time"
    )
    spatial_resolution: int = Field(
        224,
        ge=112,
        le=896,
        description="square root of the pixel area given to the backbone; an image backbone keeps the aspect ratio",
    )
    detect_every: int = Field(
        2,
        ge=1,
        le=10,
        description="detect on every N-th frame, at once after a cut, and on every 4N-th while the picture stands still; "
        "boxes between are interpolated",
    )
    detection_threshold: float = Field(0.35, ge=0.05, le=0.95, description="lowest detection score that starts a track")
    classes: list[str] = Field(default_factory=list, description="COCO class names to keep; empty keeps all")
    smoothing_s: float = Field(
        0.25, ge=0, le=5, description="time constant in seconds of the motion-following smoothing; 0 is off"
    )
    cut_threshold: float = Field(
        0.3, ge=0.05, le=1, description="how different (0 to 1) two frames must be, motion removed, for a cut"
    )
    colour: Colour = Field("#1a5cff", description="colour of the attention shadow")
    alpha: float = Field(0.6, ge=0, le=1, description="opacity of the shadow where attention is strongest")
    object_alpha: float = Field(0.18, ge=0, le=0.5, description="opacity of the tint inside an object's box")
    object_shadow: float = Field(
        0.42, ge=0, le=0.5, description="opacity of an object's own attention (DETR family), instead of that tint"
    )
    family_colours: FamilyColours = FamilyColours()
    trail_s: float = Field(2.0, ge=0, le=30, description="length in seconds of the path drawn behind an object")
    gap_s: float = Field(0.6, ge=0, le=5, description="how long an object that is not seen stays drawn, fading")
    legend: bool = Field(True, description="draw the legend")
