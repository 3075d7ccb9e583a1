"""A tree of folders to pick one from: each is looked at when it is opened, for on Drive a look takes its time.

All of it is one list box: it can be walked with the arrow keys, and thousands of folders cost one widget. Names are shown
on one line whatever they hold, and go to the browser as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.jobs.plan_view import shown
from framelane.notebook.controls import LABEL, WIDE, button, html
from framelane.notebook.folders import Listing, folders
from framelane.notebook.markup import box, join, line, name, notice

MOST_ROWS = 2000
_LONGEST = 80  # letters of a name; its end, with what tells it from its neighbours, stays
_INDENT = "\u2003"


class FolderTree:
    """The tree.

    Args:
        places: where it begins.
        picked: is given the folder that somebody picks.
        touched: is called when somebody does anything at all.
        look: lists a folder.

    Attributes:
        widget: what to show.
        picked_folder: what was picked last, or None.
    """

    def __init__(
        self,
        places: Sequence[Path],
        picked: Callable[[Path], None] = lambda _path: None,
        touched: Callable[[], None] = lambda: None,
        look: Callable[[Path], Listing] = folders,
    ) -> None:
        self._picked, self._touched, self._look = picked, touched, look
        self.places = list(places)
        self._open: dict[Path, Listing] = {}
        self._rows: list[tuple[str, Path | None]] = []
        self.picked_folder: Path | None = None
        self._quiet = False
        self._list = w.Select(
            options=[], rows=10, description=_("Folders"), layout=w.Layout(width="100%", max_width=WIDE),
            style={"description_width": LABEL},
        )  # fmt: skip
        self._list.observe(self._heard, names="index")
        self._toggle = button(_("Open folder"), self.toggle, about=_("Show or hide the folders inside the picked one"))
        self._again = button(_("Look again"), self.refresh, about=_("Look at the opened folders again"), icon="refresh")
        self._about = html()
        self.widget = w.VBox([self._list, w.HBox([self._toggle, self._again]), self._about])
        self._paint()

    # -- what can be done --------------------------------------------------------------------------------------------

    def pick(self, folder: Path) -> None:
        """Pick a folder that is shown, and say what is in it."""
        self.picked_folder = folder
        self._paint()
        self._say(self._open.get(folder) or self._look(folder))
        self._picked(folder)

    def toggle(self) -> None:
        """Show what is in the picked folder, or hide it."""
        self._touched()
        folder = self.picked_folder
        if folder is None:
            return
        if folder in self._open:
            self._close(folder)
        else:
            self._open[folder] = self._look(folder)
            self._say(self._open[folder])
        self._paint()

    def refresh(self) -> None:
        """Look at all opened folders again."""
        self._touched()
        self._open = {folder: self._look(folder) for folder in self._open}
        if self.picked_folder is not None:
            self._say(self._open.get(self.picked_folder) or self._look(self.picked_folder))
        self._paint()

    def begin_at(self, places: Sequence[Path]) -> None:
        """Begin the tree elsewhere, for example where Drive was mounted meanwhile."""
        self.places = list(places)
        self._paint()

    def rows(self) -> list[tuple[str, Path | None]]:
        """The labels and their folders, as shown; a label without a folder says what was left out."""
        return list(self._rows)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _close(self, folder: Path) -> None:
        for opened in [path for path in self._open if path == folder or folder in path.parents]:
            del self._open[opened]

    def _heard(self, change: Any) -> None:
        if self._quiet:
            return
        self._touched()
        folder = self._rows[change["new"]][1] if change["new"] is not None else None
        if folder is not None:
            self.pick(folder)

    def _say(self, listing: Listing) -> None:
        if listing.problem:
            self._about.value = box(notice(sentence(listing.problem), "error"))
            return
        clips = {0: _("No clip lies here."), 1: _("One clip lies here.")}.get(
            listing.clips, _("{count} clips lie here.")
        )
        inside = _("Clips in the folders inside it are taken, too.") if listing.folders else ""
        said = join([clips.format(count=listing.clips), inside], " ")
        self._about.value = box(join([name(self.picked_folder or ""), line(said)]))

    def _paint(self) -> None:
        self._rows = self._flat()
        # Equal labels may stand for different folders: they are told apart by position alone.
        labels = tuple(label for label, _folder in self._rows)
        at = next((i for i, (_l, folder) in enumerate(self._rows) if folder and folder == self.picked_folder), None)
        self._quiet = True
        try:
            if labels != self._list._options_labels:
                self._list.index = None  # else the first of the new ones would be picked
                self._list.options = [(label, index) for index, label in enumerate(labels)]
            self._list.index = at
        finally:
            self._quiet = False
        self._toggle.disabled = self.picked_folder is None
        opened = self.picked_folder in self._open
        self._toggle.description = _("Close folder") if opened else _("Open folder")

    def _flat(self) -> list[tuple[str, Path | None]]:
        rows: list[tuple[str, Path | None]] = []
        for place in self.places:
            self._add(rows, place, 0, shown(place))
        if len(rows) > MOST_ROWS:
            left = len(rows) - MOST_ROWS
            more = _("… and {count} more rows; close a folder, or type the folder above").format(count=left)
            rows = [*rows[:MOST_ROWS], (more, None)]
        return rows or [(_("There is no folder to show; type one above"), None)]

    def _add(self, rows: list[tuple[str, Path | None]], folder: Path, depth: int, label: str) -> None:
        listing = self._open.get(folder)
        mark = "▸" if listing is None else "▾"
        rows.append((f"{_INDENT * depth}{mark} {_shortened(label)}", folder))
        if listing is None:
            return
        if listing.problem:
            rows.append((f"{_INDENT * (depth + 1)}{shown(sentence(listing.problem))}", None))
        for inner in listing.folders:
            self._add(rows, inner, depth + 1, shown(inner.name))
        if listing.left_out:
            more = _("… and {count} more folders; type the folder above").format(count=listing.left_out)
            rows.append((f"{_INDENT * (depth + 1)}{more}", None))


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST // 2]}…{label[-_LONGEST // 2 :]}"
