"""What happens to frames: a package for each processor."""

from __future__ import annotations

import pkgutil


def shipped() -> list[str]:
    """The names of the processors that ship, found without importing them: a command's help must be there at once."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
