"""FFmpeg's source and the packaged headers, from the distribution's archive, without touching the system's own apt."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from .ffmpeg_recipe import BuildError, relocated

HEADERS = "libffmpeg-nvenc-dev"
X264 = "libx264-dev"
ASSEMBLER = "nasm"
_COMPONENTS = {"main", "universe"}

Runner = Callable[[Sequence[str], Path], str]
"""Runs a command in a folder and returns what it printed; raises :class:`BuildError` where it fails."""


def own_options(folder: Path) -> list[str]:
    """Options with which apt reads its sources from ``folder`` and keeps its lists there; no root is needed."""
    places = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": folder / "parts",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
    }
    flags = [f"{name}={path}" for name, path in places.items()]
    flags += ["Acquire::Languages=none", "APT::Sandbox::User=root", "Debug::NoLocking=1"]
    return [part for flag in flags for part in ("-o", flag)]


def one_line_sources(text: str, codename: str, types: Sequence[str]) -> str:
    """The distribution's own lines of a ``sources.list``, once for each of ``types`` (``deb``, ``deb-src``)."""
    made = []
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if found and _ours(found[2], found[3].split(), codename) and (parts := _components(found[4].split())):
            made += [f"{kind} {found[1] or ''}{found[2]} {found[3]} {' '.join(parts)}" for kind in types]
    return "".join(f"{line}\n" for line in made)


def stanza_sources(text: str, codename: str, types: Sequence[str]) -> str:
    """The distribution's own stanzas of a ``.sources`` file (deb822), with other types."""
    made = []
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if line.strip() and not line.startswith("#")]
        fields = _fields(lines)
        if fields.get("enabled", "yes").lower() in ("no", "false") or "deb" not in fields.get("types", "").split():
            continue
        suites = [suite for suite in fields.get("suites", "").split() if suite in _suites(codename)]
        parts = _components(fields.get("components", "").split())
        if suites and parts and _ours(fields.get("uris", ""), suites, codename):
            kept = _without(lines, ("types", "suites", "components", "enabled"))
            head = [f"Types: {' '.join(types)}", f"Suites: {' '.join(suites)}", f"Components: {' '.join(parts)}"]
            made.append("\n".join([*head, *kept]) + "\n")
    return "\n".join(made)


