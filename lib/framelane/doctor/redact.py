"""Taking out of a text what names a person, a machine or a folder, so that it can be pasted into a bug report.

Too much is taken rather than too little: a name of five letters and more goes wherever it stands, also inside a word;
a shorter one as a word. Every absolute path that is not the system's own goes.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import sys
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# Accounts and hosts that everybody has: they say nothing about anybody.
_COMMON = {
    "root",
    "user",
    "ubuntu",
    "debian",
    "colab",
    "jovyan",
    "kaggle",
    "nobody",
    "admin",
    "localhost",
    "home",
    "none",
}
_EVERYWHERE = 5  # letters from which a name is taken out inside words as well
_SYSTEM = "usr|lib|lib64|bin|sbin|proc|sys|dev|etc|boot"
_EXTENSION = r"\.(?:mp4|mov|mkv|avi|webm|gif|json|jsonl|yaml|onnx|pth|safetensors|nut|part|py|so)\b"
_CHUNK = r"[^\s'\"`<>|]"
# A path goes on over spaces where a later word has another slash or a file's ending.
_REST = rf"{_CHUNK}*(?:(?: [^\s'\"`<>|/]+)*? ?/{_CHUNK}*)*(?:(?: [^\s'\"`<>|/]+)*?{_EXTENSION})?"
_PERSONAL = r"home|Users|content/drive|content/gdrive|media|mnt|Volumes|run/user|kaggle/input"


@dataclass(frozen=True)
class Secrets:
    """What must not be shown.

    Attributes:
        names: of people, accounts and machines.
        paths: folders that are known by name, with what stands in their place.
    """

    names: tuple[str, ...] = ()
    paths: tuple[tuple[str, str], ...] = ()


def secrets_here(drives: Iterable[str] = (), folders: Iterable[str] = ()) -> Secrets:
    """What this machine and its user are called.

    Args:
        drives: folders on Drives.
        folders: others that were named, such as where output is written.
    """
    paths = {str(Path.home()): "<home>", os.path.realpath(Path.home()): "<home>", sys.prefix: "<python>"}
    paths |= {place: "<folder>" for folder in folders for place in (folder, os.path.realpath(folder))}
    paths |= {place: "<drive>" for folder in drives for place in (folder, os.path.realpath(folder))}
    known = {
        path: put
        for path, put in paths.items()
        if len(path) > 1 and not re.fullmatch(rf"/(?:{_SYSTEM})(?:/local)?", path)
    }
    return Secrets(tuple(_names()), tuple(known.items()))


def _names() -> list[str]:
    """Accounts, the person's own name where the system has it, and hosts."""
    found = [
        os.environ.get(key, "") for key in ("USER", "LOGNAME", "USERNAME", "SUDO_USER", "HOSTNAME", "COMPUTERNAME")
    ]
    for ask in (getpass.getuser, _account, platform.node, socket.gethostname, lambda: Path.home().name):
        with suppress(Exception):  # no account of that number, no name of that host
            found.append(str(ask()))
    # A first name alone, or a host without its domain, says as much.
    found += [part for name in found for part in re.split(r"[\s.]+", name) if len(part) > 2]
    return [name for name in dict.fromkeys(found) if name]


def _account() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_gecos.split(",")[0]


def redact(text: str, secrets: Secrets) -> str:
    """The text on one line, without what names somebody or something.

    Args:
        text: from anywhere: an error message may hold anything.
        secrets: names and paths that are known.

    Returns:
        A line without control characters, back quotes or bidirectional marks, so that it cannot leave a fenced block.
    """
    plain = unicodedata.normalize("NFC", text)
    plain = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in plain)
    plain = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf").replace("`", "'")
    found = _pattern(secrets).sub(lambda match: _put(match, secrets), plain)
    return " ".join(found.split())


def _put(match: re.Match[str], secrets: Secrets) -> str:
    kind = match.lastgroup or ""
    if kind == "keep":
        return match[0]
    if kind.startswith("known"):
        return secrets.paths[int(kind.removeprefix("known"))][1]
    return f"<{kind}>"


def _pattern(secrets: Secrets) -> re.Pattern[str]:
    """One pattern for everything, so that nothing that was put in is looked at again; earlier alternatives win."""
    order = sorted(range(len(secrets.paths)), key=lambda index: -len(secrets.paths[index][0]))
    parts = [f"(?P<known{i}>(?:{'|'.join(_forms(secrets.paths[i][0]))})(?![^\\W_])(?:[\\\\/][^'\"]*)?)" for i in order]
    parts += [
        r"(?P<keep>\bopencv-[a-z-]+ [\d.]+)",  # a version of four numbers, not an address
        r"(?P<url>\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+)",
        r"(?P<email>[^\s@'\"<>(]+@[^\s@'\"<>)]+\.[^\s@'\"<>).]+)",
        rf"(?P<quoted>(?<=['\"])(?:/(?!(?:{_SYSTEM})/)|~/|[A-Za-z]:[\\/])[^'\"]*)",
        rf"(?P<personal>(?<![\w/.])/(?:{_PERSONAL})/[^'\"]*)",
        rf"(?P<path>(?<![\w/.<>])(?:~|/(?!/)(?!(?:{_SYSTEM})(?:/|\b))(?=[^\s/])|[A-Za-z]:\\|\\\\){_REST})",
        r"(?P<folder>\b(?:MyDrive|My Drive|Shareddrives|Shared drives)/[^'\"]*)",
        r"(?P<uuid>\b(?:GPU-|MIG-)?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)",
        r"(?P<address>\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b|\b(?:\d{1,3}\.){3}\d{1,3}\b)",
        r"(?P<ip>(?<![\w:])(?:(?:[0-9a-fA-F]{1,4}:){4,7}[0-9a-fA-F]{1,4}|[0-9a-fA-F:]*::[0-9a-fA-F:]+)(?![\w:]))",
        r"(?P<number>\b\d{10,}\b|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{16,}\b)",
    ]
    if names := [form for name in _told(secrets.names) for form in _bounded(name)]:
        parts.append(f"(?P<name>{'|'.join(names)})")
    return re.compile("|".join(parts), re.IGNORECASE)


def _told(names: Iterable[str]) -> list[str]:
    """Names that say something, longest first."""
    return sorted(
        {n for name in names if len(n := name.strip()) > 1 and n.casefold() not in _COMMON}, key=len, reverse=True
    )


def _bounded(name: str) -> list[str]:
    forms = _forms(name)
    return forms if len(name) >= _EVERYWHERE else [rf"(?<![^\W_]){form}(?![^\W_])" for form in forms]


def _forms(text: str) -> list[str]:
    """How a text may be written: as it is, as in a URL, as ``ascii()`` writes it, with its control characters blanked."""
    plain = unicodedata.normalize("NFC", text)
    spaced = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in plain)
    spaced = "".join(letter for letter in spaced if unicodedata.category(letter) != "Cf").replace("`", "'")
    escaped = ascii(plain)[1:-1]
    return [re.escape(form) for form in dict.fromkeys((spaced, quote(plain), escaped)) if form.strip()]
