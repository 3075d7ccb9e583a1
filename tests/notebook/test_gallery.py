"""Results of a folder: what is read of it, the pictures a process makes of real clips, and what is shown of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from io import BytesIO

import pytest
from PIL import Image

import framelane
import support.processors  # noqa: F401
from framelane.errors import UsageError
from framelane.jobs import worker
from framelane.jobs.carry import carry_out
from framelane.jobs.ledger import JobRecord
from framelane.notebook import finished, gallery, shots
from framelane.notebook.finished import look
from framelane.notebook.gallery import MOST_BYTES, Gallery, metrics, overview
from framelane.notebook.report_charts import report_charts
from framelane.notebook.shots import MOMENTS, shots_of
from framelane.report import write_report
from support.batches import FAST, cut, workplace  # noqa: F401
from support.clips import STREET, WALKER, ffmpeg, needs_ffmpeg

pytestmark = needs_ffmpeg


class Here:
    """An executor that does jobs in this process: no worker has to start."""

    slots = 1

    def run(self, job, listener, cancel):
        return carry_out(job, worker.process, listener=listener, cancel=cancel)

    def close(self):
        pass


@pytest.fixture
def folder(workplace, monkeypatch):  # noqa: F811
    """A batch of two clips and a broken one, really done, in this process; and one result of ``framelane run``."""
    monkeypatch.setenv("FRAMELANE_LANG", "en")
    cut(workplace / "in" / "a.mp4", seconds=2)
    cut(workplace / "in" / "sub" / "b <b>.mp4", seconds=1)
    (workplace / "in" / "broken.mp4").write_bytes(b"no video")
    out = workplace / "out"
    framelane.process_folder(workplace / "in", "copy", output=out, profile="cpu", overrides=FAST, budget="none",
                             executor=Here())  # fmt: skip
    framelane.process_video(workplace / "in" / "a.mp4", "copy", output=out / "alone.mp4", profile="cpu", overrides=FAST)
    return out


def test_a_folder_is_read_without_opening_a_video(folder, monkeypatch):
    import av

    monkeypatch.setattr(av, "open", lambda *_: pytest.fail("a video was opened"))
    found = look(folder)
    assert [result.name for result in found.results] == ["a.mp4", "alone.mp4", "sub/b <b>.mp4"]
    assert [name for name, _ in found.failed] == ["broken.mp4"]
    assert "cannot be opened as a video" in found.failed[0][1]
    assert found.page == folder / "index.html"
    first, alone, _ = found.results
    assert first.card["sheet"].startswith("data:image/jpeg;base64,")
    assert alone.card["frames"] == 20
    assert first.report()["processor"] == "copy"
    (folder / "a.mp4").unlink()
    assert [result.name for result in look(folder).results] == ["alone.mp4", "sub/b <b>.mp4"], (
        "what is gone is not shown"
    )


def test_damaged_and_foreign_files_are_left_out(folder):
    (folder / "alone.report.json").write_text("[1, 2")
    (folder / "x.report.json").write_text('{"output": "../../etc/passwd"}')
    (folder / "y.report.json").write_text('["no report"]')
    (folder / "index.html").write_text("<span class='state failed'>not ours</span>")
    for path in (folder / ".framelane" / "records").iterdir():
        path.write_text(path.read_text()[:-20])
    found = look(folder)
    assert [result.name for result in found.results] == ["a.mp4", "sub/b <b>.mp4"], "by their reports"
    assert found.failed == ()
    with pytest.raises(UsageError, match="There are no results in"):
        look(folder / "nowhere")


def test_the_overview_stays_in_the_notebook(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    html = overview(look(folder))
    assert 'href="./out/sub/b%20%3Cb%3E.mp4"' in html
    assert "b <b>" not in html
    assert "<bdi>sub/b &lt;b&gt;.mp4</bdi>" in html
    assert "✕" in html
    assert "<script" not in html
    assert html.count("data:image/jpeg") == 2
    assert all(re.findall(r'<img alt="[^"]+"', html))


def test_ten_thousand_results_stay_a_page(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_LANG", "en")
    monkeypatch.setattr(finished, "MOST", 60)
    records = tmp_path / ".framelane" / "records"
    records.mkdir(parents=True)
    sheet = "data:image/jpeg;base64," + "A" * 200_000
    for index in range(100):
        identity, name = f"{index:064x}", f"{index:05}.mp4"
        (tmp_path / name).write_bytes(b"")
        record = JobRecord(identity, name, name, 0, "0" * 64, "copy", details={"sheet": sheet})
        (records / f"{identity}.json").write_bytes(record.to_bytes())
    found = look(tmp_path)
    assert (len(found.results), found.left_out) == (60, 40)
    html = overview(found)
    assert 400_000 < len(html) < gallery._OVERVIEW_BYTES + 50_000
    assert re.search(r"\d+ more results are not drawn", html)


def test_pictures_of_a_result_are_small_and_of_the_same_moments(workplace):  # noqa: F811
    """The result is the clip's negative: so are the pictures, and those of another moment would not be."""
    clip, output = cut(workplace / "x.mp4", WALKER, seconds=3), workplace / "negative.mp4"
    ffmpeg("-i", clip, "-vf", "negate", "-c:v", "libx264", "-preset", "ultrafast", output)
    made = shots_of(output, clip)
    assert json.loads((made / "done.json").read_text())["before"] == MOMENTS
    off = []
    for index in range(MOMENTS):
        before, after = (Image.open(made / f"{kind}_{index}.jpg").convert("L") for kind in ("before", "after"))
        assert before.size == after.size == (256, 144)
        sums = [a + b for a, b in zip(before.resize((64, 36)).tobytes(), after.resize((64, 36)).tobytes(), strict=True)]
        off.append(sum(abs(total - 255) for total in sums) / len(sums))
    assert max(off) < 6, off
    loop = made / "loop.mp4"
    assert loop.stat().st_size < shots.LOOP_BYTES
    seen = json.loads(subprocess.run(
        ["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(loop)], capture_output=True, text=True, check=True,
    ).stdout)["streams"]  # fmt: skip
    assert [(stream["codec_name"], stream["pix_fmt"]) for stream in seen] == [("h264", "yuv420p")], "no sound"
    stamp = (made / "done.json").stat().st_mtime_ns
    assert shots_of(output, clip) == made
    assert (made / "done.json").stat().st_mtime_ns == stamp, "made once"


def test_a_result_without_its_original_or_that_is_no_video(folder, tmp_path):
    result = look(folder).results[0]
    made = json.loads((shots_of(result.output, folder / "gone.mp4") / "done.json").read_text())
    assert (made["loop"], made["after"], made["before"]) == (True, MOMENTS, 0)
    (folder / "bad.mp4").write_bytes(b"no video")
    assert shots_of(folder / "bad.mp4", None) is None
    assert shots_of(folder / "nowhere.mp4", None) is None


def test_what_must_be_said_of_a_picture_stands_on_it(tmp_path):
    """The strip at the foot of what was made of a labelled result; not on the original."""
    clip = cut(tmp_path / "x.mp4", seconds=1, height=240)
    for says, name in (("", "plain"), ("AI-generated face", "labelled")):
        assert shots.main([str(clip), str(clip), str(tmp_path / name), says]) == 0

    def foot(place, kind):
        return Image.open(tmp_path / place / f"{kind}_0.jpg").convert("L").crop((250, 230, 320, 240)).tobytes()

    assert max(foot("labelled", "after")) < 40
    assert foot("labelled", "before") == foot("plain", "before") == foot("plain", "after")


def test_a_noisy_clip_gets_no_loop_that_is_too_large(tmp_path):
    clip = cut(tmp_path / "x.mp4", STREET, seconds=2, height=240)
    assert shots.make_loop(clip, tmp_path / "loop.mp4", most=20_000)
    assert (tmp_path / "loop.mp4").stat().st_size <= 20_000
    assert not shots.make_loop(clip, tmp_path / "none.mp4", most=500)
    assert not (tmp_path / "none.mp4").exists()


def test_charts_and_metrics_are_those_of_the_report():
    card = {
        "stage_ms": {"decode": 2.0, "process": 78.0, "encode": 11.0}, "shares": {"person": 0.11, "$car_2$": 0.02},
        "speeds": [[1, 0, 0.0, 9], [2, 10, 6.5, 8]], "tracks": [{"name": "_person 1", "share": [[0, 0.1], [1, 0.2]]}],
    }  # fmt: skip
    png, words = report_charts(card)
    assert Image.open(BytesIO(png)).format == "PNG"
    assert len(png) < 100_000
    assert words.count(";") == 3
    assert report_charts({}) == (b"", "")
    found = dict(
        metrics({"flicker": {"a": 0.123456}, "ok": True, "none": None, "tracks": [1, 2], "n": 3, "t": "x" * 99})
    )
    assert found == {"flicker.a": "0.1235", "ok": "yes", "none": "–", "n": "3"}


def test_the_gallery_shows_one_result_within_its_bounds(folder):
    ipywidgets = pytest.importorskip("ipywidgets")
    found, retried = look(folder), []
    shown = Gallery(found, lambda put: retried.append(put(ipywidgets.HTML("the dashboard"))))
    assert shown.result.value == "a.mp4"
    assert "<video" in shown._parts["loop"].value
    assert "autoplay loop muted" in shown._parts["loop"].value
    assert shown._parts["pair"].value.count("<img") == 2
    before = shown._parts["pair"].value
    shown.moment.value = 3
    assert shown._parts["pair"].value != before
    assert shown._parts["pair"].value.count('type="range"') == 1
    shown.result.value = "alone.mp4"
    assert "alone.mp4" in shown._parts["pair"].value
    total = sum(len(part.value) for part in shown._parts.values()) + len(overview(found))
    assert total < MOST_BYTES
    for control in (shown.result, shown.moment, shown.again):
        assert control.description
    shutil.copy(folder.parent / "in" / "a.mp4", folder.parent / "in" / "broken.mp4")
    shown.again.click()
    assert retried == [None]
    assert [child.value for child in shown.widget.children if getattr(child, "value", None) == "the dashboard"]


def test_no_failure_no_retry(folder):
    pytest.importorskip("ipywidgets")
    found = look(folder)
    assert Gallery(found, None).again not in Gallery(found, None).widget.children
    write_report(folder / "unrelated.report.json", {"output": "x"})
    empty = Gallery(finished.Finished(folder), lambda _put: None)
    assert all(type(child).__name__ == "HTML" for child in empty.widget.children), "nothing to pick"


def test_the_kernel_stays_light():
    """Looking at results imports neither torch nor a video library."""
    code = (
        "import sys; from framelane import notebook; from framelane.notebook import cells, gallery, machine, watching;"
        "print([m for m in ('torch', 'cv2', 'av', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
