"""How the layers of settings are merged; what each setting is stands in ``schema``.

Layers, weakest first: defaults < profile (what the hardware allows) < this machine (what was measured on it, see
``tuned``) < mode (what the user picks) < the user's YAML < ``--set`` and keywords. :func:`load` merges them and remembers
for every key which layer its value came from.

Two rules keep profile and mode apart. A mode that nobody picked (``balanced``, then) is weaker than the profile: what
the profile and the machine chose for the hardware stays. A mode that was picked is stronger, but never goes beyond the
profile's ``limits``: numbers that a mode or a default may not exceed. Only the user's own values may.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from framelane.allowed import refused
from framelane.errors import UsageError
from framelane.resources import config_names, data_path
from framelane.schema import Settings, fields
from framelane.written import as_list, parse_assignment, read_yaml

__all__ = [
    "MACHINE", "Loaded", "OwnLayer", "flatten", "load", "mode_values", "names", "of_mode", "parse_assignment",
    "profile_limits", "profile_values", "read_yaml", "replaced",
]  # fmt: skip

MACHINE = "this machine"
"""How the origin of a value begins that was measured on this machine."""
_LIMITS = "limits."


@dataclass(frozen=True)
class OwnLayer:
    """What was measured on this machine.

    Attributes:
        values: by dotted key.
        profile: the profile that they were measured under; under another one they do not hold. "" is any.
        when: the day, as ``"2026-11-21"``.
    """

    values: Mapping[str, Any]
    profile: str = ""
    when: str = ""

    @property
    def origin(self) -> str:
        """Where its values come from, as ``--print-settings`` shows it."""
        return f"{MACHINE} (tuned {self.when})" if self.when else MACHINE


@dataclass(frozen=True)
class Loaded:
    """Merged settings and, for every dotted key, the layer its value came from.

    Attributes:
        limited: in sentences, where the picked mode or a default wanted more than the profile allows.
    """

    settings: Settings
    origin: Mapping[str, str] = field(default_factory=dict)
    limited: tuple[str, ...] = ()

    def is_own(self, key: str) -> bool:
        """Whether the user gave this value, in a file or on the command line; not a default, a profile, a mode or what was
        measured on this machine.
        """
        return not self.origin[key].startswith(("default", "profile ", MACHINE, "mode "))

    def is_hardwares(self, key: str) -> bool:
        """Whether a profile or a measurement of this machine gave the value: what is asked for does not depend on it."""
        return self.origin.get(key, "").startswith(("profile ", MACHINE))


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping to dotted keys: ``{"a": {"b": 1}}`` to ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def names(kind: Literal["modes", "profiles"]) -> list[str]:
    """The modes or profiles that ship, by name."""
    return config_names(kind)


def load(
    *,
    mode: str | None = None,
    profile: str | None = None,
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    detected_profile: str = "cpu",
    machine: OwnLayer | None = None,
) -> Loaded:
    """Merge all layers.

    Args:
        mode: overrides the mode that the YAML names.
        profile: overrides the profile that the YAML names; ``"auto"`` takes ``detected_profile``.
        config: the user's YAML file.
        overrides: dotted keys from ``--set`` or keywords.
        detected_profile: the profile that fits the hardware.
        machine: what was measured on this machine; its profile is weaker than one that the user names.

    Raises:
        UsageError: an unknown key or a value out of range; the text names the key, the file and what is allowed.
    """
    user = flatten(read_yaml(config)) if config else {}
    given = {**(overrides or {})}
    if mode:
        given["mode"] = mode
    if profile:
        given["profile"] = profile
    where = str(config) if config else "the command line"
    chosen_mode = _choice("mode", given.get("mode", user.get("mode", "balanced")), names("modes"), where)
    measured = dict(machine.values) if machine else {}
    wanted = given.get("profile", user.get("profile", measured.get("profile", "auto")))
    chosen_profile = (
        detected_profile if wanted == "auto" else _choice("profile", wanted, ["auto", *names("profiles")], where)
    )
    if machine and machine.profile not in ("", chosen_profile):
        measured = {key: value for key, value in measured.items() if key == "profile"}
    own_layers = [(machine.origin, measured)] if machine and measured else []
    profile_layer = (f"profile {chosen_profile}", profile_values(chosen_profile))
    mode_layer = (f"mode {chosen_mode}", mode_values(chosen_mode))
    picked = "mode" in given or "mode" in user
    layers = [profile_layer, *own_layers, mode_layer] if picked else [mode_layer, profile_layer, *own_layers]
    merged: dict[str, Any] = {}
    origin = dict.fromkeys(fields(), "default")
    for source, flat in [*layers, (str(config), user), ("the command line", given)]:
        for key, value in flat.items():
            _known(key, source)
            merged[key], origin[key] = as_list(key, value), source
    merged["profile"] = chosen_profile
    limited = _limit(merged, origin, chosen_profile, {*user, *given})
    return Loaded(_build(merged, origin), origin, limited)


def replaced(loaded: Loaded, values: Mapping[str, Any], origin: str) -> Loaded:
    """Merged settings with some values replaced, checked like all others.

    Args:
        loaded: the settings.
        values: by dotted key.
        origin: where the values come from.

    Raises:
        UsageError: an unknown key or a value out of range.
    """
    for key in values:
        _known(key, origin)
    origins = {**loaded.origin, **dict.fromkeys(values, origin)}
    return Loaded(_build({**flatten(loaded.settings.model_dump()), **values}, origins), origins, loaded.limited)


def of_mode(name: str) -> Settings:
    """Defaults and a mode alone."""
    return _build(mode_values(name), {})


def mode_values(name: str) -> dict[str, Any]:
    """What a mode sets, by dotted key."""
    return dict(_shipped("modes", name))


def profile_values(name: str) -> dict[str, Any]:
    """What a profile sets, by dotted key, without its limits."""
    return {key: value for key, value in _shipped("profiles", name).items() if not key.startswith(_LIMITS)}


def profile_limits(name: str) -> dict[str, Any]:
    """What a profile lets no mode and no default exceed, by dotted key: numbers, or NVENC's presets (p1 to p7)."""
    found = _shipped("profiles", name)
    return {key.removeprefix(_LIMITS): value for key, value in found.items() if key.startswith(_LIMITS)}


