"""What a form must know of a setting, read from the settings models: its kind, its range, and its value as text.

Nothing here knows of widgets, and nothing decides what is allowed: text that makes no sense becomes a value that the
loader refuses, in its own words.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

from framelane.i18n import gettext as _
from framelane.notebook.choice import assignment
from framelane.schema import fields
from framelane.settings import names

Kind = Literal["choice", "switch", "whole", "number", "colour", "text", "list", "data"]
_BOUNDS = {Ge: ("low", "ge", False), Gt: ("low", "gt", True), Le: ("high", "le", False), Lt: ("high", "lt", True)}


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        key: in dotted form, as in ``"gif.fps"``.
        kind: what control it gets.
        about: its description, in English.
        options: what a ``choice`` allows.
        low: smallest number; None where there is no bound.
        high: largest number; None where there is no bound.
        low_open: whether ``low`` itself is too small.
        high_open: whether ``high`` itself is too large.
        optional: whether it may have no value (null).
        item: of a ``list``, what its items are.
        letters: how many a ``text`` must have at least, and may have at most.
    """

    key: str
    kind: Kind
    about: str = ""
    options: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    optional: bool = False
    item: type = str
    letters: tuple[int, int | None] = (0, None)

    @property
    def section(self) -> str:
        """The part before the first dot; empty for ``mode`` and ``profile``."""
        return self.key.partition(".")[0] if "." in self.key else ""

    @property
    def name(self) -> str:
        """The part after it."""
        return self.key.partition(".")[2] or self.key

    def allowed(self) -> str:
        """What may be given, in words."""
        words = []
        if self.low is not None and self.high is not None and not (self.low_open or self.high_open):
            words.append(_("{low} to {high}").format(low=f"{self.low:g}", high=f"{self.high:g}"))
        else:
            for bound, out, more, least in (
                (self.low, self.low_open, _("more than {bound}"), _("at least {bound}")),
                (self.high, self.high_open, _("less than {bound}"), _("at most {bound}")),
            ):
                if bound is not None:
                    words.append((more if out else least).format(bound=f"{bound:g}"))
        if self.letters[1] is not None:
            words.append(_("{low} to {high} letters").format(low=self.letters[0], high=self.letters[1]))
        if self.kind == "list":
            words.append(_("several, with commas between them"))
        if self.optional:
            words.append(_("may be left empty"))
        return "; ".join(words)

    def text(self, value: Any) -> str:
        """A value as it stands in a text control."""
        if value is None:
            return ""
        if self.kind == "list" and isinstance(value, list | tuple):
            plain = [str(item) for item in value]
            joined = ", ".join(plain)
            if self.value(joined) == list(value):
                return joined
        return value if isinstance(value, str) and self.kind != "data" else assignment("", value)[1:]

    def value(self, text: str) -> Any:
        """What somebody typed as a value; what cannot be one stays a text, for the loader to refuse."""
        plain = text.strip()
        if not plain and self.optional:
            return None
        if self.kind in ("text", "colour", "choice"):
            return text
        if self.kind == "list" and not plain.startswith(("[", "{")):
            items = [item.strip() for item in plain.split(",")]
            return [item if self.item is str else _read(item) for item in items if item]
        return [] if self.kind == "data" and not plain else _read(plain)


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def settings() -> Iterator[Setting]:
    """Every setting, in the order of the models."""
    for key, info in fields().items():
        yield describe(key, info)


def describe(key: str, info: FieldInfo) -> Setting:
    """One field of the models as a form sees it."""
    kind, optional = _plain(info.annotation)
    found = _of_kind(key, kind, info.metadata)
    if optional and found["kind"] == "choice":
        found["options"] = ("", *found["options"])
    return Setting(key, about=info.description or "", optional=optional, **found)


def _of_kind(key: str, kind: Any, rules: list[Any]) -> dict[str, Any]:
    """What the type of a field, and the rules beside it, say of its control."""
    if key == "profile":
        return {"kind": "choice", "options": ("auto", *names("profiles"))}
    if get_origin(kind) is Literal:
        return {"kind": "choice", "options": tuple(map(str, get_args(kind)))}
    if get_origin(kind) is list:
        item = _plain(get_args(kind)[0])[0]
        return {"kind": "list" if item in (str, int, float) else "data", "item": item}
    if kind in (int, float):
        ends: dict[str, Any] = {}
        for rule in rules:
            for bound, (end, attribute, is_open) in _BOUNDS.items():
                if isinstance(rule, bound):
                    ends |= {end: getattr(rule, attribute), f"{end}_open": is_open}
        return {"kind": "whole" if kind is int else "number", **ends}
    if kind is str:
        colour = any(str(getattr(rule, "pattern", "")).startswith("^#") for rule in rules)
        least = next((rule.min_length for rule in rules if isinstance(rule, MinLen)), 0)
        most = next((rule.max_length for rule in rules if isinstance(rule, MaxLen)), None)
        return {"kind": "colour" if colour else "text", "letters": (least, most)}
    return {"kind": "switch" if kind is bool else "data"}


def _plain(annotation: Any) -> tuple[Any, bool]:
    """A type without ``None`` and without what is annotated, and whether it was optional."""
    while hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        if len(inner) == 1:
            return _plain(inner[0])[0], True
    return annotation, False
