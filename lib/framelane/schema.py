"""All settings, put together of their sections. How layers of them are merged is in ``settings``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from framelane.resources import config_names
from framelane.sections.attention import AttentionSettings
from framelane.sections.base import Section
from framelane.sections.depth import DepthSettings
from framelane.sections.engine import EngineSettings
from framelane.sections.faceswap import FaceswapSettings
from framelane.sections.follow import FollowSettings
from framelane.sections.guard import GuardSettings
from framelane.sections.hardware import HardwareSettings
from framelane.sections.output import GifSettings, OutputSettings
from framelane.sections.pose import PoseSettings


class Settings(Section):
    """Everything that can be set for one job."""

    mode: Literal["fast", "balanced", "quality"] = Field(
        "balanced", description="what the user picks: speed against quality"
    )
    profile: str = Field("auto", description=f"what the hardware allows: auto, {', '.join(config_names('profiles'))}")
    attention: AttentionSettings = AttentionSettings()
    faceswap: FaceswapSettings = FaceswapSettings()
    pose: PoseSettings = PoseSettings()
    depth: DepthSettings = DepthSettings()
    follow: FollowSettings = FollowSettings()
    engine: EngineSettings = EngineSettings()
    output: OutputSettings = OutputSettings()
    gif: GifSettings = GifSettings()
    hardware: HardwareSettings = HardwareSettings()
    guard: GuardSettings = GuardSettings()


@cache
def fields() -> Mapping[str, FieldInfo]:
    """Every settable key in dotted form (``"attention.method"``) with its pydantic field, in declared order."""
    return MappingProxyType(dict(_fields(Settings, "")))


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info
