"""Reading ``requirements-colab.txt``: which component needs what."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from .errors import SetupUsageError

FILE = Path(__file__).resolve().parent / "requirements-colab.txt"
COMPONENTS = {
    "notebook": "widgets and charts of the notebooks; an ipywidgets that is there stays",
    "faceswap": "face swap: content credentials, insightface, spandrel",
    "ray": "batches on many machines",
    "deformable": "the backbone of Deformable DETR",
    "gfpgan": "GFPGAN's reference package (spandrel opens the same weights)",
}
PLANNED = ("pose", "depth", "follow")
"""Processors of the plan that are not there yet: asking for one installs the base and says so."""


@dataclass
class Group:
    """Requirements of one component.

    Attributes:
        plain: resolved with what they require.
        apart: the lines ``#! SPEC``.
        keep: by requirement: the same as a range, within which an installed version is left alone.
    """

    plain: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    keep: dict[str, str] = field(default_factory=dict)

    def add(self, text: str, apart: bool) -> None:
        """Take in a line of the file."""
        spec, _, keep = (part.strip() for part in text.partition(" # keep "))
        (self.apart if apart else self.plain).append(spec)
        if keep:
            name = re.match(r"[\w.-]+", spec)
            self.keep[spec] = f"{name[0] if name else spec}{keep}"


def read(path: Path = FILE) -> dict[str, Group]:
    """The groups of a requirements file, by name."""
    groups: dict[str, Group] = {}
    current = groups.setdefault("base", Group())
    for line in path.read_text().splitlines():
        if heading := re.match(r"# \[([\w-]+)\]", line):
            current = groups.setdefault(heading[1], Group())
        elif line.startswith("#! "):
            current.add(line[3:], apart=True)
        elif line.strip() and not line.startswith("#"):
            current.add(line, apart=False)
    return groups


def components(text: str) -> list[str]:
    """The names in ``--with``, in the order of the table.

    Args:
        text: names with commas between; ``all`` is all of them but the reference package gfpgan.

    Raises:
        SetupUsageError: an unknown name.
    """
    asked = [name.strip().lower() for name in text.split(",") if name.strip()]
    if "all" in asked:
        asked = [name for name in asked if name != "all"] + [name for name in COMPONENTS if name != "gfpgan"]
    known = [*COMPONENTS, *PLANNED]
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SetupUsageError(f"--with: {name!r} is no component; there are {', '.join(known)} and all.{hint}")
    return [name for name in known if name in asked]
