"""The settings of the ``depth`` processor."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from framelane.sections.base import Section


class DepthSettings(Section):
    """What the ``depth`` processor measures and draws."""

    model: str = Field(
        "depth_anything_v2_metric_outdoor",
        min_length=1,
        description="what measures depth: a name of the catalogue's task depth, yolo (YOLO26-depth, AGPL-3.0, an ONNX "
        "file that you exported yourself), the path of an .onnx file or of a "
        "folder with Depth Anything's files, or none",
    )
    kind: Literal["metric", "relative"] | None = Field(
        None,
        description="what your own .onnx file gives: metric (metres) or relative (inverse depth of unknown scale); null "
        "reads it from the file's metadata",
    )
    normalisation: Literal["imagenet", "unit"] | None = Field(
        None,
        description="what your own .onnx file takes: imagenet (RGB less ImageNet's mean) or unit (RGB from 0 to 1); null "
        "reads it from the file's metadata, and is imagenet where that does not say",
    )
    size: int = Field(518, ge=98, le=1540, description="shorter side in pixels of what the depth model sees")
    every: int = Field(3, ge=1, le=30, description="depth is computed on every N-th frame and carried along between")
    consistency_s: float = Field(
        1.0,
        ge=0,
        le=30,
        description="seconds over which a jump of the model's scale is evened out where the picture stands still; 0 is off",
    )
    detector: Literal["nanodet", "rfdetr", "deformable_detr", "rtdetr", "yolo"] = Field(
        "nanodet", description="what finds objects, see attention.detector"
    )
    detector_size: Literal["nano", "small", "medium", "large"] = Field(
        "nano", description="how large a detector, where it comes in sizes"
    )
    tracker: Literal["bytetrack", "botsort"] = Field("bytetrack", description="what gives objects lasting numbers")
    detect_every: int = Field(2, ge=1, le=10, description="detect on every N-th frame; boxes between are interpolated")
    detection_threshold: float = Field(0.35, ge=0.05, le=0.95, description="lowest detection score that starts a track")
    classes: list[str] = Field(default_factory=list, description="COCO class names to keep; empty keeps all")
    cut_threshold: float = Field(
        0.3, ge=0.05, le=1, description="how different (0 to 1) two frames must be, motion removed, for a cut"
    )
    percentile: float = Field(
        10.0,
        ge=0,
        le=50,
        description="an object's distance is this percentile of the depth inside the middle of its box (60 % of each side)",
    )
    fov: float | None = Field(
        None,
        ge=5,
        le=170,
        description="the camera's horizontal field of view in degrees; with it a bearing has degrees. Null: left, centre, "
        "right only",
    )
    window_s: float = Field(1.0, ge=0.2, le=5, description="seconds over which an object's closing speed is taken")
    danger_m: float = Field(2.0, gt=0, le=1000, description="metres at and below which an object is in the danger zone")
    warning_m: float = Field(5.0, gt=0, le=1000, description="metres at and below which it is in the warning zone")
    danger_s: float = Field(1.5, ge=0, le=60, description="seconds to collision at and below which it is danger")
    warning_s: float = Field(3.0, ge=0, le=60, description="seconds to collision at and below which it is warning")
    danger_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="where the distance is unknown: share of the picture's height at which a box is danger",
    )
    warning_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="where the distance is unknown: share of the picture's height at which it is warning",
    )
    hysteresis: float = Field(
        0.15, ge=0, le=1, description="a zone is left only this share beyond the limit at which it is entered"
    )
    alert_on: Literal["danger", "warning"] = Field("danger", description="the zone from which on an object alerts")
    cooldown_s: float = Field(5.0, ge=0, le=600, description="seconds between two alerts of one track")
    tones: bool = Field(False, description="a short tone in the output's sound at each alert; danger is the higher one")
    view: Literal["blend", "side_by_side", "plain"] = Field(
        "blend", description="coloured depth over the picture, beside it, or not at all"
    )
    alpha: float = Field(0.45, ge=0, le=1, description="opacity of the coloured depth (blend)")
    near_m: float = Field(1.0, gt=0, le=1000, description="metres drawn in the nearest colour")
    far_m: float = Field(30.0, gt=0, le=1000, description="metres drawn in the farthest colour, and the radar's rim")
    radar: bool = Field(True, description="draw the radar: objects seen from above")
    legend: bool = Field(True, description="draw the legend")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        pairs = (
            ("danger_m", "warning_m"),
            ("danger_s", "warning_s"),
            ("warning_share", "danger_share"),
            ("near_m", "far_m"),
        )
        for low, high in pairs:
            if getattr(self, low) > getattr(self, high) or (low == "near_m" and self.near_m == self.far_m):
                raise ValueError(f"{low} ({getattr(self, low):g}) must be below {high} ({getattr(self, high):g})")
        return self
