"""Ways round the safety steps, tried on the real ``faceswap`` with its embedded models: settings and doors.

What must never come out: a file that is not labelled on every frame, not signed, or made without a consent on record.
"""

import gc
import json
import shutil
import threading
from pathlib import Path

import pytest

import framelane
from framelane import FramelaneError, UsageError
from framelane.job import Job
from framelane.jobs.batch_run import BatchRun
from framelane.jobs.spec import local_output
from framelane.models import files
from framelane.processors.base import create
from framelane.processors.faceswap import consent, host
from framelane.processors.faceswap.label import Label
from framelane.provenance import record_digest
from framelane.schema import Settings, fields
from framelane.sections.faceswap import FaceswapSettings
from support.clips import ffmpeg, needs_ffmpeg
from support.swaps import CONSENT, cli, given, nothing_in, settings_of, sound, swap

pytestmark = [needs_ffmpeg, pytest.mark.usefixtures("own_state")]


# -- settings ------------------------------------------------------------------------------------------------------------


def test_there_is_no_switch():
    """Every setting of faceswap that is on or off, by name: none of them is about safety."""
    switches = {key for key, info in fields().items() if info.annotation is bool and key.startswith("faceswap.")}
    assert switches == {"faceswap.keep_mouth"}


@pytest.mark.parametrize(
    "key",
    ["faceswap.content_check", "faceswap.label_enabled", "faceswap.provenance", "faceswap.nsfw_threshold", "safety.enabled",
     "output.metadata", "faceswap.age"],
)  # fmt: skip
def test_settings_that_would_turn_it_off_do_not_exist(place, tmp_path, key):
    with pytest.raises(UsageError, match="Unknown setting"):
        swap(place, tmp_path / "out.mp4", **{key: False})
    nothing_in(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("label", ""), ("label", None), ("label_size", 0.0), ("label_size", 0.001), ("label_corner", "outside"),
     ("label_corner", None), ("consent", ""), ("consent", None), ("consent", "x"), ("consent", True), ("source", None)],
)  # fmt: skip
def test_values_that_would_hide_the_label_or_skip_consent_are_refused(place, tmp_path, key, value):
    with pytest.raises(UsageError):
        swap(place, tmp_path / "out.mp4", **{f"faceswap.{key}": value})
    nothing_in(tmp_path)
    assert not consent.audit_log().exists()


def test_the_least_visible_label_that_can_be_set_is_still_seen(place, tmp_path):
    hidden = {"label": "...", "label_size": 0.02, "label_corner": "top-left"}
    result = swap(
        place, tmp_path / "out.mp4", output__quality=51, faceswap__blend=0.0,
        **{f"faceswap__{key}": value for key, value in hidden.items()},
    )  # fmt: skip
    sound(result.output_path, **hidden)
    assert result.report["provenance"]["label"]["text"] == "AI-generated"


