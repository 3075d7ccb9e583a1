"""Notebooks run as a person runs them: in a kernel of their own, in a folder of their own, with the built wheel alone."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[2]
HOSTS = Path(__file__).parent / "hosts"
COLAB = ROOT / ".venv-colab"
"""The kernel that Colab has: ``make notebook-env``."""


@functools.cache
def wheel() -> Path:
    """framelane's own wheel, built from this tree."""
    from colab_setup.own_tree import copied

    with copied(ROOT) as tree:
        folder = Path(tempfile.mkdtemp(prefix="wheel-"))
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--no-build-isolation", "--wheel-dir", str(folder), str(tree)],
            check=True,
        )  # fmt: skip
    return next(folder.glob("*.whl"))


@dataclass
class Environment:
    """A virtual environment without framelane that sees the packages of this one, its own first.

    Attributes:
        folder: where it lies.
        base: an environment whose packages come before those of this one; None is none.
    """

    folder: Path
    base: Path | None = None

    def __post_init__(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.folder)], check=True)
        between = [str(packages(self.base))] if self.base else []
        # Plain lines: what lies in a folder that is added so is not followed, and an editable framelane stays unseen.
        seen = [*between, *(path for path in sys.path if path.endswith("site-packages"))]
        (packages(self.folder) / "seen.pth").write_text("\n".join(seen))

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def install(self, archive: Path) -> None:
        """Put a wheel into it."""
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", "--disable-pip-version-check",
             "--no-deps", "--no-index", "--force-reinstall", str(archive)],
            check=True,
        )  # fmt: skip

    def versions(self) -> dict[str, str]:
        """What a kernel in it has."""
        code = (
            "import json, importlib.metadata as m\n"
            "print(json.dumps({n: m.version(n) for n in ('ipykernel', 'ipython', 'ipywidgets')}))"
        )
        return dict(json.loads(subprocess.run([self.python, "-c", code], check=True, capture_output=True).stdout))


def packages(folder: Path) -> Path:
    """``site-packages`` of an environment."""
    return next(folder.glob("lib/python3*/site-packages"))


@dataclass
class Run:
    """What a run of a notebook left.

    Attributes:
        texts: what each cell of code printed and showed, in order.
        error: the last cell's error as ``(name, what was shown)``; None where all cells ran.
    """

    texts: list[str] = field(default_factory=list)
    error: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.texts)


def fill(notebook: Any, **values: object) -> Any:
    """Fill in forms as a reader does."""
    for name, value in values.items():
        found = 0
        for cell in notebook.cells:
            cell.source, count = re.subn(
                rf"(?m)^{name} = .*?(?=  #@param)", lambda _, name=name, value=value: f"{name} = {value!r}", cell.source
            )
            found += count
        assert found, f"no form asks for {name}"
    return notebook


def hurried(notebook: Any) -> Any:
    """Let the buttons press themselves after 1 second instead of 20: only the wait is shorter."""
    found = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source, count = re.subn(r"\bwidgets=WIDGETS\b", "widgets=WIDGETS, countdown=1", cell.source)
            found += count
    assert found, "no cell runs anything"
    return notebook


def read(path: Path) -> Any:
    """A notebook from its file."""
    return nbformat.read(path, as_version=4)


def run(
    notebook: Any, environment: Environment, folder: Path, variables: Mapping[str, str], patience: int = 600
) -> Run:
    """Run all cells of a notebook in a kernel of an environment, as “Run all” does: an error ends it.

    Args:
        folder: where the kernel works.
        variables: in place of this process's environment, but for what programs need to run at all.
        patience: seconds for a cell.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import KernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    path = f"{environment.python.parent}{os.pathsep}{os.environ['PATH']}"
    manager = KernelManager(kernel_name="python3")
    manager._kernel_spec = KernelSpec(
        argv=[str(environment.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
    )
    client = NotebookClient(notebook, km=manager, timeout=patience, resources={"metadata": {"path": str(folder)}})
    done = Run()
    try:
        with client.setup_kernel(env={**kept, "PATH": path, "OMP_NUM_THREADS": "1", **variables}):
            client.code_cells_executed = 0
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
    except CellExecutionError as error:
        done.error = (error.ename, error.traceback)
    finally:
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
    done.texts = [_shown(cell) for cell in notebook.cells if cell.cell_type == "code"]
    return done


def _shown(cell: Any) -> str:
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        parts.append(output.get("text") or data.get("text/plain", "") or "\n".join(output.get("traceback", [])))
    return "\n".join(parts)
