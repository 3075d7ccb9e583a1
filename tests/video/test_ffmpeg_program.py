"""Which ffmpeg program the rungs run."""

from __future__ import annotations

from pathlib import Path

import pytest

from framelane.errors import UsageError
from framelane.video import ffmpeg


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FRAMELANE_FFMPEG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "cache"


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def built(cache: Path, key: str) -> Path:
    made = program(cache / "ffmpeg" / key / "bin" / "ffmpeg")
    (cache / "ffmpeg" / "current").write_text(f"{key}\n")
    return made


def test_the_variable_comes_before_the_built_one_and_that_before_path(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ffmpeg.ffmpeg_program() is None
    assert "--build" in ffmpeg.find().origin
    on_path = program(tmp_path / "bin" / "ffmpeg")
    assert ffmpeg.ffmpeg_program() == on_path
    own = built(cache, "a-key")
    assert ffmpeg.ffmpeg_program() == own
    named = program(tmp_path / "elsewhere" / "ffmpeg")
    monkeypatch.setenv("FRAMELANE_FFMPEG", str(named))
    assert ffmpeg.ffmpeg_program() == named
    assert "FRAMELANE_FFMPEG" in ffmpeg.find().origin


def test_a_pointer_leads_to_a_runnable_program_below_the_cache_or_nowhere(cache: Path, tmp_path: Path) -> None:
    built(cache, "a-key").chmod(0o644)
    assert ffmpeg.ffmpeg_program() is None  # not executable
    program(cache / "outside" / "bin" / "ffmpeg")
    (cache / "ffmpeg" / "current").write_text("../outside\n")
    assert ffmpeg.ffmpeg_program() is None
    (cache / "ffmpeg" / "current").write_bytes(b"\xff\xfe")
    assert ffmpeg.ffmpeg_program() is None


def test_a_variable_that_names_nothing_is_a_usage_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMELANE_FFMPEG", "/no/such/ffmpeg")
    with pytest.raises(UsageError, match="not a program that can be run"):
        ffmpeg.ffmpeg_program()
