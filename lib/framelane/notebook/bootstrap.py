"""The first cell of every notebook: framelane is found or installed, with nothing but Python's own library.

``notebooks/build.py`` embeds all of this but the docstrings, so it runs before framelane is there; what it says is
translated when a notebook is made.
"""

from __future__ import annotations

import glob
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

from framelane.i18n import gettext as _

DRIVE = os.environ.get("FRAMELANE_DRIVE", "/content/drive")


class Stop(Exception):
    """A sentence for the reader: shown without a stack trace, and the cells below do not run."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def need(holds: object, sentence: str) -> None:
    """Stop with a sentence unless something holds."""
    if not holds:
        raise Stop(sentence)


def ends_well(*command: str) -> bool:
    """Run a command and show what it says as it says it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as it:
        for line in it.stdout or ():
            print(line, end="")
    return it.returncode == 0


def prepare(take: str = "automatic", parts: str = "notebook", repository: str = "") -> None:
    """Find framelane, or install it.

    Args:
        take: ``automatic``, ``repository``, ``Drive`` or ``upload``; but for the first it is installed again.
        parts: components of the installer, with commas between.
        repository: the address to clone; empty as long as there is none.
    """
    colab = "COLAB_RELEASE_TAG" in os.environ
    hosted = colab or "KAGGLE_KERNEL_RUN_TYPE" in os.environ
    ready = os.path.join(sys.prefix, "share", "framelane", f"ready-{parts}")
    if take == "automatic" and importlib.util.find_spec("framelane") and (os.path.exists(ready) or not hosted):
        print(_("framelane is installed."))
        return
    folder = tempfile.mkdtemp(prefix="framelane-")
    if take == "repository" or (take == "automatic" and repository):
        source = os.path.join(folder, "framelane")
        cloned = repository and ends_well("git", "clone", "--quiet", "--depth", "1", repository, source)
        need(cloned, _("The repository cannot be reached. Look at the network, or choose “upload” in this cell."))
    else:
        source = unpack(pick(take, colab), folder)
    setup = [f"{source}/colab_setup/install.py"]
    if source.endswith(".whl"):
        pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--force-reinstall"]
        installed = ends_well(sys.executable, *pip, source)
        need(installed, _("pip could not install the wheel; the lines above say why."))
        setup = ["-P", "-m", "framelane.colab_setup.install"]
    works = ends_well(sys.executable, *setup, "--yes", "--with", parts)
    need(works, _("Not everything works; the lines above say what to do. Then run this cell again."))
    if hosted:
        os.makedirs(os.path.dirname(ready), exist_ok=True)
        open(ready, "w").close()
    for name in [name for name in sys.modules if name.partition(".")[0] == "framelane"]:
        del sys.modules[name]  # the notebook goes on with what was installed just now
    importlib.invalidate_caches()


def pick(take: str, colab: bool) -> str:
    """The newest wheel or zip that lies here or in Drive, or that the reader hands over."""
    shelf = [f"{DRIVE}/MyDrive", f"{DRIVE}/MyDrive/framelane"]
    places = shelf if take == "Drive" else [".", "/content", "/kaggle/input/**", *shelf]
    found = [f"{place}/framelane*.{end}" for place in places for end in ("whl", "zip")]
    try:
        if colab and take == "Drive":
            importlib.import_module("google.colab.drive").mount(DRIVE)
        elif colab and (take == "upload" or not any(map(glob.glob, found))):
            print(_("Pick framelane's wheel (.whl) or zip. If it lies in Drive, choose “Drive” in this cell instead."))
            importlib.import_module("google.colab.files").upload()
    except Exception as error:
        raise Stop(_("The browser did not hand it over ({why}). Run this cell again.").format(why=error)) from None
    archives = sorted((name for one in found for name in glob.glob(one, recursive=True)), key=os.path.getmtime)
    need(archives, _("There is no framelane-….whl or .zip. Put it beside this notebook and run this cell again."))
    return archives[-1]


def unpack(archive: str, folder: str) -> str:
    """Out of a wheel or a zip: the wheel under the name that pip asks for, or the folder of framelane's sources."""
    try:
        with zipfile.ZipFile(archive) as held:
            names = sorted(held.namelist(), key=lambda name: ".dist-info/" not in name)  # a wheel has colab_setup, too
            leads_out = any(re.search(r"^[/\\]|^\w:|(^|[/\\])\.\.([/\\]|$)", name) for name in names)
            need(not leads_out, _("{file} names files outside of its own folder.").format(file=archive))
            for name in names:
                if part := re.fullmatch(r"(framelane-[^-/]+)\.dist-info/METADATA", name):
                    # A browser may have called it "framelane-… (1).whl", which pip refuses.
                    return shutil.copy(archive, f"{folder}/{part[1]}-py3-none-any.whl")
                if re.fullmatch(r"([^/]+/)*framelane-[^/]+\.whl", name):
                    return unpack(held.extract(name, folder), tempfile.mkdtemp(dir=folder))
                if part := re.fullmatch(r"([^/]+/)?colab_setup/install\.py", name):
                    held.extractall(folder)
                    return os.path.join(folder, part[1] or "")
    except (zipfile.BadZipFile, OSError) as error:
        raise Stop(_("{file} cannot be read ({why}). Fetch it again.").format(file=archive, why=error)) from None
    raise Stop(_("{file} does not hold framelane: neither its wheel nor its sources.").format(file=archive))
