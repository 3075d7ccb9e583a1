"""This machine's own overrides: a small YAML file that ``framelane tune`` and the installer write, keyed to the machine.

It is a layer of the settings (see :mod:`framelane.settings`), above the profile and below a mode that was picked. Only
what depends on the machine may stand in it. Another machine, another driver or another release ignores it: what was
measured does not hold there. Nothing in the file can break a job: what is wrong with it is a sentence, and the job goes on
without it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from framelane import settings
from framelane.container import memory, usable_cores
from framelane.errors import FramelaneError, UsageError
from framelane.gpu import find_gpu
from framelane.schema import Settings, fields

VARIABLE = "FRAMELANE_MACHINE"

TUNABLE = frozenset({
    "profile", "hardware.batch_size", "hardware.threads", "hardware.decoder", "hardware.encoder", "output.nvenc_preset",
    "output.preset", "engine.queue_batches",
})  # fmt: skip
"""The settings that may stand in the file: what depends on the machine, and on nobody's taste."""

_KEYED = ("card", "driver", "cores", "ram_gb", "framelane")
_RAM_TOLERANCE = 0.1  # what a hosted machine calls the same RAM differs by a few percent from session to session


@dataclass(frozen=True)
class Tuned:
    """What the file says for this machine.

    Attributes:
        path: of the file; None where none is wanted (``FRAMELANE_MACHINE`` is empty).
        values: by dotted key; empty where nothing holds here.
        profile: the profile under which the values were measured; "" where that does not matter.
        when: the day on which they were written, as ``"2026-11-21"``.
        ignored: a sentence: why the file does not hold here; "" where it does, or where there is none.
        notes: the figures beside the values, by dotted key.
        broken: whether it is ignored for what is wrong with it; a file of another machine is right where it belongs.
    """

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    profile: str = ""
    when: str = ""
    ignored: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    broken: bool = False

    @property
    def layer(self) -> settings.OwnLayer | None:
        """The values as a layer of the settings; None where there are none."""
        return settings.OwnLayer(self.values, self.profile, self.when) if self.values else None

    def sentence(self) -> str:
        """What the doctor says of the file."""
        if self.path is None:
            return f"This machine's own settings are off ({VARIABLE} is empty)."
        if self.ignored:
            return self.ignored
        if not self.values:
            return f"This machine has no settings of its own yet; 'framelane tune' measures and writes them to {self.path}."
        told = ", ".join(f"{key}={value}" for key, value in sorted(self.values.items()))
        return f"This machine's own settings ({self.path}, {self.when}): {told}."


def path() -> Path | None:
    """The file: ``FRAMELANE_MACHINE``, else ``machine.yaml`` in the user's configuration; None: the variable is empty."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named).expanduser() if named.strip() else None
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "framelane" / "machine.yaml"


def this_machine() -> dict[str, Any]:
    """What the file is keyed by: card and driver (None without a card), usable cores, RAM in GB (2^30), our version."""
    gpu, _ = find_gpu()
    return {
        "card": gpu.name if gpu else None,
        "driver": gpu.driver if gpu else None,
        "cores": usable_cores(),
        "ram_gb": round(memory()[0] / 2**30, 1),
        "framelane": _version(),
    }


def _version() -> str:
    try:
        return metadata.version("framelane")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"


def difference(written: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """In what another machine is another, for a sentence: ``"card Tesla T4, not None"``; "" where it is the same."""
    parts = []
    for key in _KEYED:
        one, other = written.get(key), here.get(key)
        same = _close(one, other) if key == "ram_gb" else one == other
        if not same:
            parts.append(f"{key} {one if one is not None else 'none'}, here {other if other is not None else 'none'}")
    return "; ".join(parts)


def _close(one: object, other: object) -> bool:
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return False
    return abs(one - other) <= _RAM_TOLERANCE * max(one, other)


def read(here: Mapping[str, Any] | None = None) -> Tuned:
    """What the file says for this machine; whatever is wrong with it is in ``ignored`` and never an exception.

    Args:
        here: the machine, from :func:`this_machine`; None looks.
    """
    place = path()
    if place is None:
        return Tuned()
    try:
        text = place.read_text(encoding="utf-8")
        found = _parse(text)
        if other := difference(found["machine"], this_machine() if here is None else here):
            return Tuned(place, ignored=_ignored(place, f"it was written for another machine or release ({other})."))
        values = checked(found["settings"])
    except FileNotFoundError:
        return Tuned(place)
    except (OSError, UnicodeDecodeError) as error:
        return Tuned(place, ignored=_ignored(place, f"it cannot be read ({_first_line(error)})."), broken=True)
    except (ValueError, UsageError) as error:
        return Tuned(place, ignored=_ignored(place, str(error)), broken=True)
    return Tuned(place, values, found["profile"], found["when"], "", _notes(text))


def _ignored(place: Path, why: str) -> str:
    return f"This machine's own settings in {place} are ignored: {why}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _parse(text: str) -> dict[str, Any]:
    """The file's parts.

    Raises:
        ValueError: it is no such file; the text is a sentence.
    """
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"it is not YAML ({_first_line(error)}).") from error
    if not isinstance(data, dict) or not isinstance(data.get("machine"), dict):
        raise ValueError("it does not say for which machine it was written.")
    values = data.get("settings") or {}
    if not isinstance(values, dict):
        raise ValueError("its 'settings' are no mapping.")
    flat = settings.flatten({str(key): value for key, value in values.items()})
    profile = data.get("profile")
    return {
        "machine": data["machine"], "settings": flat, "profile": profile if isinstance(profile, str) else "",
        "when": str(data.get("written", "")),
    }  # fmt: skip


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that may be tuned, and that the settings take.

    Raises:
        UsageError: a key that may not be tuned, or a value out of range.
    """
    for key in values:
        if key not in TUNABLE:
            raise UsageError(f"{key!r} may not stand there; what may is {', '.join(sorted(TUNABLE))}.")
    if "profile" in values and values["profile"] not in settings.names("profiles"):
        raise UsageError(f"profile: {values['profile']!r} is unknown.")
    blank = settings.Loaded(Settings(), dict.fromkeys(fields(), "default"))
    settings.replaced(blank, values, "this machine")
    return dict(values)


