"""Settings as people write them: text stays text, what is refused is said with an example and never with a pattern."""

from __future__ import annotations

import pytest

from framelane import allowed
from framelane.errors import UsageError
from framelane.i18n import asked_for
from framelane.schema import fields
from framelane.settings import load, parse_assignment

TEXTS = [key for key, info in fields().items() if allowed.kind(info) == "text" and key not in ("mode", "profile")]


def given(*assignments):
    """The sections of the settings that were given with ``--set``."""
    return load(overrides=dict(map(parse_assignment, assignments))).settings


def refusal(*assignments):
    with pytest.raises(UsageError) as refused:
        given(*assignments)
    return str(refused.value)


def of_file(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load(config=path).settings


@pytest.mark.parametrize(
    ("assignments", "says"),
    [
        (["depth.danger_m=6"], "depth: danger_m (6) must be below warning_m (5)."),
        (["depth.near_m=30"], "depth: near_m (30) must be below far_m (30)."),
        (["guard.vram.leave=99"], "guard.vram: leave (99) must be below enter (92)."),
        (["follow.zoom_min=3", "follow.zoom_max=2"], "follow: zoom_min (3) must not be above zoom_max (2)."),
    ],
)
def test_settings_that_contradict_each_other_are_named_and_nothing_else(assignments, says):
    assert refusal(*assignments) == says


def test_a_contradiction_is_said_in_spanish_too(monkeypatch):
    monkeypatch.setenv("FRAMELANE_LANG", "es")
    assert asked_for(refusal("depth.danger_m=6")) == "depth: danger_m (6) debe ser menor que warning_m (5)."


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("pose.left_colour=blue", ("#rrggbb", "#ff8800")),
        ("follow.colour=orange", ("#rrggbb", "#ff8800")),
        ("attention.family_colours.ball=red", ("#rrggbb", "#ff8800")),
        ("follow.subject=dog", ("ball, person, action", "number")),
        ("follow.size=big", ("1080x1920", "720p")),
        ("guard.vram.ladder=[fly]", ("height 480", "pause")),
        ("hardware.cpu_affinity=0", ("[0, 1]",)),
        ("depth.classes={a: 1}", ("[person, car]",)),
    ],
)
def test_what_is_refused_is_said_with_an_example(assignment, parts):
    said = refusal(assignment)
    assert said.startswith(assignment.partition("=")[0])
    for part in parts:
        assert part in said


def test_no_setting_is_refused_with_a_pattern():
    refused = [said for key in fields() if (said := _refusal_of(key, "\0 nothing that anything could be"))]
    assert len(refused) > 100
    assert not [said for said in refused if "pattern" in said or "^" in said]


def _refusal_of(key, value):
    try:
        load(overrides={key: value})
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("follow.aspect=16:9", "16:9"),
        ("follow.cue=on", "on"),
        ("follow.cue=off", "off"),
        ("follow.subject=2", "2"),
        ("faceswap.restore_version=1.3", "1.3"),
        ("faceswap.label=Made: with AI", "Made: with AI"),
        ("pose.left_colour=#ff8800", "#ff8800"),
        ("pose.left_colour='#ff8800'", "#ff8800"),
        ("follow.colour=null", None),
        ("depth.classes=person", ["person"]),
        ("depth.classes=person, car", ["person", "car"]),
        ("depth.classes=[person, car]", ["person", "car"]),
        ("gif.max_mb=5", 5),
        ("gif.enabled=off", False),
    ],
)
def test_what_is_typed_is_what_is_set(assignment, value):
    section, _, key = assignment.partition("=")[0].partition(".")
    assert getattr(getattr(given(assignment), section), key) == value


def test_a_file_of_yaml_is_read_as_it_is_written(tmp_path):
    found = of_file(
        tmp_path,
        "follow: {aspect: 16:9, cue: on, subject: 2}\nfaceswap: {restore_version: 1.3}\ndepth:\n  classes: person\n"
        "gif: {enabled: off}\nattention: {family_colours: {ball: '#00ff00'}}\n",
    )
    assert (found.follow.aspect, found.follow.cue, found.follow.subject) == ("16:9", "on", "2")
    assert (found.faceswap.restore_version, found.depth.classes, found.gif.enabled) == ("1.3", ["person"], False)
    assert found.attention.family_colours.ball == "#00ff00"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("pose:\n  left_colour: #00ff00\n", "pose.left_colour"),
        ("follow:\n  colour: #00ff00  # the ball's\n", "follow.colour"),  # where null is allowed, too
        ("attention:\n  family_colours:\n    ball: #00ff00\n", "attention.family_colours.ball"),
    ],
)
def test_a_colour_without_quotes_is_said(tmp_path, text, key):
    with pytest.raises(UsageError) as refused:
        of_file(tmp_path, text)
    for part in (key, "mine.yaml", "quotes", '"#00ff00"'):
        assert part in str(refused.value)


def test_a_comment_is_no_colour(tmp_path):
    assert of_file(tmp_path, "follow:\n  colour: # it learns\n").follow.colour is None
    with pytest.raises(UsageError, match=r"pose\.left_colour: null .*#rrggbb.*in quotes"):
        of_file(tmp_path, "pose:\n  left_colour: # none\n")


def test_every_text_takes_a_word_that_yaml_would_turn_into_something_else():
    assert len(TEXTS) > 20
    for key in TEXTS:
        for word in ("16:9", "on", "1_0", "2026-11-21", "1e3"):
            assert parse_assignment(f"{key}={word}") == (key, word)
