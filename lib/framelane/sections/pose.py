"""The settings of the ``pose`` processor."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from framelane.sections.base import Section


class PoseSettings(Section):
    """What the ``pose`` processor finds and draws."""

    model: Literal["movenet", "yolo", "rtmpose", "rtmo"] = Field(
        "movenet",
        description="what finds joints: movenet (embedded), yolo (YOLO26-pose, AGPL-3.0, opt-in), rtmpose or rtmo (rtmlib)",
    )
