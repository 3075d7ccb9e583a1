"""The notebooks: made from their sources byte for byte, and run from the first cell to the last with the wheel alone."""

from __future__ import annotations

import ast
import base64
import json
import re
import sys
from typing import get_args

import nbformat
import pytest

from support.notebooks import ROOT, read

sys.path.insert(0, str(ROOT / "notebooks"))
import build

ADDRESS = "https://github.com/someone/framelane"
FILES = [(language, name) for language in build.LANGUAGES for name in build.names()]
CALLS = {"setup", "run", "results", "bench", "finish", "plan", "help"}


@pytest.fixture(params=FILES, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def pair(request):
    return request.param


@pytest.fixture
def path(pair):
    return build.LANGUAGES[pair[0]] / f"{pair[1]}.ipynb"


@pytest.fixture
def notebook(path):
    return read(path)


def test_a_notebook_is_what_its_source_makes(pair, path):
    assert path.read_text(encoding="utf-8") == build.make(pair[1], pair[0]), "run make notebooks"


def test_there_is_no_notebook_without_a_source():
    for folder in build.LANGUAGES.values():
        assert sorted(path.stem for path in folder.glob("*.ipynb")) == build.names()


def test_it_is_valid_small_and_holds_no_output(notebook, path):
    nbformat.validate(notebook)
    assert len(notebook.cells) <= 10
    assert path.stat().st_size < 150_000
    for cell in notebook.cells:
        assert cell.metadata["id"] == cell.id
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_it_begins_with_what_it_is_for_and_a_picture(notebook):
    first = notebook.cells[0].source
    title, purpose = re.search(r"# (.+)\n\n(.+)\n\n", first).groups()
    assert len(title) < 80
    assert len(purpose) < 300
    for data in re.findall(r"!\[[^\]]+\]\(data:image/(?:jpeg|png);base64,([^)]*)\)", first):
        assert len(base64.b64decode(data)) > 1000
    assert "data:image" in first


def test_every_cell_of_code_is_a_form_and_one_call(notebook):
    first, *rest = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate([first, *rest], 1):
        assert cell.metadata["cellView"] == "form"
        assert cell.source.startswith(f"#@title {number}. ")
        ast.parse(cell.source)
    assert first.source.rstrip().splitlines()[-1].startswith("prepare(")
    for cell in rest:
        calls = [node.value for node in ast.parse(cell.source).body if isinstance(node, ast.Expr)]
        assert len(calls) == 1, "one call into the library"
        assert isinstance(calls[0], ast.Call)
        assert calls[0].func.attr in CALLS
        assigned = [node.targets[0].id for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
        for name in assigned:
            assert re.search(rf"(?m)^{name} = .+  #@param ", cell.source), f"{name} is no field of the form"


def test_values_of_lists_are_among_what_they_offer(notebook):
    for cell in notebook.cells:
        for value, choices in re.findall(r"(?m)^\w+ = (.+?)  #@param (\[.*\])$", cell.source):
            assert ast.literal_eval(value) in json.loads(choices)


def test_modes_profiles_and_methods_are_those_of_the_library(notebook):
    from framelane.settings import fields, names

    text = "\n".join(cell.source for cell in notebook.cells)
    offered = {
        name: set(json.loads(choices)) for name, choices in re.findall(r"(?m)^(\w+) = .+?#@param (\[.*\])$", text)
    }
    assert offered.get("MODE", set(names("modes"))) == set(names("modes"))
    assert offered.get("PROFILE", {"auto", *names("profiles")}) == {"auto", *names("profiles")}
    methods = {"automatic", *get_args(fields()["attention.method"].annotation)}
    assert offered.get("METHOD", methods) == methods


def test_cells_keep_their_names_when_texts_change(monkeypatch):
    made = json.loads(build.make("00_setup", "en"))
    again = json.loads(build.make("00_setup", "es", ADDRESS))
    assert [cell["id"] for cell in made["cells"]] == [cell["id"] for cell in again["cells"]]
    assert [cell["id"] for cell in made["cells"]] != [
        cell["id"] for cell in json.loads(build.make("01_attention"))["cells"]
    ]


def test_the_address_of_the_repository_stands_in_badge_and_first_cell(pair):
    language, name = pair
    cells = json.loads(build.make(name, language, ADDRESS))["cells"]
    badge, first = ("".join(cell["source"]) for cell in cells[:2])
    folder = "notebooks" if language == "en" else f"notebooks/{language}"
    assert f"https://colab.research.google.com/github/someone/framelane/blob/main/{folder}/{name}.ipynb" in badge
    assert f'"{ADDRESS}")' in first
    assert '"repository"' in first
    nowhere = build.make(name, language, "")
    assert "colab.research.google.com/github" not in nowhere
    assert 'repository\\"' not in nowhere.split("def ")[0]


def test_the_address_is_nowhere_else():
    """While it is empty nothing may point anywhere; when it is set, only what was made from it may."""
    if address := build.repository():
        for source in build.SOURCES.glob("*.py"):
            assert address not in source.read_text()


def test_the_first_cell_is_short_and_says_its_language():
    for language in build.LANGUAGES:
        cell = "".join(json.loads(build.make("00_setup", language))["cells"][1]["source"])
        assert len([line for line in cell.splitlines() if line.strip()]) < 80
        assert ('os.environ.setdefault("FRAMELANE_LANG", "es")' in cell) == (language == "es")
        assert "_(" not in re.sub(r"\w_\(", "", cell), "a text that nobody would translate"


def test_every_text_of_the_notebooks_is_asked_for_in_other_languages():
    """Whatever a Spanish notebook says went through the translator: none of its texts is left out."""
    texts = {text for _, text in build.messages()}
    for name in build.names():
        marked = build._notebook(name, "en", "", lambda text: f"«{text}»", embedded=False)
        for cell in marked.cells:
            shown = (
                cell.source
                if cell.cell_type == "markdown"
                else "\n".join(re.findall(r"#@(?:title|markdown) .*", cell.source))
            )
            rest = re.sub(r"«[^»]*»|\(data:[^)]*\)|display-mode|form|#@(title|markdown)", "", shown)
            assert not re.search(r"[A-Za-z]{2,}", rest), rest
    assert all(text.strip() == text and text for text in texts)


# -- advice --------------------------------------------------------------------------------------------------------------


def test_every_notebook_ends_with_what_to_do(pair, notebook):
    from framelane.notebook import advice

    last = notebook.cells[-1].source
    with build.speaking(pair[0]) as say:
        assert last == f"## {say(build.HELP)}\n\n{advice.section()}"
    for topic in advice.topics():
        assert f"`{topic.command}`" in last


def test_help_is_asked_by_name():
    from framelane.errors import UsageError
    from framelane.notebook import advice

    assert "T4 GPU" in repr(advice.help("gpu"))
    assert "T4 GPU" not in repr(advice.help("drive"))
    assert repr(advice.help()).count("What tells:") == len(advice.topics()) == 6
    with pytest.raises(UsageError, match="Did you mean memory"):
        advice.help("memmory")


def test_advice_names_settings_profiles_and_commands_that_exist():
    from typer.main import get_command

    from framelane.cli import app
    from framelane.notebook import advice
    from framelane.settings import fields, names

    text = advice.section()
    known = set(fields())
    assert set(re.findall(r"\b(?:attention|faceswap|hardware|engine|output)\.[a-z_]+", text)) <= known
    assert re.findall(r"profile (\w+)", text)[0] in names("profiles")
    assert set(re.findall(r"!framelane (\w+)", text)) <= set(get_command(app).commands)
