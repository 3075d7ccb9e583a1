"""The picker, the folder tree and the plan's card, without a front end: what somebody does is done to their controls."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import ipywidgets as w
import pytest

import framelane
from framelane.errors import UsageError
from framelane.jobs import remembered
from framelane.notebook import estimate as estimate_module
from framelane.notebook.choice import Choice
from framelane.notebook.countdown import Countdown
from framelane.notebook.estimate import Estimates
from framelane.notebook.folders import Listing, folders
from framelane.notebook.host import Host
from framelane.notebook.inputs import PathBox
from framelane.notebook.modes import MODES, ModeCards, about, cost
from framelane.notebook.picker import Picker
from framelane.notebook.plan_card import MOST_ROWS, PlanCard, plan_html, plan_words
from framelane.notebook.tree import MOST_ROWS as MOST_FOLDERS
from framelane.notebook.tree import FolderTree
from support.batches import alive

EVENTS = Path(__file__).parents[1] / "data" / "events" / "two_clips.jsonl"
PROFILE = {"ask": "profile", "profile": "t4", "why": "A T4."}


class Answers(Estimates):
    """Estimates whose answers a test says; nothing is started."""

    def __init__(self):
        super().__init__()
        self.asked, self.answers, self.closed = [], [], False

    def ask(self, kind, **question):
        json.dumps(question)
        self.asked.append((kind, question))

    def poll(self):
        found, self.answers = self.answers, []
        return found

    def close(self):
        self.closed = True


@pytest.fixture
def host(tmp_path):
    (tmp_path / "clips").mkdir()
    return Host("local", "this computer", tmp_path / "clips", tmp_path / "results")


@pytest.fixture
def picker(host):
    return Picker("attention", host=host, estimates=Answers())


def run(picker, seconds, begin=0.0):
    """Ticks ten times a second; returns when it gave what."""
    for tenth in range(round(seconds * 10) + 1):
        if (choice := picker.tick(begin + tenth / 10)) is not None:
            return begin + tenth / 10, choice
    return None


# -- the countdown -------------------------------------------------------------------------------------------------------


def test_without_anybody_it_starts_after_20_seconds_with_what_it_shows(picker):
    shown = picker.choice()
    at, choice = run(picker, 60)
    assert at == pytest.approx(20, abs=0.1)
    assert choice == shown == picker.tick(1000)
    assert choice.source.name == "clips"
    assert choice.include == ("street.mp4",)
    assert (choice.source / "street.mp4").exists()
    assert choice.mode == "balanced"
    assert choice.as_text() in framelane_line(picker)
    choice.check()


def framelane_line(picker):
    import html

    return html.unescape(picker._command.value)


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def everything_open(picker):
    for fold in (picker._advanced, picker._line, *picker.form.folds.values()):
        fold.open()
    return [control for control in walk(picker.widget) if not isinstance(control, w.HTML | w.Box)]


def touch(control):
    """What a person does to a control: another value, another row, a click."""
    if isinstance(control, w.Button):
        control.click()
    elif isinstance(control, w.Select):
        control.index = 0
    elif isinstance(control, w.Dropdown):
        control.index = 1 if control.index == 0 else 0
    elif isinstance(control, w.Checkbox):
        control.value = not control.value
    elif isinstance(control, w.ColorPicker):
        control.value = "#123456"
    elif isinstance(control, w.Text):
        control.value += "x"
    elif hasattr(control, "min"):
        control.value = control.min if control.value != control.min else control.max
    else:
        control.value += 1


def test_touching_any_control_stops_it(host):
    picker = Picker("faceswap", host=host, estimates=Answers())
    controls = everything_open(picker)
    assert len(controls) > 200
    for number, control in enumerate(controls):
        if control in (picker.countdown._start, picker.faces.upload):
            continue
        picker.countdown.counting = True
        touch(control)
        assert not picker.countdown.counting, f"{number}: {control.description}"
        if control in (picker._processor, picker.inputs.kind):
            touch(control)  # back again


def test_nothing_but_people_stops_it(picker):
    everything_open(picker)
    picker.tick(0)
    picker._estimates.answers = [
        PROFILE,
        {"ask": "costs", "mode": "fast", "unknown": True},
        {"ask": "costs", "end": True},
    ]
    picker.tick(1)
    assert picker.detected == "t4"
    assert picker.countdown.counting
    at, _choice = run(picker, 60, 1)
    assert at == pytest.approx(20, abs=0.2)


def test_after_a_touch_it_waits_until_start_is_pressed(picker):
    run(picker, 5)
    picker.form.row("gif.fps").control.value = 9.0
    assert run(picker, 100, 5) is None
    assert "It waits for you" in picker.countdown._said.value
    picker.countdown._start.click()
    assert picker.tick(200).overrides == {"gif.fps": 9.0}


def test_the_countdown_says_its_seconds_and_can_be_left_out():
    countdown = Countdown("Start")
    countdown.tick(0)
    assert " 20 s" in countdown._said.value
    countdown.tick(3.2)
    assert " 17 s" in countdown._said.value
    countdown._wait.click()
    assert not countdown.tick(100)
    never = Countdown("Start", seconds=0)
    assert not never.tick(0)
    assert not never.tick(1000)
    never.press()
    assert never.tick(1001)


def test_what_is_wrong_disables_start_and_is_said_beside_it(picker):
    picker.tick(0)
    picker.form.row("gif.seconds").control.value = 0.0
    picker.tick(1)
    assert picker.countdown._start.disabled
    assert picker._measure.disabled
    assert picker.problems["gif.seconds"] == picker.choice().problems()["gif.seconds"]
    assert "gif.seconds" in picker.countdown._said.value
    assert 'role="alert"' in picker.form.row("gif.seconds")._help.value
    picker.countdown.press()  # a click that was on its way
    assert run(picker, 60, 2) is None
    picker.form.reset("gif.seconds")
    picker.tick(100)
    assert not picker.countdown._start.disabled
    assert picker.tick(101) is None


# -- what is picked ------------------------------------------------------------------------------------------------------


def test_everything_that_is_picked_is_in_the_choice_and_its_line(picker, host, tmp_path):
    (host.content / "my clips").mkdir()
    picker.cards._takes["quality"].click()
    picker._profile.value = "t4"
    picker._budget.value = "1h30m"
    picker.inputs.kind.value = "folder"
    picker.inputs.folder.widget.value = str(host.content / "my clips")
    picker.inputs.out.widget.value = str(tmp_path / "my results")
    picker.form.row("attention.method").control.value = "rollout"
    wanted = Choice(
        "attention", host.content / "my clips", tmp_path / "my results", "quality", "t4", {"attention.method": "rollout"},
        None, "1h30m",
    )  # fmt: skip
    assert picker.choice() == wanted
    assert wanted.as_text() in framelane_line(picker)
    assert picker.problems == {}


def test_what_is_given_is_shown_and_still_counts_down(host, tmp_path):
    given = {
        "source": host.content, "output": tmp_path / "out", "mode": "fast", "profile": "cpu", "budget": "20m",
        "overrides": {"gif.enabled": False}, "consent": "Ada Example, signed", "include": ("*.mov",),
    }  # fmt: skip
    picker = Picker("faceswap", {**given, "output": str(given["output"])}, host=host, estimates=Answers())
    choice = picker.choice()
    assert {key: getattr(choice, key) for key in given} == given
    assert picker.countdown.counting
    assert picker.form.row("gif.enabled").control.value is False
    assert picker.form.row("faceswap.consent").control.value == "Ada Example, signed"


@pytest.mark.parametrize(
    "given", [{"mode": "best"}, {"profile": "t5"}, {"overrides": {"gif.fsp": 1}}, {"overrides": {"gif.fps": 1e9}}]
)
def test_what_is_given_wrongly_is_an_error(host, given):
    with pytest.raises(UsageError):
        Picker("attention", given, host=host, estimates=Answers())
    with pytest.raises(UsageError):
        Picker("atention", host=host, estimates=Answers())


def test_no_folder_is_not_the_current_one(picker):
    picker.inputs.kind.value = "folder"
    assert list(picker.problems) == ["source"]
    assert run(picker, 60) is None


def test_a_face_needs_consent_and_consent_stays_with_faces(host):
    picker = Picker("faceswap", host=host, estimates=Answers())
    assert list(picker.problems) == ["faceswap.consent"]
    assert run(picker, 60) is None
    assert "adult" in picker.faces.said.value
    picker.form.row("faceswap.consent").control.value = "Ada Example, signed release of 2026-03-01"
    assert list(picker.problems) == ["faceswap.source"]
    picker.form.row("faceswap.source").control.value = "ada.png"
    assert picker.problems == {}
    assert "--consent 'Ada Example" in framelane_line(picker)
    picker._processor.value = "attention"
    assert "Ada" not in picker.choice().as_text()
    assert picker.choice().source.name == "clips"


def test_colab_says_what_it_forbids(host):
    colab = Host("colab", "Google Colab", host.content, host.results)
    assert "deepfakes" in Picker("faceswap", host=colab, estimates=Answers()).faces.said.value
    assert "deepfakes" not in Picker("faceswap", host=host, estimates=Answers()).faces.said.value


def test_results_follow_the_clips_until_they_are_typed(picker, host):
    assert picker.choice().output == host.results / "attention-demo"
    picker._processor.value = "faceswap"
    assert picker.choice().output == host.results / "faceswap-demo"
    picker.inputs.kind.value = "folder"
    picker.inputs.folder.widget.value = "/data/holiday"
    assert picker.inputs.out.widget.value == str(host.results / "faceswap-holiday")
    picker.inputs.out.widget.value = "/data/out"
    picker.inputs.folder.widget.value = "/data/other"
    assert picker.choice().output == Path("/data/out")


def test_what_lies_on_drive_stays_on_drive(host, monkeypatch, tmp_path):
    monkeypatch.setattr("framelane.notebook.inputs.POINT", tmp_path / "drive")
    picker = Picker("attention", {"source": tmp_path / "drive" / "MyDrive" / "clips"}, host=host, estimates=Answers())
    assert picker.choice().output == tmp_path / "drive" / "MyDrive" / "framelane" / "attention-clips"


@pytest.mark.parametrize("label", ["a\nb", "\udcff", "\u202e", "<b>", "x" * 250, "-rf", "$(id)", " a "])
def test_folders_of_any_name_can_be_picked(picker, host, label):
    folder = host.content / label
    folder.mkdir()
    picker.inputs.kind.value = "folder"
    picker.inputs.tree.begin_at([host.content])
    picker.inputs.tree._list.index = 0
    picker.inputs.tree._toggle.click()
    picker.inputs.tree._list.index = 1
    assert picker.choice().source == folder
    assert picker.problems == {}
    for control in walk(picker.widget):
        json.dumps(control.get_state(), default=str, ensure_ascii=False).encode("utf-8")  # as it goes to the browser
    assert "<b>" not in picker.inputs.tree._about.value


def test_a_path_box_keeps_the_bytes_of_a_name():
    path_box = PathBox("Folder", lambda: None)
    path_box.path = Path("/a/\udcff")
    assert path_box.path == Path("/a/\udcff")
    path_box.widget.value = "~"
    assert path_box.path == Path.home()
    path_box.widget.value = " "
    assert path_box.path is None


# -- the tree ------------------------------------------------------------------------------------------------------------


def test_a_folder_is_looked_at_when_it_is_opened(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one.mp4").touch()
    looked, picked = [], []
    tree = FolderTree([tmp_path], picked.append, look=lambda path: looked.append(path) or folders(path))
    assert looked == []
    tree._list.index = 0
    tree._toggle.click()
    tree._list.index = 1
    tree._toggle.click()
    assert set(looked) == {tmp_path, tmp_path / "a"}
    assert [folder for _label, folder in tree.rows()] == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert "One clip lies here" in tree._about.value
    assert picked == [tmp_path, tmp_path / "a"]
    (tmp_path / "c").mkdir()
    tree._again.click()
    assert tmp_path / "c" in [folder for _label, folder in tree.rows()]
    tree._list.index = 0
    tree._toggle.click()  # closes what is in it, too
    assert len(tree.rows()) == 1
    tree._toggle.click()
    assert len(tree.rows()) == 3


def test_very_many_folders_stay_one_list():
    many = {Path("/r"): Listing(tuple(Path("/r") / f"{i}" for i in range(500)), 3, left_out=9500)}
    many |= {Path("/r") / f"{i}": Listing(tuple(Path("/r") / f"{i}" / f"{j}" for j in range(500))) for i in range(6)}
    tree = FolderTree([Path("/r")], look=lambda path: many[path])
    tree.pick(Path("/r"))
    tree.toggle()
    assert "9500" in tree.rows()[-1][0]
    for i in range(6):
        tree.pick(Path("/r") / f"{i}")
        tree.toggle()
    assert len(tree.rows()) == MOST_FOLDERS + 1
    assert len(list(walk(tree.widget))) < 10
    tree._list.index = MOST_FOLDERS  # what says how many are left out is no folder
    assert tree.picked_folder == Path("/r/5")


def test_a_folder_that_cannot_be_read_says_why(tmp_path):
    tree = FolderTree([tmp_path / "gone"])
    tree._list.index = 0
    tree._toggle.click()
    assert "cannot be read" in tree._about.value
    assert tree.rows()[1][1] is None


# -- costs ---------------------------------------------------------------------------------------------------------------


def plan_of(**more):
    figures = {"source": "remembered of 3 jobs on this machine", "spread": 0.1}
    return {"total_s": 700.0, "clips": 3, "fit": 3, "skipped": 0, "figures": figures, **more}


def test_costs_are_asked_for_once_and_again_when_something_settles(picker):
    run(picker, 2)
    assert [kind for kind, _q in picker._estimates.asked] == ["costs"]
    question = picker._estimates.asked[0][1]
    assert question["modes"][0] == "balanced"  # what is chosen first
    assert sorted(question["modes"]) == sorted(MODES)
    assert not question["measure"]
    picker.cards._takes["fast"].click()  # the same question
    run(picker, 3, 2)
    assert len(picker._estimates.asked) == 1
    for number in range(5):  # somebody types
        picker.form.row("attention.target").control.value += "x"
        picker.tick(5 + number / 10)
    assert len(picker._estimates.asked) == 1
    run(picker, 3, 6)
    assert len(picker._estimates.asked) == 2
    assert picker._estimates.asked[1][1]["overrides"]["attention.target"] == "top-1xxxxx"


def test_costs_are_said_honestly(picker):
    picker.tick(0)
    assert all("being looked up" in card.value for card in picker.cards._cards.values())
    picker._estimates.answers = [
        {"ask": "costs", "mode": "fast", "plan": plan_of()},
        {"ask": "costs", "mode": "balanced", "unknown": True},
        {"ask": "costs", "mode": "quality", "problem": "It broke."},
        {"ask": "costs", "end": True},
    ]
    picker.tick(1)
    cards = {mode: card.value for mode, card in picker.cards._cards.items()}
    assert "About 12 min for 3 clips" in cards["fast"]
    assert "remembered of 3 jobs on this machine" in cards["fast"]
    assert "not measured yet" in cards["balanced"]
    assert "About" not in cards["balanced"]
    assert "It broke." in cards["quality"]
    assert "1 of them fit" in cost({"plan": plan_of(fit=1)})


def test_measuring_is_asked_for_and_its_death_is_said(picker):
    picker.tick(0)
    picker._measure.click()
    kind, question = picker._estimates.asked[-1]
    assert (kind, question["measure"]) == ("costs", True)
    assert question["commands"]["fast"][:2] == ["plan", "attention"]
    assert "measured…" in picker.cards._cards["fast"].value
    assert picker._measure.disabled
    picker._estimates.answers = [{"ask": "costs", "mode": "fast", "plan": plan_of()}, {"ask": "costs", "died": -9}]
    picker.tick(1)
    assert "About 12 min" in picker.cards._cards["fast"].value
    assert "ended before its time" in picker.cards._cards["quality"].value
    assert not picker._measure.disabled


def test_the_profile_is_said_with_its_reason(picker):
    picker.tick(0)
    picker._estimates.answers = [PROFILE]
    picker.tick(1)
    assert "t4" in picker._profile_why.value
    assert "A T4." in picker._profile_why.value
    assert picker.form.base["hardware.batch_size"] == 16
    assert picker.choice().profile == "auto"
    picker._profile.value = "cpu"
    assert about("profiles", "cpu").split(":")[0] in picker._profile_why.value
    assert picker.form.base["hardware.batch_size"] == 4


def test_a_card_says_where_the_profile_holds_a_mode_back(host):
    cards = ModeCards(lambda mode: None)
    cards.paint(Choice("attention", host.content, host.results), "memory_saver", measuring=False)
    assert "sample_fps is 6 instead of 8" in cards._cards["quality"].value
    assert about("modes", "quality") in cards._cards["quality"].value
    assert all(about("modes", mode) for mode in MODES)


def test_estimates_come_from_a_child_and_end_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    estimates, said = Estimates(), []
    clips = Path(framelane.__file__).parents[2] / "assets" / "clips"
    question = {"processor": "attention", "source": str(clips), "include": ["street.mp4"], "profile": "cpu",
                "modes": ["fast"], "overrides": {}, "budget": "none"}  # fmt: skip
    estimates.ask("costs", **{**question, "modes": ["balanced"]})
    estimates.ask("costs", **{**question, "source": "/nowhere"})  # overtaken by the next
    estimates.ask("profile")
    estimates.ask("costs", **question)
    child = estimates._process.pid
    while estimates.busy:
        said += estimates.poll()
    assert [(one.get("mode"), one.get("profile")) for one in said if "end" not in one] == [
        (None, "cpu"),
        ("fast", None),
    ]
    assert said[-2]["unknown"] is True
    estimates.ask("costs", **{**question, "source": "/nowhere"})
    os.kill(child, 9)
    while estimates.busy:
        said += estimates.poll()
    assert "died" in said[-1] or "problem" in said[-2]
    estimates.ask("profile")
    again = estimates._process.pid
    estimates.close()
    assert not alive(child)
    assert not alive(again)


def test_what_is_remembered_is_what_the_child_says(tmp_path, monkeypatch):
    from framelane.jobs.figures import Observation
    from framelane.run import load_settings

    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    loaded = load_settings("fast", "cpu", None, {})
    seen = Observation(120, 12.0, 53.0, 24.0, startup_s=5.0, join_s=0.1, gif_s=1.0, gif_mpx=30.0)
    remembered.remember(remembered.kind_of_job(loaded, "attention"), seen)
    clips = Path(framelane.__file__).parents[2] / "assets" / "clips"
    (said,) = estimate_module.costs(
        {"processor": "attention", "source": str(clips), "include": ["street.mp4"], "profile": "cpu", "modes": ["fast"],
         "budget": "none"}
    )  # fmt: skip
    assert (said["plan"]["clips"], said["plan"]["fit"]) == (1, 1)
    assert 24 < said["plan"]["total_s"] < 40  # what it took then, and its start
    assert "1 job on this machine" in said["plan"]["figures"]["source"]


# -- at its end ----------------------------------------------------------------------------------------------------------


def test_it_leaves_one_line(picker):
    picker.show()
    _at, choice = run(picker, 30)
    picker.close()
    picker.close()
    assert picker._estimates.closed
    assert len(picker.widget.children) == 1
    assert choice.as_text() in picker.widget.children[0].value
    assert picker.tick(100) == choice


def test_the_kernel_stays_light(tmp_path):
    import subprocess

    code = (
        "import sys; from framelane.notebook.picker import Picker; from framelane.notebook import plan_card\n"
        "picker = Picker('attention', countdown_s=0.1); picker.show()\n"
        "assert picker.tick(0) is None and picker.tick(1); picker.close()\n"
        "print([m for m in ('torch', 'cv2', 'av', 'onnxruntime', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert made.stdout.splitlines()[-1] == "[]"


def test_every_control_has_a_name(host):
    for control in everything_open(Picker("faceswap", host=host, estimates=Answers())):
        assert control.description.strip(), control


# -- the plan ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plan():
    events = [json.loads(text) for text in EVENTS.read_text(encoding="utf-8").splitlines()]
    return next(event["plan"] for event in events if event["event"] == "plan")


def test_a_plan_is_accepted_by_itself_or_by_somebody(plan):
    card = PlanCard(plan)
    assert [card.tick(second) for second in (0, 10, 19, 20)] == [None, None, None, "accept"]
    for which, answer in (("_change", "change"), ("_cancel", "cancel")):
        card = PlanCard(plan)
        card.tick(0)
        getattr(card, which).click()
        assert card.tick(100) == answer
    card = PlanCard(plan, countdown_s=0)
    assert card.tick(100) is None
    card.countdown._start.click()
    assert card.tick(101) == "accept"
    card.show()
    card.close()
    assert [type(child) for child in walk(card.widget)] == [w.VBox, w.HTML]


def test_a_plan_is_said(plan):
    said = plan_html(plan)
    for part in ("a street.mp4", "0:03", "360×270", "fits", "measured just now", "1 h 20 min"):
        assert part in said
    assert plan_words(plan).startswith("Of 2 clips 2 fit into the 1 h 20 min that are left")
    assert "about 24 s" in plan_words({**plan, "budget_s": None})


def test_a_plan_of_hostile_names_and_thousands_of_clips(plan):
    job = {**plan["jobs"][0], "clip": "<script>\n\udcff", "state": "next time", "seconds": None, "duration_s": None}
    skipped = [{"clip": "<i>", "reason": "It is no clip."}] * 5000
    said = plan_html({**plan, "jobs": [job] * 10_000, "skipped": skipped})
    assert "<script>" not in said
    assert "<i>" not in said
    said.encode("utf-8")
    assert said.count("<tr>") <= 2 * MOST_ROWS + 2
    assert "10000" in said
    assert "5000" in said


def test_a_plan_without_time_says_so(plan):
    assert "is over" in plan_html({**plan, "elapsed_s": plan["budget_s"] + 5})
    part = {**plan["jobs"][0], "state": "fits in part", "segments": 9, "segments_done": 2, "segments_now": 3}
    assert "3 of 7 segments" in plan_html({**plan, "jobs": [part]})
