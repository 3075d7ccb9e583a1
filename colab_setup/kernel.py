"""Whether the notebook must be restarted: only where a package that it has loaded was changed under it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from .versions import normal

RESTART = "Restart the runtime (Runtime > Restart session), then go on with the next cell"


def restart(changed: Iterable[str], kernels: Iterable[int], modules: Mapping[str, object] | None = None) -> str | None:
    """A sentence where a restart is needed; None where it is not.

    Args:
        changed: names of packages that were replaced by another version or removed. A package that is new cannot have
            been imported before.
        kernels: process ids of the notebook kernels above this process.
        modules: what this process has imported; None is ``sys.modules``. Only looked at where it is a kernel itself.
    """
    changed = [normal(name) for name in changed]
    modules = sys.modules if modules is None else modules
    inside = os.getpid() in kernels
    loaded = [name for name in changed if inside and any(top in modules for top in tops(name))]
    mapped = {pid: _mapped(pid) for pid in kernels if pid != os.getpid()}
    loaded += [name for name in changed if any(_uses(name, text) for text in mapped.values())]
    if problem := numpy_problem(mapped, inside, modules):
        return f"{RESTART}: {problem}"
    if loaded:
        return f"{RESTART}: this notebook had already imported {', '.join(sorted(set(loaded)))}, whose version changed."
    if mapped and changed:
        return (
            f"If this notebook had already imported {', '.join(changed)}, restart it: their versions changed. Nothing with "
            "compiled parts was seen in it."
        )
    return None


def numpy_problem(mapped: Mapping[int, str], inside: bool, modules: Mapping[str, object]) -> str | None:
    """Loaded against installed numpy: a sentence where they differ."""
    try:
        installed = metadata.version("numpy")
    except metadata.PackageNotFoundError:
        return None
    loaded = getattr(modules.get("numpy"), "__version__", None) if inside else None
    if loaded and loaded != installed:
        return f"numpy {loaded} is loaded and {installed} is installed."
    if any("/numpy/" in line and line.endswith("(deleted)") for text in mapped.values() for line in text.splitlines()):
        return "the numpy that this notebook has loaded was replaced on the disk."
    return None


def tops(name: str) -> set[str]:
    """The top modules that a package brings, as its list of files says; its own name where that is gone."""
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        files = []
    found = {Path(str(file)).parts[0].partition(".")[0] for file in files if file.suffix in (".py", ".so")}
    return {top for top in found if top.isidentifier()} or {
        "cv2" if name.startswith("opencv") else name.replace("-", "_")
    }


def _mapped(pid: int) -> str:
    """The files that a process has mapped: the compiled modules that it imported are among them."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


def _uses(name: str, maps: str) -> bool:
    return any(f"-packages/{top}/" in maps or f"-packages/{top}." in maps for top in tops(name))
