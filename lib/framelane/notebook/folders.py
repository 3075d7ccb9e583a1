"""What a folder of the tree shows: one floor of it, looked at when somebody opens it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from framelane.errors import chain
from framelane.i18n import gettext as _

_CLIPS = {
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp",
}  # fmt: skip
_MOST_FOLDERS = 500


@dataclass(frozen=True)
class Listing:
    """What one folder of the tree shows.

    Attributes:
        folders: the folders in it, by name, without hidden ones.
        clips: how many files look like clips by their names.
        left_out: folders beyond the first 500.
        problem: why it cannot be read; empty where it can.
    """

    folders: tuple[Path, ...] = ()
    clips: int = 0
    left_out: int = 0
    problem: str = ""


def is_folder(place: Path) -> bool:
    """Whether it is one that answers."""
    try:
        return place.is_dir()
    except OSError:  # Drive, gone; or links that lead nowhere
        return False


def folders(place: Path) -> Listing:
    """What a folder holds, one floor of the tree: it is asked again where somebody opens one.

    Args:
        place: the folder; on Drive each look takes its time.
    """
    found, clips = [], 0
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if is_folder(Path(entry.path)):
                    found.append(Path(entry.path))
                else:
                    clips += os.path.splitext(entry.name)[1].lower() in _CLIPS
    except OSError as error:
        why = error.strerror or chain(error)
        return Listing(problem=_("The folder {folder} cannot be read ({why}).").format(folder=place, why=why))
    found.sort(key=lambda path: (path.name.casefold(), path.name))
    return Listing(tuple(found[:_MOST_FOLDERS]), clips, max(0, len(found) - _MOST_FOLDERS))
