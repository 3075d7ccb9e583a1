"""The one module that knows where the notebook runs: Google Colab, Kaggle, or a machine of one's own.

Everything a host does in its own way is here: Drive, uploads, secrets, the reader's language. What the hosts' own modules
raise becomes a sentence that says what to click. Nothing here keeps a session alive: that would be against their rules.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError, UsageError, chain
from framelane.i18n import current, known
from framelane.i18n import gettext as _
from framelane.notebook.drive import POINT, Drive
from framelane.notebook.folders import is_folder

__all__ = ["Drive", "Host", "detect", "flush", "language", "mount", "roots", "secret", "upload"]

_COLAB, _KAGGLE = ("COLAB_RELEASE_TAG", "COLAB_GPU"), "KAGGLE_KERNEL_RUN_TYPE"
_ANSWER_S = 5.0  # that a browser may take to name its language


@dataclass(frozen=True)
class Host:
    """Where the notebook runs.

    Attributes:
        name: ``"colab"``, ``"kaggle"`` or ``"local"``.
        title: as people call it.
        content: the folder for clips.
        results: the folder for results, where nothing else is said.
    """

    name: str
    title: str
    content: Path
    results: Path


def detect(environment: Mapping[str, str] = os.environ) -> Host:
    """The host of this kernel.

    Kaggle comes first: its image is made from Colab's, and has ``google.colab`` too.

    Args:
        environment: variables, as in ``os.environ``.
    """
    if environment.get(_KAGGLE):
        return Host("kaggle", "Kaggle", Path("/kaggle/input"), Path("/kaggle/working/framelane"))
    if any(environment.get(name) for name in _COLAB) and _module("google.colab") is not None:
        content = POINT.parent
        return Host("colab", "Google Colab", content, content / "framelane")
    here = Path.cwd()
    return Host("local", _("this computer"), here, here / "framelane")


def _module(name: str) -> Any:
    """A host's own module; None where it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


# -- Drive ---------------------------------------------------------------------------------------------------------------

_drives: dict[Path, Drive] = {}


def _drive() -> Drive:
    """The Drive of this kernel: what was mounted, remounted and flushed counts for all of it."""
    return _drives.setdefault(POINT, Drive(POINT))


def mount(tell: Callable[[str], None] = print, host: Host | None = None) -> Path:
    """Mount Google Drive, and wait until it answers; see :meth:`framelane.notebook.drive.Drive.mount`.

    Args:
        tell: is given what to click.
        host: None detects it.

    Returns:
        The folder ``MyDrive``.

    Raises:
        UsageError: there is no Drive on this host.
        FramelaneError: it could not be mounted; the text says why and what to do.
    """
    host = host or detect()
    if host.name == "kaggle":
        raise UsageError(
            _("Kaggle has no Google Drive. Add your clips with “Add input”; they lie in /kaggle/input then.")
        )
    if host.name != "colab":
        raise UsageError(_("Google Drive can only be mounted on Colab. Name a folder of this computer instead."))
    return _drive().mount(importlib.import_module("google.colab.drive"), tell)


def flush(tell: Callable[[str], None] = print, host: Host | None = None) -> bool:
    """Write to Drive what is still on its way, once, at the very end: afterwards it cannot be mounted again.

    Returns:
        Whether there was something to do.

    Raises:
        FramelaneError: Drive does not confirm that everything was written.
    """
    if (host or detect()).name != "colab":
        return False
    return _drive().flush(importlib.import_module("google.colab.drive"), tell)


# -- clips ---------------------------------------------------------------------------------------------------------------


def upload(folder: Path, host: Host | None = None) -> list[Path]:
    """Ask for files of the reader's own computer, and put them into a folder.

    Args:
        folder: is made where it is missing.
        host: None detects it.

    Returns:
        What came, by name; nothing is replaced: a name that is taken gets a number.

    Raises:
        UsageError: this host has no such dialog, or nothing was picked.
        FramelaneError: the browser did not hand them over.
    """
    host = host or detect()
    if host.name == "kaggle":
        raise UsageError(_("Kaggle takes uploads with “Add input”, at the right; they lie in /kaggle/input then."))
    if host.name != "colab":
        raise UsageError(_("Put your clips into {folder}; nothing needs to be uploaded here.").format(folder=folder))
    folder.mkdir(parents=True, exist_ok=True)
    before, here = set(folder.iterdir()), Path.cwd()
    try:
        os.chdir(folder)  # Colab's own dialog writes there
        importlib.import_module("google.colab.files").upload()
    except Exception as error:
        if type(error).__name__ != "MessageError":
            raise
        raise FramelaneError(
            _(
                "The browser did not hand the files over ({why}). Run the cell again, in a window that stays open."
            ).format(why=chain(error))
        ) from error
    finally:
        os.chdir(here)
    if not (made := sorted(set(folder.iterdir()) - before)):
        raise UsageError(_("Nothing was uploaded. Run the cell again and pick a clip, or choose another input."))
    return made


