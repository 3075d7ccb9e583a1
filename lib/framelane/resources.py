"""Where the package's own data lies: the configs, the embedded models and the demo clips."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path


def data_path(package: str, *parts: str) -> Path:
    """The path of a data file that ships inside the wheel.

    Args:
        package: ``"configs"`` or ``"assets"``.
        *parts: folders and file name below it, as in ``data_path("assets", "clips", "street.mp4")``.
    """
    return Path(str(resources.files(f"framelane.{package}"))).joinpath(*parts)


def config_names(kind: str) -> list[str]:
    """The names of the ``"modes"`` or ``"profiles"`` that ship, in alphabetical order."""
    return sorted(path.stem for path in data_path("configs", kind).glob("*.yaml"))


def cache_dir() -> Path:
    """The folder for downloaded weights: ``$FRAMELANE_CACHE``, else ``$XDG_CACHE_HOME/framelane``, else ``~/.cache``."""
    if own := os.environ.get("FRAMELANE_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "framelane"


def state_dir() -> Path:
    """The folder for what must outlive a cache: ``$FRAMELANE_STATE``, else ``$XDG_STATE_HOME/framelane``, else
    ``~/.local/state/framelane``.
    """
    if own := os.environ.get("FRAMELANE_STATE"):
        return Path(own)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "framelane"
