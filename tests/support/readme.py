"""The README's tables, made from the settings and profiles themselves: ``cd tests && python -m support.readme``."""

from __future__ import annotations

import json
from pathlib import Path

from annotated_types import Ge, Gt, Le, Lt

from framelane.processors.attention.sources import PACE
from framelane.profiles import GIB, RULES
from framelane.schema import Settings
from framelane.settings import fields, flatten, load, names, profile_limits

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- settings -->", "<!-- /settings -->"
PROFILES = "<!-- profiles -->", "<!-- /profiles -->"


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


def profiles() -> str:
    """All profiles as a Markdown table, as they are where no mode was picked."""
    lines = [
        "| profile | chosen for | working lines | backbone | detector | frames seen | batch | precision | GPU memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = {rule.profile: index for index, rule in enumerate(RULES)}
    for name in sorted(names("profiles"), key=lambda name: order.get(name, len(order))):
        settings = load(profile=name).settings
        eyes, machine = settings.attention, settings.hardware
        most = profile_limits(name).get("attention.sample_fps")
        absolute = f", at most {machine.gpu_memory_gb:g} GB" if machine.gpu_memory_gb else ""
        cells = (
            f"`{name}`", _chosen_for(name), machine.working_height or "the clip's", eyes.backbone,
            eyes.detector if eyes.detector == "nanodet" else f"{eyes.detector} {eyes.detector_size}",
            _seen(eyes, most), machine.batch_size,
            "FP16 mixed" if machine.mixed_precision else "FP32",
            "" if machine.device == "cpu" else f"{machine.gpu_memory_limit * 100:.0f} %{absolute}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _seen(eyes, most):
    """Single frames a second, with the profile's limit; or windows."""
    if pace := PACE.get(eyes.backbone):
        return f"windows of {eyes.window} at {eyes.window_fps or pace:g}/s"
    return f"{eyes.sample_fps:g}/s (at most {most:g})" if most else f"{eyes.sample_fps:g}/s"


def _chosen_for(name: str) -> str:
    rule = next((rule for rule in RULES if rule.profile == name), None)
    if rule is None:
        return "no GPU, or too little of it"
    oldest, newest = (".".join(map(str, pair)) if pair else "" for pair in (rule.oldest, rule.newest))
    if rule.newest and rule.newest != rule.oldest:
        range_ = f"below {rule.newest[0] + 1}.0"
    else:
        range_ = oldest if newest else f"{oldest} and newer"
    return f"{rule.free / GIB:g} GB free, capability {range_}"


def main() -> None:
    """Put the tables between their marks."""
    text = README.read_text(encoding="utf-8")
    for (begin, end), content in (((BEGIN, END), table()), (PROFILES, profiles())):
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