def roots(host: Host | None = None) -> list[Path]:
    """Where the tree of folders begins: those that are there."""
    host = host or detect()
    wanted = {
        "colab": [POINT / "MyDrive", POINT / "Shareddrives", host.content],
        "kaggle": [host.content, Path("/kaggle/working")],
    }.get(host.name, [host.content, Path.home()])
    return list(dict.fromkeys(place for place in wanted if is_folder(place)))


# -- secrets -------------------------------------------------------------------------------------------------------------


def secret(name: str, host: Host | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """A secret (a webhook's address, a stream's key) from the host's own store, else from the environment.

    Args:
        name: as it is called there.
        host: None detects it.
        environment: variables, as in ``os.environ``.

    Raises:
        UsageError: it is nowhere, or the notebook may not read it; the text says what to click, and never the secret.
    """
    host = host or detect()
    stores: dict[str, Callable[[str], str]] = {"colab": _colab_secret, "kaggle": _kaggle_secret}
    problem = _("There is no environment variable {name}.").format(name=name)
    if store := stores.get(host.name):
        try:
            return store(name)
        except UsageError as error:
            problem = str(error)
    if value := environment.get(name):
        return value
    raise UsageError(problem)


def _colab_secret(name: str) -> str:
    userdata = importlib.import_module("google.colab.userdata")
    try:
        return str(userdata.get(name))
    except Exception as error:
        sentences = {
            "SecretNotFoundError": _(
                "There is no secret {name}. Open the key at the left of Colab, add {name}, and switch its notebook "
                "access on."
            ),
            "NotebookAccessError": _(
                "This notebook may not read the secret {name}. Open the key at the left of Colab and switch its notebook "
                "access on."
            ),
            "TimeoutException": _(
                "Colab did not hand over the secret {name} in time. Keep the notebook open in the browser and run the cell "
                "again."
            ),
            "MessageError": _(
                "Colab did not hand over the secret {name}. Keep the notebook open in the browser and run the cell again."
            ),
        }
        if (sentence := sentences.get(type(error).__name__)) is None:
            raise
        raise UsageError(sentence.format(name=name)) from error


def _kaggle_secret(name: str) -> str:
    try:
        return str(importlib.import_module("kaggle_secrets").UserSecretsClient().get_secret(name))
    except Exception as error:
        sentences = {
            "BackendError": _(
                "There is no secret {name}. Add it under Add-ons, Secrets, and tick it for this notebook."
            ),
            "NotFoundError": _(
                "There is no secret {name}. Add it under Add-ons, Secrets, and tick it for this notebook."
            ),
            "CredentialError": _(
                "This notebook may not read the secret {name}. Open Add-ons, Secrets, tick it, and restart the session."
            ),
            "ConnectionError": _(
                "Kaggle's secrets cannot be reached for {name}. Switch Internet on in the notebook's settings."
            ),
            "ValidationError": _("A secret needs a name."),
        }
        if (sentence := sentences.get(type(error).__name__)) is None:
            raise
        raise UsageError(sentence.format(name=name)) from error


# -- language ------------------------------------------------------------------------------------------------------------


def language(host: Host | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The reader's language, for :func:`framelane.i18n.choose`: ``FRAMELANE_LANG``, else the browser's, else the system's.

    Args:
        host: None detects it.
        environment: variables, as in ``os.environ``.
    """
    host = host or detect()
    if environment.get("FRAMELANE_LANG") or host.name != "colab":
        return current(environment)
    try:
        asked = _eval_js(importlib.import_module("google.colab.output").eval_js, "navigator.language")
    except Exception:  # no browser, an older Colab, a frame that answers nothing: the language is not worth an error
        asked = None
    return known(asked) if isinstance(asked, str) and asked else current(environment)


def _eval_js(evaluate: Callable[..., Any], script: str) -> Any:
    """Ask the browser, and where Colab knows that, not for ever: nobody may be looking."""
    names: Sequence[str] = list(inspect.signature(evaluate).parameters)
    return evaluate(script, timeout_sec=_ANSWER_S) if "timeout_sec" in names else evaluate(script)
