"""The READMEs' tables, made from the settings and profiles themselves: ``cd tests && python -m support.readme``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from framelane import allowed, i18n
from framelane.processors.attention.sources import PACE
from framelane.profiles import GIB, RULES
from framelane.settings import fields, flatten, load, names, profile_limits

README = Path(__file__).parents[2] / "README.md"
READMES = {"en": README, "es": README.with_name("README.es.md")}
BEGIN, END = "<!-- settings -->", "<!-- /settings -->"
PROFILES = "<!-- profiles -->", "<!-- /profiles -->"
ADVICE = "<!-- advice -->", "<!-- /advice -->"

# What the tables say beside names, numbers and the settings' own descriptions.
WORDS = {
    "es": {
        "setting": "ajuste", "default": "por omisión", "allowed": "se admite", "what it does": "qué hace",
        "list": "lista", "text": "texto", "and": "y", "or null": "o null",
        "a multiple of {}": "un múltiplo de {}",
        "profile": "perfil", "chosen for": "se elige con", "working lines": "líneas de trabajo",
        "backbone": "red troncal", "detector": "detector", "frames seen": "fotogramas vistos", "batch": "lote",
        "precision": "precisión", "GPU memory": "memoria de la GPU", "the clip's": "las del clip",
        "FP16 mixed": "FP16 mixta", "no GPU, or too little of it": "sin GPU, o con muy poca",
        "{} GB free, capability {}": "{} GB libres, capacidad {}", "below {}": "inferior a {}",
        "{} and newer": "{} y posteriores", ", at most {} GB": ", como máximo {} GB",
        "{}/s (at most {})": "{}/s (como máximo {})",
        "windows of {} at {}/s": "ventanas de {} a {}/s",
    }
}  # fmt: skip


class Words:
    """The tables' words in a language."""

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, text: str, *values) -> str:
        """A word or a template of :data:`WORDS`, with its values."""
        return (WORDS[self.language][text] if self.language in WORDS else text).format(*values)

    def sentence(self, text: str) -> str:
        """A text of the library."""
        return i18n._sentences(self.language).say(text)


def _allowed(key: str, info, say: Words) -> str:
    bounds = _bounds(info, say)
    form = allowed.form(key, info) if not bounds and allowed.kind(info) == "text" else None
    if form and not allowed.is_colour(info):
        words, joint = say.sentence(form), ", "
    else:
        words, joint = bounds or _kind(info, say), " "
    return f"{words}{joint}{say('or null')}" if allowed.nullable(info) else words


def _bounds(info, say: Words) -> str:
    signs = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt"), MultipleOf: ("", "multiple_of")}
    bounds = []
    for rule in info.metadata:
        if type(rule) in signs:
            sign, name = signs[type(rule)]
            number = getattr(rule, name)
            bounds.append(f"{sign} {number}" if sign else say("a multiple of {}", number))
    return f" {say('and')} ".join(bounds)


def _kind(info, say: Words) -> str:
    if allowed.is_colour(info):
        return "`#rrggbb`"
    if choices := allowed.choices(info):
        return ", ".join(f"`{choice}`" for choice in choices)
    if info.annotation is bool:
        return "true, false"
    return say("text") if allowed.kind(info) == "text" else say("list") if info.annotation not in (int, float) else ""


def table(language: str = "en") -> str:
    """All settings as a Markdown table; defaults are those of mode balanced on profile cpu."""
    say = Words(language)
    defaults = flatten(load(profile="cpu").settings.model_dump())
    assert set(defaults) == set(fields())
    heads = [say(word) for word in ("setting", "default", "allowed", "what it does")]
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|"]
    for key, info in fields().items():
        value = json.dumps(defaults[key]).strip('"')
        lines.append(f"| `{key}` | {value} | {_allowed(key, info, say)} | {say.sentence(info.description)} |")
    return "\n".join(lines)


def profiles(language: str = "en") -> str:
    """All profiles as a Markdown table, as they are where no mode was picked."""
    say = Words(language)
    heads = (
        "profile",
        "chosen for",
        "working lines",
        "backbone",
        "detector",
        "frames seen",
        "batch",
        "precision",
        "GPU memory",
    )
    lines = [f"| {' | '.join(map(say, heads))} |", "|---|---|---|---|---|---|---|---|---|"]
    order = {rule.profile: index for index, rule in enumerate(RULES)}
    for name in sorted(names("profiles"), key=lambda name: order.get(name, len(order))):
        settings = load(profile=name).settings
        eyes, machine = settings.attention, settings.hardware
        most = profile_limits(name).get("attention.sample_fps")
        absolute = say(", at most {} GB", f"{machine.gpu_memory_gb:g}") if machine.gpu_memory_gb else ""
        cells = (
            f"`{name}`", _chosen_for(name, say), machine.working_height or say("the clip's"), eyes.backbone,
            eyes.detector if eyes.detector == "nanodet" else f"{eyes.detector} {eyes.detector_size}",
            _seen(eyes, most, say), machine.batch_size,
            say("FP16 mixed") if machine.mixed_precision else "FP32",
            "" if machine.device == "cpu" else f"{machine.gpu_memory_limit * 100:.0f} %{absolute}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _seen(eyes, most, say):
    """Single frames a second, with the profile's limit; or windows."""
    if pace := PACE.get(eyes.backbone):
        return say("windows of {} at {}/s", eyes.window, f"{eyes.window_fps or pace:g}")
    return say("{}/s (at most {})", f"{eyes.sample_fps:g}", f"{most:g}") if most else f"{eyes.sample_fps:g}/s"


def _chosen_for(name: str, say: Words) -> str:
    rule = next((rule for rule in RULES if rule.profile == name), None)
    if rule is None:
        return say("no GPU, or too little of it")
    oldest, newest = (".".join(map(str, pair)) if pair else "" for pair in (rule.oldest, rule.newest))
    if rule.newest and rule.newest != rule.oldest:
        range_ = say("below {}", f"{rule.newest[0] + 1}.0")
    else:
        range_ = oldest if newest else say("{} and newer", oldest)
    return say("{} GB free, capability {}", f"{rule.free / GIB:g}", range_)


def advice(language: str = "en") -> str:
    """What to do when something goes wrong, as the notebooks say it, a point each."""
    from framelane.notebook import advice as said

    sys.path.insert(0, str(README.parent / "notebooks"))
    import build

    with build.speaking(language):
        return "\n".join(f"- {topic.markdown()}" for topic in said.topics())


def main() -> None:
    """Put the tables between their marks, in every README."""
    for language, path in READMES.items():
        text = path.read_text(encoding="utf-8")
        for (begin, end), content in (
            ((BEGIN, END), table(language)),
            (PROFILES, profiles(language)),
            (ADVICE, advice(language)),
        ):
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
