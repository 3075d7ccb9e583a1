"""The dashboard: recorded events of real batches through the pure model, what is painted of it, and what that costs."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from framelane.engine.events import Event
from framelane.notebook import charts, painting
from framelane.notebook.charts import Curve, Limit, Sign
from framelane.notebook.model import SPAN_S, Model

EVENTS = Path(__file__).parents[1] / "data" / "events"
GUARD = {
    "vram": {"sensor": "vram", "enter": 92.0, "leave": 80.0, "low": False},
    "temperature": {"sensor": "thermal_margin", "enter": 3.0, "leave": 10.0, "low": True},
    "ram": {"sensor": "ram", "enter": 85.0, "leave": 75.0, "low": False},
}
T4 = {
    "gpu_load": 97.0, "encoder_load": 31.0, "decoder_load": 12.0, "gpu_memory": 20.4, "vram": 18.0,
    "gpu_memory_used_mib": 3127.0, "gpu_memory_total_mib": 15360.0, "gpu_temperature": 62.0, "gpu_slowdown": 93.0,
    "gpu_power_w": 48.2, "ram": 41.0, "ram_used_gb": 5.2, "ram_total_gb": 12.7, "cpu": 88.0, "disk_free_mb": 81000.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setenv("FRAMELANE_LANG", "en")


def recorded(name):
    return [Event(json.loads(line)) for line in (EVENTS / f"{name}.jsonl").read_text().splitlines()]


def played(name, until=lambda event: False):
    model = Model()
    for event in recorded(name):
        model.take(event, event["at"])
        if until(event):
            break
    return model


def progress(job="a.mp4", frame=10, **more):
    return Event(event="progress", job=job, frame=frame, frames=100, fps=12.5, eta_s=7.2,
                 stage_ms={"decode": 3.0, "process": 61.0, "encode": 9.0}, **more)  # fmt: skip


def state(job, name, reason="", **counts):
    found = {"done": 0, "failed": 0, "skipped": 0, "waiting": 0, "running": 0, "paused": 0} | counts
    return Event(event="batch", jobs=sum(found.values()), job=job, state=name, reason=reason, **found)


def words(html):
    """The text of a piece, as a reader meets it."""

    class Text(HTMLParser):
        said = ""

        def handle_data(self, data):
            self.said += data

    reader = Text()
    reader.feed(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
    return reader.said


def well_formed(html):
    """Whether every element ends where it should (attributes without quotes are read as HTML does)."""
    open_, void = [], {"img", "input", "br"}

    class Balance(HTMLParser):
        def handle_starttag(self, tag, attributes):
            assert not [name for name, _ in attributes if name.startswith("on")], "a script"
            if tag not in void:
                open_.append(tag)

        def handle_endtag(self, tag):
            assert open_.pop() == tag

        def handle_startendtag(self, tag, attributes):
            pass

    Balance().feed(html)
    return not open_


# -- the model -----------------------------------------------------------------------------------------------------------


def test_a_recorded_batch_from_its_first_event_to_its_last():
    model = played("two_clips", lambda e: e["event"] == "progress" and e["job"].startswith("b") and e["frame"] == 30)
    assert model.phase == "running"
    assert (model.counts["done"], model.counts["running"]) == (1, 1)
    assert [row.job for row in model.finished] == ["a street.mp4"]
    row = model.running["b walker.mp4"]
    assert (row.frame, row.frames, row.eta_s) == (30, 60, 5.4)
    # Of 13.2 planned seconds 5.5 are done, and half of 7.7.
    assert model.share == pytest.approx((5.5 + 7.7 / 2) / 13.2, abs=0.01)
    assert model.eta_s == pytest.approx(5.4)
    assert model.slowest == "process"
    assert model.preview["before"].startswith("data:image/jpeg;base64,")
    end = played("two_clips")
    assert (end.phase, end.share, end.running) == ("ended", 1.0, {})
    assert end.eta_s == 0.0


def test_paused_and_gone_on_with():
    model = played("two_clips", lambda e: e.get("phase") == "paused")
    assert model.paused
    assert painting.overall(model).count("Paused.") == 2, "for eyes, and for screen readers"
    after = played("two_clips", lambda e: e["event"] == "resumed")
    assert (after.paused, after.phase) == (False, "running")


def test_trouble_is_told_in_order():
    model = played("trouble")
    assert model.failed["broken.mp4"].reason.startswith("/content/clips/broken.mp4 cannot be opened")
    assert model.back["b walker.mp4"].reason.startswith("Cancelled; finished segments are kept")
    said = [line.text for line in model.log]
    assert sum(text.startswith("broken.mp4 failed: ") for text in said) == 1, "though the lists name it twice"
    died = next(index for index, text in enumerate(said) if "ended by SIGKILL" in text)
    assert said[died + 1].startswith("a street.mp4 goes on at frame 15")
    assert model.log[died].level == "bad"
    assert model.ended["exit_code"] == 130
    shown = words(painting.rows(model))
    assert "waiting b walker.mp4" in shown
    assert "failed broken.mp4" in shown


def test_a_dead_process_leaves_a_red_row():
    model = played("two_clips", lambda e: e["event"] == "segment")
    model.take(Event(event="ended", exit_code=-9, message="The batch's process was ended by SIGKILL."), 30.0)
    assert [(row.state, row.job) for row in model.running.values()] == [("failed", "a street.mp4")]
    rows = painting.rows(model)
    assert "fl-b-failed" in rows
    assert "SIGKILL" in words(rows)
    assert "fl-b-failed" in painting.overall(model)


def test_ten_thousand_jobs_are_a_page_and_not_a_book():
    """Bounded rows, sentences, samples and bytes, while ten thousand jobs come, fail, are skipped and done."""
    names = [f"clip {index:05}.mp4" for index in range(10_000)]
    model = Model()
    waiting = [{"job": name, "state": "waiting", "reason": ""} for name in names]
    model.take(Event(event="batch", phase="begins", jobs=10_000, waiting=10_000, list=waiting), 0.0)
    jobs = [{"output": name, "seconds_now": 2.0} for name in names]
    model.take(Event(event="plan", plan={"jobs": jobs, "total_s": 20_000.0}), 0.0)
    sizes = []
    for index, name in enumerate(names):
        now = 2.0 * index
        over = {"done": index // 3, "failed": index - index // 3, "waiting": 9_999 - index, "running": 1}
        model.take(state(name, "running", **over), now)
        model.take(progress(name, sensors=T4), now)
        model.take(
            state(name, "failed" if index % 3 else "done", f"It broke at {index}." * (index % 3), **over), now + 2
        )
        if index % 1000 == 10:
            sizes.append(sum(map(len, (painting.overall(model), painting.rows(model), painting.log(model.log)))))
    assert max(sizes) < 12_000
    assert max(sizes[1:]) < 1.1 * min(sizes[1:])
    assert len(model.failed) == 50
    assert len(model.log) == 200
    assert len(model.upcoming) <= 30
    assert all(len(track) <= SPAN_S + 10 for track in model.tracks.values())
    assert "more clips failed" in words(painting.rows(model))
    assert model.share == pytest.approx(1.0)


def test_skipped_jobs_are_counted_by_reason():
    model = Model()
    listed = [{"job": f"{n}.mp4", "state": "skipped", "reason": "It is done already."} for n in range(7000)]
    model.take(Event(event="batch", phase="begins", jobs=7000, skipped=7000, list=listed), 0.0)
    assert words(painting.rows(model)).count("It is done already.") == 1
    assert "7000 skipped" in words(painting.rows(model))


def test_the_time_left_follows_the_pace_that_is_seen():
    """Planned 10 s a clip, took 20: the three that wait are thought to take 60."""
    model = Model()
    jobs = [{"output": f"{n}.mp4", "seconds_now": 10.0} for n in range(4)]
    model.take(Event(event="batch", phase="begins", jobs=4, waiting=4, list=[]), 0.0)
    model.take(Event(event="plan", plan={"jobs": jobs}), 0.0)
    assert model.eta_s == pytest.approx(40)
    model.take(state("0.mp4", "running", waiting=3, running=1), 0.0)
    model.take(state("0.mp4", "done", waiting=3, done=1), 20.0)
    assert model.eta_s == pytest.approx(60)
    assert model.share == pytest.approx(0.25)


def test_an_unknown_event_with_a_message_is_a_sentence():
    model = Model()
    model.take(Event(event="something_new", message="It rains."), 0.0)
    model.take(Event(event="something_else"), 0.0)
    assert [line.text for line in model.log] == ["It rains."]


# -- what is painted -----------------------------------------------------------------------------------------------------


def on_a_t4():
    model = played("two_clips", lambda e: e["event"] == "start")
    model.limits = GUARD
    for second in range(20):
        model.take(progress("a street.mp4", second, sensors=T4), 20.0 + second)
    reason = "The batch size is 4 from here on: GPU memory in use: 93 %."
    model.take(Event(event="degraded", rule="vram", message=reason, batch=4), 35.0)
    return model


def test_the_gpu_is_said_as_nvidia_smi_does():
    assert painting.gpu_line(T4) == "62C  P: 48W  3127MiB / 15360MiB  97%"
    assert painting.gpu_line({"gpu_load": 5.0}) == "5%"
    assert painting.gpu_line({"cpu": 5.0}) == ""


def test_charts_of_a_gpu_with_thresholds_and_what_the_guard_did():
    drawn = painting.charts(on_a_t4(), 40.0)
    assert re.findall(r"<figcaption><b>([^<]+)", drawn) == ["GPU load", "GPU memory", "Temperature", "Processor", "RAM"]
    assert drawn.count("the guard acts at") == 3
    assert "the guard acts at 90C" in drawn, "3 °C below the slowdown point"
    assert drawn.count('class="fl-worse"') == 1
    assert "<title>The batch size is 4 from here on: GPU memory in use: 93 %.</title>" in drawn
    for svg in re.findall(r"<svg role.*?</svg>", drawn):
        root = ElementTree.fromstring(svg)
        assert root.get("aria-label")


def test_a_machine_without_a_gpu_has_only_its_own_charts():
    drawn = painting.charts(played("two_clips"), 37.0)
    assert re.findall(r"<figcaption><b>([^<]+)", drawn) == ["Processor", "RAM"]
    assert "GPU" not in words(drawn)


def test_a_chart_has_its_points_where_they_belong():
    """Left edge is the oldest second, right edge is now, 0 the axis, and the top value the upper edge."""
    points = [(700.0, 0.0), (850.0, 100.0), (1000.0, 50.0)]
    drawn = charts.chart("x", "50", [Curve("", points)], now=1000.0, span=300.0, limits=[Limit(50, "here")],
                         signs=[Sign(850.0, False, "y"), Sign(600.0, True, "too old")])  # fmt: skip
    root = ElementTree.fromstring(re.search(r"<svg role.*?</svg>", drawn)[0])
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("circle")]
    assert places == [(2.0, 80.0), (132.0, 14.0), (262.0, 47.0)], "alone, for nothing was measured between"
    limit = next(line for line in root.iter("line") if line.get("class") == "fl-limit")
    assert float(limit.get("y1")) == 47.0
    groups = list(root.iter("g"))
    assert [group.get("class") for group in groups] == ["fl-better"]
    assert groups[0].get("transform") == "translate(132.0 14)"


def test_curves_differ_by_more_than_their_hue():
    drawn = painting.charts(on_a_t4(), 40.0)
    first = re.search(r"<svg role.*?</svg>", drawn)[0]
    assert len(re.findall("<polyline", first)) == 3
    assert len(set(re.findall(r'stroke-dasharray="[^"]+"', first))) == 2
    assert first.count("<polyline") - first.count("stroke-dasharray") == 1, "and one is not dashed"


@pytest.mark.parametrize(
    "name", ['<img src=x onerror="alert(1)">.mp4', "a\u202egnp.mp4", "x\n</style>.mp4", "\udcff.mp4"]
)
def test_no_name_becomes_markup(name):
    model = Model()
    model.take(state(name, "running", running=1), 0.0)
    model.take(Event(event="start", job=name, device="cpu", encoder=name, frames=10, guard={}), 0.0)
    model.take(progress(name, sensors=T4), 0.0)
    model.take(Event(event="preview", job=name, frame=3, before="data:image/jpeg;base64,AA", after="javascript:x"), 0.0)
    assert painting.frames(model) == "", "what is no picture is not shown"
    model.take(Event(event="preview", job=name, frame=3, before="data:image/jpeg;base64,AA",
                     after='data:image/jpeg;base64,AA" onload="x'), 0.0)  # fmt: skip
    model.take(state(name, "failed", f"{name} broke.", failed=1), 1.0)
    pieces = [painting.overall(model), painting.rows(model), painting.frames(model), painting.log(model.log)]
    for piece in pieces:
        piece.encode()
        assert "<img src=x" not in piece
        assert "</style>" not in piece
        assert well_formed(piece)


def test_every_bottleneck_has_its_words():
    for stage, word in (("decode", "Decoding"), ("process", "Processing"), ("encode", "Encoding")):
        assert word in painting.stages({"decode": 1.0, "process": 1.0, "encode": 1.0, stage: 9.0}, stage)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "?"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (1800, "30 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_times_are_said_as_people_do(seconds, said):
    assert painting.duration(seconds) == said


def test_the_log_says_levels_in_words_too():
    model = Model()
    model.say("Fine.", "good")
    model.say("Careful.", "warning")
    model.say("Broken.", "bad")
    log = painting.log(model.log)
    assert [text for text in ("✓", "!", "✕") if text in log] == ["✓", "!", "✕"]
    assert "Error: Broken." in words(log)
    assert 'aria-live="polite"' in log


# -- the widgets ---------------------------------------------------------------------------------------------------------


class Asked:
    """What a dashboard asks for, as a session answers it."""

    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        return lambda: self.asked.append(name) or True


@pytest.fixture
def board():
    pytest.importorskip("ipywidgets")
    from framelane.notebook.dashboard import Dashboard

    return Dashboard(Asked(), "attention: clips", on_a_t4())


def test_buttons_ask_and_say_what_happens(board):
    board.paint(40.0)
    board._pause.click()
    board.take([Event(event="batch", jobs=2, phase="paused", message="Paused by the user")], 41.0)
    board.paint(41.0)
    assert board._pause.description == "Go on"
    board._pause.click()
    board._stop.click()
    board._cancel.click()
    assert board._cancel.description == "End at once"
    board._cancel.click()
    assert board.session.asked == ["pause", "resume", "stop_after_clip", "cancel", "kill"]
    assert "Finished clips and segments stay" in words(painting.log(board.model.log))
    board.take([Event(event="ended", exit_code=130, message="Cancelled.")], 42.0)
    board.paint(42.0)
    assert all(button.disabled for button in (board._pause, board._stop, board._cancel))
    board.cancel()
    assert len(board.session.asked) == 5, "what has ended is not asked any more"


def test_it_repaints_once_a_second_and_only_what_has_changed(board):
    seen = []
    for key, part in board._parts.items():
        part.observe(lambda change, key=key: seen.append(key), "value")
    assert board.tick(40.0)
    assert not board.tick(40.9)
    first = set(seen)
    seen.clear()
    assert board.tick(41.0)
    assert first == {"all", "rows", "charts", "frames", "log"} - ({"frames"} if not board.model.preview else set())
    assert seen == ["charts"], "time went on, nothing else did"
    board.pause_or_resume()
    assert board.tick(41.1), "a click is answered at once"
    assert "log" in seen


def test_every_control_says_what_it_does(board):
    for button in (board._pause, board._stop, board._cancel):
        assert button.description
        assert button.tooltip


def test_what_a_repaint_costs(board, capsys):
    """Printed, not judged: no test is gated by the clock. The target is 20 ms of one core each second."""
    import time

    frames = [e for e in recorded("two_clips") if e["event"] == "preview"]
    for second in range(SPAN_S):
        board.model.take(progress("a street.mp4", second % 100, sensors=T4 | {"gpu_load": second % 100}), 40.0 + second)
        board.model.say(f"Sentence {second}.")
    began, rounds = time.process_time(), 50
    for index in range(rounds):
        now = 400.0 + index
        board.take(
            [progress("a street.mp4", index, sensors=T4 | {"cpu": float(index)}), frames[index % len(frames)]], now
        )
        board.model.say(f"One more: {index}.")
        board.paint(now)
    each = 1000 * (time.process_time() - began) / rounds
    size = sum(len(part.value) for key, part in board._parts.items() if key != "head") / 1000
    with capsys.disabled():
        print(f"\n  a repaint: {each:.1f} ms of CPU, {size:.0f} kB ({each / 10:.2f} % of one core at one a second)")
    assert size < 120
