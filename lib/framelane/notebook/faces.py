"""Whose face is swapped in, and who agreed: the part of the picker that only a face swap has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.errors import FramelaneError
from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.notebook import host as host_module
from framelane.notebook.choice import CONSENT
from framelane.notebook.controls import button, html
from framelane.notebook.forms import Form
from framelane.notebook.markup import Html, box, heading, join, line, notice

SOURCE = "faceswap.source"
_PICTURES = "source-face"


class Faces:
    """The source face and the consent, with what must be said about both.

    Args:
        form: that the settings belong to.
        host: where the notebook runs.
        touched: is called when somebody does anything at all.

    Attributes:
        widget: what to show; empty until :meth:`show`.
        upload: the button that asks for a picture, on hosts with such a dialog.
        said: what must be said.
    """

    def __init__(self, form: Form, host: host_module.Host, touched: Callable[[], None]) -> None:
        self._form, self._host, self._touched = form, host, touched
        self.upload = button(_("Upload a picture"), self._take, icon="upload")
        self.said = html()
        self.widget = w.VBox([])

    def show(self, wanted: bool) -> None:
        """Show it, or nothing."""
        self.widget.children = self._rows() if wanted else ()

    def _take(self) -> None:
        self._touched()
        try:
            came = host_module.upload(self._host.content / _PICTURES, self._host)
        except FramelaneError as error:
            self._say(str(error))
            return
        self._form.set(SOURCE, str(came[-1]))

    def _rows(self) -> tuple[Any, ...]:
        self._say()
        upload = (self.upload,) if self._host.name == "colab" else ()
        title = html(box(heading(_("Whose face, and who agreed"), 4)))
        return (title, self._form.row(SOURCE).widget, *upload, self._form.row(CONSENT).widget, self.said)

    def _say(self, problem: str = "") -> None:
        from framelane.processors.faceswap.consent import DECLARED

        said: list[Html] = [line(sentence(DECLARED))]
        said.append(
            line(
                _("Say who agreed and on what ground, as in: Ada Example, signed release of 2026-03-01. It is kept in the "
                  "report and in a log on this machine; results carry a visible label and content credentials."),
                dim=True,
            )
        )  # fmt: skip
        if self._host.name == "colab":
            said.append(
                notice(
                    _("Google lists the creation of deepfakes among what free Colab must not be used for. Use a paid plan "
                      "whose terms allow it, another host, or a machine of your own."),
                    "warning",
                )
            )  # fmt: skip
        self.said.value = box(join([*said, notice(sentence(problem), "error") if problem else ""]))
