"""The texts that people read, found in the sources, and the catalogues made of them: ``make messages``.

What counts as a text: whatever stands in ``_("...")``, and elsewhere in the library every string that reads like
prose. Its placeholders become ``{0}``, ``{1}``. A choice inside an f-string (``f"{'a' if x else 'b'} c"``) becomes one text
for each branch, so that translators see whole sentences. Left out are docstrings, markup, patterns, what is only compared
or used as a key, errors for programmers, and the files of :data:`SILENT`.
"""

from __future__ import annotations

import ast
import itertools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import polib

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "lib" / "framelane"
LOCALES = LIBRARY / "locales"
SILENT = (
    "bench/", "cli/", "i18n.py",  # the terminal's, not a notebook's
    "memory.py", "models/torch_compat.py", "jobs/sniff.py", "doctor/view.py", "jobs/plan_view.py",
)  # fmt: skip
PROGRAMMERS = {
    "ValueError", "TypeError", "KeyError", "IndexError", "AttributeError", "RuntimeError", "AssertionError",
    "NotImplementedError", "ImportError", "compile", "match", "fullmatch", "search", "sub", "findall", "TypeVar", "getattr",
    "warn_explicit", "filterwarnings", "startswith", "endswith", "removeprefix", "removesuffix", "replace", "split",
}  # fmt: skip
TRANSLATORS = {"_", "gettext", "text_of"}
MOST_BRANCHES = 12

# What reaches people through a variable: the system's and pydantic's own words, states, modes, and of the
# benchmarks what a notebook shows.
ELSEWHERE = (
    "No such file or directory", "Permission denied", "No space left on device", "Input/output error",
    "Transport endpoint is not connected", "Read-only file system", "Is a directory", "Not a directory", "File exists",
    "Connection refused", "Connection reset by peer", "Invalid data found when processing input",
    "it should be greater than or equal to {0}", "it should be less than or equal to {0}", "it should be greater than {0}",
    "it should be less than {0}", "it should be a valid integer", "it should be a valid number",
    "it should be a valid boolean", "it should be a valid string", "it should be a valid list",
    "it should be a valid boolean, unable to interpret input",
    "it should be a valid integer, unable to parse string as an integer",
    "it should be a valid number, unable to parse string as a number",
    "on the left", "ahead", "on the right", "danger", "safe", "distance unknown", "{0} m away",
    "{0} ({1}) must be below {2} ({3})", "{0} ({1}) must not be above {2} ({3})", "{0} ({1}) must be above {2} ({3})",
    "Video", "Sheet", "Table", "Report", "Time", "the {0} worst frames", "{0} s for {1} frames",
    "{0} is finished already; --restart does it again.", "Something unforeseen happened ({0}).",
    "Run the same command with --debug to see where.",
    "waiting", "running", "paused", "done", "failed", "skipped", "cancelled",
    "all", "every {0}nd", "every {0}rd", "every {0}th", "written", "read", "column", "row", "column and row", "sealed",
    "{0} for {1} s", ", {0} s left", "left alone: {0}", "report", "frames", "original", "signal {0}", "worker", "batch's",
    "There is no benchmark {0}; there are {1}.",
    "There is no ffmpeg command on this machine; what is compared with it is left out.",
    "Other processes kept up to {0} cores busy: the ratios of the clock are disturbed.",
)  # fmt: skip

# Names that stay as they are in every language: of classes, models, instruments.
NAMES = {
    "Power TOT", "DINOv2 ViT-S/14", "No module named pip", "height 720", "height 480", "height 360", "stride 2", "pace 0.7",
    "pace 0.4", "hair drier", "sports ball", "bold red", "No module named 'PyNvVideoCodec'", "ONNX Runtime",
    "framelane batch", "is smaller than requested bytes of", "10 bit encode not supported",
    "profile: {0}  # under which it was measured", "row wrap", "0 0 0.8em 0.8em", "fl fl-card",
}  # fmt: skip

_WORD = re.compile(r"[^\W\d_]{2,}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_CODE = re.compile(
    r"</?[a-z]+[ >/]|^[\s.#@]*[\w-]+\s*\{[^{}]*:[^{}]*;|<\?xpacket|var\(--"  # markup
    r"|^!\w|^--?[a-z-]+$|^\.\w+( \.\w+)+|^[\w.]+\(|\\[dw.(]|\(\?:|\w\||stopgrad|^# |^const "  # code, patterns, comments
)


