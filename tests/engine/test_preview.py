"""Previews: the frame that went in and what came out of it, small, in its own colours, and no more often than asked."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

import framelane
import framelane.processors.base
import support.processors
from framelane.engine.preview import LONGEST, MOST_BYTES, Preview, jpeg_uri, small
from framelane.video.clip import probe
from framelane.video.reader import open_reader
from support.clips import STREET, ffmpeg, needs_ffmpeg, synthetic

FAST = {"gif.enabled": False, "output.preset": "ultrafast", "engine.segment_seconds": 1, "engine.min_free_mb": 0,
        "hardware.batch_size": 4}  # fmt: skip


def picture(uri):
    head, data = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(float)


def first_batch(path, size=8):
    return next(open_reader(probe(path), 1).batches(size, None, 0))


class Negative(support.processors.Copy):
    """Turns every picture into its negative, five frames late."""

    name = "negative"

    def open(self, clip, context):
        self.held = []
        return framelane.processors.base.OutputSpec(touches=True)

    def commit(self, batch, inferred):
        self.held += [batch.slice(index, index + 1) for index in range(len(batch))]
        return self._release(5)

    def flush(self):
        return self._release(0)

    def _release(self, wait):
        done, self.held = self.held[: max(0, len(self.held) - wait)], self.held[max(0, len(self.held) - wait) :]
        return [frame.replace(rgb=255 - frame.rgb) for frame in done]


def run(tmp_path, processor, **settings):
    events = []
    framelane.process_video(
        STREET, processor, output=tmp_path / f"{processor}.mp4", profile="cpu", overrides={**FAST, **settings},
        progress=events.append,
    )  # fmt: skip
    return events, [event for event in events if event["event"] == "preview"]


def test_before_and_after_are_of_the_same_frame(tmp_path):
    _, shown = run(tmp_path, "negative", **{"engine.preview_s": 0.01})
    assert len(shown) > 3
    wanted = {event["frame"]: event for event in shown}
    index = 0
    for batch in open_reader(probe(STREET), 1).batches(4, None, 0):
        for place in range(len(batch)):
            if event := wanted.pop(index + place, None):
                truth = small(batch.replace(rgb=batch.rgb), place).astype(float)
                before, after = picture(event["before"]), picture(event["after"])
                assert before.shape == after.shape == truth.shape
                assert np.abs(before - truth).mean() < 6, "of this frame, in its own colours"
                assert np.abs(after - (255 - truth)).mean() < 6
        index += len(batch)
    assert not wanted


def test_nobody_asked_nothing_is_shown(tmp_path):
    events, shown = run(tmp_path, "copy")
    assert events[-1]["event"] == "done"
    assert shown == []


def test_no_more_often_than_asked():
    now, batch, shown = [0.0], first_batch(STREET), 0
    preview = Preview(2.0, clock=lambda: now[0])
    for tenth in range(101):
        now[0] = tenth / 10
        preview.before(batch)
        shown += preview.after(batch) is not None
    assert shown == 6, "at 0, 2, 4, 6, 8 and 10 s"


@needs_ffmpeg
@pytest.mark.parametrize(("turns", "size"), [(0, (320, 180)), (90, (180, 320))])
def test_it_stands_upright_and_has_the_displayed_shape(tmp_path, turns, size):
    """A phone's clip, turned by its metadata."""
    plain = synthetic(tmp_path / "plain.mp4", "-pix_fmt", "yuv420p", size="640x360", seconds=1, audio=False)
    clip = tmp_path / "turned.mp4"
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", f"rotate={turns}", clip)
    batch = first_batch(clip)
    fresh, drawn = small(batch, 3), small(batch.replace(rgb=batch.rgb), 3)
    assert (fresh.shape[1], fresh.shape[0]) == (drawn.shape[1], drawn.shape[0]) == size
    assert np.abs(fresh.astype(float) - drawn.astype(float)).mean() < 6, "as decoded, and as drawn"
    wide = small(batch, 3, aspect=2.0)
    assert max(wide.shape) <= LONGEST
    assert wide.shape[1] / wide.shape[0] == pytest.approx(2 * size[0] / size[1], rel=0.03)


def test_no_picture_is_larger_than_an_event_may_be():
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    uri = jpeg_uri(noise)
    assert len(uri) <= MOST_BYTES
    assert picture(uri).shape[0] in (320, 160, 80)


def test_what_must_say_what_it_is_says_it_in_the_preview():
    batch = first_batch(STREET)
    says = "AI-generated: faces were swapped"
    plain, labelled = Preview(1.0), Preview(1.0, says=says)
    for each in (plain, labelled):
        each.before(batch)
    events = [each.after(batch) for each in (plain, labelled)]
    assert events[0]["before"] == events[1]["before"], "what went in is not generated"
    one, other = (picture(event["after"]) for event in events)
    foot = slice(one.shape[0] - 15, None)
    assert np.abs(one[: foot.start - 8] - other[: foot.start - 8]).mean() < 3
    assert (other[foot] < 60).mean() > 0.5, "a dark strip"
    assert (other[foot] > 200).mean() > 0.02, "with light letters"


def test_a_preview_that_fails_ends_no_job():
    batch = first_batch(STREET)
    preview = Preview(1.0)

    def broken(_batch):
        raise ValueError("no colours")

    said = preview.safely(broken, batch)
    assert said["event"] == "warning"
    assert "no previews of this clip" in said["message"]
    assert preview.safely(preview.before, batch) is None
    assert preview.after(batch) is None


def test_a_frame_that_never_comes_out_is_not_waited_for_for_ever():
    now, batch = [0.0], first_batch(STREET)
    preview = Preview(1.0, clock=lambda: now[0])
    preview.before(batch)
    assert preview.after(batch.slice(0, 3)) is None, "it may come yet"
    now[0] = 5.0
    preview.before(batch.slice(0, 2))
    assert preview.after(batch.slice(0, 2)) is None, "the first one is still waited for"
    now[0] = 11.0
    preview.before(batch.slice(0, 2))
    assert preview.after(batch.slice(0, 2))["frame"] == 1
