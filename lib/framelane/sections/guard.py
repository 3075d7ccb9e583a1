"""The settings of the guard: its rules, and what each of them does."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from framelane.sections.base import Section

Rung = Annotated[
    str, Field(pattern=r"^(batch|height [1-9]\d{1,3}|stride [2-8]|pace 0\.[1-9]\d?|pause|emergency|stop)$")
]


class GuardRule(Section):
    """When the guard acts on one quantity, and how.

    The ladder is taken rung by rung while the quantity stays bad, and back in reverse order: ``batch`` halves the batch
    until it is 1, ``height N`` works at N lines and ``stride N`` runs models on every N-th of their frames (both from the
    next clip on), ``pace 0.N`` works for that share of the time, ``pause`` waits, ``emergency`` flushes caches and keeps
    one frame batch in every queue, ``stop`` ends the job after a segment.

    Attributes:
        low: True where it is low values that are bad.
    """

    low: ClassVar[bool] = False
    enter: float = Field(description="acts from here on")
    leave: float = Field(description="begins to go back from here on")
    dwell_s: float = Field(10, ge=1, le=600, description="seconds that it must be bad, and between two rungs")
    recover_s: float = Field(60, ge=1, le=3600, description="seconds that it must be good before a rung is given back")
    ladder: list[Rung] = Field(description="what is done, rung by rung")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.leave <= self.enter if self.low else self.leave >= self.enter:
            side = "above" if self.low else "below"
            raise ValueError(f"leave ({self.leave:g}) must be {side} enter ({self.enter:g})")
        return self


class VramRule(GuardRule):
    """GPU memory."""

    enter: float = Field(92, gt=0, le=100, description="% of the usable GPU memory in use, PyTorch's cache not counted")
    leave: float = Field(80, gt=0, le=100, description="% from which the way back begins")
    ladder: list[Rung] = Field(
        ["batch", "height 720", "height 480", "height 360", "stride 2"],
        description="what is done about it, rung by rung",
    )


class TemperatureRule(GuardRule):
    """Heat."""

    low: ClassVar[bool] = True
    enter: float = Field(3, ge=0, le=40, description="°C below the device's own slowdown point")
    leave: float = Field(10, ge=0, le=60, description="°C below it from which the way back begins")
    ladder: list[Rung] = Field(["pace 0.7", "pace 0.4", "pause"], description="what is done about it, rung by rung")


class RamRule(GuardRule):
    """Memory of the machine, or of ``hardware.ram_limit``."""

    enter: float = Field(85, gt=0, le=100, description="% of the RAM in use")
    leave: float = Field(75, gt=0, le=100, description="% from which the way back begins")
    dwell_s: float = Field(2, ge=1, le=600, description="seconds that it must be bad, and between two rungs")
    recover_s: float = Field(30, ge=1, le=3600, description="seconds that it must be good before a rung is given back")
    ladder: list[Rung] = Field(["emergency", "batch"], description="what is done about it, rung by rung")


class CeilingRule(GuardRule):
    """The process against ``hardware.ram_limit``."""

    enter: float = Field(100, gt=0, le=200, description="% of hardware.ram_limit that the process uses")
    leave: float = Field(90, gt=0, le=200, description="% from which the way back begins")
    ladder: list[Rung] = Field(["stop"], description="what is done about it, rung by rung")


class DiskRule(GuardRule):
    """Disk space."""

    low: ClassVar[bool] = True
    enter: float = Field(0, ge=0, description="MB free on the output's disk beyond engine.min_free_mb")
    leave: float = Field(64, ge=0, description="MB from which the way back begins")
    dwell_s: float = Field(2, ge=1, le=600, description="seconds that it must be bad, and between two rungs")
    ladder: list[Rung] = Field(["stop"], description="what is done about it, rung by rung")


class GuardSettings(Section):
    """What slows work down before the machine breaks."""

    enabled: bool = Field(True, description="act on what the sensors say; they are read and reported all the same")
    max_pause_s: float = Field(
        180, ge=1, le=3600, description="longest pause; still hot after it, work goes on at the lowest pace"
    )
    slowdown_c: float | None = Field(
        None,
        ge=40,
        le=110,
        description="temperature in °C taken as the slowdown point; null asks the device (80 where it does not say, 75 on "
        "Tegra boards)",
    )
    vram: VramRule = VramRule()
    temperature: TemperatureRule = TemperatureRule()
    ram: RamRule = RamRule()
    ceiling: CeilingRule = CeilingRule()
    disk: DiskRule = DiskRule()

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        for name in ("vram", "temperature", "ram", "ceiling", "disk"):
            rule: GuardRule = getattr(self, name)
            if "pause" in rule.ladder and self.max_pause_s < rule.dwell_s:
                raise ValueError(
                    f"max_pause_s ({self.max_pause_s:g}) must be at least {name}.dwell_s ({rule.dwell_s:g})"
                )
        return self