def reads_like_prose(text: str) -> bool:
    """Whether a string is for people: at least two words beside its placeholders, and no markup."""
    bare = _PLACEHOLDER.sub(" ", text)
    words = _WORD.findall(bare)
    said = (len(words) >= 2 and " " in text.strip()) or (
        len(words) == 1 and re.fullmatch(r"[A-Z][a-z]+(: \{0\})?\.", text)
    )
    return bool(said) and not _CODE.search(text) and text.strip() not in NAMES


def found() -> dict[str, list[str]]:
    """Every text, with the files that say it, in a fixed order."""
    texts: dict[str, list[str]] = {text: ["(elsewhere)"] for text in ELSEWHERE}
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY).as_posix()
        if not name.startswith(SILENT):
            for text in _of_file(path):
                places = texts.setdefault(text, [])
                if name not in places:
                    places.append(name)
    for name, text in (*_of_notebooks(), *_of_configs()):
        texts.setdefault(text, []).append(name)
    return texts


def _of_file(path: Path) -> Iterator[str]:
    # What the catalogue of models says of its own fields is for who edits it.
    reader = _Reader({*PROGRAMMERS, "Field"} if path.name == "catalog.py" else PROGRAMMERS)
    reader.visit(ast.parse(path.read_text(encoding="utf-8")))
    yield from reader.texts


def _of_notebooks() -> Iterator[tuple[str, str]]:
    """What the generator of the notebooks asks to be translated, where there is one."""
    build = ROOT / "notebooks" / "build.py"
    if not build.exists() or "def messages" not in build.read_text(encoding="utf-8"):
        return
    sys.path.insert(0, str(build.parent))
    try:
        import build as generator

        yield from ((f"notebooks/{name}", text) for name, text in generator.messages())
    finally:
        sys.path.remove(str(build.parent))


def _of_configs() -> Iterator[tuple[str, str]]:
    """What modes and profiles say of themselves, as the picker shows it."""
    from framelane.notebook.modes import messages

    yield from messages()


