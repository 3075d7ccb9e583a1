"""A tour through the real notebook in a real browser: Colab's kernel and today's, English and Spanish.

Nothing is replaced: the notebook as it ships, the real processor with its real model, on short cuts of a demo clip.
"""

from __future__ import annotations

import os
import re
import time

import pytest

from framelane.i18n import gettext as _
from framelane.notebook.markup import state_word
from support.accessible import nameless, pale
from support.batches import TESTS, workplace  # noqa: F401
from support.browser import ROOT, browser, environment, lab
from support.tour import BOOK, Tour, book, clips, pattern


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
        book(here, language, BOOK, INPUT="in", OUTPUT="out", MODE="balanced")
        tour = Tour(server, page, f"tour-{name}-{language}")
        tour.open()
        tour.run_all()
        _pick(tour)
        _accept(tour)
        tour.moves()
        _usable(tour)
        tour.keep("dashboard")
        tour.sees(pattern(_("{job} is done: {frames} frames in {seconds} s.")))
        tour.frame()
        tour.press(_("Cancel"))
        tour.sees(pattern(_("Run the cell again to go on where it stopped.")))
        tour.keep("cancelled")
        _goes_on(tour)
        _looks(tour)
        assert server.outside == []
    assert (here / "out" / "2.mp4").exists()


def _usable(tour):
    """Of what is ours: the prompt beside an output is JupyterLab's own."""
    for shown in tour.output.locator(".jp-OutputArea-output").all():
        assert nameless(shown) == []
        assert pale(shown) == []


def _pick(tour):
    tour.sees(pattern(_("It starts in {seconds} s with what it shows. Touch any control, and it waits.")))
    tour.keep("counting")
    tour.press(_("Take {mode}").format(mode=_("Fast")))
    tour.sees(_("It waits for you: press {start}.").format(start=_("Start")))
    tour.output.locator("code").get_by_text("--mode fast").wait_for()
    _usable(tour)
    tour.keep("picked")
    tour.press(_("Start"))


def _accept(tour):
    tour.sees(_("The plan"))
    tour.button(_("Accept")).wait_for()
    _usable(tour)
    tour.keep("plan")
    tour.press(_("Accept"))


def _goes_on(tour):
    """It begins with what was picked, not with what the form says, and what is done is left as it is."""
    tour.run_again()
    tour.output.locator("code").get_by_text("--mode fast").last.wait_for()
    tour.press(_("Start"))
    tour.press(_("Accept"))
    tour.frame()
    tour.keep("again")
    badge = tour.output.locator(".fl-badge").filter(has_text=f"1 {state_word('skipped')}")
    assert badge.count() == 2, badge.all_inner_texts()


def _looks(tour):
    tour.button(_("Try the failed clips again")).wait_for()
    tour.keep("gallery")
    line = tour.output.locator(".fl-pair i").last
    before = line.bounding_box()["x"]
    slider = tour.output.get_by_role("slider", name=_("Before ← → after (%)")).last
    slider.focus()
    for _step in range(10):
        tour.page.keyboard.press("ArrowRight")
    assert line.bounding_box()["x"] > before
    _usable(tour)
    tour.press(_("Try the failed clips again"))
    tour.output.locator(".fl-n-error, .fl-found").last.wait_for()
    ended = tour.output.get_by_role("button", name=_("Pause")).last
    for _step in range(240):
        if ended.is_disabled() and tour.button(_("Try the failed clips again")).is_enabled():
            break
        tour.page.wait_for_timeout(250)
    tour.keep("retried")


# JupyterLab 3's own editor, which stands before the output, keeps Tab for itself, after Escape too: nobody comes past it.
_TRAPPED = pytest.mark.xfail(reason="JupyterLab 3's editor keeps Tab for itself", raises=AssertionError, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lab4", pytest.param("lab3", marks=_TRAPPED)])
def test_the_keyboard_alone_is_enough(name, here):
    """From the folder's cell to the first frames and to the end of the batch, without the mouse; the focus is seen."""
    env = environment(name)
    clips(here / "in", 1)
    with lab(env, here, FRAMELANE_LANG="en") as server, browser(server) as page:
        cell = 'from framelane import notebook\nnotebook.run("attention", input="in", output="out")'
        tour = Tour(server, page, f"keys-{name}", cell=0)
        tour.open(server.write("keys.ipynb", cell))
        page.keyboard.press("Control+Enter")  # the first cell is the chosen one
        tour.sees("Touch any control, and it waits.")
        focused = tour.tab_to(re.compile("^.?Wait$"))
        assert focused["seen"], "the focus is not seen"
        page.keyboard.press("Space")
        tour.sees("It waits for you: press Start.")
        tour.tab_to(re.compile("^Take Fast$"))
        page.keyboard.press("Enter")
        tour.output.locator("code").get_by_text("--mode fast").wait_for()
        tour.tab_to(re.compile("^Profile$"))
        page.keyboard.press("ArrowDown")
        tour.output.locator("code").get_by_text("--profile").wait_for()
        page.keyboard.press("ArrowUp")
        tour.tab_to(re.compile("All settings"))
        page.keyboard.press("Enter")
        tour.sees("▾ All settings")
        tour.keep("settings")
        names, unseen = tour.walk()
        assert {"What to do", "Take Balanced", "Take Quality", "Profile", "Clips", "Results go to", "Copy"} <= set(
            names
        )
        assert "" not in names
        assert unseen == []
        tour.tab_to(re.compile("^.?Start$"), back=True)
        page.keyboard.press("Enter")
        tour.button("Accept").wait_for()
        tour.tab_to(re.compile("^.?Accept$"))
        page.keyboard.press("Space")
        tour.sees(pattern("{job} is done: {frames} frames in {seconds} s."))
        tour.tab_to(re.compile(r"^Before ← → after \(%\)$"))
        before = tour.output.locator(".fl-pair i").bounding_box()["x"]
        page.keyboard.press("ArrowRight")
        assert tour.output.locator(".fl-pair i").bounding_box()["x"] > before
        assert server.outside == []


@pytest.mark.slow
def test_a_newcomer_comes_to_a_first_result_by_run_all(here):
    """From opening 00_setup to the first result: "Run all", and nothing else is touched. Prints clicks and time."""
    with lab(environment("lab4"), here, FRAMELANE_LANG="en") as server, browser(server) as page:
        begun = time.monotonic()
        name = book(here, "en", "00_setup.ipynb")
        tour = Tour(server, page, "newcomer", cell=2)
        tour.open(name)
        tour.run_all()
        first = tour.output.locator(".fl-found img").first
        first.wait_for(timeout=480_000)
        took = time.monotonic() - begun
        tour.keep("result")
        print(f"\\n  from opening 00_setup to the first result: {tour.clicks} clicks, {took / 60:.1f} minutes")
        assert tour.clicks == 2
        assert server.outside == []