@cache
def _shipped(kind: str, name: str) -> Mapping[str, Any]:
    """A notebook merges settings at every touch of a control, and these files do not change under a process."""
    return flatten(read_yaml(data_path("configs", kind, f"{name}.yaml")))


def _limit(merged: dict[str, Any], origin: dict[str, str], profile: str, own: set[str]) -> tuple[str, ...]:
    """Hold values to the profile's limits, but for the user's own; returns what was held, in sentences."""
    said = []
    defaults = flatten(Settings().model_dump())
    for key, most in profile_limits(profile).items():
        _known(key, f"profile {profile}")
        wanted = merged.get(key, defaults[key])
        if key in own or wanted <= most:
            continue
        said.append(
            f"{key} is {_shown(most)} instead of {_shown(wanted)} ({origin[key]}): more than the profile {profile} "
            f"allows. --set {key}={_shown(wanted)} takes it all the same."
        )
        merged[key], origin[key] = most, f"profile {profile} (limit)"
    return tuple(said)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _choice(key: str, value: object, allowed: list[str], where: str) -> str:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{key}: {value!r} (from {where}) is unknown; allowed are {', '.join(allowed)}.{hint}")
    return str(value)


def _known(key: str, source: str) -> None:
    if key in fields():
        return
    near = difflib.get_close_matches(key, fields(), n=1, cutoff=0.0)
    inside = [name for name in fields() if name.startswith(f"{key}.")]
    hint = f"it is a section with keys such as {inside[0]}" if inside else f"the nearest valid key is {near[0]}"
    raise UsageError(f"Unknown setting {key!r} (from {source}); {hint}.")


def _build(flat: Mapping[str, Any], origin: Mapping[str, str]) -> Settings:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    try:
        return Settings.model_validate(nested)
    except ValidationError as error:
        raise refused(error, origin) from error
