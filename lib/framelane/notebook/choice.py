"""What was picked: a batch as the picker's controls say it, and the command that does the same anywhere.

Nothing is validated here in a way of its own. Settings go through the loader, folders and budgets through the batch's own
checks, and what a processor needs is asked of the processor; so a form, a notebook and a terminal say the same sentences.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framelane.errors import FramelaneError, UsageError
from framelane.jobs.session import DEFAULT_BUDGET, parse_budget
from framelane.jobs.walk import check_root
from framelane.schema import fields
from framelane.settings import Loaded, load, parse_assignment

CONSENT = "faceswap.consent"
_A_RESULT = Path("result.mp4")  # a name such as a clip's output has


@dataclass(frozen=True)
class Choice:
    """One batch.

    Attributes:
        processor: what happens to the clips.
        source: the folder of clips.
        output: the folder for the results.
        mode: ``fast``, ``balanced`` or ``quality``.
        profile: a profile, or ``auto``.
        overrides: settings by dotted key; only what differs from mode and profile.
        consent: who agreed to the use of the source face, and on what ground (``faceswap.consent``).
        budget: as :func:`~framelane.jobs.session.parse_budget` reads it.
        include: patterns of the clips to take; all where there is none.
    """

    processor: str
    source: Path
    output: Path
    mode: str = "balanced"
    profile: str = "auto"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    consent: str | None = None
    budget: str = DEFAULT_BUDGET
    include: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """What was set, with the consent, by dotted key."""
        return {**self.overrides, **({} if self.consent is None else {CONSENT: self.consent})}

    def loaded(self, detected: str = "cpu") -> Loaded:
        """The merged settings.

        Args:
            detected: the profile that fits this machine.

        Raises:
            UsageError: a mode, a profile, a key or a value that there is not.
        """
        profile = None if self.profile == "auto" else self.profile
        return load(mode=self.mode, profile=profile, overrides=self.settings, detected_profile=detected)

    def check(self, detected: str = "cpu") -> None:
        """Refuse what the batch would refuse before its first clip.

        Raises:
            UsageError: the first of :meth:`problems`.
        """
        for sentence in self.problems(detected).values():
            raise UsageError(sentence)

    def problems(self, detected: str = "cpu") -> dict[str, str]:
        """What is wrong, in the library's sentences, by what it is about; empty where nothing is.

        Returns:
            Keys are the dotted keys of settings, and ``processor``, ``mode``, ``profile``, ``source``, ``output`` and
            ``budget``.
        """
        found: dict[str, str] = {}
        for key, problem in self._all(detected):
            found.setdefault(key, problem)
        return found

    def _all(self, detected: str) -> Iterator[tuple[str, str]]:
        if nul := next((word for word in self.command() if "\0" in word), None):
            yield "output", f"{nul!r} holds a NUL character, which no file name and no command can."
            return
        yield from setting_problems(self.mode, self.profile, self.settings, detected).items()
        if sentence := _said(lambda: parse_budget(self.budget)):
            yield "budget", sentence
        if sentence := _said(lambda: check_root(self.source, None)):
            yield "source", sentence
        elif sentence := _said(lambda: check_root(self.source, self.output)) or self._output_problem():
            yield "output", sentence
        yield from self._processor_problems(detected)

    def _output_problem(self) -> str:
        if self.output.exists() and not self.output.is_dir():
            return f"The output folder {self.output} cannot be made (File exists)."
        return ""

    def _processor_problems(self, detected: str) -> Iterator[tuple[str, str]]:
        from framelane.processors.base import create

        try:
            processor = create(self.processor)
        except UsageError as error:
            yield "processor", str(error)
            return
        try:
            settings = self.loaded(detected).settings
        except UsageError:  # said already
            return
        if sentence := _said(lambda: processor.require(settings, _A_RESULT)):
            yield key_in(sentence) or "processor", sentence

    def command(self) -> list[str]:
        """The arguments of ``framelane`` that do this batch."""
        given = self._words("batch", self.overrides)
        return given if self.consent is None else [*given, "--consent", self.consent]

    def plan_command(self) -> list[str]:
        """The arguments of ``framelane`` that print what this batch will take, as JSON."""
        return [*self._words("plan", self.settings), "--json"]

    def _words(self, command: str, values: Mapping[str, Any]) -> list[str]:
        given = [command, self.processor, _argument(self.source), "-o", _argument(self.output), "--mode", self.mode]
        given += [] if self.profile == "auto" else ["--profile", self.profile]
        given += [] if self.budget == DEFAULT_BUDGET else ["--budget", self.budget]
        given += [word for pattern in self.include for word in ("--include", pattern)]
        return given + [word for key, value in values.items() for word in ("--set", assignment(key, value))]

    def as_text(self) -> str:
        """The same as a line for a terminal (bash), whatever the names hold."""
        return " ".join(quoted(word) for word in ("framelane", *self.command()))


def setting_problems(mode: str, profile: str, values: Mapping[str, Any], detected: str = "cpu") -> dict[str, str]:
    """What the loader has against values, each by the key that it is about.

    The loader stops at the first. So what it refused is left away, and the rest is asked again.

    Args:
        mode: as in :class:`Choice`.
        profile: the same.
        values: settings by dotted key.
        detected: the profile that fits this machine.
    """
    found: dict[str, str] = {}
    rest, asked = dict(values), {"mode": mode, "profile": profile}
    while True:
        try:
            load(mode=asked["mode"], profile=asked["profile"], overrides=rest, detected_profile=detected)
            return found
        except UsageError as error:
            key, sentence = str(error).partition(":")[0], str(error)
        if key in asked and asked[key] != {"mode": "balanced", "profile": "auto"}[key]:
            found[key], asked[key] = sentence, {"mode": "balanced", "profile": "auto"}[key]
            continue
        # A rule over several values names their section: it is about those of them that were set.
        about = [name for name in rest if name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.")]
        about = about or [name for name in rest if repr(name) in sentence]
        if not about:
            found[key_in(sentence) or "mode"] = sentence
            return found
        for name in about:
            found[name] = sentence
            del rest[name]


def key_in(sentence: str) -> str | None:
    """The setting that a sentence names first; None where it names none."""
    return next((word for word in re.findall(r"[a-z_]+(?:\.[a-z_0-9]+)+", sentence) if word in fields()), None)


def _said(ask: Any) -> str:
    """The sentence that a check ends with; empty where it is content."""
    try:
        ask()
    except FramelaneError as error:
        return str(error)
    except OSError as error:
        return f"{error.strerror or error}."
    return ""


# -- words of a command line ---------------------------------------------------------------------------------------------


def assignment(key: str, value: Any) -> str:
    """``KEY=VALUE`` as ``--set`` takes it: what :func:`~framelane.settings.parse_assignment` makes the same value of."""
    if isinstance(value, str):
        plain = f"{key}={value}"
        if value and _reads_as(plain, value) and value.isprintable():
            return plain
    return f"{key}={_flow(value)}"


def _reads_as(text: str, value: Any) -> bool:
    try:
        read = parse_assignment(text)[1]
    except (UsageError, ValueError):  # YAML's own dates raise ValueError
        return False
    return type(read) is type(value) and bool(read == value)


def _flow(value: Any) -> str:
    """A plain value in YAML's flow style, in ASCII where it cannot be printed."""
    if isinstance(value, str):
        return _in_quotes(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(str(key))}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        return str(yaml.safe_dump(value)).split("\n", 1)[0]  # 1e-07 is a text in YAML, 1.0e-07 a number
    return json.dumps(value)


def _in_quotes(value: str) -> str:
    """A double-quoted YAML scalar on one line; what cannot be printed, lone surrogates among it, as escapes."""

    def shown(char: str) -> str:
        if char in '"\\':
            return f"\\{char}"
        if char.isprintable():
            return char
        return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"

    return f'"{"".join(map(shown, value))}"'


def _argument(path: Path) -> str:
    """A path that cannot be taken for an option."""
    plain = str(path)
    return f".{os.sep}{plain}" if plain.startswith("-") else plain


def quoted(word: str) -> str:
    """A word for bash. Control characters and bytes that are no UTF-8 stand as escapes in ``$'…'``, visible and exact."""
    if word.isprintable():
        return shlex.quote(word)
    shown = []
    for char in word:
        if char in "\\'":
            shown.append(f"\\{char}")
        elif char.isprintable():
            shown.append(char)
        else:
            # Octal has at most three digits: what follows is never taken for a part of it, as with \x.
            shown += [f"\\{byte:03o}" for byte in os.fsencode(char)]
    return f"$'{''.join(shown)}'"
