"""The walk through a folder: every file once, no loops, never out of the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from framelane.errors import UsageError, chain


@dataclass(frozen=True)
class Skipped:
    """Something in the folder that the user may have expected to be taken.

    Attributes:
        relative: where, from the folder.
        reason: a sentence.
    """

    relative: PurePosixPath
    reason: str


def check_root(root: Path, out: Path | None) -> None:
    """Refuse a folder that cannot be searched.

    Raises:
        UsageError: it is missing or unreadable, or the output folder is the folder itself or above it.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise UsageError(f"The folder {root} {what}.")
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        raise UsageError(f"The folder {root} cannot be read: {error.strerror}.") from error
    if out is not None and (root.resolve() == out.resolve() or out.resolve() in root.resolve().parents):
        raise UsageError(
            f"The output folder {out} is the folder {root} itself, or above it: results would lie among the clips. "
            "Name another output folder; one inside the folder is fine."
        )


class Walk:
    """One walk through a folder: real folders and files first, links after them, each real place once."""

    def __init__(self, root: Path, out: Path | None) -> None:
        self.root, self.real_root, self.out = root, os.path.realpath(root), str(out) if out else None
        self.skipped: list[Skipped] = []
        self.seen: dict[str, PurePosixPath] = {}
        self.links: list[PurePosixPath] = []

    def files(self) -> Iterator[PurePosixPath]:
        """Every file that is not hidden, from the root; no file twice."""
        yield from self._below(PurePosixPath(), self.real_root)
        while self.links:
            links, self.links = sorted(self.links), []
            for link in links:
                yield from self._follow(link)

    def _skip(self, relative: PurePosixPath, reason: str) -> None:
        self.skipped.append(Skipped(relative, reason))

    def _below(self, top: PurePosixPath, real: str) -> Iterator[PurePosixPath]:
        waiting = [(top, real)]
        while waiting:
            relative, real = waiting.pop()
            if real in self.seen or real == self.out:
                continue
            self.seen[real] = relative
            if relative.parts and os.path.isdir(os.path.join(real, ".framelane", "records")):
                self._skip(relative, "It holds the results of an earlier batch; name it as the folder to take them.")
                continue
            for entry in self._entries(relative):
                here, there = relative / entry.name, os.path.join(real, entry.name)
                if entry.name.startswith("."):
                    continue
                kind = self._kind(entry)
                if kind == "link":
                    self.links.append(here)
                elif kind == "folder":
                    waiting.append((here, there))
                elif there not in self.seen:
                    self.seen[there] = here
                    yield here

    def _entries(self, relative: PurePosixPath) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / relative) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._skip(relative, f"The folder cannot be read: {error.strerror or chain(error)}.")
            return []

    @staticmethod
    def _kind(entry: os.DirEntry[str]) -> str:
        try:
            return "link" if entry.is_symlink() else "folder" if entry.is_dir(follow_symlinks=False) else "file"
        except OSError:
            return "file"  # what is wrong with it is found, and said, when it is opened

    def _follow(self, link: PurePosixPath) -> Iterator[PurePosixPath]:
        real = os.path.realpath(self.root / link)
        if not os.path.exists(real):
            self._skip(link, "It is a link that leads nowhere.")
        elif not f"{real}/".startswith(f"{self.real_root.rstrip('/')}/"):
            self._skip(link, "It is a link that leads out of the folder; copy the file, or name that folder instead.")
        elif os.path.isdir(real):
            yield from self._below(link, real)
        elif real not in self.seen:
            self.seen[real] = link
            yield link
