"""The README's settings table, made from the settings themselves: ``cd tests && python -m support.readme`` writes it."""

from __future__ import annotations

import json
from pathlib import Path

from annotated_types import Ge, Gt, Le, Lt

from framelane.settings import Settings, fields, flatten, load

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- settings -->", "<!-- /settings -->"


def _allowed(info) -> str:
    choices = getattr(info.annotation, "__args__", ())
    optional = type(None) in choices
    if choices and not optional:
        if all(isinstance(c, str) for c in choices):
            return ", ".join(f"`{c}`" for c in choices)
        return "list"
    bounds = []
    for rule in info.metadata:
        for kind, sign in ((Ge, "≥"), (Gt, ">"), (Le, "≤"), (Lt, "<")):
            if isinstance(rule, kind):
                bounds.append(f"{sign} {getattr(rule, kind.__name__.lower())}")
    colour = any(hasattr(rule, "pattern") for rule in info.metadata)
    names = {bool: "true, false", str: "`#rrggbb`" if colour else "text"}
    return (" and ".join(bounds) or names.get(info.annotation, "")) + (" or null" if optional else "")


def table() -> str:
    """All settings as a Markdown table; defaults are those of mode balanced on profile cpu."""
    defaults = flatten(load(profile="cpu").settings.model_dump())
    assert set(defaults) == {key for key, _ in fields(Settings)}
    lines = ["| setting | default | allowed | what it does |", "|---|---|---|---|"]
    for key, info in fields(Settings):
        value = json.dumps(defaults[key]).strip('"')
        lines.append(f"| `{key}` | {value} | {_allowed(info)} | {info.description} |")
    return "\n".join(lines)


def main() -> None:
    """Put the table between its marks."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
