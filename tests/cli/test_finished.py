"""A finished result at the output: the same job's stays, another's is not replaced unasked."""

from __future__ import annotations

import json
import shutil

import pytest

from cli.test_bad_input import FAST, framelane
from support.batches import cut
from support.clips import WALKER


@pytest.fixture
def done(tmp_path):
    clip, output = cut(tmp_path / "clip.mp4", seconds=0.4), tmp_path / "o.mp4"
    assert framelane("run", "copy", clip, "-o", output, *FAST).returncode == 0
    return clip, output


def _seen(output):
    return output.read_bytes(), output.with_suffix(".report.json").read_bytes()


def test_the_same_command_does_not_do_it_again(done):
    clip, output = done
    before = _seen(output)
    again = framelane("run", "copy", clip, "-o", output, *FAST, "--events", "-")
    assert again.returncode == 0
    assert "finished already" in again.stderr
    assert [json.loads(line)["event"] for line in again.stdout.splitlines()] == ["done"]
    assert _seen(output) == before

    assert framelane("run", "copy", clip, "-o", output, *FAST, "--restart").returncode == 0
    assert _seen(output) != before, "the report has its own times"


def test_what_is_missing_or_asked_otherwise_is_done(done):
    clip, output = done
    output.with_suffix(".report.json").unlink()
    refused = framelane("run", "copy", clip, "-o", output, *FAST)
    assert refused.returncode == 2, "without its report the video may be anybody's"
    output.unlink()
    assert framelane("run", "copy", clip, "-o", output, *FAST).returncode == 0
    before = _seen(output)
    other = framelane("run", "copy", clip, "-o", output, *FAST, "--set", "output.quality=40")
    assert other.returncode == 0
    assert _seen(output) != before


def test_a_result_of_another_processor_or_clip_is_not_replaced(done, tmp_path):
    clip, output = done
    before = _seen(output)
    other = cut(tmp_path / "other.mp4", WALKER, seconds=0.4)
    for processor, source in (("repaint", clip), ("copy", other)):
        refused = framelane("run", processor, source, "-o", output, *FAST)
        assert refused.returncode == 2
        assert f"finished result of copy on {clip}" in refused.stderr
        assert _seen(output) == before
    shutil.copy(other, clip)  # the clip itself, made anew
    assert framelane("run", "copy", clip, "-o", output, *FAST).returncode == 0
    assert framelane("run", "repaint", clip, "-o", output, *FAST, "--restart").returncode == 0
    assert _seen(output) != before
