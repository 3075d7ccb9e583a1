"""JupyterLab in a real browser: a server of its own in a folder of its own, Chromium that reaches nothing else.

Two environments beside the developer's own, each made by ``make browser-env``: ``.venv-lab3`` (JupyterLab 3 with
``jupyterlab_widgets<2``, and the kernel that Colab has: ipywidgets 7.7.1, IPython 7.34.0, ipykernel 6.17.1) and
``.venv-lab4`` (JupyterLab 4, ipywidgets 8). ``FRAMELANE_LAB3`` and ``FRAMELANE_LAB4`` name other folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "out" / "browser"
TOKEN = "notebook"
PATIENCE_MS = 60_000
_SETTINGS = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True,
    },
    # A kernel that was killed comes back by itself; the restart must not wait for a dialogue.
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"kernelShutdown": False},
}  # fmt: skip


def environment(name: str) -> Path:
    """The folder of an environment (``lab3`` or ``lab4``); skips the test where it, Chromium or Playwright is missing."""
    needs_browser()
    folder = Path(os.environ.get(f"FRAMELANE_{name.upper()}", ROOT / f".venv-{name}"))
    if not (folder / "bin" / "jupyter-lab").exists():
        pytest.skip(f"the environment {folder.name} is not there; run: make browser-env")
    return folder


def needs_browser() -> None:
    """Skip the test where Chromium or Playwright is missing."""
    pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")
    if not chromium():
        pytest.skip("no Chromium here (apt-get install chromium)")


def chromium() -> str | None:
    """Chromium's command, where there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Lab:
    """A JupyterLab server that runs.

    Attributes:
        folder: what it shows.
        port: where it listens, on this machine alone.
        outside: addresses outside this machine that a page asked for; all were refused.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    outside: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Of the server."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, method: str = "GET") -> Any:
        """An answer of the server's REST API."""
        request = urllib.request.Request(f"{self.address}/api/{path}", method=method)
        request.add_header("Authorization", f"token {TOKEN}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def write(self, name: str, *cells: str) -> str:
        """A notebook of code cells in the folder, in place of one of that name."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.folder / name)
        return name

    def kernels(self) -> list[int]:
        """Process ids of the running kernels."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rsplit(") ", 1)[1].split()[1])
                if b"ipykernel_launcher" in words and parent == self.process.pid:
                    found.append(int(entry.name))
        return found

    def kill_kernel(self) -> None:
        """End the kernel as a crash or a lost machine would: without a word."""
        (pid,) = self.kernels()
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def lab(env: Path, folder: Path, **variables: str) -> Iterator[Lab]:
    """A JupyterLab server of an environment, in a folder, with nothing of the user's settings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    state = folder / ".jupyter-state"
    for name, values in _SETTINGS.items():
        path = state / "settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    command = [
        str(env / "bin" / "jupyter-lab"), "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--ServerApp.root_dir={folder}", f"--ServerApp.token={TOKEN}", f"--IdentityProvider.token={TOKEN}",
        f"--LabApp.user_settings_dir={state / 'settings'}", f"--LabApp.workspaces_dir={state / 'workspaces'}",
        "--LabApp.extension_manager=readonly", "--LabApp.collaborative=False",
    ]  # fmt: skip
    environ = {**os.environ, **_homes(state), "PATH": f"{env / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environ.update(variables)
    with (folder / "jupyter.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    found = Lab(folder, port, process)
    try:
        _wait(found)
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        for pid in [*found.kernels(), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _homes(state: Path) -> Mapping[str, str]:
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    for name in names:
        (state / name.lower()).mkdir(parents=True, exist_ok=True)
    return {name: str(state / name.lower()) for name in names}


def _wait(server: Lab) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            server.ask("status")
            return
        if server.process.poll() is not None:
            break
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{(server.folder / 'jupyter.log').read_text()[-3000:]}")


@contextlib.contextmanager
def browser(server: Lab, language: str = "en-GB", scheme: str = "light") -> Iterator[Any]:
    """A page of a browser that reaches the server and nothing else; what else it asks for is refused and noted."""
    theme = server.folder / ".jupyter-state/settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    theme.write_text(json.dumps({"theme": f"JupyterLab {scheme.title()}"}))
    with _context(locale=language, color_scheme=scheme) as context:
        context.route("**/*", lambda route: _let(server, route))
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("websocket", lambda socket: _note(server, socket.url))
        try:
            yield page
        except Exception:
            picture(page, "failed")
            raise


@contextlib.contextmanager
def plain_page() -> Iterator[Any]:
    """An empty page that reaches nothing."""
    needs_browser()
    with _context() as context:
        context.route("**/*", lambda route: route.abort())
        yield context.new_page()


@contextlib.contextmanager
def _context(**options: Any) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        process = play.chromium.launch(
            executable_path=chromium(),
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking",
                  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )  # fmt: skip
        try:
            yield process.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce", **options)
        finally:
            process.close()


def _note(server: Lab, url: str) -> bool:
    """Whether an address is the server's; if not, it is noted."""
    parts = urlsplit(url)
    inside = parts.scheme in ("data", "blob", "about") or (parts.hostname, parts.port) == ("127.0.0.1", server.port)
    if not inside:
        server.outside.append(url)
    return inside


def _let(server: Lab, route: Any) -> None:
    if _note(server, route.request.url):
        route.continue_()
    else:
        route.abort()


def open_notebook(server: Lab, page: Any, name: str) -> None:
    """Open a notebook alone on the page and wait for its kernel."""
    page.goto(f"{server.address}/doc/tree/{name}?token={TOKEN}")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    for _ in range(PATIENCE_MS // 250):
        if any(one["kernel"]["execution_state"] == "idle" for one in server.ask("sessions")):
            break
        page.wait_for_timeout(250)
    page.wait_for_timeout(1500)  # the page has to hear of it, too; else it asks which kernel is meant


def run_cell(page: Any, index: int = 0) -> None:
    """Click into a cell and run it, as people do; once more where the page was not ready yet to take it."""
    cell = page.locator(".jp-CodeCell").nth(index)
    before = _prompt(cell)
    for _ in range(5):
        if page.locator(".jp-Dialog").count():  # it asks which kernel is meant
            page.keyboard.press("Enter")
            page.wait_for_timeout(1000)
        cell.locator(".jp-InputArea-editor").click()
        page.keyboard.press("Control+Enter")
        for _ in range(30):
            if _prompt(cell) != before:
                return
            page.wait_for_timeout(100)
    raise AssertionError("the cell does not run")


def _prompt(cell: Any) -> str:
    return str(cell.locator(".jp-InputPrompt").inner_text())


def picture(page: Any, name: str) -> Path:
    """Keep what the page shows as an artefact."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.png"
    page.screenshot(path=str(path))
    return path
