"""framelane itself: installed out of the clone that the installer lies in, or already there as the wheel."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .versions import Package

PARTS = ("lib", "configs", "assets", "colab_setup")
FILES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
_BACKEND = 77
"""The first setuptools that reads pyproject.toml's licence."""


def clone() -> Path | None:
    """The clone that this file lies in; None in a wheel."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "lib/framelane").is_dir() else None


def fingerprint(root: Path) -> str:
    """SHA-256 over the names and the content of what a wheel of the clone would hold."""
    total = hashlib.sha256()
    for file in _sources(root):
        total.update(str(file.relative_to(root)).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    yield from (root / name for name in FILES if (root / name).is_file())
    for part in PARTS:
        yield from sorted(
            file for file in (root / part).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts and not any(p.endswith(".egg-info") for p in file.parts)
        )  # fmt: skip


@contextmanager
def copied(root: Path) -> Iterator[Path]:
    """A copy to build in: a build leaves folders behind, and the clone may be read-only or on a Drive."""
    with tempfile.TemporaryDirectory(prefix="framelane-tree-") as folder:
        for file in _sources(root):
            target = Path(folder, file.relative_to(root))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        yield Path(folder)


def reason(root: Path | None, packages: dict[str, Package], noted: str | None) -> str | None:
    """Why framelane must be installed, as a sentence; None where it is there as it should be.

    Args:
        root: the clone, or None.
        packages: what is installed.
        noted: the fingerprint that was installed last.
    """
    there = packages.get("framelane")
    if there is None:
        return "framelane is not installed."
    if not there.whole:
        return "framelane was installed only in part."
    if root is None or _editable(there):
        return None
    return None if noted == fingerprint(root) else "framelane differs from this clone."


def _editable(there: Package) -> bool:
    direct = there.folder / "direct_url.json" if there.folder else None
    return bool(direct and direct.is_file() and re.search(r'"editable"\s*:\s*true', direct.read_text()))


def own_backend(packages: dict[str, Package]) -> bool:
    """Whether the setuptools that is installed here can build framelane."""
    there = packages.get("setuptools")
    number = re.match(r"\d+", there.version) if there else None
    return bool(number and int(number[0]) >= _BACKEND)