def _notes(text: str) -> dict[str, str]:
    """The comments behind the values, so that they outlive a rewriting of the file."""
    found = re.findall(r"^  ([\w.]+): [^#\n]*?\s+# (.+)$", text, re.MULTILINE)
    return {key: note.strip() for key, note in found if key in TUNABLE}


def write(
    values: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
    *,
    profile: str = "",
    here: Mapping[str, Any] | None = None,
    day: date | None = None,
) -> Path:
    """Write values for this machine, by one rename; those already there for the same machine stay.

    Args:
        values: by dotted key; None takes a key out.
        notes: the figures that speak for a value, by dotted key; they become comments.
        profile: the profile under which the values were measured: under another they do not hold. "" keeps what is noted.
        here: the machine, from :func:`this_machine`; None looks.
        day: None is today.

    Returns:
        The file.

    Raises:
        UsageError: a key or a value that may not stand there, or ``FRAMELANE_MACHINE`` is empty.
        FramelaneError: the file cannot be written.
    """
    place = path()
    if place is None:
        raise UsageError(f"{VARIABLE} is empty, so there is no place for this machine's own settings; unset it.")
    machine_now = dict(this_machine() if here is None else here)
    old = read(machine_now)
    kept = {key: value for key, value in {**old.values, **values}.items() if value is not None}
    told = {**old.notes, **dict.fromkeys(values, ""), **(notes or {})}
    text = render(checked(kept), told, machine_now, profile or old.profile, day or date.today())
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, place)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise FramelaneError(
            f"This machine's own settings cannot be written to {place} ({error.strerror}). {VARIABLE} names another file."
        ) from error
    return place


def render(
    values: Mapping[str, Any], notes: Mapping[str, str], here: Mapping[str, Any], profile: str, day: date
) -> str:
    """The file's text."""
    lines = [
        "# What framelane found best on this machine. It holds here only, and only for this release; 'framelane tune'",
        "# writes it anew. A mode that you pick, your own YAML and --set are stronger. Deleting the file undoes it.",
        f"written: '{day.isoformat()}'",
    ]
    lines += [f"profile: {profile}  # under which it was measured"] if profile else []
    lines.append("machine:")
    lines += [f"  {key}: {_scalar(here.get(key))}" for key in _KEYED]
    lines.append("settings:" if values else "settings: {}")
    for key in sorted(values):
        note = " ".join(notes.get(key, "").split())
        lines.append(f"  {key}: {_scalar(values[key])}" + (f"  # {note}" if note else ""))
    return "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    """One value as YAML on one line."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("\n").removesuffix("\n...")
