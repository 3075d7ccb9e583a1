"""The whole way of a full model: a hub's repository, the settings, the job, the resume, the report.

The weights are random (small models of the real classes): what they find means nothing, how they are used does.
"""

from __future__ import annotations

import threading

import pytest

import framelane
from framelane.errors import Cancelled, UsageError
from framelane.models import download
from framelane.processors.attention import sources
from framelane.processors.attention.videomae import VideoMaeBackbone
from support import detr
from support.clips import WALKER, ffmpeg, needs_ffmpeg
from support.read import frame_hashes
from support.shop import shop, stock  # noqa: F401  (a fixture)
from support.tiny import videomae_model

HUB = {"rfdetr": "Roboflow/rf-detr-nano", "videomae": "MCG-NJU/videomae-base-finetuned-kinetics"}
SETTINGS = {
    "attention.detector": "rfdetr",
    "attention.backbone": "videomae",
    "attention.spatial_resolution": 112,
    "attention.target": "left",
    "attention.detection_threshold": 0.3,
    "engine.segment_seconds": 0.5,
    "engine.min_free_mb": 0,
    "gif.enabled": False,
    "output.preset": "ultrafast",
}


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    ffmpeg("-i", WALKER, "-t", "2.4", "-vf", "scale=320:-2", "-an", "-preset", "ultrafast", path)
    return path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".json", ".safetensors")}


@pytest.fixture
def stocked(shop, tmp_path, monkeypatch):  # noqa: F811
    stock(shop, HUB["rfdetr"], contents(detr.save("rfdetr", tmp_path / "rfdetr")))
    model = videomae_model(layers=2)
    config = model.config.to_dict() | {"image_size": 112, "patch_size": 16}
    model = type(model)(type(model.config).from_dict(config))
    model.save_pretrained(tmp_path / "videomae")
    content = contents(tmp_path / "videomae") | {"preprocessor_config.json": b"{}"}
    stock(shop, HUB["videomae"], content)
    return shop


@needs_ffmpeg
def test_models_of_a_hub_run_and_resume_and_are_reported(stocked, clip, tmp_path):
    whole = framelane.process_video(clip, "attention", output=tmp_path / "whole.mp4", overrides=SETTINGS)
    report = whole.report
    assert [model["name"] for model in report["models"]] == ["videomae", "rfdetr_nano"]
    assert all(len(model["sha256"]) == 64 for model in report["models"])
    assert any("CC-BY-NC" in warning for warning in report["warnings"])
    assert report["degradations"] == []
    metrics = report["metrics"]
    assert metrics["backbone"] == "videomae"
    assert metrics["target"] == "left"
    assert metrics["object_attention"].startswith("own")
    assert metrics["actions"]
    assert metrics["tracks"], "random weights found nothing: the test would not see the maps"
    output, cancel, starts = tmp_path / "resumed.mp4", threading.Event(), []

    def listen(event):
        if event["event"] == "start":
            starts.append(event["resumed_at_frame"])
        if event["event"] == "segment" and len(starts) < 3:
            cancel.set()

    for _ in range(6):
        cancel.clear()
        try:
            framelane.process_video(
                clip, "attention", output=output, overrides=SETTINGS, progress=listen, cancel=cancel
            )
            break
        except Cancelled:
            continue
    assert sum(start > 0 for start in starts) >= 2
    assert frame_hashes(output) == frame_hashes(whole.output_path)
    assert not [path for path, *_ in stocked.asked if path.endswith(".safetensors")][2:], "fetched once each"


@needs_ffmpeg
def test_what_cannot_be_fetched_is_replaced_by_the_embedded_model_and_said(shop, clip, tmp_path):  # noqa: F811
    # The backbone's own weights come from the package registry: here only the detector falls back.
    settings = {**SETTINGS, "attention.channels": "b"}
    report = framelane.process_video(clip, "attention", output=tmp_path / "out.mp4", overrides=settings).report
    assert [model["name"] for model in report["models"]] == ["nanodet"]
    (sentence,) = report["degradations"]
    assert sentence.startswith("nanodet is used instead of rfdetr_nano.")
    assert "Roboflow/rf-detr-nano" in sentence
    assert report["metrics"]["object_attention"] is None


@needs_ffmpeg
def test_the_larger_backbone_falls_back_to_the_smaller_and_that_to_the_embedded_one(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(download, "_PAUSES", (0, 0, 0))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing answers
    settings = {**SETTINGS, "attention.channels": "a", "attention.backbone": "mvit_v2_b"}
    report = framelane.process_video(clip, "attention", output=tmp_path / "out.mp4", overrides=settings).report
    assert [model["name"] for model in report["models"]] == ["dinov2_vits14"]
    first, second = report["degradations"]
    assert first.startswith("mvit_v2_s is used instead of mvit_v2_b.")
    assert "models fetch mvit_v2_b --trust" in first
    assert second.startswith("dinov2_vits14 is used instead of mvit_v2_s.")
    assert report["metrics"]["backbone"] == "dinov2_vits14"


@needs_ffmpeg
def test_a_target_that_is_no_class_is_refused_before_anything_is_written(stocked, clip, tmp_path):
    output = tmp_path / "new" / "out.mp4"
    with pytest.raises(UsageError, match=r"attention.target: 'lefd' is no class.*Did you mean left"):
        framelane.process_video(clip, "attention", output=output, overrides={**SETTINGS, "attention.target": "lefd"})
    assert not list(tmp_path.glob("new/.*"))


def test_the_pace_of_every_video_backbone_is_known():
    assert set(sources.PACE) == set(sources.VIDEO_BACKBONES)
    assert VideoMaeBackbone.usual_start == 0
