"""The ledger: what is recorded stays true, what is changed is a new job, and no machine or profile changes a name."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framelane import settings as settings_module
from framelane.errors import FramelaneError
from framelane.identity import NOT_IN_FRAMES, asked_for, frames_settings, go_on_as_begun, result_settings
from framelane.jobs.files import DriveGone
from framelane.jobs.ledger import JobRecord, Ledger, job_identity
from framelane.jobs.storage import ship
from support.drive import Drive, parts_in

CLIP = "ab" * 32


def loaded(profile="cpu", mode=None, config=None, **overrides):
    overrides = {key.replace("__", "."): value for key, value in overrides.items()}
    return settings_module.load(profile=profile, mode=mode, config=config, overrides=overrides)


def identity(load, relative="sub/a.mp4", clip=CLIP, version=3):
    return job_identity(clip, PurePosixPath(relative), "attention", version, load)


def done(ledger, name, data=b"result", output="sub/a.mp4"):
    """A job that is really finished: shipped and recorded."""
    local = ledger.out.parent / f"local-{name}"
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_bytes(data)
    content = ship(local, ledger.out / output, ledger.files)
    made = JobRecord(name * 64, "sub/a.avi", output, content.size, content.sha256, "attention", details={"frames": 5})
    return ledger.record(made)


# -- identity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, "fast", "balanced", "quality"])
def test_every_profile_gives_the_same_identity(mode):
    """So that a batch begun on a T4 is gone on with on a laptop: finished jobs stay finished."""
    profiles = settings_module.names("profiles")
    assert len({identity(loaded(profile, mode)) for profile in profiles}) == 1
    own = {"attention__sample_fps": 7.0, "output__quality": 30}
    assert len({identity(loaded(profile, mode, **own)) for profile in profiles}) == 1


def test_modes_and_the_users_own_values_count_under_every_profile():
    for profile in settings_module.names("profiles"):
        names = [identity(loaded(profile, mode)) for mode in ("fast", "balanced", "quality")]
        # A profile's own choice that the user makes himself is a choice.
        names += [identity(loaded(profile, **{key: value})) for key, value in [
            ("attention__sample_fps", 7.0), ("attention__backbone", "mvit_v2_b"), ("hardware__working_height", 144),
            ("output__quality", 33), ("gif__enabled", False), ("attention__target", "mean"),
            ("engine__segment_seconds", 3.0),
        ]]  # fmt: skip
        assert len(set(names)) == len(names)


def test_the_users_yaml_counts_like_the_command_line(tmp_path):
    config = tmp_path / "a.yaml"
    config.write_text("attention: {method: rollout}\n")
    assert identity(loaded(config=config)) == identity(loaded(attention__method="rollout")) != identity(loaded())


def test_settings_that_change_no_result_change_no_identity():
    base = identity(loaded())
    flat = settings_module.flatten(loaded().settings.model_dump())
    others = {
        "hardware.batch_size": 3, "hardware.threads": 1, "hardware.gpu_memory_limit": 0.5, "hardware.gpu_memory_gb": 2.0,
        "hardware.empty_cache_every": 7, "hardware.device": "cuda", "hardware.gradient_checkpointing": True,
        "hardware.cpu_affinity": [0], "hardware.ram_limit": 4, "hardware.prefer_gpu": False,
        "hardware.decoder": "cpu", "hardware.encoder": "cpu",
        "engine.queue_batches": 5, "engine.min_free_mb": 1, "engine.preview_s": 1.0,
        "output.require_gpu": True, "output.overwrite": True,
    }  # fmt: skip
    frames = {
        key for key in NOT_IN_FRAMES if not key.startswith("faceswap.")
    }  # consent makes another job, not other frames
    assert others.keys() >= frames, "what the engine leaves out of its identity, the ledger does too"
    for key, value in others.items():
        assert flat[key] != value
        assert identity(loaded(**{key: value})) == base, key


def test_clip_path_processor_and_version_count():
    load = loaded()
    names = {
        identity(load), identity(load, relative="a.mp4"), identity(load, clip="cd" * 32), identity(load, version=4),
        job_identity(CLIP, PurePosixPath("sub/a.mp4"), "pose", 3, load),
    }  # fmt: skip
    assert len(names) == 5
    assert all(len(name) == 64 and int(name, 16) >= 0 for name in names)
    assert len(identity(load, relative="n\udcff\n'\" 🎬.mp4")) == 64, "a name that is no UTF-8"
    assert "pose" not in {key.split(".")[0] for key in result_settings("attention", load)}


def begun_with(load, **changes):
    """The ``job.json`` of work that was begun with these settings."""
    return {**frames_settings("attention", load), "asked for": asked_for("attention", load), **changes}


def test_another_profiles_work_is_gone_on_with_as_it_was_begun():
    here, there = loaded("cpu"), loaded("t4")
    taken, said = go_on_as_begun(begun_with(there), "attention", here)
    assert frames_settings("attention", taken) == frames_settings("attention", there)
    assert taken.settings.hardware.batch_size == here.settings.hardware.batch_size, "what changes no frame stays"
    assert taken.settings.hardware.device == here.settings.hardware.device
    assert "attention.backbone=mvit_v2_s" in said
    assert identity(taken) == identity(here) == identity(there)
    assert not any(taken.is_own(key) for key in ("attention.backbone", "hardware.working_height"))


def test_other_work_is_not_gone_on_with():
    here = loaded("cpu")
    assert go_on_as_begun(begun_with(here), "attention", here) == (here, "")
    assert go_on_as_begun({}, "attention", here) == (here, "")
    for begun in (
        begun_with(loaded("t4", attention__method="rollout")),  # the user asks for something else now
        begun_with(loaded("t4", mode="fast")),
        begun_with(loaded("t4"), **{"asked for": ""}),
        begun_with(loaded("t4"), **{"attention.backbone": "of a later release"}),
    ):
        assert go_on_as_begun(begun, "attention", here) == (here, "")


# -- records ------------------------------------------------------------------------------------------------------------


def test_a_record_is_trusted_only_while_its_output_is_there_with_its_size(tmp_path):
    ledger = Ledger(tmp_path / "out")
    assert ledger.finished("a" * 64) is None
    record = done(ledger, "a")
    assert ledger.finished("a" * 64) == record
    assert Ledger(tmp_path / "out").finished("a" * 64) == record
    output = tmp_path / "out" / record.output
    output.write_bytes(b"resul")
    assert ledger.finished("a" * 64) is None
    output.unlink()
    assert ledger.finished("a" * 64) is None
    assert ledger.records() == [record], "what was once done can still be told"
    assert done(ledger, "a") == ledger.finished("a" * 64)


def test_a_record_is_written_once(tmp_path):
    ledger = Ledger(tmp_path / "out")
    first = done(ledger, "a")
    path = tmp_path / "out" / ".framelane" / "records" / f"{'a' * 64}.json"
    before = path.stat()
    again = ledger.record(JobRecord("a" * 64, "x", first.output, first.size, first.sha256, "other"))
    assert again == first
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_is_not_there_whole_is_not_recorded(tmp_path):
    ledger = Ledger(tmp_path / "out", Drive())
    record = JobRecord("a" * 64, "a", "a.mp4", 6, "00" * 32, "attention")
    with pytest.raises(DriveGone):
        ledger.record(record)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp4").write_bytes(b"result")
    with pytest.raises(DriveGone):
        ledger.record(record)
    assert ledger.finished("a" * 64) is None


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"identity": 5}', "swap", "outside", "absolute", "cut"],
)
def test_a_damaged_record_is_no_record_and_can_be_written_again(tmp_path, damage):
    ledger = Ledger(tmp_path / "out")
    record = done(ledger, "a")
    path = tmp_path / "out" / ".framelane" / "records" / f"{'a' * 64}.json"
    (tmp_path / "outside.mp4").write_bytes(b"result")
    known = json.loads(path.read_text())
    known |= {
        "swap": {"identity": "b" * 64}, "outside": {"output": "../outside.mp4"},
        "absolute": {"output": str(tmp_path / "outside.mp4")},
    }.get(damage if isinstance(damage, str) else "", {})  # fmt: skip
    path.write_bytes(
        damage
        if isinstance(damage, bytes)
        else path.read_bytes()[:-9]
        if damage == "cut"
        else json.dumps(known).encode()
    )
    assert Ledger(tmp_path / "out").finished("a" * 64) is None
    assert Ledger(tmp_path / "out").records() == []
    assert ledger.record(record) == record
    assert Ledger(tmp_path / "out").finished("a" * 64) == record


def test_changed_settings_meet_what_is_there_already(tmp_path):
    ledger = Ledger(tmp_path / "out")
    record = done(ledger, "a")
    assert ledger.conflict("a" * 64, record.output) is None
    assert ledger.conflict("b" * 64, PurePosixPath("sub/a.mp4")) == record
    assert ledger.conflict("b" * 64, "sub/b.mp4") is None
    assert Ledger(tmp_path / "out").conflict("b" * 64, record.output) == record
    # --restart: the old record goes before its output does, and never comes back
    ledger.forget("a" * 64)
    assert ledger.conflict("b" * 64, record.output) is None
    assert (tmp_path / "out" / record.output).read_bytes() == b"result"
    other = done(ledger, "b", b"second")
    assert ledger.finished("a" * 64) is None
    assert ledger.records() == [other]


def test_a_replaced_outputs_record_goes_even_where_the_size_is_the_same(tmp_path):
    """Sizes alone would make both true."""
    ledger, other = Ledger(tmp_path / "out"), Ledger(tmp_path / "out")
    done(ledger, "a", b"first!")
    assert other.finished("a" * 64)
    done(ledger, "b", b"second")
    assert ledger.finished("a" * 64) is None
    assert other.finished("a" * 64) is None
    assert other.conflict("c" * 64, "sub/a.mp4").identity == "b" * 64


def test_a_job_that_was_finished_meanwhile_is_not_claimed(tmp_path):
    a, b = Ledger(tmp_path / "out"), Ledger(tmp_path / "out")
    claim = a.claim("a" * 64)
    assert b.finished("a" * 64) is None  # b looks, and a finishes before b claims
    done(a, "a")
    claim.release()
    assert b.claim("a" * 64) is None
    assert list((tmp_path / "out" / ".framelane" / "claims").iterdir()) == []


def test_an_output_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FramelaneError, match="could not be written"):
        Ledger(tmp_path / "out").claim("a" * 64)


def test_a_sweep_removes_segments_of_finished_jobs_and_no_others(tmp_path):
    ledger = Ledger(tmp_path / "out")
    done(ledger, "a")
    segments = tmp_path / "out" / ".framelane" / "segments"
    for name in ("a" * 64, "b" * 64):
        (segments / name / "segment-000000").mkdir(parents=True)
        (segments / name / "segment-000000" / "video.nut").write_bytes(b"v")
        (segments / name / "job.json").write_text("{}")
    ledger.sweep()
    assert [path.name for path in segments.iterdir()] == ["b" * 64]
    assert ledger.finished("a" * 64)


# -- on a failing drive -------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rates=st.lists(st.sampled_from([0.0, 0.05, 0.2, 0.5]), min_size=1, max_size=4),
    dies_after=st.none() | st.integers(20, 300),
)
def test_nothing_recorded_is_lost_whatever_the_drive_does(seed, rates, dies_after):
    """Sessions follow each other on a Drive that fails; each does what the ledger says is not done yet.

    Whatever ``record`` has returned for is there, read here without the code under test: record and output, whole.
    """
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "drive" / "out"
        recorded = {}
        for session, rate in enumerate([*rates, 0.0]):
            last = session == len(rates)
            drive = Drive(seed + session, rate, dies_after=None if last else dies_after)
            ledger = Ledger(out, drive, expiry_s=0.0 if last else None)
            for letter in "abcdef":
                try:
                    _one(ledger, letter, Path(name), recorded)
                except DriveGone:
                    continue
                finally:
                    _all_there(out, recorded)
            if last:
                ledger.sweep()
                ledger.sweep()
        # An error may have hidden that a record was written: then nothing was returned, and yet it is done.
        _all_there(out, {letter: letter * 64 for letter in "abcdef"})
        assert parts_in(out) == []
        assert list((out / ".framelane" / "claims").iterdir()) == []


def _one(ledger, letter, folder, recorded):
    """One job, as a batch does it."""
    identity = letter * 64
    if ledger.finished(identity):
        return
    claim = ledger.claim(identity)
    if claim is None:
        return
    assert letter not in recorded, "done again though it was recorded"
    with claim:
        local = folder / letter
        local.write_bytes(letter.encode() * 3000)
        content = ship(local, ledger.out / f"{letter}.mp4", ledger.files)
        ledger.record(JobRecord(identity, letter, f"{letter}.mp4", content.size, content.sha256, "copy"))
        recorded[letter] = identity


def _all_there(out, recorded):
    for letter, identity in recorded.items():
        known = json.loads((out / ".framelane" / "records" / f"{identity}.json").read_text())
        assert (known["identity"], known["size"]) == (identity, 3000)
        assert (out / f"{letter}.mp4").read_bytes() == letter.encode() * 3000
