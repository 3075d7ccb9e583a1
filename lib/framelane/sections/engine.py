"""The settings of the engine."""

from __future__ import annotations

from pydantic import Field

from framelane.sections.base import Section


class EngineSettings(Section):
    """How a job runs; none of these changes a pixel but through x264's closing of segments."""

    segment_seconds: float = Field(10.0, gt=0, le=600, description="seconds of output between two checkpoints")
    queue_batches: int = Field(2, ge=1, le=8, description="frame batches that may wait between two stages")
    min_free_mb: int = Field(
        256,
        ge=0,
        description="free disk space in MB that must remain, else a job does not start, or stops after a segment",
    )
    preview_s: float = Field(
        0,
        ge=0,
        le=60,
        description="seconds between two previews of the current frame, before and after, among the events; 0 makes none",
    )
