"""Folders of small clips, and a place where batches with the test processors run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from framelane.jobs import executors
from framelane.resources import cache_dir
from support.clips import STREET, WALKER, ffmpeg

TESTS = Path(__file__).parents[1]
FAST = {
    "engine.segment_seconds": 0.3,
    "engine.min_free_mb": 0,
    "gif.enabled": False,
    "output.preset": "ultrafast",
    "hardware.threads": 1,
    "hardware.batch_size": 4,
}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder of its own for clips, results and cache; workers know the test processors. The models are shared."""
    return placed(tmp_path, tmp_path / "cache", monkeypatch)


def placed(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Such a folder, with a cache that may be that of many."""
    cache.mkdir(exist_ok=True)
    models = cache_dir() / "models"
    if models.exists() and not (cache / "models").exists():
        (cache / "models").symlink_to(models)
    monkeypatch.setenv("FRAMELANE_CACHE", str(cache))
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setattr(executors, "WORKER", "support.worker")
    (folder / "in").mkdir()
    return folder


def cut(path: Path, source: Path = STREET, start: float = 0, seconds: float = 1, height: int = 144) -> Path:
    """A small cut of a real clip, with its sound where it has any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ffmpeg(
        "-ss", str(start), "-t", str(seconds), "-i", source, "-vf", f"scale=-2:{height}",
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", path,
    )  # fmt: skip
    return path


def six_cuts(folder: Path) -> list[Path]:
    """Six cuts of the two real clips, two of them in a folder below."""
    return [
        cut(folder / name, source, start)
        for name, source, start in (
            ("a.mp4", STREET, 0), ("b.mp4", WALKER, 0), ("c.mp4", STREET, 2), ("d.mp4", WALKER, 2),
            ("sub/e.mp4", STREET, 4), ("sub/f.mp4", WALKER, 3.5),
        )
    ]  # fmt: skip


def three_cuts(folder: Path) -> list[Path]:
    """The same in small, for short forms."""
    return [
        cut(folder / name, source) for name, source in (("a.mp4", STREET), ("b.mp4", WALKER), ("sub/c.mp4", STREET))
    ]


def copies(folder: Path, clip: Path, count: int) -> None:
    """The same clip under many names."""
    for index in range(count):
        shutil.copy(clip, folder / f"{index:04d}.mp4")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def open_files(pid: int) -> int:
    """File handles of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid: int) -> int:
    """Bytes of memory of a process that are its own."""
    import psutil

    return psutil.Process(pid).memory_info().rss
