"""What the installer did here, so that the next run mends what was interrupted and ``uninstall.py`` undoes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import SetupError
from .versions import Package, normal


@dataclass
class State:
    """The record of one environment.

    Attributes:
        installed: by normal name: the version that the installer put there, and the one that was there (or None).
        removed: packages that it took away, with their versions.
        pending: exact requirements whose installation had begun and did not end.
        components: what was ever asked for with ``--with``.
        tree: fingerprint of the framelane that was installed from a clone.
        files: files that it wrote, with the SHA-256 of their content.
    """

    installed: dict[str, dict[str, str | None]] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    components: list[str] = field(default_factory=list)
    tree: str | None = None
    files: dict[str, str] = field(default_factory=dict)

    def begin(self, exact: list[str], packages: Mapping[str, Package]) -> None:
        """Note what is about to be installed, before pip starts."""
        for one in exact:
            name, _, version = one.partition("==")
            before = packages.get(normal(name))
            known = self.installed.get(normal(name))
            was = known["was"] if known else before.version if before else None
            self.installed[normal(name)] = {"version": version, "was": was}
        self.pending = list(dict.fromkeys([*self.pending, *exact]))

    def remove(self, names: tuple[str, ...], packages: Mapping[str, Package]) -> None:
        """Note what is about to be taken away; what the installer had brought itself is forgotten instead."""
        for name in names:
            if name in self.installed:
                was = self.installed.pop(name)["was"]
                if was:
                    self.removed[name] = was
            else:
                self.removed.setdefault(name, packages[name].version)

    def wrote(self, path: Path) -> None:
        """Note a file that the installer wrote."""
        self.files[str(path)] = digest(path)


def digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def path() -> Path:
    """Where the record lies: in the environment itself, or in the user's own state where that cannot be written."""
    here = Path(sys.prefix, "share", "framelane", "installed.json")
    with contextlib.suppress(OSError):
        here.parent.mkdir(parents=True, exist_ok=True)
    if os.access(here.parent, os.W_OK):
        return here
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    return home / "framelane" / f"installed-{hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]}.json"


def read(file: Path | None = None) -> State:
    """The record; empty where there is none or it is broken."""
    try:
        found = json.loads((file or path()).read_text())
        return State(**{name: found[name] for name in asdict(State()) if name in found})
    except (OSError, ValueError, TypeError):
        return State()


def write(state: State, file: Path | None = None) -> None:
    """Write the record, whole or not at all.

    Raises:
        SetupError: it cannot be written.
    """
    target = file or path()
    part = target.with_suffix(".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(asdict(state), indent=1, sort_keys=True))
        part.replace(target)
    except OSError as error:
        raise SetupError(
            f"What was installed cannot be noted at {target} ({error}); nothing more is installed."
        ) from error
