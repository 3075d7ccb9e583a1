"""The settings of the ``follow`` processor."""

from __future__ import annotations

from pydantic import Field

from framelane.sections.base import Section


class FollowSettings(Section):
    """Whom the virtual camera follows, and how."""

    subject: str = Field("person", description="ball, person, action, or a track's number")
