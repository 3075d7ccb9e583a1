"""Which clips, and where the results go: the demo clip, a folder, or files that are uploaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.errors import FramelaneError
from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.jobs.plan_view import shown
from framelane.notebook import host as host_module
from framelane.notebook.asking import place_of
from framelane.notebook.controls import button, hint, html, named
from framelane.notebook.drive import POINT
from framelane.notebook.markup import box, line, name, notice
from framelane.notebook.tree import FolderTree
from framelane.resources import data_path

DEMO = {"faceswap": "walker.mp4"}
"""The demo clip of a processor; ``street.mp4`` where nothing stands here."""
_UPLOADS = "uploaded-clips"


class PathBox:
    """A path as text that can be typed. A name that is no text, or not on one line, keeps its bytes until it is changed.

    Args:
        label: its name.
        changed: is called when somebody changes it.
        placeholder: what stands in it while it is empty.
    """

    def __init__(self, label: str, changed: Callable[[], None], placeholder: str = "") -> None:
        self._path: Path | None = None
        self._quiet = False
        self.widget = named(w.Text, label, placeholder=placeholder)
        self.widget.observe(lambda _change: None if self._quiet else changed(), names="value")

    @property
    def path(self) -> Path | None:
        """What it names; None while it is empty."""
        typed = self.widget.value.strip()
        if self._path is not None and self.widget.value == shown(self._path):
            return self._path
        return place_of(typed) if typed else None

    @path.setter
    def path(self, path: Path | None) -> None:
        self._path, self._quiet = path, True
        try:
            self.widget.value = "" if path is None else shown(path)
        finally:
            self._quiet = False


class Inputs:
    """The controls for clips and results.

    Args:
        host: where the notebook runs.
        changed: is called when somebody changes something.
        touched: is called when somebody does anything at all.

    Attributes:
        widget: what to show for the clips.
        results: what to show for the results.
        processor: whose demo clip and results it is about.
    """

    def __init__(self, host: host_module.Host, changed: Callable[[], None], touched: Callable[[], None]) -> None:
        self.host, self._changed, self._touched = host, changed, touched
        self.processor = ""
        self.include: tuple[str, ...] = ()
        options = [(_("The demo clip"), "demo"), (_("A folder"), "folder")]
        options += [(_("Upload clips"), "upload")] if host.name == "colab" else []
        self.kind = named(w.Dropdown, _("Clips"), options=options, value="demo")
        self.kind.observe(lambda _change: self._turn(), names="value")
        self.folder = PathBox(_("Folder of clips"), self._took, _("type it, or pick it below"))
        self.tree = FolderTree(host_module.roots(host), self._picked, touched)
        self._mount = button(_("Connect Google Drive"), self.mount, about=_("Mount Drive, to pick a folder of it"))
        self._upload = button(_("Pick files to upload"), self.upload, icon="upload")
        self._said = html()
        self._in_folder = w.VBox([self._mount, self.folder.widget, self.tree.widget])
        self.widget = w.VBox([self.kind, self._in_folder, self._upload, self._said])
        self._typed = False  # the output folder, by somebody
        self.out = PathBox(_("Results go to"), self._type)
        hint(self.out.widget, _("The folder for the results; it is made where it is missing."))
        self.results = w.VBox([self.out.widget])
        self._paint()

    def source(self) -> tuple[Path, tuple[str, ...]]:
        """The folder of clips, and the patterns of what is taken of it."""
        if self.kind.value == "demo":
            return data_path("assets", "clips"), (DEMO.get(self.processor, "street.mp4"),)
        if self.kind.value == "upload":
            return self.host.content / _UPLOADS, ()
        return self.folder.path or Path(), self.include

    def chosen(self) -> bool:
        """Whether there is a folder at all."""
        return self.kind.value != "folder" or self.folder.path is not None

    def output(self) -> Path:
        """The folder for the results: what was typed, else beside the clips where only that outlives the session."""
        return (self.out.path if self._typed else None) or self.default_output()

    def default_output(self) -> Path:
        """Where results go if nobody says where: to Drive, where the clips are there."""
        source = self.source()[0]
        place = "demo" if self.kind.value == "demo" else source.name or "clips"
        home = POINT / "MyDrive"
        base = home / "framelane" if POINT in source.parents else self.host.results
        return base / f"{self.processor}-{place}"

    def take(self, source: Path | None, output: Path | None, include: tuple[str, ...] = ()) -> None:
        """Begin with a folder of clips, and one for the results; None leaves them."""
        if source is not None:
            self.include = include
            self.folder.path = source
            self.kind.value = "folder"
        if output is not None:
            self.out.path, self._typed = output, True
        self._paint()

    def turn_to(self, processor: str) -> None:
        """Take over another processor."""
        self.processor = processor
        self._paint()

    def mount(self) -> None:
        """Mount Drive, and begin the tree there."""
        self._touched()
        if self._done(lambda: host_module.mount(self._tell, self.host)):
            self._tell(_("Drive is connected: pick a folder."))
            self.tree.begin_at(host_module.roots(self.host))

    def upload(self) -> None:
        """Ask for files, and take them."""
        self._touched()
        came: list[Path] = []
        if self._done(lambda: came.extend(host_module.upload(self.host.content / _UPLOADS, self.host))):
            self._tell(_("Uploaded: {count}.").format(count=len(came)))
            self._took()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _done(self, what: Callable[[], Any]) -> bool:
        try:
            what()
        except FramelaneError as error:
            self._said.value = box(notice(sentence(str(error)), "error"))
            return False
        return True

    def _tell(self, said: str) -> None:
        self._said.value = box(line(said))

    def _turn(self) -> None:
        self._said.value = ""
        self._took()

    def _picked(self, folder: Path) -> None:
        self.include = ()
        self.folder.path = folder
        self._took()

    def _took(self) -> None:
        self._touched()
        self._paint()
        self._changed()

    def _type(self) -> None:
        self._typed = True
        self._took()

    def _paint(self) -> None:
        kind = self.kind.value
        self._in_folder.layout.display = "" if kind == "folder" else "none"
        self._upload.layout.display = "" if kind == "upload" else "none"
        self._mount.layout.display = "" if self.host.name == "colab" else "none"
        if kind == "demo":
            self._said.value = box(line(name(self.source()[1][0]), dim=True))
        if not self._typed and self.out.path != self.default_output():  # what nobody has typed follows the clips
            self.out.path = self.default_output()
