"""The README says what is true."""

from __future__ import annotations

import re

import pytest

from framelane import i18n
from support.readme import ADVICE, BEGIN, END, PROFILES, README, READMES, advice, profiles, table

TEXT = README.read_text(encoding="utf-8")
TRANSLATIONS = [language for language in READMES if language != "en"]


@pytest.fixture(params=READMES)
def language(request):
    return request.param


@pytest.fixture
def text(language):
    return READMES[language].read_text(encoding="utf-8")


def test_there_is_a_readme_in_every_language():
    assert set(READMES) == set(i18n.LANGUAGES)


def test_the_settings_table_is_the_settings(language, text):
    assert text.split(BEGIN)[1].split(END)[0].strip() == table(language)


def test_the_profile_table_is_the_profiles(language, text):
    assert text.split(PROFILES[0])[1].split(PROFILES[1])[0].strip() == profiles(language)


def test_what_to_do_is_what_the_notebooks_say(language, text):
    assert text.split(ADVICE[0])[1].split(ADVICE[1])[0].strip() == advice(language)


def test_every_file_it_links_to_exists(text):
    for target in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", text):
        path = next(filter(None, target))
        assert (README.parent / path).exists(), path


def test_the_two_commands_are_make_targets(text):
    makefile = (README.parent / "Makefile").read_text()
    for target in ("demo", "test", "prove", "bench"):
        assert f"make {target}" in text
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def _skeleton(text: str) -> dict[str, list[str]]:
    """What no translation changes: levels of headings, commands, names in code, links, tables, figures."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for begin, end in ((BEGIN, END), PROFILES, ADVICE):
        prose = prose.split(begin)[0] + prose.split(end)[1]
    prose = prose.split("\n", 4)[4]  # below the title and the line of languages
    names = re.findall(r"`([^`]+)`", prose)
    plain = re.sub(r"`[^`]+`|\]\([^)]*\)", " ", prose)
    return {
        "headings": re.findall(r"^(#+) ", prose, re.MULTILINE),
        "code": [f"{kind}: {line.split('  #')[0].rstrip()}" for kind, code in blocks for line in code.splitlines()],
        "names": sorted(names),
        "links": sorted(re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", prose)),
        "rows": [line.count("|") for line in prose.splitlines() if line.startswith("|")],
        "points": re.findall(r"^(- \*\*|- )", prose, re.MULTILINE),
        "figures": sorted(re.findall(r"(?<![\w.])\d+(?:[.,×x/]\d+)*", plain), key=str),
    }


@pytest.mark.parametrize("part", ["headings", "code", "names", "links", "rows", "points", "figures"])
@pytest.mark.parametrize("other", TRANSLATIONS)
def test_a_translation_says_the_same(other, part):
    theirs = READMES[other].read_text(encoding="utf-8")
    assert _skeleton(theirs)[part] == _skeleton(TEXT)[part]
