"""Project Aria recordings: what cannot be read is refused with a sentence. No recording ships with any package, so none is
read here; the conversion itself is untested."""

from __future__ import annotations

import sys

import pytest

from framelane.errors import UsageError
from framelane.preparation import prepare
from framelane.video.aria import as_clip, convert, is_recording
from framelane.video.clip import probe


def test_without_the_package_a_recording_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.vrs").write_bytes(b"any")
    monkeypatch.setitem(sys.modules, "projectaria_tools", None)
    monkeypatch.setitem(sys.modules, "projectaria_tools.core", None)
    with pytest.raises(UsageError, match=r"pip install 'framelane\[aria\]'"):
        prepare(tmp_path / "a.vrs", tmp_path / "out" / "a.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.vrs"]


def test_what_is_no_recording_is_refused_by_the_real_package(tmp_path):
    pytest.importorskip("projectaria_tools", reason="projectaria-tools is not installed (the extra aria)")
    (tmp_path / "a.vrs").write_bytes(b"no recording" * 100)
    with pytest.raises(UsageError, match=r"is no Project Aria recording"):
        convert(tmp_path / "a.vrs", tmp_path / "a.mkv")


def test_other_clips_pass_as_they_are(tmp_path):
    clip = tmp_path / "a.mp4"
    with as_clip(clip, tmp_path / "b.mp4") as same:
        assert same == clip
    assert is_recording(tmp_path / "A.VRS")


def test_a_recording_that_is_given_as_a_clip_names_the_command(tmp_path):
    (tmp_path / "a.vrs").write_bytes(b"any")
    with pytest.raises(UsageError, match=r"framelane prepare \S*a\.vrs -o a\.mp4"):
        probe(tmp_path / "a.vrs")
