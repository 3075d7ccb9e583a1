"""Promise 7: bad input gets a sentence on stderr, the right exit code, and loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import warm
from support.clips import STREET, WALKER, excerpt, ffmpeg, needs_ffmpeg, synthetic

TESTS = Path(__file__).parents[1]
FAST = ("--set", "gif.enabled=false", "--set", "output.preset=ultrafast", "--set", "engine.min_free_mb=0")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A clip of a second, where what it shows does not matter."""
    return excerpt(tmp_path_factory.mktemp("small") / "small.mp4", STREET, 1, 144)


def framelane(*arguments, **environment):
    """A command to its end."""
    done = warm.run([str(argument) for argument in arguments], timeout=120, **environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def started(*arguments, **environment):
    """The same in a new Python: its arguments and its environment are those of a shell."""
    done = subprocess.run(
        [sys.executable, "-m", "support.cli", *map(str, arguments)],
        cwd=TESTS, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def refused(code, *arguments, says, **environment):
    done = framelane(*arguments, **environment)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    for text in (says,) if isinstance(says, str) else says:
        assert text in done.stderr
    return done.stderr


def test_missing_file(tmp_path):
    refused(2, "run", "copy", tmp_path / "none.mp4", "-o", tmp_path / "out.mp4", says=("none.mp4", "does not exist"))


def test_folder_instead_of_a_file(tmp_path):
    refused(2, "run", "copy", tmp_path, "-o", tmp_path / "out.mp4", says="is a folder")


def test_unknown_processor(tmp_path):
    refused(2, "run", "atention", STREET, "-o", tmp_path / "out.mp4", says=("atention", "Did you mean 'attention'"))


def test_unknown_mode_and_profile(tmp_path):
    refused(2, "run", "copy", STREET, "-o", tmp_path / "o.mp4", "--mode", "fsat", says=("fsat", "fast", "quality"))
    refused(2, "run", "copy", STREET, "-o", tmp_path / "o.mp4", "--profile", "t5", says=("t5", "t4", "cpu"))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("attention.metod=rollout", ("attention.metod", "attention.method")),
        ("attention.method=rollot", ("attention.method", "'rollout'")),
        ("output.quality=99", ("output.quality", "51")),
        ("gif.max_mb=abc", ("gif.max_mb", "number")),
        ("output", ("--set", "section.key=value")),
        ("attention.colour=blue", ("attention.colour", "blue")),
        ("attention.classes=[persn]", ("persn", "person")),
    ],
)
def test_bad_settings(tmp_path, setting, says):
    refused(2, "run", "attention", STREET, "-o", tmp_path / "o.mp4", "--set", setting, says=says)
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("attention: {metod: gmar}", ("attention.metod", "mine.yaml", "attention.method")),
        ("attention: [1, 2", ("mine.yaml", "cannot be read")),
        ("- a\n- b", ("mine.yaml", "sections")),
        ("engine: {segment_seconds: -1}", ("engine.segment_seconds", "mine.yaml", "greater than 0")),
    ],
)
def test_bad_yaml(tmp_path, content, says):
    config = tmp_path / "mine.yaml"
    config.write_text(content)
    refused(2, "run", "copy", STREET, "-o", tmp_path / "o.mp4", "--config", config, says=says)


def test_yaml_that_contains_itself(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("depth: &a {depth: *a}\n")
    refused(2, "run", "copy", STREET, "-o", tmp_path / "o.mp4", "--config", config, says="contains itself")


def test_missing_yaml(tmp_path):
    refused(2, "run", "copy", STREET, "-o", tmp_path / "o.mp4", "--config", tmp_path / "no.yaml", says="does not exist")


def test_output_equal_to_input(tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(STREET.read_bytes())
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    for output in (clip, link):
        refused(2, "run", "copy", clip, "-o", output, "--set", "output.overwrite=true", says="is the input itself")
    assert clip.read_bytes() == STREET.read_bytes()


def test_an_existing_file_of_somebody_else_is_not_replaced(tmp_path, small):
    output = tmp_path / "holiday.mp4"
    output.write_bytes(b"precious")
    refused(2, "run", "copy", STREET, "-o", output, says="was not made by framelane")
    assert output.read_bytes() == b"precious"
    assert framelane("run", "copy", small, "-o", output, *FAST, "--set", "output.overwrite=true").returncode == 0
    assert framelane("run", "copy", small, "-o", output, *FAST).returncode == 0, "our own output may be made again"


@needs_ffmpeg
def test_the_gif_and_the_report_replace_nobody_elses_file(tmp_path, small):
    clip = tmp_path / "loop.gif"
    ffmpeg("-t", "0.5", "-i", STREET, clip)
    before = clip.read_bytes()
    refused(2, "run", "copy", clip, "-o", tmp_path / "loop.mp4", says=("loop.gif", "the input"))
    assert clip.read_bytes() == before
    for name in ("out.gif", "out.report.json"):
        (tmp_path / name).write_text("precious")
        refused(2, "run", "copy", STREET, "-o", tmp_path / "out.mp4", says=(name, "choose another name"))
        assert (tmp_path / name).read_text() == "precious"
        (tmp_path / name).unlink()
    assert framelane("run", "copy", small, "-o", tmp_path / "out.mp4", *FAST).returncode == 0
    refused(2, "run", "copy", STREET, "-o", tmp_path / "out.mkv", *FAST, says=("out.report.json", "out.mkv"))
    assert framelane("run", "copy", small, "-o", tmp_path / "out.mp4", *FAST).returncode == 0


def test_a_gif_of_ours_goes_with_the_video_it_shows(tmp_path, small):
    output, preview = tmp_path / "out.mp4", tmp_path / "out.gif"
    for gif in ("true", "false", "true"):
        done = framelane("run", "copy", small, "-o", output, *FAST, "--set", f"gif.enabled={gif}")
        assert done.returncode == 0, done.stderr
        assert preview.exists() == (gif == "true")


def test_events_do_not_replace_the_clip(tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(STREET.read_bytes())
    refused(2, "run", "copy", clip, "-o", tmp_path / "out.mp4", "--events", clip, says="events file")
    assert clip.read_bytes() == STREET.read_bytes()


def test_settings_that_do_not_fit_the_model_leave_nothing_behind(tmp_path):
    output = tmp_path / "out.mp4"
    refused(2, "run", "attention", STREET, "-o", output, "--set", "attention.start_layer=40", says="0 to 11")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf8(tmp_path, small):
    clip = tmp_path / os.fsdecode(b"bad\xff.mp4")
    clip.write_bytes(small.read_bytes())
    done = started("run", "copy", clip, "-o", tmp_path / os.fsdecode(b"out\xff.mp4"), *FAST)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / os.fsdecode(b"out\xff.report.json")).read_text(encoding="utf-8"))
    assert report["clip"] == str(clip)


def test_output_suffix_and_folder(tmp_path):
    refused(2, "run", "copy", STREET, "-o", tmp_path / "out.xyz", says=".mp4")
    refused(2, "run", "copy", STREET, "-o", tmp_path, says="is a folder")
    refused(2, "run", "copy", STREET, says="-o out.mp4")


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/sys").exists(), reason="needs a folder that cannot be written"
)
def test_output_folder_not_writable():
    where = "/proc/sys/out.mp4" if os.geteuid() == 0 else "/out.mp4"
    refused(2, "run", "copy", STREET, "-o", where, says="not writable")


