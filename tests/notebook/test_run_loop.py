"""The foreground loop over real batches: to the end, cancelled, killed, interrupted, and gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import support.processors  # noqa: F401
from framelane import i18n
from framelane.doctor.finding import Finding
from framelane.errors import UsageError
from framelane.jobs.discover import find_clips
from framelane.notebook import asking, cells, machine, watching
from framelane.notebook import host as hosts
from framelane.notebook import picked as picked_module
from framelane.notebook import session as session_module
from framelane.notebook.asking import place_of
from framelane.notebook.choice import Choice
from framelane.notebook.dashboard import Dashboard
from framelane.notebook.picked import remember
from framelane.notebook.session import Session
from framelane.notebook.watching import Lines, follow, outcome, watch
from support.batches import FAST, cut, workplace  # noqa: F401
from support.clips import needs_ffmpeg

pytestmark = needs_ffmpeg
pytest.importorskip("ipywidgets")
SETTINGS = [part for key, value in FAST.items() for part in ("--set", f"{key}={json.dumps(value)}")]


@pytest.fixture(autouse=True)
def fresh_kernel(monkeypatch):
    """Nothing that cells keep for each other goes from one test to the next."""
    monkeypatch.setattr(i18n, "_chosen", None)
    for module in (asking, cells):
        monkeypatch.setattr(module, "kept", {"language": "en"})


@pytest.fixture
def place(workplace, monkeypatch):  # noqa: F811
    """Two clips of 20 frames, which take a second each; sessions know the test processors."""
    monkeypatch.setattr(session_module, "MODULE", "support.cli")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("FRAMELANE_LANG", "en")
    clip = cut(workplace / "in" / "a.mp4", seconds=2)
    shutil.copy(clip, workplace / "in" / "b.mp4")
    return workplace


def command(place, processor="slow_copy"):
    return ["batch", processor, str(place / "in"), "-o", str(place / "out"), "--profile", "cpu", "--budget", "none",
            *SETTINGS]  # fmt: skip


class Doing(Lines):
    """Lines that do something when a sentence comes, as a reader would."""

    def __init__(self, session, act, on="begins"):
        self.lines = []
        super().__init__(session, self.lines.append)
        self.act, self.on = act, on

    def take(self, events, now):
        for event in events:
            super().take([event], now)
            if self.act and event["event"] == self.on:
                act, self.act = self.act, None
                act()


def test_without_a_front_end_a_batch_is_plain_lines(place, capsys):
    """A broken clip fails with its reason; the others go on; the same again has nothing left to do."""
    (place / "in" / "broken.mp4").write_bytes(b"no video")
    found = follow(command(place, "copy"), place / "out", "copy")
    said = capsys.readouterr().out
    assert found.exit_code == 3
    assert found.counts == {"done": 2, "failed": 1, "skipped": 0, "waiting": 0, "running": 0, "paused": 0}
    assert [name for name, _ in found.failed] == ["broken.mp4"]
    assert "cannot be opened as a video" in found.failed[0][1]
    assert "a.mp4 is done: 20 frames in" in said
    assert said.count("b.mp4 is done") == 1
    assert repr(found).startswith("2 done, 1 failed. The results are in ")
    assert str(place / "out" / "index.html") in repr(found)
    again = follow(command(place, "copy"), place / "out", "copy")
    assert again.counts["skipped"] == 2


def test_a_session_that_is_killed_is_a_sentence_and_the_same_again_finishes(place):
    with Session(command(place), preview_s=0) as session:
        view = Doing(session, lambda: os.kill(session.pid, signal.SIGKILL), on="segment")
        watch(session, view)
    found = outcome(view.model, place / "out")
    assert found.exit_code == -signal.SIGKILL
    assert "SIGKILL" in repr(found)
    assert "Run the cell again" in repr(found)
    assert [row.state for row in view.model.running.values()] == ["failed"], "a red row"
    found = follow(command(place), place / "out", "", widgets=False)
    assert found.exit_code == 0
    assert found.counts["done"] == 2


def test_an_interrupt_cancels_and_a_second_one_ends_it_at_once(place):
    before = signal.getsignal(signal.SIGINT)

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    with Session(command(place), preview_s=0) as session:
        view = Doing(session, interrupt, on="segment")
        watch(session, view)
    found = outcome(view.model, place / "out")
    assert found.exit_code == 130
    assert any("running the cell again goes on" in line for line in view.lines)
    assert found.counts["waiting"] >= 1
    assert signal.getsignal(signal.SIGINT) is before

    with Session(command(place), preview_s=0) as session:
        view = Doing(session, interrupt, on="progress")
        session.cancel = lambda: threading.Timer(0.3, interrupt).start() or True  # it does not listen
        watch(session, view)
    assert outcome(view.model, place / "out").exit_code == -signal.SIGKILL


def test_buttons_of_the_dashboard_reach_the_batch(place):
    """Pause, go on, stop after this clip, and the end: by clicks."""
    clicks = []

    class Clicking(Dashboard):
        def take(self, events, now):
            super().take(events, now)
            kinds = [(event["event"], event.get("phase")) for event in events]
            if any(kind == "segment" for kind, _ in kinds) and not clicks:
                clicks.append("pause")
                self._pause.click()
            if ("batch", "paused") in kinds:
                self.paint(now)
                assert self._pause.description == "Go on"
                clicks.append("go on")
                self._pause.click()
                self._stop.click()
                assert self._stop.disabled

    with Session(command(place), preview_s=0.2) as session:
        view = Clicking(session, "slow copy")
        watch(session, view)
    assert clicks == ["pause", "go on"]
    assert (view.model.counts["done"], view.model.counts["waiting"]) == (1, 1)
    assert "data:image/jpeg" in view._parts["frames"].value
    assert "End" not in view._cancel.description
    assert view._cancel.disabled


def test_a_refused_command_is_its_sentence(place):
    with pytest.raises(UsageError, match="no folder"):
        follow([*command(place)[:2], str(place / "nowhere"), *command(place)[3:]], place / "out", widgets=False)


def test_an_end_whose_event_was_lost_is_noticed(place, monkeypatch):
    monkeypatch.setattr(watching, "_SILENT_S", 0.3)
    with Session(["doctor", "--unknown"], preview_s=0) as session:
        while session.alive:
            time.sleep(0.05)
        while not session.poll(0.1):
            pass
        view = Lines(session, lambda _: None)
        watch(session, view)
    assert view.model.ended["message"].endswith("were lost.")


def test_a_form_is_what_the_picker_takes(place):
    clip = place / "in" / "a.mp4"
    found = cells._given(clip, "", "fast", "auto", None, "", {"attention.method": "automatic", "gif.fps": 12, "x": ""})
    assert found == {"mode": "fast", "source": place / "in", "include": ("/a.mp4",), "overrides": {"gif.fps": 12}}
    (place / "in" / "trip").mkdir()
    (place / "in" / "trip" / "a.mp4").write_bytes(clip.read_bytes())
    assert [str(one.relative) for one in find_clips(found["source"], include=found["include"]).found] == ["a.mp4"]
    assert cells._given("demo", None, None, None, "30m", None, None) == {"budget": "30m", "overrides": {}}


def test_the_plan_is_of_what_was_picked(place):
    choice = Choice("faceswap", place / "in", place / "out", "fast", "cpu", {"gif.fps": 12}, "Ada", "30m", ("a*",))
    planned = choice.plan_command()
    assert planned[:2] == ["plan", "faceswap"]
    assert planned[-1] == "--json"
    assert "--consent" not in planned, "a plan swaps nothing, and knows no such option"
    again = cells._as_given(choice)
    assert again == {key: value for key, value in vars(choice).items() if key != "processor"}


def test_an_error_of_ours_is_its_sentence_alone(place):
    with pytest.raises(UsageError) as refused:
        cells.run("attention", input=str(place / "nowhere"))
    assert refused.value._render_traceback_() == [str(refused.value)]


def test_results_of_the_newest_folder_are_found(place, monkeypatch):
    host = hosts.Host("local", "here", place, place / "results")
    monkeypatch.setattr(cells.hosts, "detect", lambda: host)
    monkeypatch.setattr(cells, "kept", {"language": "en"})
    assert cells._newest() is None
    for index, name in enumerate(("attention/demo", "faceswap/x")):
        (host.results / name / ".framelane").mkdir(parents=True)
        os.utime(host.results / name / ".framelane", (index, index))
    assert cells._newest() == host.results / "faceswap" / "x"


# -- what is typed into a form -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["~nobody-of-that-name/clips", "a\0b", "/nowhere/clips", "-rf"])
def test_a_folder_that_cannot_be_is_a_sentence(typed, tmp_path, capsys):
    for call in (
        lambda: cells.run("attention", input=typed, output=tmp_path / "out", widgets=False),
        lambda: cells.results(typed),
    ):
        with pytest.raises(UsageError):
            call()


def test_blanks_around_a_typed_path_are_no_part_of_it_unless_they_are(tmp_path):
    (tmp_path / "clips").mkdir()
    assert place_of(f" {tmp_path / 'clips'}\n") == tmp_path / "clips"
    (tmp_path / "clips ").mkdir()
    assert place_of(f"{tmp_path / 'clips '}") == tmp_path / "clips "


def test_a_clip_whose_name_is_a_pattern_is_taken_and_no_other(place, tmp_path):
    clip = shutil.copy(place / "in" / "a.mp4", place / "in" / "b[1].mp4")
    shutil.copy(clip, place / "in" / "b1.mp4")
    made = cells.run("slow_copy", input=clip, output=place / "out", profile="cpu", budget="none", settings=FAST,
                     widgets=False)  # fmt: skip
    assert made.counts == {**made.counts, "done": 1, "failed": 0}
    assert [path.name for path in (place / "out").glob("*.mp4")] == ["b[1].mp4"]


def test_what_the_doctor_says_is_what_the_setup_cell_shows(capsys):
    """The doctor's own report, of one of its subjects: the cell knows its form."""
    told = subprocess.run(
        [sys.executable, "-m", "framelane", "doctor", "--json", "--only", "space"], capture_output=True, check=True
    )
    report = json.loads(told.stdout)
    found = [Finding("decode pyav", "ok", "It was seen."), Finding("encode pyav h264", "note", "It was not."),
             Finding("encode cpu h264", "ok", "It was seen.")]  # fmt: skip
    report["findings"] += [one.plain() for one in found]
    rows = dict(machine._machine(report, "here"))
    assert (rows["Decoders that work"], rows["Encoders that work"]) == ("pyav", "cpu h264")
    assert rows["Profile"].startswith(report["profile"]["name"])


def test_running_a_cell_again_begins_with_what_was_picked(place, monkeypatch):
    """In the same kernel, and in the next one; not where the form says something else, and never who agreed."""
    form = {"processor": "attention", "source": place / "in", "output": place / "out", "mode": "balanced"}
    picked = {**form, "mode": "fast", "overrides": {"gif.enabled": False}, "consent": "Ada Example"}
    monkeypatch.setattr(cells, "kept", {})
    monkeypatch.setattr(picked_module, "kept", {})
    assert cells._as_before(form)[1]["mode"] == "balanced"
    remember(form, picked)
    assert cells._as_before(form)[1]["consent"] == "Ada Example"
    picked_module.kept.clear()  # the kernel was lost
    processor, given = cells._as_before(form)
    assert (processor, given["mode"], given["overrides"]) == ("attention", "fast", {"gif.enabled": False})
    assert (given["source"], given["output"]) == (place / "in", place / "out")
    assert "consent" not in given
    assert cells._as_before({**form, "mode": "quality"})[1]["mode"] == "quality"
    (place / "out" / ".framelane" / "picked.json").write_text('{"form": 1, "picked": [')
    assert cells._as_before(form)[1]["mode"] == "balanced"