def test_a_clip_without_a_face_is_labelled_and_signed_too(place, tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=240x240:rate=10:duration=1.2", tmp_path / "empty.mp4")
    sound(swap(place, tmp_path / "out.mp4", clip=tmp_path / "empty.mp4").output_path)


# -- command line, API, batch --------------------------------------------------------------------------------------------


def test_without_consent_every_door_is_shut_with_a_sentence(place, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for words in (
        ("run", "faceswap", place / "clip.mp4", "-o", out / "x.mp4"),
        ("batch", "faceswap", place, "-o", out),
    ):
        done = cli(*words, *given(place))
        assert done.returncode == 2
        assert "faceswap needs consent; say who agreed" in done.stderr
    for call in (
        lambda: swap(place, out / "x.mp4", faceswap__consent=None),
        lambda: framelane.process_folder(
            place, "faceswap", output=out, overrides=settings_of(place, faceswap__consent=None)
        ),
    ):
        with pytest.raises(UsageError, match="needs consent"):
            call()
    nothing_in(out)


def test_asserts_switched_off_switch_nothing_off(place, tmp_path):
    done = cli("run", "faceswap", place / "clip.mp4", "-o", tmp_path / "x.mp4", *given(place), flags=("-O",))
    assert done.returncode == 2
    nothing_in(tmp_path)


def test_consent_on_the_command_line_is_kept_in_the_report_and_the_log(place, tmp_path):
    done = cli("run", "faceswap", place / "clip.mp4", "-o", tmp_path / "x.mp4", *given(place), "--consent", CONSENT)
    assert done.returncode == 0, done.stderr
    sound(tmp_path / "x.mp4")
    report = json.loads((tmp_path / "x.report.json").read_text())
    (record,) = report["provenance"]["consent"]
    assert record["consent"] == CONSENT
    assert record["sha256"] == files.read_digest(place / "source.png")
    assert report["provenance"]["content_check"]["samples"] >= 2
    assert "opennsfw" in [model["name"] for model in report["models"]]
    (logged,) = [json.loads(line) for line in consent.audit_log().read_text().splitlines()]
    assert logged["record_sha256"] == record_digest(record)


def test_a_job_made_by_hand_is_stopped_like_any_other(place, tmp_path):
    loaded = framelane.run.load_settings(None, None, None, settings_of(place, faceswap__consent=None))
    job = Job(place / "clip.mp4", "faceswap", tmp_path / "x.mp4", loaded, lambda _: None, threading.Event())
    with pytest.raises(UsageError, match="needs consent"):
        job.run()
    job.processor.require = lambda *_: None  # and without the first gate by the second
    with pytest.raises(UsageError, match="needs consent"):
        job.run()
    nothing_in(tmp_path)


@pytest.mark.parametrize("answer", ["nothing", "no label"])
def test_a_processor_bent_from_outside_gives_nothing_out(place, tmp_path, monkeypatch, answer):
    kind = type(create("faceswap"))
    if answer == "nothing":
        monkeypatch.setattr(kind, "provenance", lambda self: None)
    else:
        monkeypatch.setattr(Label, "draw", lambda self, rgb: rgb)
    with pytest.raises(FramelaneError, match=r"does not say what its output is|cannot be seen"):
        swap(place, tmp_path / "x.mp4")
    nothing_in(tmp_path)


def test_in_a_batch_neither_a_sidecar_nor_a_planted_file_gets_round(place, tmp_path, monkeypatch):
    """One real batch: a clip whose sidecar takes the consent away, and one whose output is planted.

    The consent stands in the settings file, which a sidecar may overrule; the command line it may not.
    """
    cache, inputs, out = tmp_path / "cache", tmp_path / "in", tmp_path / "out"
    cache.mkdir()
    (cache / "models").symlink_to(framelane.resources.cache_dir() / "models")
    monkeypatch.setenv("FRAMELANE_CACHE", str(cache))
    inputs.mkdir()
    for index, name in enumerate(("sidecar", "planted")):
        ffmpeg("-i", place / "clip.mp4", "-c", "copy", "-metadata", f"title={index}", inputs / f"{name}.mp4")
    (inputs / "sidecar.yaml").write_text("faceswap:\n  consent: null\n")

    def plant(event):
        if event.get("phase") == "begins":
            spec = next(job for job in run_jobs() if job.name == "planted.mp4")
            planted = local_output(Path(spec.spec.out), spec.spec.identity)
            planted.parent.mkdir(parents=True)
            shutil.copy(place / "clip.mp4", planted)
            report = {"clip": "x", "output": str(planted), "frames": 12, "seconds": 1, "avg_fps": 1}
            planted.with_name("out.report.json").write_text(json.dumps(report))

    def run_jobs():
        return next(each for each in gc.get_objects() if isinstance(each, BatchRun)).jobs

    config, given_here = tmp_path / "config.yaml", settings_of(place)
    config.write_text(f"faceswap:\n  consent: {given_here.pop('faceswap.consent')}\n")
    result = framelane.process_folder(
        inputs, "faceswap", output=out, config=config, overrides=given_here, progress=plant
    )
    states = {job.name: (job.state, job.reason) for job in result.jobs}
    assert states["sidecar.mp4"][0] == "failed"
    assert "needs consent" in states["sidecar.mp4"][1]
    assert states["planted.mp4"][0] == "done", states
    sound(out / "planted.mp4")
    assert not (out / "sidecar.mp4").exists()


# -- the host ------------------------------------------------------------------------------------------------------------


def test_on_colab_it_is_said_that_the_free_tier_forbids_it(place, tmp_path, monkeypatch):
    assert host.notice() is None
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_2026")
    result = swap(place, tmp_path / "x.mp4")
    assert any("free tier lists creating deepfakes" in warning for warning in result.report["warnings"])
    assert "free tier" in result.report["provenance"]["host_notice"]


def test_settings_alone_are_checked_before_any_model_or_file(tmp_path):
    with pytest.raises(UsageError, match="needs consent"):
        create("faceswap").require(Settings(), Path("x.mp4"))
    with pytest.raises(UsageError, match="cannot carry content credentials"):
        create("faceswap").require(Settings(faceswap=FaceswapSettings(consent=CONSENT)), Path("x.mkv"))
