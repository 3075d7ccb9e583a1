"""The real notebook in a browser, step by step as somebody goes through it, in either language."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat

from framelane.i18n import gettext as _
from support.batches import cut
from support.browser import PATIENCE_MS, ROOT, Lab, open_notebook, picture, run_cell
from support.clips import WALKER

BOOK = "01_attention.ipynb"
_PATIENCE_MS = 4 * PATIENCE_MS  # planning measures, and a machine may be busy
RUN = 1
"""Which code cell of the notebook is the one that runs."""


def clips(folder: Path, *seconds: float, height: int = 270) -> None:
    """Cuts of the walker, ``1.mp4`` and on, so many seconds long; ``x.mp4`` is broken."""
    for number, length in enumerate(seconds, 1):
        cut(folder / f"{number}.mp4", WALKER, seconds=length, height=height)
    (folder / "x.mp4").write_bytes(b"no video")


def book(folder: Path, language: str, name: str = BOOK, **form: str) -> str:
    """A notebook as it ships, in a language, with values of its form filled in."""
    place = ROOT / "notebooks" / ("" if language == "en" else language)
    read = nbformat.read(place / name, as_version=4)
    for key, value in form.items():
        line = re.compile(rf'^{key} = "[^"]*"', re.M)
        for cell in read.cells:
            if cell.cell_type == "code":
                cell.source = line.sub(f'{key} = "{value}"', cell.source)
    nbformat.write(read, folder / name)
    return name


_FOCUSED = """() => {
  const e = document.activeElement;
  const own = e.matches('button, a, summary') ? e.textContent : '';
  const name = (e.getAttribute('aria-label') || own || [...(e.labels || [])].map(l => l.textContent).join(' ')
                || e.title || '').trim();
  const style = getComputedStyle(e), ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  const now = [style.boxShadow, style.borderColor, style.backgroundColor].join();
  let seen = ring || e.localName === 'video';  // its own controls have the focus, one after the other
  if (!seen) {  // else by what changes with the focus
    e.blur(); const then = [style.boxShadow, style.borderColor, style.backgroundColor].join(); e.focus();
    seen = now !== then;
  }
  return {name, seen, ours: !!e.closest('.jp-OutputArea')};
}"""


class Tour:
    """Somebody in front of a notebook.

    Args:
        server: JupyterLab.
        page: of the browser.
        name: of the pictures that are kept.
        cell: which code cell is the one that runs.
    """

    def __init__(self, server: Lab, page: Any, name: str, cell: int = RUN) -> None:
        self.server, self.page, self.name, self.cell = server, page, name, cell
        self.clicks = 0
        page.set_default_timeout(_PATIENCE_MS)

    @property
    def output(self) -> Any:
        """What stands below the cell that runs."""
        return self.page.locator(".jp-CodeCell").nth(self.cell).locator(".jp-Cell-outputArea")

    def keep(self, step: str) -> Path:
        """A picture of the page at a step, from the top of what the cell shows last."""
        self.output.locator(".jp-OutputArea-child:has(.widget-vbox)").last.evaluate("e => e.scrollIntoView()")
        return picture(self.page, f"{self.name}-{step}")

    def open(self, book: str = BOOK) -> None:
        """Open the notebook."""
        open_notebook(self.server, self.page, book)

    def run_all(self) -> None:
        """Run all cells, by the menu."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        label = self.page.locator(".lm-Menu-itemLabel, .p-Menu-itemLabel")
        label.filter(has_text=re.compile("^Run All Cells$")).last.click()
        self.clicks += 2

    def run_again(self) -> None:
        """Run the cell that runs once more."""
        run_cell(self.page, self.cell)
        self.clicks += 1

    def press(self, name: str) -> None:
        """Click a button by what it says."""
        self.button(name).click()
        self.clicks += 1

    def button(self, name: str) -> Any:
        """The last button that says so; what was run before stays above it."""
        # Not by role and name: the glyph of an icon is part of a button's name.
        return self.output.locator("button", has_text=re.compile(rf"^\s*{re.escape(name)}\s*$")).last

    def tab_to(self, name: re.Pattern[str], *, back: bool = False) -> dict[str, Any]:
        """Press Tab until what is called so has the focus; from the cell's editor JupyterLab leaves by Escape."""
        for _step in range(400):
            here = dict(self.page.evaluate(_FOCUSED))
            if here["ours"] and name.search(here["name"]):
                return here
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
        raise AssertionError(f"Tab does not come to {name.pattern}; it stands at {here}")

    def walk(self) -> tuple[list[str], list[str]]:
        """The names of all controls of the output, by Tab from its first, and those whose focus is not seen."""
        first = "e => [...e.querySelectorAll('button, select, input')].find(e => e.checkVisibility()).focus()"
        self.output.evaluate(first)
        self.page.keyboard.press("Shift+Tab")
        self.page.keyboard.press("Tab")
        names, unseen = [], []
        for _step in range(400):
            here = self.page.evaluate(_FOCUSED)
            if not here["ours"]:
                return names, unseen
            names.append(here["name"])
            unseen += [] if here["seen"] else [here["name"]]
            self.page.keyboard.press("Tab")
        raise AssertionError("Tab does not come out of the output again")

    def sees(self, text: str | re.Pattern[str]) -> Any:
        """Wait until a text is seen."""
        found = self.output.get_by_text(text).last
        found.wait_for()
        return found

    def frame(self) -> int:
        """The frame that the dashboard is at; waits for one."""
        said = self.sees(pattern(_("frame {frame} of {frames}"))).inner_text()
        return int(re.search(r"\d+", said)[0])  # type: ignore[index]

    def moves(self) -> None:
        """The bar moves, and so does a chart."""
        first, drawn = self.frame(), self.chart()
        for _step in range(_PATIENCE_MS // 250):
            if self.frame() > first and self.chart() != drawn:
                return
            self.page.wait_for_timeout(250)
        raise AssertionError(f"the bar stands at frame {first}, or the chart does not move")

    def beyond(self, frame: int) -> None:
        """Wait until the dashboard is beyond a frame."""
        for _step in range(_PATIENCE_MS // 250):
            if self.frame() > frame:
                return
            self.page.wait_for_timeout(250)
        raise AssertionError(f"it does not come to frame {frame}")

    def chart(self) -> str:
        """The curves, as drawn."""
        return str(self.output.locator(".fl-charts").last.inner_html())


def pattern(message: str) -> re.Pattern[str]:
    """A message with places, as what matches it filled in."""
    return re.compile(re.sub(r"\\\{\w+\\\}", r"\\S+", re.escape(message)))
