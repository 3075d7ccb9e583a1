"""The README says what is true."""

from __future__ import annotations

import re

from support.readme import BEGIN, END, PROFILES, README, profiles, table

TEXT = README.read_text(encoding="utf-8")


def test_the_settings_table_is_the_settings():
    assert TEXT.split(BEGIN)[1].split(END)[0].strip() == table()


def test_the_profile_table_is_the_profiles():
    assert TEXT.split(PROFILES[0])[1].split(PROFILES[1])[0].strip() == profiles()


def test_every_file_it_links_to_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", TEXT):
        path = next(filter(None, target))
        assert (README.parent / path).exists(), path


def test_the_two_commands_are_make_targets():
    makefile = (README.parent / "Makefile").read_text()
    for target in ("demo", "test", "prove", "bench"):
        assert f"make {target}" in TEXT
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
