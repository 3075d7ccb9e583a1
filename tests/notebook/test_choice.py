"""A choice and its command: what the command line's own parser and a real shell make of it is what was picked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from framelane.cli.app import app
from framelane.errors import UsageError
from framelane.jobs import batch as batch_module
from framelane.notebook.choice import Choice, assignment, key_in, quoted, setting_problems
from framelane.settings import load, parse_assignment

# What can be in an argument of a process: bytes but NUL, those that are no UTF-8 as lone surrogates (PEP 383).
WORDS = st.binary(min_size=1, max_size=30).map(lambda b: os.fsdecode(b.replace(b"\0", b"")) or "x")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
HOSTILE = "-rf $(id) `id` 'a' \"b\" ; & | \\ \n\t # {x} ~ * é \u202e \udcff"


class Took(Exception):
    """What the batch was asked for."""


@pytest.fixture
def asked(monkeypatch):
    """Runs the command line's own parser and ``framelane batch``, up to the call of the library."""

    def stop(folder, processor, **more):
        raise Took({"folder": folder, "processor": processor, **more})

    monkeypatch.setattr(batch_module, "process_folder", stop)

    def ask(arguments):
        with pytest.raises(Took) as took:
            app(args=arguments, prog_name="framelane", standalone_mode=False)
        return took.value.args[0]

    return ask


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(source=WORDS, output=WORDS, consent=st.none() | WORDS, include=st.lists(WORDS, max_size=2), value=VALUES)
@example(HOSTILE, HOSTILE, HOSTILE, [HOSTILE], HOSTILE)
@example("-clips", "--help", "-x", ["--budget"], "#1a5cff")
@example("~", "a=b", None, [], {"a b": [1e-07, "2026-01-01", "1_0", "no", "#x "]})
def test_the_command_is_understood_as_it_was_meant(asked, source, output, consent, include, value):
    choice = Choice(
        "attention", Path(source), Path(output), "fast", "cpu", {"attention.classes": value, "gif.fps": 12.0}, consent,
        "45m", tuple(include),
    )  # fmt: skip
    took = asked(choice.command())
    assert Path(took["folder"]) == Path(source)
    assert Path(took["output"]) == Path(output)
    assert (took["processor"], took["mode"], took["profile"], took["budget"]) == ("attention", "fast", "cpu", "45m")
    assert list(took["include"]) == include
    assert took["overrides"].pop("faceswap.consent", None) == consent
    assert took["overrides"] == {"attention.classes": value, "gif.fps": 12.0}


@given(value=VALUES)
def test_an_assignment_is_read_as_the_same_value(value):
    read = parse_assignment(assignment("gif.fps", value))
    assert read == ("gif.fps", value)
    assert type(read[1]) is type(value)


@given(value=st.none() | TEXTS | WORDS | VALUES.map(str))
@example("")
@example("\U0001f600 \u2028 \x85")
@example("'a' b")
def test_a_text_is_read_as_the_same_text(value):
    assert parse_assignment(assignment("attention.target", value)) == ("attention.target", value)


def test_plain_values_stay_plain():
    assert assignment("attention.method", "rollout") == "attention.method=rollout"
    assert assignment("attention.colour", "#1a5cff") == "attention.colour=#1a5cff"
    assert assignment("attention.window", None) == "attention.window=null"
    assert assignment("gif.enabled", False) == "gif.enabled=false"
    assert assignment("attention.target", "true") == "attention.target=true"
    assert assignment("attention.target", "null") == 'attention.target="null"'


@settings(max_examples=40, deadline=None)
@given(words=st.lists(WORDS, min_size=1, max_size=5))
@example([HOSTILE, "", "a'b"])
def test_a_shell_reads_the_line_as_the_same_words(words):
    line = " ".join(quoted(word) for word in words)
    seen = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    assert seen.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]
    assert line.isprintable()


def test_the_line_runs_in_a_shell(tmp_path):
    folder = tmp_path / "it's; $(touch broken) \n"
    folder.mkdir()
    line = Choice("attention", folder, tmp_path / "out").as_text().removeprefix("framelane ")
    made = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m framelane {line}"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert made.returncode == 2
    assert "There is no clip in" in made.stderr
    assert not (tmp_path / "broken").exists()


@pytest.fixture
def choice(tmp_path):
    (tmp_path / "in").mkdir()
    return Choice("attention", tmp_path / "in", tmp_path / "out")


def wrong(choice, **changes):
    from dataclasses import replace

    return replace(choice, **changes).problems()


def test_a_good_choice_has_no_problem(choice):
    assert choice.problems() == {}
    choice.check()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"processor": "atention"}, "processor"),
        ({"mode": "fastest"}, "mode"),
        ({"profile": "t5"}, "profile"),
        ({"budget": "soon"}, "budget"),
        ({"source": Path("/nowhere")}, "source"),
        ({"overrides": {"gif.fps": 1000}}, "gif.fps"),
        ({"overrides": {"gif.fsp": 10}}, "gif.fsp"),
        ({"overrides": {"guard.vram.enter": 50}}, "guard.vram.enter"),
    ],
)
def test_what_is_wrong_is_said_about_what_it_is(choice, changes, key):
    found = wrong(choice, **changes)
    assert list(found) == [key]
    assert found[key].endswith((".", "?"))


def test_the_sentences_are_the_librarys(choice, tmp_path):
    with pytest.raises(UsageError) as refused:
        load(overrides={"gif.fps": 1000})
    assert wrong(choice, overrides={"gif.fps": 1000})["gif.fps"] == str(refused.value)
    made = subprocess.run(
        [sys.executable, "-m", "framelane", *Choice("attention", tmp_path / "in", tmp_path / "in").command()],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert made.stderr.strip() == f"framelane: {wrong(choice, output=tmp_path / 'in')['output']}"


def test_every_bad_value_is_found_at_once():
    bad = {"gif.fps": 1000, "gif.width": 1, "attention.method": "x", "guard.ram.enter": 10, "gif.seconds": 3.0}
    found = setting_problems("fast", "nothing", bad)
    assert set(found) == {"profile", "gif.fps", "gif.width", "attention.method", "guard.ram.enter"}


def test_a_face_is_not_swapped_without_consent_and_source(choice, tmp_path):
    found = wrong(choice, processor="faceswap")
    assert list(found) == ["faceswap.consent"]
    found = wrong(choice, processor="faceswap", consent="Ada Example, signed release")
    assert list(found) == ["faceswap.source"]


def test_a_nul_is_refused_before_a_process_is_asked(choice):
    assert "NUL" in next(iter(wrong(choice, consent="a\0b").values()))


def test_keys_in_sentences():
    assert key_in("Nothing. See faceswap.source and gif.fps.") == "faceswap.source"
    assert key_in("Nothing of setup.py is known.") is None


def test_the_kernel_stays_light():
    code = (
        "import sys, json; from pathlib import Path; from framelane.notebook.choice import Choice;"
        "Choice('attention', Path('.'), Path('out')).problems();"
        "print(json.dumps([m for m in ('torch', 'cv2', 'av', 'onnxruntime', 'transformers') if m in sys.modules]))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(made.stdout) == []
