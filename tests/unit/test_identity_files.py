"""What is in a source file counts in a job's identity, and not where it lies."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import pytest

from framelane.identity import asked_for, frames_settings
from framelane.jobs.ledger import job_identity
from framelane.settings import load


def loaded(**faceswap):
    return load(overrides={f"faceswap.{key}": value for key, value in faceswap.items()})


def identity(**faceswap):
    return job_identity("clip", PurePosixPath("a.mp4"), "faceswap", 1, loaded(**faceswap))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "face.png"
    path.write_bytes(b"a face")
    return path


@pytest.mark.parametrize("key", ["source", "reference", "certificate"])
def test_contents_count_and_paths_do_not(source, tmp_path, key):
    first = identity(**{key: str(source)})
    moved = tmp_path / "elsewhere.png"
    os.rename(source, moved)
    assert identity(**{key: str(moved)}) == first
    moved.write_bytes(b"b face")  # as long as before
    assert identity(**{key: str(moved)}) != first


def test_a_folder_counts_with_its_files(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"one")
    first = identity(source=str(folder))
    (folder / "2.png").write_bytes(b"two")
    assert identity(source=str(folder)) != first
    (folder / "2.png").unlink()
    assert identity(source=str(folder)) == first


def test_pairs_count_with_the_contents_of_both_and_moments_as_they_are(source, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(b"a face")
    one = identity(pairs=[{"source": str(source), "target": "1.0#0"}])
    assert identity(pairs=[{"source": str(other), "target": "1.0#0"}]) == one
    assert identity(pairs=[{"source": str(source), "target": "2.0#0"}]) != one


def test_a_file_that_is_missing_is_no_error_here():
    assert identity(source="nowhere.png") != identity(source="elsewhere.png")


def test_consent_and_certificate_change_no_frame_but_the_job(source):
    plain, said = loaded(source=str(source)), loaded(source=str(source), consent="Ada Example, by letter")
    assert frames_settings("faceswap", plain) == frames_settings("faceswap", said)
    assert asked_for("faceswap", plain) != asked_for("faceswap", said)
    key = loaded(source=str(source), private_key="key.pem")
    assert asked_for("faceswap", plain) == asked_for("faceswap", key)
