"""A full disk ends as one sentence, wherever it is met. ``/dev/full`` is a real one: every write to it fails."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from framelane.engine.checkpoint import WorkFolder
from framelane.engine.encoding import Encoding
from framelane.engine.events import Meter
from framelane.errors import FramelaneError
from framelane.video.disk import writing

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def test_a_write_to_a_full_disk_says_where_how_much_and_what_to_do(tmp_path):
    target = tmp_path / "table.csv"
    target.symlink_to(FULL)
    with pytest.raises(FramelaneError) as refused, writing(target), target.open("w") as file:
        file.write("x")
    for part in ("The disk is full", str(target), f"MB are free in {tmp_path}", "same command again"):
        assert part in str(refused.value)


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "a"):
        (tmp_path / "none").read_text()
    with pytest.raises(OSError, match="broken") as passed, writing(tmp_path / "a"):
        raise OSError(errno.EIO, "broken")
    assert passed.value.errno == errno.EIO


class _Batch:
    """As much of a frame batch as a writer needs that fails at the first one."""

    rows = ({"frame": 0},)

    def __len__(self):
        return 1

    def arrive(self):
        return self


class _Writer:
    """Fails as an encoder on a full disk does, with rows still in the buffer of another file of that disk."""

    def __init__(self, path, _spec):
        (path.parent / "rows.jsonl").symlink_to(FULL)

    def write(self, _batch):
        raise OSError(errno.ENOSPC, "No space left on device")

    def abandon(self):
        pass


def test_rows_that_do_not_fit_either_do_not_hide_the_sentence(tmp_path):
    work = WorkFolder(tmp_path / "o.mp4")
    work.open({})
    encoding = Encoding(work, None, [], 0, _Writer, Meter(1, 0), {}, lambda _: None, lambda _: None)
    with pytest.raises(FramelaneError, match=r"The disk is full: .* MB are free in .*same command again"):
        encoding.run([_Batch()])
    work.release()


def _identity(processor, **more):
    return {"processor version": processor, "clip": "sha256:1", "models": [[processor, "0"]], **more}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (_identity("pose 3", **{"pose.every": 2}), _identity("follow 1", **{"follow.size": None}), ["processor"]),
        (
            _identity("pose 3", **{"output.quality": 20}),
            _identity("follow 1", **{"output.quality": 30, "follow.cue": "on"}),
            ["processor", "output.quality"],
        ),
        (_identity("pose 3", a=1, b=2), _identity("pose 3", a=1, b=3), ["b"]),
        (_identity("pose 3"), _identity("pose 3", b=3), ["version of framelane"]),
        (_identity("pose 3"), _identity("pose 3"), []),
    ],
)
def test_what_unfinished_work_differs_in_is_said_briefly(tmp_path, before, after, changed):
    work = WorkFolder(tmp_path / "o.mp4")
    work.open(before)
    work.release()
    work = WorkFolder(tmp_path / "o.mp4")
    work.open(after)
    assert work.changed == changed
    work.release()