def test_no_video_files(tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("not a video at all\n" * 50)
    refused(1, "run", "copy", text, "-o", tmp_path / "o.mp4", says=("notes.mp4", "cannot be opened as a video"))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    refused(1, "run", "copy", empty, "-o", tmp_path / "o.mp4", says="0 bytes")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_image_is_no_clip(tmp_path, suffix):
    image = tmp_path / f"photo.{suffix}"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(image)
    refused(1, "run", "copy", image, "-o", tmp_path / "o.mp4", says="is an image")


@needs_ffmpeg
def test_audio_only_and_cut_before_the_index(tmp_path):
    from support.clips import ffmpeg

    sound = tmp_path / "sound.m4a"
    ffmpeg("-i", WALKER, "-vn", "-c", "copy", sound)
    refused(1, "run", "copy", sound, "-o", tmp_path / "o.mp4", says=("holds no video", "audio"))
    cut = tmp_path / "cut.mp4"
    whole = synthetic(tmp_path / "whole.mp4", "-c:v", "libx264")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refused(1, "run", "copy", cut, "-o", tmp_path / "o.mp4", says=("cut.mp4", "cut off"))


@needs_ffmpeg
def test_a_clip_with_zero_frames(tmp_path):
    import av

    clip = tmp_path / "none.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    refused(1, "run", "copy", clip, "-o", tmp_path / "o.mp4", says="none.mkv")


@needs_ffmpeg
def test_hostile_names(tmp_path, small):
    """Names that look like options, protocols, patterns or markup are only names."""
    for name in ("-rf.mp4", "a:b%d.mp4", "[bold]x; rm -rf $HOME.mp4", "ünï çødé 🎬.mp4", "concat:x.mp4"):
        clip = tmp_path / name
        clip.write_bytes(small.read_bytes())
        done = started("run", "copy", "-o", tmp_path / f"out-{name}", *FAST, "--", clip)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"out-{name}").exists()


def test_a_model_whose_hash_is_wrong(tmp_path):
    from framelane.models import store

    good = store.resolve("dinov2_vits14")
    cache = tmp_path / "cache"
    relative = good.relative_to(_cache_root())
    (cache / relative).parent.mkdir(parents=True)
    damaged = bytearray(good.read_bytes())
    damaged[1_000_000] ^= 1
    (cache / relative).write_bytes(damaged)
    says = ("dinov2_vits14", "framelane models fetch dinov2_vits14")
    refused(1, "run", "attention", STREET, "-o", tmp_path / "o.mp4", says=says, FRAMELANE_CACHE=str(cache))
    checked = framelane("models", "check", FRAMELANE_CACHE=str(cache))
    assert checked.returncode == 1
    assert "damaged" in checked.stdout


def _cache_root():
    from framelane.resources import cache_dir

    return cache_dir()


def test_require_gpu_without_one(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused(1, "run", "copy", STREET, "-o", tmp_path / "o.mp4", "--require-gpu", says="GPU is required")


def test_disk_nearly_full_before_the_start(tmp_path):
    says = ("MB are free", "engine.min_free_mb")
    refused(1, "run", "copy", STREET, "-o", tmp_path / "o.mp4", "--set", "engine.min_free_mb=999999999", says=says)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system can only be mounted by root")
def test_disk_full_in_the_middle_keeps_what_is_finished(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        arguments = ("run", "copy", WALKER, "-o", disk / "o.mp4", *FAST, "--set", "engine.segment_seconds=1")
        error = refused(1, *arguments, says=("disk is full", "same command again"))
        assert "segment" in error
        assert list((disk / ".o.mp4.framelane").glob("segment-??????/record.json")), "nothing finished was kept"
        subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
        done = framelane(*arguments)
        assert done.returncode == 0
        assert "going on at frame" in done.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


def test_errors_of_the_parser_are_usage_errors():
    assert started("frobnicate").returncode == 2
    assert framelane("run").returncode == 2
    assert framelane("bench", "nothing").returncode == 2
