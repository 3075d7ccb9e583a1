"""What a setting may be, in words: for the tables, and for who gave something else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from framelane.errors import UsageError
from framelane.schema import fields
from framelane.sections.base import COLOUR

_CLASSES = "a list of COCO's names, such as [person, car]"
_FORMS = {
    "follow.subject": "ball, person, action, or the number of a track, such as 2",
    "follow.size": "WIDTHxHEIGHT such as 1080x1920, or the shorter side such as 720p",
    "attention.classes": _CLASSES,
    "depth.classes": _CLASSES,
    "hardware.cpu_affinity": "a list of cores, such as [0, 1]",
    "faceswap.pairs": "a list of pairs, such as [{source: her.jpg, target: him.jpg}]",
}
_LADDER = "a list of rungs, such as [batch, height 480, stride 2, pace 0.7, pause, emergency, stop]"
"""What text of a fixed form and lists look like: no pattern is ever shown to people."""
_OF_A_FORM = ("string_pattern_mismatch", "string_type", "list_type")


def kind(info: FieldInfo) -> Literal["text", "texts", "other"]:
    """Whether a setting is text (a choice counts as text), a list of texts, or anything else; null does not count."""
    inner = _inner(info.annotation)
    if get_origin(inner) is list:
        return "texts" if _is_text(get_args(inner)[0]) else "other"
    return "text" if _is_text(inner) else "other"


def choices(info: FieldInfo) -> tuple[Any, ...]:
    """The values of a setting that is one of a few; empty for any other."""
    inner = _inner(info.annotation)
    return get_args(inner) if get_origin(inner) is Literal else ()


def nullable(info: FieldInfo) -> bool:
    """Whether a setting may be null."""
    return type(None) in get_args(info.annotation)


def is_colour(info: FieldInfo) -> bool:
    """Whether a setting is a colour."""
    inside = [rule for part in get_args(info.annotation) for rule in getattr(part, "__metadata__", ())]
    return any(_pattern(rule) == COLOUR for rule in (*info.metadata, *inside))


def form(key: str, info: FieldInfo) -> str | None:
    """What a setting of a fixed form looks like, with an example; None where it has no form of its own."""
    if is_colour(info):
        return "a colour as #rrggbb, such as #ff8800"
    return _LADDER if key.endswith(".ladder") else _FORMS.get(key)


def refused(error: ValidationError, origin: Mapping[str, str]) -> UsageError:
    """The sentence for the first value that is not allowed.

    Args:
        error: of pydantic.
        origin: where each value comes from, by dotted key.
    """
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    if first["type"] == "value_error" and isinstance(first["input"], Mapping):  # each of its values alone is allowed
        return UsageError(f"{key}: {_reason(first)}.")
    given = "null" if first["input"] is None else repr(first["input"])
    said = _looks_like(key, first) or _reason(first)
    return UsageError(f"{key}: {given} (from {origin.get(key, 'the settings')}) is not allowed: {said}.")


def _looks_like(key: str, detail: Mapping[str, Any]) -> str | None:
    info = fields().get(key)
    known = form(key, info) if info else None
    if known is None or detail["type"] not in _OF_A_FORM:
        return None
    if info and is_colour(info) and detail["input"] is None:
        return f"it should be {known}, in a YAML file in quotes, for # begins a comment there"
    return f"it should be {known}"


def _reason(detail: Mapping[str, Any]) -> str:
    text = str(detail["msg"]).removeprefix("Value error, ")
    return (text[0].lower() + text[1:]).replace("input should", "it should")


def _pattern(rule: Any) -> Any:
    """The pattern that a rule holds a text to; pydantic keeps it in a field's own metadata, or inside a FieldInfo."""
    held = (getattr(part, "pattern", None) for part in (rule, *getattr(rule, "metadata", ())))
    found = next(filter(None, held), None)
    return found.pattern if isinstance(found, re.Pattern) else found


def _inner(annotation: Any) -> Any:
    """A setting's type without null and without what is said of it."""
    if get_origin(annotation) in (Union, UnionType):
        left = [part for part in get_args(annotation) if part is not type(None)]
        return _inner(left[0]) if len(left) == 1 else annotation
    return _inner(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _is_text(annotation: Any) -> bool:
    inner = _inner(annotation)
    return inner is str or (get_origin(inner) is Literal and all(isinstance(value, str) for value in get_args(inner)))
