"""What is installed, live, and what a list of requirements still lacks of it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import SetupError

CV2_OWNERS = (
    "opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless",
)  # fmt: skip
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-training")
UNTOUCHED = ("torch", "torchvision", "torchaudio", "triton", "numpy")
"""What is never changed where it is there, nor asked whether it is whole: it is the runtime's."""
_INSTEAD = {**dict.fromkeys(CV2_OWNERS, CV2_OWNERS), **dict.fromkeys(RUNTIMES, RUNTIMES)}
"""Packages that bring the same module: a requirement on one is met by another (opencv's wheels all own ``cv2``)."""


def packaging() -> Any:
    """The package ``packaging``: installed, or the copy that pip carries.

    Raises:
        SetupError: there is neither.
    """
    for name in ("packaging", "pip._vendor.packaging"):
        try:
            for part in ("requirements", "version", "utils"):
                importlib.import_module(f"{name}.{part}")
            return sys.modules[name]
        except ImportError:
            continue
    raise SetupError(f"pip is missing for {sys.executable}; run: {sys.executable} -m ensurepip --upgrade")


def normal(name: str) -> str:
    """A package's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Package:
    """An installed package.

    Attributes:
        requires: its ``Requires-Dist`` lines.
        whole: False where its list of files is missing, as after an installation that was killed.
        folder: where its metadata lies.
    """

    name: str
    version: str
    requires: tuple[str, ...] = ()
    whole: bool = True
    folder: Path | None = None


def live(path: list[str] | None = None) -> dict[str, Package]:
    """What this Python would import now, by normal name; the first on the path wins.

    Args:
        path: folders to look into; None is ``sys.path``.
    """
    importlib.invalidate_caches()
    found: dict[str, Package] = {}
    for one in metadata.distributions(path=sys.path if path is None else path):
        name, version = one.metadata["Name"], one.metadata["Version"]
        if name and version and normal(name) not in found:
            found[normal(name)] = Package(name, version, tuple(one.requires or ()), _whole(one), _folder(one))
    return found


def _folder(one: metadata.Distribution) -> Path | None:
    folder = getattr(one, "_path", None)
    return Path(folder) if folder else None


def _whole(one: metadata.Distribution) -> bool:
    # pip writes RECORD last. Debian's own packages have none, nor has what setup.py left behind.
    folder = _folder(one)
    return folder is None or folder.suffix != ".dist-info" or (folder / "RECORD").exists() or _of_the_system(folder)


def _of_the_system(folder: Path) -> bool:
    return "dist-packages" in folder.parts and not (folder / "WHEEL").exists()


@dataclass(frozen=True)
class Unmet:
    """A requirement that is not met, and why, in words."""

    requirement: str
    name: str
    why: str


def unmet(
    requirements: Iterable[str], packages: Mapping[str, Package], deep: bool = True, closed: Iterable[str] = UNTOUCHED
) -> list[Unmet]:
    """What of the requirements, and of what they themselves require, is missing or of a wrong version.

    Args:
        requirements: as in a requirements file.
        packages: what is there, by normal name.
        deep: follow what the packages require.
        closed: packages that are not looked into.
    """
    parse = packaging().requirements.Requirement
    queue, seen, found = [parse(text) for text in requirements], set[str](), dict[str, Unmet]()
    while queue:
        wanted = queue.pop(0)
        if str(wanted) in seen or not applies(wanted):
            continue
        seen.add(str(wanted))
        name = normal(wanted.name)
        package, why = _provider(name, packages), ""
        if package is None:
            why = f"{wanted.name} is not installed"
        elif normal(package.name) == name and not wanted.specifier.contains(package.version, prereleases=True):
            why = f"{wanted.name} is {package.version}, wanted is {wanted.specifier}"
        elif not package.whole:
            why = f"{wanted.name} was installed only in part"
        if why:
            found.setdefault(name, Unmet(str(wanted), name, why))
        if package and deep and name not in closed:
            queue += _children(parse, package, wanted.extras)
    return list(found.values())


def applies(requirement: Any, extras: Iterable[str] = ()) -> bool:
    """Whether a parsed requirement's marker holds here."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _children(parse: Any, package: Package, extras: Iterable[str]) -> list[Any]:
    children = []
    for text in package.requires:
        child = parse(text)
        if applies(child, extras):
            child.marker = None  # it holds; with its extra it would not when looked at alone
            children.append(child)
    return children


def _provider(name: str, packages: Mapping[str, Package]) -> Package | None:
    return packages.get(name) or next((packages[one] for one in _INSTEAD.get(name, ()) if one in packages), None)
