"""A tour through the real notebook in a real browser: Colab's kernel and today's, English and Spanish.

Nothing is replaced: the notebook as it ships, the real processor with its real model, on short cuts of a demo clip.
"""

from __future__ import annotations

import os

import pytest

from framelane.i18n import gettext as _
from support.accessible import nameless, pale, reached_by_tab
from support.batches import TESTS, workplace  # noqa: F401
from support.browser import ROOT, browser, environment, lab
from support.tour import Tour, book, clips, pattern


@pytest.fixture
def here(workplace, monkeypatch):  # noqa: F811
    """A folder for the notebook; kernels and their workers see this checkout, whatever their environment knows."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'lib'}{os.pathsep}{TESTS}")
    return workplace


@pytest.mark.slow
@pytest.mark.parametrize(("name", "language", "scheme"), [
    ("lab4", "en", "light"), ("lab3", "en", "light"), ("lab4", "es", "dark"), ("lab3", "es", "light"),
])  # fmt: skip
def test_the_tour(name, language, scheme, here, monkeypatch):
    env = environment(name)
    monkeypatch.setenv("FRAMELANE_LANG", language)
    clips(here / "in", 1, 4)
    with lab(env, here, FRAMELANE_LANG=language) as server, browser(server, language, scheme) as page:
        book(here, language, INPUT="in", OUTPUT="out", MODE="balanced")
        tour = Tour(server, page, f"tour-{name}-{language}")
        tour.open()
        tour.run_all()
        _pick(tour)
        _accept(tour)
        tour.moves()
        assert nameless(tour.output) == []
        assert pale(tour.output) == []
        tour.keep("dashboard")
        tour.sees(pattern(_("{job} is done: {frames} frames in {time}.")))
        tour.frame()
        tour.press(_("Cancel"))
        tour.sees(pattern(_("Run the cell again to go on where it stopped.")))
        tour.keep("cancelled")
        _goes_on(tour)
        _looks(tour)
        assert server.outside == []
    assert (here / "out" / "2.mp4").exists()


def _pick(tour):
    tour.sees(pattern(_("It starts in {seconds} s with what it shows. Touch any control, and it waits.")))
    tour.keep("counting")
    tour.press(_("Take {mode}").format(mode=_("Fast")))
    tour.sees(_("It waits for you: press {start}.").format(start=_("Start")))
    tour.output.locator("code").get_by_text("--mode fast").wait_for()
    assert nameless(tour.output) == []
    assert pale(tour.output) == []
    tour.keep("picked")
    tour.press(_("Start"))


def _accept(tour):
    tour.sees(_("The plan"))
    tour.button(_("Accept")).wait_for()
    assert nameless(tour.output) == []
    assert pale(tour.output) == []
    tour.keep("plan")
    tour.press(_("Accept"))


def _goes_on(tour):
    tour.run_again()
    tour.press(_("Start"))
    tour.press(_("Accept"))
    tour.frame()
    tour.keep("again")


def _looks(tour):
    tour.button(_("Try the failed clips again")).wait_for()
    tour.keep("gallery")
    pair = tour.output.locator(".fl-pair i").last
    before = pair.bounding_box()["x"]
    handle = tour.output.get_by_role("slider").last
    handle.focus()
    for _step in range(10):
        tour.page.keyboard.press("ArrowRight")
    for _step in range(40):
        if pair.bounding_box()["x"] > before:
            break
        tour.page.wait_for_timeout(250)
    assert pair.bounding_box()["x"] > before
    assert nameless(tour.output) == []
    assert pale(tour.output) == []
    tour.press(_("Try the failed clips again"))
    tour.keep("retried")
