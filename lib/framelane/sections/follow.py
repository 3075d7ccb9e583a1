"""The settings of the ``follow`` processor."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from framelane.sections.base import Colour, Section


class FollowSettings(Section):
    """Whom the virtual camera follows, and how."""

    subject: str = Field(
        "person", description="ball, person, action (the players' weighted centre), or a track's number"
    )
    aspect: Literal["16:9", "9:16", "1:1", "4:5"] = Field(
        "9:16", description="shape of the output, where size does not name both sides"
    )
    size: str | None = Field(
        None,
        description="size of the output, as in 1080x1920 or 720p (the shorter side); null is as large as the clip allows",
    )
    detector: Literal["nanodet", "rfdetr", "rtdetr", "deformable_detr", "yolo"] = Field(
        "nanodet", description="what finds people and balls, as in attention.detector"
    )
    detector_size: Literal["nano", "small", "medium", "large"] = Field(
        "nano", description="size of a detector that comes in several"
    )
    detection_threshold: float = Field(0.35, ge=0.05, le=0.95, description="score that starts a track")
    detect_every: int = Field(2, ge=1, le=30, description="people and balls are looked for on every N-th frame")
    cue: Literal["auto", "on", "off"] = Field(
        "auto",
        description="find the ball by colour and motion, too; auto: where the embedded detector is at work",
    )
    colour: Colour | None = Field(None, description="the ball's colour for the cue; null learns it from the clip")
    zoom_min: float = Field(
        1.0,
        ge=1,
        le=8,
        description="widest view; 1 is the largest window of the output's shape that fits into the clip",
    )
    zoom_max: float = Field(1.6, ge=1, le=8, description="closest view, for a subject that is surely seen and slow")
    dead_zone: float = Field(
        0.3, ge=0, le=0.6, description="share of the window in which the subject may move without the camera following"
    )
    max_speed: float = Field(1.5, gt=0, le=20, description="fastest pan, in window widths a second")
    max_acceleration: float = Field(3.0, gt=0, le=100, description="in window widths a second squared")
    max_jerk: float = Field(10.0, gt=0, le=1000, description="in window widths a second cubed")
    lost_s: float = Field(3.0, gt=0, le=60, description="seconds without the subject after which it counts as lost")
    cut_threshold: float = Field(
        0.3, ge=0.05, le=1, description="how unlike the frame before a frame must be to be a cut; the camera then jumps"
    )
    show: bool = Field(
        False, description="draw the window and the subject on the whole frame instead of cutting it out"
    )

    @field_validator("subject", mode="before")
    @classmethod
    def _whom(cls, value: Any) -> Any:
        """``--set follow.subject=2`` is a number to YAML."""
        plain = str(value) if type(value) is int else value
        if isinstance(plain, str) and re.fullmatch(r"ball|person|action|[1-9][0-9]{0,8}", plain):
            return plain
        raise PydanticCustomError("subject", "it should be ball, person, action or the number of a track, such as 2")

    @field_validator("aspect", mode="before")
    @classmethod
    def _sides(cls, value: Any) -> Any:
        """YAML 1.1 reads 9:16 as a number in base 60: 556."""
        return f"{value // 60}:{value % 60}" if type(value) is int else value

    @field_validator("cue", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        """YAML 1.1 reads on and off as true and false."""
        return ("on" if value else "off") if isinstance(value, bool) else value

    @field_validator("size", mode="before")
    @classmethod
    def _pixels(cls, value: Any) -> Any:
        if value is None or (isinstance(value, str) and re.fullmatch(r"[0-9]{2,4}(x[0-9]{2,4}|p)", value)):
            return value
        raise PydanticCustomError("size", "it should be a size such as 1080x1920, or 720p")

    @model_validator(mode="after")
    def _wide_then_close(self) -> Self:
        if self.zoom_min > self.zoom_max:
            raise ValueError(f"zoom_min ({self.zoom_min:g}) must not be above zoom_max ({self.zoom_max:g})")
        return self
