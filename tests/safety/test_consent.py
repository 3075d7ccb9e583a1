"""Consent: without it nothing; with it a record in the report and in a log that only grows."""

import hashlib
import json
import multiprocessing
import os

import numpy as np
import pytest

from framelane.errors import FramelaneError, UsageError
from framelane.processors.faceswap import consent
from framelane.provenance import record_digest
from framelane.schema import Settings
from framelane.sections.faceswap import FacePair, FaceswapSettings
from support.sealed import CONSENT, source


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_STATE", str(tmp_path / "state"))


def asked(text=CONSENT, **more):
    return Settings(faceswap=FaceswapSettings(consent=text, **more))


@pytest.mark.parametrize(
    "text", [None, "", "   ", "\n\t", "yes", "ok ok ok", "I agree", "... --- ...", "1 2 3 4", "a b c d e"]
)
def test_what_does_not_say_who_and_why_is_no_consent(text):
    with pytest.raises(UsageError, match="who agreed to the use") as caught:
        consent.check(asked(text), [source()])
    assert caught.value.exit_code == 2
    assert not consent.audit_log().exists()


def test_no_source_is_no_consent():
    with pytest.raises(UsageError, match="needs a source face"):
        consent.check(asked(), [])


def test_a_record_for_each_source_with_the_digest_of_its_file_and_of_its_pixels(tmp_path):
    one, folder = tmp_path / "one.png", tmp_path / "many"
    one.write_bytes(b"a picture")
    folder.mkdir()
    (folder / "x.png").write_bytes(b"another")
    pairs = [FacePair(source=str(one), target="0#0"), FacePair(source=str(folder), target="0#1")]
    made = consent.check(asked(pairs=pairs), [source("one.png", 10), source("many", 20)])
    assert [record["source"] for record in made] == ["one.png", "many"]
    assert made[0]["sha256"] == hashlib.sha256(b"a picture").hexdigest()
    assert made[1]["sha256"] == hashlib.sha256(hashlib.sha256(b"another").hexdigest().encode()).hexdigest()
    assert made[0]["pixels_sha256"] != made[1]["pixels_sha256"]
    assert all(record["consent"] == CONSENT and record["age"] == "declared" for record in made)
    logged = [json.loads(line) for line in consent.audit_log().read_text().splitlines()]
    assert [entry["record_sha256"] for entry in logged] == [record_digest(record) for record in made]


def test_the_log_only_grows_and_shows_what_was_changed_in_it():
    for _ in range(4):
        consent.check(asked(), [source()])
    log = consent.audit_log()
    assert len(log.read_bytes().splitlines()) == 4
    assert consent.broken_at(log) is None
    assert log.stat().st_mode & 0o077 == 0  # it holds names
    lines = log.read_bytes().splitlines(keepends=True)
    for changed in (
        [lines[0].replace(b"Ada", b"Eve"), *lines[1:]],
        [lines[0], *lines[2:]],
        [lines[1], lines[0], *lines[2:]],
    ):
        log.write_bytes(b"".join(changed))
        assert consent.broken_at(log) is not None


def test_a_line_cut_off_by_a_crash_stays_visible_and_the_log_goes_on():
    consent.check(asked(), [source()])
    log = consent.audit_log()
    log.write_bytes(log.read_bytes() + b'{"half')
    consent.check(asked(), [source()])
    assert len(log.read_bytes().splitlines()) == 3
    assert consent.broken_at(log) == 2


def test_a_log_that_cannot_be_written_ends_the_run(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRAMELANE_STATE", str(tmp_path / "file"))
    with pytest.raises(FramelaneError, match="nothing is swapped without a record"):
        consent.check(asked(), [source()])


def _write_many(folder, count):
    os.environ["FRAMELANE_STATE"] = folder
    for _ in range(count):
        consent.append({"source": "x", "consent": CONSENT})


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pool.starmap(_write_many, [(str(tmp_path / "state"), 20)] * 3)
    assert len(consent.audit_log().read_bytes().splitlines()) == 60
    assert consent.broken_at(consent.audit_log()) is None


def test_the_same_pixels_in_another_shape_are_another_source():
    wide, high = source(), source()
    object.__setattr__(wide, "images", (np.zeros((4, 8, 3), np.uint8),))
    object.__setattr__(high, "images", (np.zeros((8, 4, 3), np.uint8),))
    assert consent.pixels_digest(wide) != consent.pixels_digest(high)
