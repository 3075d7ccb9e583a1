"""What the outputs of a folder's clips are called: the same tree, the same names, no two alike."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

# A file name has at most 255 bytes, and ".NAME.mp4.framelane" and "NAME.report.json.part" stand beside an output.
_LONGEST_STEM = 255 - len(".report.json.part") - 8


def output_names(clips: Iterable[PurePosixPath], suffix: str = ".mp4") -> dict[PurePosixPath, PurePosixPath]:
    """The output of each clip, from the output folder: ``sub/NAME.mov`` to ``sub/NAME.mp4``.

    Where two would be the same (``a.avi`` and ``a.mp4``), both keep their suffix: ``a.avi.mp4`` and ``a.mp4.mp4``. Names
    that are too long for the files that stand beside an output are cut and get eight hex digits of their SHA-256.

    Args:
        clips: paths from the input folder, all different.
        suffix: of the outputs.
    """
    stems = {clip: clip.with_name(_cut(clip.stem)) for clip in clips}
    while clashing := [
        clip for clip, count in _with_counts(stems) if count > 1 and stems[clip].name != _cut(clip.name)
    ]:
        for clip in clashing:
            stems[clip] = clip.with_name(_cut(clip.name))
    return {clip: stem.with_name(stem.name + suffix) for clip, stem in stems.items()}


def _with_counts(stems: dict[PurePosixPath, PurePosixPath]) -> list[tuple[PurePosixPath, int]]:
    # Results may go to storage that does not tell upper from lower case.
    counts = Counter(str(stem).casefold() for stem in stems.values())
    return [(clip, counts[str(stem).casefold()]) for clip, stem in stems.items()]


def _cut(name: str) -> str:
    """The name, or as much of it as fits, with a digest that keeps it different from others."""
    raw = os.fsencode(name)
    if len(raw) <= _LONGEST_STEM:
        return name
    digest = hashlib.sha256(raw).hexdigest()[:8]
    kept = name
    while len(os.fsencode(kept)) > _LONGEST_STEM - 9:
        kept = kept[:-1]
    return f"{kept}~{digest}"
