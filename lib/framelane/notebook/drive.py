"""Google Drive on Colab: mounted when it is needed, mounted again once when it fails, flushed once at the end."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError, chain
from framelane.i18n import gettext as _

POINT = Path(os.environ.get("FRAMELANE_DRIVE", "/content/drive"))
"""Where Drive is mounted."""
_GONE = {errno.ENOTCONN, errno.EIO}
_LOOK_EVERY_S = 0.5


class Drive:
    """Drive as one kernel sees it.

    Args:
        point: where it is mounted.
        look: lists a folder; raises ``OSError`` as the file system does.
        patience_s: seconds that a fresh mount may take to answer.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        point: Path,
        look: Callable[[Path], Any] = os.listdir,
        patience_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.point, self.look, self.patience_s, self.sleep = point, look, patience_s, sleep
        self.remounted = self.flushed = False

    @property
    def home(self) -> Path:
        """The user's own folder."""
        return self.point / "MyDrive"

    def mount(self, module: Any, tell: Callable[[str], None]) -> Path:
        """Mount it unless it answers already. One that is dead, or will not mount, is mounted by force, once.

        Args:
            module: ``google.colab.drive``.
            tell: is given what to click.

        Returns:
            :attr:`home`, which answers.

        Raises:
            FramelaneError: it could not be mounted; the text says why and what to do.
        """
        if self.flushed:
            raise FramelaneError(
                _("Drive was written out and let go; Colab cannot mount it again in this session. Choose “Restart session” "
                  "in the menu “Runtime”, and run the cells again.")
            )  # fmt: skip
        state = self._state()
        if state == "answers":
            return self.home
        if state == "absent":
            tell(
                _("Colab now asks for access to your Drive: pick your account in the window that opens, tick every box, "
                  "and press Continue.")
            )  # fmt: skip
        force = state == "gone"
        while True:
            if force and self.remounted:
                raise FramelaneError(self._dead())
            self.remounted = self.remounted or force
            if force:
                tell(_("Drive does not answer; it is mounted again."))
            try:
                module.mount(str(self.point), force_remount=force)
            except Exception as error:
                if not force and not self.remounted and _worth_another_try(error):
                    force = True
                    continue
                raise FramelaneError(_sentence(error, self.point)) from error
            if self._wait():
                return self.home
            force = True

    def flush(self, module: Any, tell: Callable[[str], None]) -> bool:
        """Have everything written to Drive, and let it go; once. False where there is nothing to do.

        Args:
            module: ``google.colab.drive``.
            tell: is given what is going on.

        Raises:
            FramelaneError: Drive does not confirm it.
        """
        if self.flushed or self._state() == "absent":
            return False
        tell(_("Writing what is left to Drive; this may take some minutes. Leave the notebook open."))
        self.flushed = True  # whatever comes of it: a second time would not mend it
        try:
            module.flush_and_unmount()
        except NotImplementedError:  # some runtimes write by themselves
            return False
        except Exception as error:
            raise FramelaneError(
                _("Drive does not confirm that everything was written ({why}). Look at your folder on drive.google.com "
                  "before you close the session; what is missing is still on this machine.").format(why=chain(error))
            ) from error  # fmt: skip
        return True

    def _state(self) -> str:
        try:
            self.look(self.home)
        except FileNotFoundError:
            return "absent"
        except OSError as error:
            return "gone" if error.errno in _GONE else "absent"
        return "answers"

    def _wait(self) -> bool:
        """Until the mounted Drive answers; False where it is dead."""
        waited = 0.0
        while (state := self._state()) == "absent" and waited < self.patience_s:
            self.sleep(_LOOK_EVERY_S)
            waited += _LOOK_EVERY_S
        return state == "answers"

    def _dead(self) -> str:
        return _(
            "Drive does not answer, though it was mounted again. What is finished is safe on this machine. Copy it "
            "before you choose “Disconnect and delete runtime” in the menu “Runtime”, or run the cell again later."
        )


def _worth_another_try(error: Exception) -> bool:
    """Whether mounting by force may mend it: where Drive's own process failed, but not what a user or a policy refused."""
    text = str(error)
    return isinstance(error, ValueError) and text.startswith("mount failed") and "oauth" not in text


def _sentence(error: Exception, point: Path) -> str:
    """What ``google.colab.drive.mount`` raised, for people (googlecolab/colabtools, google/colab/drive.py)."""
    text = str(error)
    refused = _(
        "Drive was not allowed, or its window was closed or blocked. Run the cell again, pick the account of this "
        "notebook, tick every box and press Continue; where no window opens, allow pop-ups for colab.research.google.com."
    )
    sentences = {
        "credential propagation": refused,
        "oauth code": refused,
        "domain policy": _(
            "Your organisation does not allow Drive in Colab. Use another account, or upload your clips to this session."
        ),
        "initial read of root folder": _(
            "Drive took too long to list its top folder. Move files from there into folders, wait some minutes, and run "
            "the cell again."
        ),
        "must not already contain files": _(
            "{point} holds files that were written before Drive was mounted. Move them elsewhere and run the cell again."
        ).format(point=point),
        "is unsupported in this environment": _(
            "This runtime cannot mount Drive from a cell. Mount it with the folder button at the left of Colab."
        ),
    }
    known = next((sentence for words, sentence in sentences.items() if words in text), None)
    if known is None and type(error).__name__ == "MessageError":
        known = _("The browser did not answer ({why}). Keep the notebook open in it and run the cell again.").format(
            why=text
        )
    return known or _(
        "Drive could not be mounted ({why}). Run the cell again, or upload your clips to this session."
    ).format(why=chain(error))