def _fields(lines: Sequence[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[0].isspace() and name:  # a value may go on on indented lines
            fields[name] += " " + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _without(lines: Sequence[str], names: Sequence[str]) -> list[str]:
    kept, keeping = [], True
    for line in lines:
        if not line[0].isspace():
            keeping = line.partition(":")[0].strip().lower() not in names
        if keeping:
            kept.append(line)
    return kept


def _suites(codename: str) -> set[str]:
    return {codename, f"{codename}-updates", f"{codename}-security"}


def _components(found: Sequence[str]) -> list[str]:
    return [part for part in found if part in _COMPONENTS]


def _ours(uri: str, suites: Sequence[str], codename: str) -> bool:
    """Whether an archive is the distribution's, and not somebody's own beside it."""
    host = urlsplit(next(iter(uri.split()), "")).hostname or ""
    return bool(set(suites) & _suites(codename)) and not host.startswith("ppa.")


def write_own_sources(folder: Path, codename: str, types: Sequence[str], etc: Path = Path("/etc/apt")) -> None:
    """Fill apt's own configuration folder with the distribution's archives that the system names.

    Raises:
        BuildError: it names none.
    """
    for each in ("parts", "lists/partial", "cache/archives/partial"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    lists = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]
    lines = "".join(one_line_sources(_text(path), codename, types) for path in lists)
    (folder / "sources.list").write_text(lines, encoding="utf-8")
    stanzas = [
        stanza_sources(_text(path), codename, types) for path in sorted((etc / "sources.list.d").glob("*.sources"))
    ]
    made = "\n".join(text for text in stanzas if text)
    (folder / "parts" / "own.sources").write_text(made, encoding="utf-8")
    if not lines and not made:
        raise BuildError(
            f"The package sources of this system ({etc}) name no archive of its release {codename or '(unknown)'}, so "
            "FFmpeg's source cannot be had. Add the distribution's 'main' (Ubuntu: also 'universe') there."
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def fetch_source(work: Path, codename: str, run: Runner) -> tuple[Path, str]:
    """Download FFmpeg's source package and unpack it, with the distribution's patches where its tools are there.

    Returns:
        The folder of the source, and the package's version.

    Raises:
        BuildError: apt refuses, or the system names no archive.
    """
    folder = work / "apt"
    write_own_sources(folder, codename, ("deb-src",))
    place = work / "package"
    place.mkdir()
    run(["apt-get", *own_options(folder), "update"], work)
    run(["apt-get", *own_options(folder), "source", "--download-only", "ffmpeg"], place)
    described = next(iter(sorted(place.glob("ffmpeg_*.dsc"))), None)
    if described is None:
        raise BuildError("apt downloaded no description (.dsc) of FFmpeg's source package.")
    version = re.search(r"^Version:\s*(\S+)", _text(described), re.MULTILINE)
    source = work / "source"
    if shutil.which("dpkg-source") and shutil.which("patch"):
        run(["dpkg-source", "--no-check", "--extract", described.name, str(source)], place)
    else:
        _unpack_original(place, source)
    return source, version[1] if version else "unknown"


def _unpack_original(place: Path, source: Path) -> None:
    """The upstream archive alone: without dpkg's tools the distribution's patches are left out."""
    archive = next(iter(sorted(place.glob("ffmpeg_*.orig.tar.*[!c]"))), None)
    if archive is None:
        raise BuildError("FFmpeg's source package holds no upstream archive (.orig.tar).")
    with tarfile.open(archive) as packed:
        packed.extractall(source.parent / "original", filter="data")
    next((source.parent / "original").iterdir()).rename(source)


def fetch_packages(work: Path, codename: str, run: Runner) -> tuple[Path, set[str]]:
    """Unpack the headers, x264 and the assembler into a folder; none is installed.

    Returns:
        The folder, and the names of the packages in it. The headers are always among them.

    Raises:
        BuildError: the headers cannot be had.
    """
    root, place = work / "root", work / "packages"
    root.mkdir()
    place.mkdir()
    options: list[str] = []
    try:
        _download(HEADERS, options, place, run)
    except BuildError:  # the system's lists may be empty, as they are in most containers
        folder = work / "apt-packages"
        write_own_sources(folder, codename, ("deb",))
        options = own_options(folder)
        run(["apt-get", *options, "update"], work)
        _download(HEADERS, options, place, run)
    found = {HEADERS}
    for name in (X264, *(() if shutil.which(ASSEMBLER) else (ASSEMBLER,))):
        try:
            _download(name, options, place, run)
            found.add(name)
        except BuildError:
            continue  # it can be done without: the report says what is missing
    for package in sorted(place.glob("*.deb")):
        run(["dpkg-deb", "--extract", str(package), str(root)], work)
    return root, found | ({ASSEMBLER} if shutil.which(ASSEMBLER) else set())


def _download(name: str, options: Sequence[str], place: Path, run: Runner) -> None:
    run(["apt-get", *options, "-o", "APT::Sandbox::User=root", "download", name], place)


def prepare_pkgconfig(root: Path, folder: Path) -> str:
    """Copy the packages' ``.pc`` files so that they point into ``root``; shared links go, so that x264 is linked in.

    Returns:
        The headers' version.
    """
    folder.mkdir()
    for path in (*root.glob("usr/share/pkgconfig/*.pc"), *root.glob("usr/lib/*/pkgconfig/*.pc")):
        (folder / path.name).write_text(relocated(_text(path), root), encoding="utf-8")
    for link in root.glob("usr/lib/*/*.so*"):
        link.unlink()
    found = re.search(r"^Version:\s*(\S+)", _text(folder / "ffnvcodec.pc"), re.MULTILINE)
    if found is None:
        raise BuildError(f"The package {HEADERS} holds no ffnvcodec.pc.")
    return found[1]


def candidate_version() -> str | None:
    """The version of FFmpeg that the system's package lists offer, or None; asks no network."""
    try:
        said = subprocess.run(
            ["apt-cache", "policy", "ffmpeg"], capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"Candidate:\s*(\S+)", said.stdout)
    return None if found is None or found[1] == "(none)" else found[1]
