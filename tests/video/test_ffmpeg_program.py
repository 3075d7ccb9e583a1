"""Which ffmpeg program the rungs run."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from framelane import doctor
from framelane.errors import FramelaneError, UsageError
from framelane.video import ffmpeg
from framelane.video.clip import probe as probe_clip
from framelane.video.decoders.ffmpeg import FfmpegRung
from framelane.video.encoders import choice
from framelane.video.reader import Reader
from support.clips import WALKER, needs_ffmpeg


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


# -- programs that are no good --------------------------------------------------------------------------------------------


def script(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of the given shell text that FRAMELANE_FFMPEG names; nobody waits long for it."""
    made = folder / "made ffmpeg"
    made.write_text(f"#!/bin/sh\n{text}\n")
    made.chmod(0o755)
    monkeypatch.setenv("FRAMELANE_FFMPEG", str(made))
    monkeypatch.setattr(ffmpeg, "PATIENCE_S", 1.0)
    monkeypatch.setattr(ffmpeg, "_ANSWER_S", 1.0)
    return made


REAL = shlex.quote(shutil.which("ffmpeg") or "ffmpeg")
VERSION = f'case "$*" in *-version*) exec {REAL} -version;; esac'
HANGS = {
    "at once": "sleep 60",
    "and leaves somebody behind": "sleep 60 &",
    "with a shell between": "sh -c 'sleep 60'; true",
}


@pytest.mark.parametrize("text", [*HANGS.values(), "yes", r"printf '\377\376 ffmpeg'", "exit 9"])
def test_a_program_that_does_not_answer_is_no_ffmpeg(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = script(tmp_path, text, monkeypatch)
    with pytest.raises(FramelaneError, match="does not answer 'ffmpeg -version'"):
        ffmpeg.program_version(made)
    said = FfmpegRung(accelerated=False).missing()
    assert said is not None
    assert "does not answer" in said
    assert "does not answer" in choice.probe("ffmpeg").reason
    assert doctor.versions()["ffmpeg_command"] == "does not answer 'ffmpeg -version'"


@needs_ffmpeg
@pytest.mark.parametrize("text", [*HANGS.values(), "yes"])
def test_a_decoder_that_hangs_hands_over_to_the_cpu(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, f"{VERSION}\n{text}", monkeypatch)
    said: list[str] = []
    clip = probe_clip(WALKER)
    batches = Reader(clip, rung=FfmpegRung(accelerated=False), degrade=said.append).batches(8)
    assert next(batches).pts == next(Reader(clip).batches(8)).pts
    assert len(said) == 1
    assert "it did nothing for 1 s and was ended" in said[0]


@needs_ffmpeg
@pytest.mark.parametrize("text", ["sleep 60", "sh -c 'sleep 60'; true", "cat >/dev/null; sleep 60"])
def test_an_encoder_that_hangs_is_ended_with_a_sentence(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from framelane.video.codecs import CPU_ENCODERS

    made = script(tmp_path, f"{VERSION}\n{text}", monkeypatch)
    monkeypatch.setitem(choice.GPU_ENCODERS, "h264", CPU_ENCODERS["h264"])
    found = choice.probe("ffmpeg")
    assert (found.ok, found.reason) == (
        False, f"The program {made} encodes no further: it did nothing for 1 s and was ended.",
    )  # fmt: skip


@needs_ffmpeg
def test_a_program_that_is_slow_but_works_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is watched only while something is wanted of it: a caller who takes long between frames loses nothing."""
    import time

    script(tmp_path, f'exec {REAL} "$@"', monkeypatch)
    monkeypatch.setattr(ffmpeg, "PATIENCE_S", 20.0)
    frames = Reader(probe_clip(WALKER), rung=FfmpegRung(accelerated=False)).batches(4)
    first = next(frames)
    monkeypatch.setattr(ffmpeg.time, "monotonic", lambda begun=time.monotonic: begun() + 1000)  # a long pause
    time.sleep(1.2)
    assert next(frames).first_index == 4
    assert len(first) == 4


def test_what_the_variable_names_wrongly_is_a_refusal_with_the_same_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMELANE_FFMPEG", "/no/such/ffmpeg")
    assert "not a program that can be run" in choice.probe("ffmpeg").reason
    assert "not a program that can be run" in str(doctor.versions()["ffmpeg_command"])