class _Reader(ast.NodeVisitor):
    """Walks a module and keeps its texts."""

    def __init__(self, skipped: set[str]) -> None:
        self.texts: list[str] = []
        self.skipped = skipped

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # else a docstring
            self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        return

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        if isinstance(node.value, ast.Dict):
            return

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        # The classes of COCO are what settings call them.
        if node.value and getattr(node.target, "id", "") != "COCO_NAMES":
            self.visit(node.value)

    def visit_Dict(self, node: ast.Dict) -> None:
        for value in node.values:
            self.visit(value)

    def visit_Call(self, node: ast.Call) -> None:
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in TRANSLATORS:
            for text in _templates(node.args[0]) if node.args else ():
                self.texts.append(text)
            return
        if name in self.skipped:
            if isinstance(node.func, ast.Attribute):
                self.visit(node.func.value)
            return
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._take(node) if _templates(node) else self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._take(node)
        for value in node.values:
            if isinstance(value, ast.FormattedValue) and not _is_choice(value.value):
                self.visit(value.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._take(node)

    def _take(self, node: ast.expr) -> None:
        for text in _templates(node):
            if reads_like_prose(text):
                self.texts.append(text.strip())


def _is_choice(node: ast.expr) -> bool:
    return isinstance(node, ast.IfExp) and bool(_templates(node.body)) and bool(_templates(node.orelse))


def _templates(node: ast.expr) -> list[str]:
    """The texts that an expression can be, with numbered placeholders; none where it is no text."""
    return [_numbered(parts) for parts in _alternatives(node)]


def _alternatives(node: ast.expr) -> list[tuple[str | None, ...]]:
    """The texts that an expression can be, as parts of which None is a placeholder."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        # '{:.0f}' of str.format counts as a placeholder, too; named ones stay as they are.
        pieces = re.split(r"\{(?:\d*|\d*[:!][^{}]*)\}", node.value)
        return [tuple(x for piece in pieces for x in (None, piece))[1:]]
    if isinstance(node, ast.IfExp):
        return [*_alternatives(node.body), *_alternatives(node.orelse)] if _both(node) else []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _alternatives(node.left), _alternatives(node.right)
        return [a + b for a, b in itertools.product(left, right)][:MOST_BRANCHES]
    if not isinstance(node, ast.JoinedStr):
        return []
    options: list[list[tuple[str | None, ...]]] = []
    for value in node.values:
        if isinstance(value, ast.FormattedValue):
            options.append(_alternatives(value.value) if _both(value.value) else [(None,)])
        else:
            options.append([(str(value.value),)])  # type: ignore[attr-defined]
    count = 1
    for choice in options:
        count *= len(choice)
    if count > MOST_BRANCHES:
        options = [choice if len(choice) == 1 else [(None,)] for choice in options]
    return [tuple(itertools.chain.from_iterable(parts)) for parts in itertools.product(*options)]


def _both(node: ast.expr) -> bool:
    return isinstance(node, ast.IfExp) and bool(_alternatives(node.body)) and bool(_alternatives(node.orelse))


def _numbered(parts: tuple[str | None, ...]) -> str:
    count = itertools.count()
    return "".join(f"{{{next(count)}}}" if part is None else part for part in parts)


# -- what is shown without being translated --------------------------------------------------------------------------------

_SHOWN = {
    "description",
    "tooltip",
    "description_tooltip",
    "placeholder",
    "title",
    "aria_label",
    "options",
    "value",
    "label",
}
_BETWEEN_TAGS = re.compile(r">([^<>{}]*[^\W\d_]{3,}[^<>{}]*)<|(?:title|alt|aria-label)=[\"']([^\"'{}]*[^\W\d_]{3,})")


def untranslated(source: str) -> list[str]:
    """Texts of a module of widgets that would be shown in English: given to a widget, or between tags, without ``_()``."""
    found: list[str] = []
    for node in _outside_translators(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg in _SHOWN:
            found += [text for text in _plain_texts(node.value) if _shown_as_words(text)]
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            for text in _templates(node):
                found += [(a or b).strip() for a, b in _BETWEEN_TAGS.findall(text)]
    return sorted(set(found))


def _shown_as_words(text: str) -> bool:
    return bool(re.match(r"[A-Z][a-z]{2,}", text) or reads_like_prose(text))


def _plain_texts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.List | ast.Tuple):
        return [text for part in node.elts for text in _plain_texts(part)]
    return _templates(node)


def _outside_translators(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below a call that translates, docstrings and errors that are raised."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        called = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
        if called in TRANSLATORS | {"sentence"} or isinstance(node, ast.Raise):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


# -- catalogues ----------------------------------------------------------------------------------------------------------


def catalogue(language: str) -> Path:
    """The source of a language's catalogue."""
    return LOCALES / language / "LC_MESSAGES" / "framelane.po"


def update(language: str) -> polib.POFile:
    """A catalogue with the texts of now: new ones empty; what nobody says any more is kept aside for when it comes back."""
    path = catalogue(language)
    old = polib.pofile(str(path), wrapwidth=120)
    known = {entry.msgid: entry.msgstr for entry in old}
    fresh = polib.POFile(wrapwidth=120)
    fresh.header, fresh.metadata = old.header, old.metadata
    for text, places in found().items():
        fresh.append(polib.POEntry(msgid=text, msgstr=known.get(text, ""), comment=", ".join(places)))
    said = {entry.msgid for entry in fresh}
    for text in sorted(text for text, translation in known.items() if translation and text not in said):
        fresh.append(polib.POEntry(msgid=text, msgstr=known[text], obsolete=True))
    return fresh


def compiled(po: polib.POFile) -> bytes:
    """The catalogue as gettext reads it; the same bytes for the same catalogue."""
    return bytes(po.to_binary())


def main() -> None:
    """Bring every catalogue up to date, build it, and say what has no translation."""
    for path in sorted(LOCALES.glob("*/LC_MESSAGES/*.po")):
        po = update(path.parent.parent.name)
        po.save(str(path))
        path.with_suffix(".mo").write_bytes(compiled(po))
        missing = [entry.msgid for entry in po.untranslated_entries()]
        print(
            f"{path.relative_to(ROOT)}: {len(po) - len(po.obsolete_entries())} texts, {len(missing)} without a translation"
        )
        for text in missing:
            print(f"  {text!r}")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
