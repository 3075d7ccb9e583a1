"""The settings of the ``depth`` processor."""

from __future__ import annotations

from pydantic import Field

from framelane.sections.base import Section


class DepthSettings(Section):
    """What the ``depth`` processor measures and draws."""

    every: int = Field(3, ge=1, le=30, description="depth is computed on every N-th frame and carried along between")
