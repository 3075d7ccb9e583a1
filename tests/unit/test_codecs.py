"""Encoders and decoders are known by what they do: the probes run the real FFmpeg and are tried on broken ones."""

from __future__ import annotations

import numpy as np
import pytest

from framelane.errors import FramelaneError
from framelane.video import codecs
from framelane.video.codecs import encode_fps, probe_decoder, probe_encoder


@pytest.fixture
def fresh():
    """Probes without what earlier tests left in their caches."""
    probe_encoder.cache_clear()
    probe_decoder.cache_clear()
    yield
    probe_encoder.cache_clear()
    probe_decoder.cache_clear()


def is_sentence(text: str) -> bool:
    return text[0].isupper() and text.endswith(".") and "\n" not in text and "Traceback" not in text


@pytest.mark.parametrize("name", ["libx264", "libx265"])
def test_cpu_encoders_work(name):
    probe = probe_encoder(name)
    assert probe.ok, probe.reason
    assert is_sentence(probe.reason)


def test_cpu_decoder_works():
    assert probe_decoder("cpu").ok


@pytest.mark.parametrize("name", ["h264_nvenc", "hevc_nvenc"])
def test_a_refusing_gpu_encoder_gives_a_sentence(name):
    probe = probe_encoder(name)
    assert is_sentence(probe.reason)
    if not probe.ok:
        assert "NVENC" in probe.reason


def test_a_missing_driver_is_named():
    probe = probe_decoder("cuda")
    assert is_sentence(probe.reason)
    if not probe.ok:
        assert "NVDEC" in probe.reason


def test_an_encoder_that_does_not_exist():
    probe = probe_encoder("libnothing")
    assert not probe.ok
    assert "libnothing" in probe.reason


def test_a_name_that_is_listed_but_is_no_video_encoder():
    probe = probe_encoder("aac")
    assert not probe.ok
    assert is_sentence(probe.reason)


def test_an_encoder_that_spoils_the_pictures_is_refused(fresh, monkeypatch):
    monkeypatch.setattr(codecs, "_decode", lambda data, hwaccel=None: [np.zeros((192, 320, 3), np.uint8)] * 5)
    probe = probe_encoder("libx264")
    assert not probe.ok
    assert "wrong" in probe.reason


def test_an_encoder_that_loses_a_frame_is_refused(fresh, monkeypatch):
    decode = codecs._decode
    monkeypatch.setattr(codecs, "_decode", lambda data, hwaccel=None: decode(data)[:-1])
    probe = probe_encoder("libx264")
    assert not probe.ok
    assert "4 came back" in probe.reason


def test_probes_are_kept_for_the_process(fresh, monkeypatch):
    first = probe_encoder("libx264")
    monkeypatch.setattr(codecs, "_encode", lambda *_: pytest.fail("probed twice"))
    assert probe_encoder("libx264") is first


def test_encode_fps():
    assert encode_fps("libx264", frames=6, size=(96, 160)) > 1
    with pytest.raises(FramelaneError):
        encode_fps("libnothing")
