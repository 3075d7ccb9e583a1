"""Makes the notebooks from ``src/*.py``, in every language: ``make notebooks``. The same sources make the same bytes.

A source is in jupytext's percent format. Two cells are made here: ``# %% first cell`` becomes the installation, out of
``notebook/bootstrap.py`` of the library, ``# %% help`` what to do when something goes wrong. The header's ``parts`` names
the components of the installer. Colab's badge and the first cell know the repository's address from pyproject.toml alone.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import hashlib
import json
import mimetypes
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "notebooks" / "src"
BOOTSTRAP = ROOT / "lib" / "framelane" / "notebook" / "bootstrap.py"
LANGUAGES = {"en": ROOT / "notebooks", "es": ROOT / "notebooks" / "es"}
MOST_CELLS = 10
Say = Callable[[str], str]

TITLE = "Install framelane"
ASKS = (
    "Left at automatic, framelane's wheel or zip is taken from this folder, from /content or from a Drive that is mounted; "
    "where there is none, you are asked for it."
)
CLONES = "Left at automatic, framelane comes from its repository. Drive and upload take a wheel or a zip of your own."
UPLOADED = "To open it in Google Colab, choose “Upload notebook” in its menu “File”."
HELP = "When something goes wrong"

_FORM = re.compile(r"#@title (?P<number>\d+\. )?(?P<title>.*?)(?P<rest> \{.*\})?$")
_TEXT = "#@markdown "
_PIECE = re.compile(r"(?P<mark>#+ |- |!\[)(?P<text>.*)", re.DOTALL)


def repository() -> str:
    """The address of the project, as pyproject.toml has it; empty as long as it lives nowhere."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["framelane"]["repository"])


def names() -> list[str]:
    """The notebooks' names, without their ending."""
    return sorted(path.stem for path in SOURCES.glob("*.py"))


def make(name: str, language: str = "en", address: str | None = None) -> str:
    """A notebook as its file holds it.

    Args:
        name: of the source.
        language: one of :data:`LANGUAGES`.
        address: of the repository; None reads it.
    """
    address = repository() if address is None else address
    with speaking(language) as say:
        return nbformat.writes(_notebook(name, language, address, say), version=4) + "\n"


def messages() -> Iterator[tuple[str, str]]:
    """Pairs of file and text: all that is translated here, in the notebooks' order. What ``_()`` holds is the library's."""
    for name in names():
        for address in ("", "https://github.com/a/b"):
            said: list[str] = []
            _notebook(name, "en", address, lambda text, said=said: said.append(text) or text, embedded=False)
            yield from ((f"{name}.py", text) for text in dict.fromkeys(said))


@contextlib.contextmanager
def speaking(language: str) -> Iterator[Say]:
    """The library speaks a language; gives its translator."""
    from framelane import i18n

    before = os.environ.get(i18n.VARIABLE)
    os.environ[i18n.VARIABLE] = language
    try:
        yield i18n.gettext
    finally:
        del os.environ[i18n.VARIABLE]
        if before is not None:
            os.environ[i18n.VARIABLE] = before


def _notebook(name: str, language: str, address: str, say: Say, embedded: bool = True) -> Any:
    """Build one; ``embedded`` is with the code of the first cell and the advice, whose texts are the library's."""
    source = jupytext.reads((SOURCES / f"{name}.py").read_text(encoding="utf-8"), fmt="py:percent")
    parts = source.metadata["framelane"]["parts"]
    cells = []
    for position, cell in enumerate(source.cells):
        if cell.metadata.get("title") == "first cell":
            code = _first_cell(parts, address, language, say, embedded)
            made = nbformat.v4.new_code_cell(code, metadata={"cellView": "form", "jupyter": {"source_hidden": True}})
        elif cell.metadata.get("title") == "help":
            made = nbformat.v4.new_markdown_cell(_advice(say, embedded))
        elif cell.cell_type == "markdown":
            badge = _badge(name, language, address, say) if position == 0 else ""
            made = nbformat.v4.new_markdown_cell(badge + markdown(cell.source, say))
        else:
            made = nbformat.v4.new_code_cell(form(cell.source, say), metadata={"cellView": "form"})
        made.id = made.metadata["id"] = hashlib.sha256(f"{name}:{position}".encode()).hexdigest()[:12]
        cells.append(made)
    if len(cells) > MOST_CELLS:
        raise SystemExit(f"{name} has {len(cells)} cells; at most {MOST_CELLS} are wanted.")
    found = nbformat.v4.new_notebook(cells=cells, metadata=_metadata(name))
    nbformat.validate(found)
    return found


