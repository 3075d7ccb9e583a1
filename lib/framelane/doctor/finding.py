"""A finding: one thing that was looked at, what was seen, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "note", "warning", "error"]
STATUSES: tuple[Status, ...] = ("ok", "note", "warning", "error")
Figure = float | int | str | bool | None


@dataclass(frozen=True)
class Finding:
    """One probe's answer.

    Attributes:
        name: what was looked at, as in ``"decode pyav"``; at most 20 characters, no name of this machine in it.
        status: ``ok``; ``note`` (worth knowing), ``warning`` (works, but not as it should), ``error`` (does not work).
        evidence: sentences: what was done, and what came of it.
        fix: what to do, in one line; empty where there is nothing to do.
        figures: what was measured, by name with its unit, such as ``psnr_db``; JSON-able.
    """

    name: str
    status: Status
    evidence: str
    fix: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"a finding is one of {', '.join(STATUSES)}, not {self.status!r}")
        if self.status in ("warning", "error") and not self.fix:
            raise ValueError(f"the {self.status} {self.name!r} says nothing that can be done")

    def plain(self) -> dict[str, Any]:
        """As JSON will have it."""
        return asdict(self)


def sentence(text: str) -> str:
    """The text on one line, with a full stop at its end."""
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
