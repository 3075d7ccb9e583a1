"""The pieces of HTML: nothing that is put in becomes markup, and both colours of a badge can be told apart."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framelane.notebook import markup
from framelane.notebook.markup import BADGES, Html, badge, bar, card, copyable, facts, line, name, notice, table, text

HOSTILE = "<img src=x onerror=alert(1)> \"' &amp; \u202e \udcff"


class Seen(HTMLParser):
    """The tags, the attributes' names and the text of a piece."""

    def __init__(self, piece):
        super().__init__(convert_charrefs=True)
        self.tags, self.words, self.open, self.attributes = [], [], [], {}
        self.feed(piece)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        for key, value in attrs:
            self.attributes.setdefault(key, []).append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


PIECES = {
    "line": line,
    "name": name,
    "card": lambda t: card(t, t, chosen=True, foot=t),
    "bar": lambda t: bar(0.4, t, state="failed"),
    "table": lambda t: table([t], [[t]], caption=t),
    "facts": lambda t: facts({t: t}),
    "notice": lambda t: notice(t, "error"),
    "badge": badge,
    "copyable": lambda t: copyable(t, t),
}


@pytest.mark.parametrize("kind", sorted(PIECES))
@given(st.text(min_size=1) | st.just(HOSTILE))
def test_no_text_becomes_markup(kind, value):
    plain, seen = Seen(PIECES[kind]("x")), Seen(PIECES[kind](value))
    assert seen.tags == plain.tags
    assert sorted(seen.attributes) == sorted(plain.attributes)
    assert seen.attributes.get("onclick") == plain.attributes.get("onclick")
    assert not seen.open
    PIECES[kind](value).encode("utf-8")  # a lone surrogate cannot be sent to a browser


def test_a_command_line_can_be_read_back_from_its_piece():
    assert "framelane batch 'a b' <c>" in Seen(copyable("framelane batch 'a b' <c>", "x")).words


def test_html_stays_as_it_is():
    assert text(Html("<b>x</b>")) == "<b>x</b>"
    assert "<b>x</b>" in card("t", Html("<b>x</b>"))


def _light(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(p * w for p, w in zip(parts, (0.2126, 0.7152, 0.0722), strict=True))


def test_badges_can_be_read_and_differ_without_hue():
    for ink, ground in BADGES.values():
        pale, dark = sorted((_light(ink), _light(ground)), reverse=True)
        assert (pale + 0.05) / (dark + 0.05) >= 4.5
    seen = [("".join(Seen(badge(state)).words)) for state in BADGES]
    assert len({words.split()[0] for words in seen}) == len(BADGES)  # the sign


def test_every_state_of_jobs_and_plans_has_a_badge():
    from framelane.jobs.plan import State
    from framelane.jobs.state import STATES

    for state in [*STATES, *State]:
        assert f"fl-b-{markup._known(str(state))}" in badge(state)
        assert str(state) in badge(state)


def test_a_bar_says_its_share_to_screen_readers():
    seen = Seen(bar(1.7, Html("<b>7</b> of 9")))
    assert seen.attributes["aria-valuenow"] == ["100"]
    assert seen.attributes["aria-label"] == ["7 of 9"]
    assert "aria-valuenow" not in Seen(bar(None, "x")).attributes
