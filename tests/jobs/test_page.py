"""The page of a batch: every job on it, whole in itself, and no name gets out of its place."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

import framelane
import support.processors  # noqa: F401
from framelane.errors import FramelaneError
from framelane.jobs.card import make_card, sheet, thinned
from framelane.jobs.charts import bars, lines
from framelane.jobs.page import page, write_page
from framelane.jobs.state import DONE_BEFORE, JobState
from framelane.jobs.storage import LOCAL
from support.batches import FAST, cut, workplace  # noqa: F401
from support.clips import needs_ffmpeg, synthetic

HOSTILE = [
    "<script>alert(1)</script>.mp4",
    "\"><img src=x onerror='alert(1)'>.mp4",
    "javascript:alert(1).mp4",
    "</title></style><svg onload=alert(1)>.mp4",
    "line\nbreak\ttab.mp4",
    "no utf-8 \udcff\udcfe.mp4",
    "100 % & #fragment?query.mp4",
    "sub/ünï 🎬.mp4",
]


class Reader(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.links, self.images, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        assert not [name for name in found if name.startswith("on")], found
        if tag == "a":
            self.links.append(found["href"])
        if tag == "img":
            self.images.append(found["src"])

    def handle_data(self, data):
        self.text.append(data)


CARD = {
    "frames": 150, "seconds": 53.5, "fps": 2.8, "device": "cpu", "profile": "cpu", "gif": True, "sheet": "",
    "stage_ms": {"decode": 3.4, "process": 188.6, "encode": 44.6}, "shares": {"person": 0.18, "<b>": 0.04},
    "tracks": [{"name": "person 1</text>", "share": [[0.0, 0.1], [1.0, 0.3]]}], "notes": ["<i>slow</i>"],
    "speeds": [[0.5, 1, 1.0, 60.0], [20.0, 60, 2.7, 33.0], [53.0, 150, 2.8, 0.0]],
}  # fmt: skip


def jobs():
    found = [
        JobState(name, Path("in", name), Path("out", name), "done", seconds=12.3, frames=150, card=CARD)
        for name in HOSTILE
    ]
    found.append(JobState("old.mp4", Path("in/old.mp4"), Path("out/old.mp4"), "skipped", DONE_BEFORE, card=CARD))
    found.append(
        JobState("bad.mp4", Path("in/<bad>.mp4"), Path("out/bad.mp4"), "failed", 'It is <no> clip & "that\'s it".')
    )
    found.append(JobState("later.mp4", Path("in/later.mp4"), Path("out/later.mp4"), "waiting", "Next time."))
    return found


def test_hostile_names_stay_text(tmp_path):
    write_page(tmp_path, "<script>x</script>", jobs(), LOCAL)
    read = Reader((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "script" not in read.tags
    assert read.tags.count("img") == 0
    assert read.tags.count("tr") == 1 + len(jobs())
    said = "".join(read.text)
    for name in HOSTILE[:5]:
        assert name in said
    assert 'It is <no> clip & "that\'s it".' in said
    # Every link leads to its file below the page, and nowhere else.
    assert all(link.startswith("./") and ":" not in link and "#" not in link and "?" not in link for link in read.links)
    targets = {unquote_to_bytes(link[2:]).decode(errors="surrogateescape") for link in read.links}
    assert set(HOSTILE) | {"old.mp4"} <= targets
    assert "bad.mp4" not in targets, "what is not there is not linked to"


def test_the_page_needs_nothing_from_elsewhere():
    text = page(Path("out"), "attention", jobs())
    assert "default-src 'none'" in text
    assert "http://" not in text
    assert "https://" not in text
    assert "3 states" not in text
    assert "8 done, 1 failed, 1 skipped, 1 waiting" in text


def test_a_page_of_somebody_else_stays(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(FramelaneError, match="not a page of framelane"):
        write_page(tmp_path, "copy", jobs(), LOCAL)
    (tmp_path / "index.html").unlink()
    write_page(tmp_path, "copy", jobs(), LOCAL)
    write_page(tmp_path, "copy", jobs()[:1], LOCAL)
    assert "old.mp4" not in (tmp_path / "index.html").read_text()


def test_charts_hold_their_numbers():
    drawn = lines({"a<b": [(0.0, 0.0), (10.0, 4.0)]}, unit=" s", title="t")
    assert "2.0,62.0 218.0,16.0" in drawn
    assert "highest: 4 s" in drawn
    assert "a&lt;b" in drawn
    assert lines({"one": [(0, 1)]}, unit="", title="") == ""
    assert bars({}, unit="", title="") == ""
    assert 'width="92.0"' in bars({"x": 2.0, "y": 1.0}, unit=" %", title="t")
    assert 'width="46.0"' in bars({"x": 2.0, "y": 1.0}, unit=" %", title="t")


def picture(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


@needs_ffmpeg
def test_the_sheet_shows_the_clip_from_begin_to_end(tmp_path):
    """Planted: red, green, blue and white quarters of the clip, in that order."""
    from support.clips import ffmpeg

    colours = [("red", (255, 0, 0)), ("lime", (0, 255, 0)), ("blue", (0, 0, 255)), ("white", (255, 255, 255))]
    inputs = [part for name, _ in colours for part in ("-f", "lavfi", "-i", f"color={name}:s=320x180:r=25:d=1")]
    ffmpeg(*inputs, "-filter_complex", "concat=n=4", "-pix_fmt", "yuv420p", tmp_path / "c.mp4")
    strip = picture(sheet(tmp_path / "c.mp4"))
    assert strip.size == (4 * 160 + 6, 90)
    for index, (_, wanted) in enumerate(colours):
        seen = strip.getpixel((index * 162 + 80, 45))
        assert max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) < 30, (index, seen)


@needs_ffmpeg
def test_a_card_is_small_whatever_the_report(tmp_path):
    clip = synthetic(tmp_path / "c.mp4", seconds=1)
    track = {"class": "person", "frames": 9000, "share_over_time": [[i / 30, 0.1] for i in range(9000)]}
    report = {
        "frames": 9000, "warnings": ["w" * 5000] * 100, "models": [{"name": "dinov2"}],
        "metrics": {"tracks": [{**track, "id": i} for i in range(99)], "share_per_class": dict.fromkeys("abcdefghij", 0.1)},
    }  # fmt: skip
    card = make_card(clip, report, [[i, i, 1.0, 1.0] for i in range(5000)])
    assert len(str(card)) < 40_000
    assert thinned(list(range(100)), 3) == [0, 50, 99]
    assert sheet(tmp_path / "nothing.mp4") == ""


@needs_ffmpeg
def test_a_batch_leaves_its_page(workplace):  # noqa: F811
    cut(workplace / "in" / "a.mp4")
    (workplace / "in" / "bad.mp4").write_bytes(b"no clip")
    for wanted in ("1 done, 1 failed", "1 failed, 1 skipped"):  # a finished job keeps its pictures in the next session
        result = framelane.process_folder(
            workplace / "in", "averager", output=workplace / "out", profile="cpu", overrides=FAST
        )
        read = Reader(result.page.read_text(encoding="utf-8"))
        assert wanted in "".join(read.text)
        assert read.links == ["./a.mp4", "./a.report.json"]
        assert picture(read.images[0]).size[1] == 90
        assert "svg" in read.tags
