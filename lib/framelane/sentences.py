"""Says a finished English sentence in another language, by the templates that it may have been made of.

The library writes f-strings where it knows what happened. A catalogue holds each as a template with ``{0}``, ``{1}`` for
what was put in. A sentence is matched against them, what stands in a placeholder is translated in its turn, and sentences
that were joined are taken apart. Of all ways to read a text, the one counts in which templates explain most letters. What
nothing explains stays as it is: half a sentence in English is better than none.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache

_PLACEHOLDER = re.compile(r"\{(\d+)\}")
_WORD = re.compile(r"[^\W\d_]{2,}")
# Where joined texts may be taken apart: after a sentence, and at what the library joins reasons with.
_JOINT = re.compile(r"(?<=[.!?]) (?=\S)|; |: |, | \(|\) ")
_WHOLE = re.compile(r"\S*[/\\]\S*|[\d.,:x% ]*")  # a path or a number: never words of ours
_LEAST_LETTERS = 3
_MOST_JOINTS = 14
_DEEPEST = 6

Reading = tuple[int, str]
"""How many letters of a text were explained by templates, and the translation."""


class Template:
    """A text of a catalogue with placeholders, ready to be matched.

    Args:
        source: the English, with ``{0}``, ``{1}``, ….
        target: its translation, with the same placeholders in any order.
    """

    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = source, target
        self.literal = _PLACEHOLDER.sub("", source)
        self.letters = sum(c.isalpha() for c in self.literal)
        self._pattern: re.Pattern[str] | None = None

    @property
    def words(self) -> list[str]:
        """Its whole words: those that no placeholder touches."""
        bare = re.sub(r"\S*\{\d+\}\S*", " ", self.source)
        # In a word that a placeholder touches through a mark alone, as in ``({0} frames``, only the rest counts.
        return [word.lower() for word in _WORD.findall(bare)]

    def match(self, text: str) -> dict[str, str] | None:
        """What stands in the placeholders, by number; None where the text is another one."""
        if self._pattern is None:
            self._pattern = re.compile(self._expression(), re.DOTALL)
        if text[0] in ",;:)" and self.source[0] == "{":
            return None  # the mark belongs to what stands before
        found = self._pattern.fullmatch(text)
        return {key[1:]: value for key, value in found.groupdict().items()} if found else None

    def _expression(self) -> str:
        parts, seen = [], set()
        for index, part in enumerate(_PLACEHOLDER.split(self.source)):
            if index % 2 == 0:
                parts.append(_either_case(part) if index == 0 else re.escape(part))
            elif part in seen:
                parts.append(f"(?P=p{part})")
            else:
                seen.add(part)
                parts.append(f"(?P<p{part}>.*?)")
        return "".join(parts)


def _either_case(text: str) -> str:
    """A pattern for a text whose first letter may be large or small: sentences go on after a colon."""
    if not text[:1].isalpha():
        return re.escape(text)
    return f"[{text[0].lower()}{text[0].upper()}]{re.escape(text[1:])}"


class Sentences:
    """All templates of a language.

    Args:
        catalogue: translations by English text.
    """

    def __init__(self, catalogue: Mapping[str, str]) -> None:
        bare = (_without_mark(source, target) for source, target in catalogue.items() if source and target)
        self._exact = dict(bare)
        self._by_word: dict[str, list[Template]] = defaultdict(list)
        templates = [Template(s, t) for s, t in self._exact.items() if _PLACEHOLDER.search(s)]
        templates = [template for template in templates if template.letters >= _LEAST_LETTERS]
        common = Counter(word for template in templates for word in set(template.words))
        for template in templates:
            # Filed under its rarest word alone, so that few are ever tried.
            word = min(template.words, key=lambda word: (common[word], -len(word)), default="")
            self._by_word[word].append(template)
        self.say = lru_cache(maxsize=2048)(self._say)

    def _say(self, text: str) -> str:
        """A text in the other language, as far as it is known."""
        bare = text.strip()
        if not bare:
            return text
        start = text.index(bare)
        return text[:start] + self._read(bare, 0, {})[1] + text[start + len(bare) :]

    def _read(self, text: str, depth: int, known: dict[str, Reading]) -> Reading:
        """The best reading of a text."""
        if text in known:
            return known[text]
        if not text or depth > _DEEPEST or (_WHOLE.fullmatch(text) and text not in self._exact):
            return 0, text
        best = self._one(text, depth, known)
        if best[0] < sum(c.isalpha() for c in text):
            for left, joint, right in _parts(text):
                first, second = self._one(left, depth, known), self._read(right, depth, known)
                if first[0] + second[0] > best[0]:
                    best = first[0] + second[0], first[1] + joint + second[1]
        known[text] = best
        return best

    def _one(self, text: str, depth: int, known: dict[str, Reading]) -> Reading:
        """The best reading of a text that is not taken apart."""
        for candidate, tail in ((text, ""), (text[:-1], text[-1:])) if text[-1:] in (".", ")") else ((text, ""),):
            if not candidate:
                break
            for source in (candidate, candidate[:1].swapcase() + candidate[1:]):
                if source in self._exact:
                    return len(_letters(source)), _same_case(candidate, source, self._exact[source]) + tail
            best = self._by_template(candidate, depth, known)
            if best:
                return best[0], best[1] + tail
        return 0, text

    def _by_template(self, text: str, depth: int, known: dict[str, Reading]) -> Reading | None:
        best: Reading | None = None
        for template in self._candidates(text):
            values = template.match(text)
            if values is None:
                continue
            read = {key: self._read(value, depth + 1, known) for key, value in values.items()}
            score = template.letters + sum(reading[0] for reading in read.values())
            if best is None or score > best[0]:
                said = _PLACEHOLDER.sub(lambda found: read.get(found[1], (0, found[0]))[1], template.target)  # noqa: B023
                best = score, _same_case(text, template.source, said)
        return best

    def _candidates(self, text: str) -> Iterator[Template]:
        for word in {word.lower() for word in _WORD.findall(text)}:
            yield from self._by_word.get(word, ())
        yield from self._by_word.get("", ())


def _without_mark(source: str, target: str) -> tuple[str, str]:
    """An ending such as ``; a library crashed``, without the mark that joins it: texts are taken apart there."""
    mark = source[:2]
    return (source[2:], target[2:]) if mark in ("; ", ", ", ": ") and target.startswith(mark) else (source, target)


def _parts(text: str) -> Iterator[tuple[str, str, str]]:
    """The ways to take a text apart in two, with what joins them."""
    for count, found in enumerate(_JOINT.finditer(text)):
        if count == _MOST_JOINTS:
            return
        if found.start() or found[0] in ("; ", ", ", ": "):
            yield text[: found.start()], found[0], text[found.end() :]


def _letters(text: str) -> str:
    return "".join(c for c in text if c.isalpha())


def _same_case(text: str, source: str, said: str) -> str:
    """A translation whose first letter is large or small as in the text, where the template's was otherwise."""
    if text[:1] != source[:1] and text[:1].lower() == source[:1].lower() and said[:1].isalpha():
        return said[:1].swapcase() + said[1:]
    return said