def _metadata(name: str) -> dict[str, Any]:
    return {
        "accelerator": "GPU",
        "colab": {"gpuType": "T4", "name": f"{name}.ipynb", "provenance": []},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


# -- cells that are made here --------------------------------------------------------------------------------------------


def _badge(name: str, language: str, address: str, say: Say) -> str:
    """Colab opens notebooks of public GitHub repositories by their address."""
    hosted = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", address)
    if not hosted:
        return f"{say(UPLOADED)}\n\n"
    file = (LANGUAGES[language] / f"{name}.ipynb").relative_to(ROOT).as_posix()
    target = f"https://colab.research.google.com/github/{hosted[1]}/blob/main/{file}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({target})\n\n"


def _first_cell(parts: str, address: str, language: str, say: Say, embedded: bool) -> str:
    choices = ["automatic", *(["repository"] if address else []), "Drive", "upload"]
    lines = [
        f'#@title 1. {say(TITLE)} {{ display-mode: "form" }}',
        f"#@markdown {say(CLONES if address else ASKS)}",
        f'INSTALL_FROM = "automatic"  #@param {json.dumps(choices)}',
        *(["", *code_of(BOOTSTRAP.read_text(encoding="utf-8"), say), ""] if embedded else []),
        *([] if language == "en" else [f'os.environ.setdefault("FRAMELANE_LANG", "{language}")']),
        f'prepare(INSTALL_FROM, "{parts}", "{address}")',
    ]
    return "\n".join(lines)


def code_of(text: str, say: Say) -> list[str]:
    """A module as a cell holds it: no docstrings, comments and empty lines, imports on one line, ``_()`` said.

    Args:
        text: the module; only its own statements and ``import`` lines are kept.
        say: translates.
    """
    tree = ast.parse(text)
    lines = text.splitlines()
    for node in sorted(_calls(tree), key=lambda call: (call.lineno, call.col_offset), reverse=True):
        _put(lines, node, repr(say(ast.literal_eval(node.args[0]))))
    text = "\n".join(lines)
    tree, lines = ast.parse(text), text.splitlines()
    dropped = {
        number for node in ast.walk(tree) if _is_docstring(node) for number in range(node.lineno, node.end_lineno + 1)
    }
    imported = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    dropped |= {node.lineno for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    kept = [
        re.sub(r"  # (fmt|noqa|type).*$", "", line) for number, line in enumerate(lines, 1) if number not in dropped
    ]
    return [
        f"import {', '.join(imported)}",
        *(line for line in kept if line.strip() and not line.strip().startswith("# ")),
    ]


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            yield node


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _put(lines: list[str], node: ast.expr, text: str) -> None:
    """Replace an expression; its positions count bytes."""
    first = lines[node.lineno - 1].encode()[: node.col_offset].decode()
    last = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()  # type: ignore[operator]
    lines[node.lineno - 1 : node.end_lineno] = [first + text + last]


def _advice(say: Say, embedded: bool) -> str:
    from framelane.notebook import advice

    return f"## {say(HELP)}\n\n{advice.section() if embedded else ''}"


# -- texts ---------------------------------------------------------------------------------------------------------------


def markdown(text: str, say: Say) -> str:
    """A cell's text, its paragraphs, headings and points translated one by one, pictures put into it."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.startswith("```"):
            blocks.append(block)
            continue
        pieces = re.split(r"\n(?=- |#+ |!\[)", block)
        blocks.append("\n".join(_piece(re.sub(r"\s*\n\s*", " ", piece), say) for piece in pieces))
    return "\n\n".join(blocks)


def _piece(text: str, say: Say) -> str:
    found = _PIECE.fullmatch(text)
    if not found:
        return say(text)
    if found["mark"] == "![":
        alternative, path = found["text"].rstrip(")").split("](")
        return f"![{say(alternative)}]({_data(ROOT / path)})"
    return found["mark"] + say(found["text"])


def _data(path: Path) -> str:
    """A picture in the text itself: Colab shows neither attachments nor files beside a notebook (colabtools#3836)."""
    return f"data:{mimetypes.guess_type(path.name)[0]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def form(code: str, say: Say) -> str:
    """A cell of code: its title and the texts of its form translated; texts that go on are one line."""
    lines: list[str] = []
    for line in code.splitlines():
        if line.startswith(_TEXT) and lines and lines[-1].startswith(_TEXT):
            lines[-1] += line.removeprefix(_TEXT.rstrip())
        else:
            lines.append(line)
    return "\n".join(_form_line(line, say) for line in lines)


def _form_line(line: str, say: Say) -> str:
    if found := _FORM.fullmatch(line):
        return f"#@title {found['number'] or ''}{say(found['title'])}{found['rest'] or ''}"
    return _TEXT + say(line.removeprefix(_TEXT)) if line.startswith(_TEXT) else line


def main() -> None:
    """Write all of them, and take away what has no source any more."""
    sys.path.insert(0, str(ROOT / "lib"))
    for language, folder in LANGUAGES.items():
        folder.mkdir(exist_ok=True)
        for name in names():
            (folder / f"{name}.ipynb").write_text(make(name, language), encoding="utf-8")
        for path in folder.glob("*.ipynb"):
            if path.stem not in names():
                path.unlink()


if __name__ == "__main__":
    main()
