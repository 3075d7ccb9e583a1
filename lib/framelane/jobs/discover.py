"""Finding the clips of a folder, by probing and not by suffix alone, and naming their outputs.

Links are followed as long as they stay inside the folder (promise 6: paths from a folder cannot leave it), and each
file is taken once. Hidden files and folders, the output folder, and folders that hold the records of an earlier batch
are never searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal

from framelane.errors import FramelaneError, UsageError, chain
from framelane.jobs.naming import output_names
from framelane.jobs.sniff import Look, look, named_like_a_clip
from framelane.jobs.walk import Skipped, Walk, check_root
from framelane.video.clip import Clip, open_container, probe, video_stream

__all__ = [
    "ORDERS", "Discovery", "Found", "Order", "Skipped", "find_clips", "measured", "nothing_found", "one_clip", "ordered",
]  # fmt: skip

Order = Literal["shortest", "name", "oldest"]
ORDERS: tuple[Order, ...] = ("shortest", "name", "oldest")
_LOOKERS = 8  # threads: what takes time is the waiting for storage such as Drive
_PROBERS = 2
_SIDECARS = (".yaml", ".yml")
_LARGEST_MEASURED = 2 << 30  # bytes that are read to learn a duration; beyond that it stays unknown


@dataclass(frozen=True)
class Found:
    """A clip of a folder.

    Attributes:
        path: where it lies.
        relative: the same, from the folder.
        clip: what was probed of it; its duration is measured where its header has none.
        output: the file to make of it, from the output folder.
        settings: its own settings, in a YAML file beside it of the same name; or None.
        size: bytes.
        modified: seconds since 1970.
    """

    path: Path
    relative: PurePosixPath
    clip: Clip
    output: PurePosixPath
    settings: Path | None = None
    size: int = 0
    modified: float = 0.0


@dataclass(frozen=True)
class Discovery:
    """What was found in a folder.

    Attributes:
        found: the clips, by name.
        skipped: what could not be taken, by name, and why.
        others: how many other files there are.
    """

    found: list[Found] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    others: int = 0


def find_clips(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    suffix: str = ".mp4",
) -> Discovery:
    """Find the clips in a folder and everything below it.

    Args:
        folder: where to look.
        out: the output folder, which is never searched; None where there is none yet.
        include: patterns such as ``"*.mov"`` or ``"trip/*"``; a clip is taken if one of them fits. Without a ``/`` a
            pattern is for the file's own name, or for a folder's above it. One that begins with a ``/`` is for the whole
            way from the folder, name by name: ``"/a.mp4"`` is not for ``trip/a.mp4``. Upper and lower case are the same.
        exclude: patterns of what is not taken, stronger than ``include``.
        suffix: of the outputs.

    Returns:
        The clips, and what was skipped. Nothing that one file or folder does ends the search.

    Raises:
        UsageError: the folder cannot be read, or the output folder is the folder itself or above it.
    """
    root = Path(folder)
    check_root(root, Path(out) if out is not None else None)
    walk = Walk(root, Path(out).resolve() if out is not None else None)
    files = list(walk.files())
    patterns = _lowered(include), _lowered(exclude)
    wanted = [relative for relative in files if _chosen(relative, *patterns)]
    with ThreadPoolExecutor(_LOOKERS) as pool:
        looked = list(pool.map(lambda relative: _look(root, relative), wanted))
    likely = [relative for relative, what in zip(wanted, looked, strict=True) if what is Look.CLIP]
    # A file that was not asked for keeps its claim to a name: so names do not depend on the patterns.
    left_out = set(files) - set(wanted)
    namesakes = [*likely, *(relative for relative in left_out if named_like_a_clip(relative.name))]
    names = output_names(namesakes, suffix)
    there = set(files)
    with ThreadPoolExecutor(_PROBERS) as pool:
        probed = list(
            pool.map(lambda relative: _probe(root, relative, names[relative], _sidecar(root, relative, there)), likely)
        )
    skipped = [*walk.skipped, *(what for what in [*looked, *probed] if isinstance(what, Skipped))]
    found = [what for what in probed if isinstance(what, Found)]
    return Discovery(
        sorted(found, key=lambda f: f.relative.parts),
        sorted(skipped, key=lambda s: s.relative.parts),
        len(files) - len(found) - sum(s.relative in there for s in skipped),
    )


def one_clip(path: str | Path, output: str | Path | None = None) -> Discovery:
    """A single clip, as if it were a folder of one.

    Raises:
        UsageError: there is no such file.
        FramelaneError: it is no clip.
    """
    clip = Path(path)
    probed = probe(clip)
    stat = clip.stat()
    name = PurePosixPath(Path(output).name if output else f"{clip.stem}.mp4")
    found = Found(clip, PurePosixPath(clip.name), measured(probed), name, None, stat.st_size, stat.st_mtime)
    return Discovery([found])


def ordered(found: Iterable[Found], order: str = "name") -> list[Found]:
    """The clips in the order in which they are to be processed.

    Args:
        found: clips in any order.
        order: ``"shortest"`` first (of unknown length last), by ``"name"``, or ``"oldest"`` first (by modification).

    Raises:
        UsageError: an unknown order.
    """
    if order not in ORDERS:
        raise UsageError(f"--order {order!r} is unknown; allowed are {', '.join(ORDERS)}.")
    by_name = sorted(found, key=lambda f: f.relative.parts)
    if order == "shortest":
        return sorted(by_name, key=lambda f: f.clip.duration or float("inf"))
    return sorted(by_name, key=lambda f: f.modified) if order == "oldest" else by_name


def nothing_found(folder: Path, discovery: Discovery) -> str:
    """The sentence for a folder without clips."""
    more = f"; {len(discovery.skipped)} were skipped: {discovery.skipped[0].reason}" if discovery.skipped else ""
    return f"There is no clip in {folder} ({discovery.others} other files{more})."


def measured(clip: Clip) -> Clip:
    """The clip with its duration: where the header says none, it is read from the timestamps of the packets."""
    known = (clip.duration or clip.frames) and clip.format != "gif"  # a GIF is a clip only if it has a second frame
    if known or clip.path.stat().st_size > _LARGEST_MEASURED:
        return clip
    with open_container(clip.path) as container:
        stream = video_stream(container, clip.path)
        first, last, count = None, 0, 0
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                first = packet.pts if first is None else min(first, packet.pts)
                last, count = max(last, packet.pts + (packet.duration or 0)), count + 1
    return replace(clip, duration=float((last - (first or 0)) * clip.time_base), frames=count)


def _lowered(patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(pattern.lower() for pattern in patterns)


def _chosen(relative: PurePosixPath, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    return (not include or _fits(relative, include)) and not _fits(relative, exclude)


def _fits(relative: PurePosixPath, patterns: tuple[str, ...]) -> bool:
    whole = str(relative).lower()
    return any(_is_for(pattern, whole) for pattern in patterns)


def _is_for(pattern: str, whole: str) -> bool:
    parts = whole.split("/")
    if pattern.startswith("/"):
        wanted = pattern[1:].split("/")
        return len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))
    return fnmatchcase(whole, pattern) if "/" in pattern else any(fnmatchcase(part, pattern) for part in parts)


def _sidecar(root: Path, relative: PurePosixPath, there: set[PurePosixPath]) -> Path | None:
    """``clip.mp4.yaml``, else ``clip.yaml``: the more specific one where two clips share a stem."""
    for name in (f"{relative.name}", relative.stem):
        for suffix in _SIDECARS:
            if (beside := relative.with_name(name + suffix)) in there:
                return root / beside
    return None


def _look(root: Path, relative: PurePosixPath) -> Look | Skipped:
    try:
        what = look(root / relative)
    except OSError as error:
        return Skipped(relative, _unreadable(error))
    if what is Look.NO_FILE and named_like_a_clip(relative.name):
        return Skipped(relative, "It is no regular file but a pipe, a socket or a device.")
    return what


def _unreadable(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "It vanished while the folder was searched."
    return f"It cannot be read: {error.strerror or chain(error)}."


def _probe(root: Path, relative: PurePosixPath, output: PurePosixPath, settings: Path | None) -> Found | Skipped | None:
    """The clip; or why it is none; or None where nobody would expect one (sound, a still GIF)."""
    path = root / relative
    try:
        clip = measured(probe(path))
        if clip.format == "gif" and clip.frames == 1:
            return None
        stat = path.stat()
    except (FramelaneError, OSError) as error:
        if not path.exists():
            return Skipped(relative, "It vanished while the folder was searched.")
        if not named_like_a_clip(relative.name) and re.search(r"holds no video", str(error)):
            return None
        return Skipped(relative, str(error) if isinstance(error, FramelaneError) else _unreadable(error))
    return Found(path, relative, clip, output, settings, stat.st_size, stat.st_mtime)
