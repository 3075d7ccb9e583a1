"""pip's command lines, built as values, and running them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SetupError

PYTHON = sys.executable
_QUIET = ("--disable-pip-version-check", "--no-input")


@dataclass(frozen=True)
class Source:
    """Where packages come from.

    Attributes:
        offline: never open the network.
        links: a folder of wheels, or None.
        index: another index than pip's own, or None.
    """

    offline: bool = False
    links: str | None = None
    index: str | None = None

    def options(self) -> list[str]:
        """Pip's options for it."""
        found = ["--no-index"] if self.offline else []
        found += ["--index-url", self.index] if self.index and not self.offline else []
        return found + (["--find-links", self.links] if self.links else [])

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The child's environment: offline, no setting of pip's outside this command line can name an address."""
        found = {**base, "PYTHONUNBUFFERED": "1"}
        if self.offline:
            found = {name: value for name, value in found.items() if not name.startswith("PIP_")}
            found["PIP_CONFIG_FILE"] = os.devnull
        return found


def resolve(python: str, requirements: Iterable[str], constraints: str, report: str, source: Source) -> list[str]:
    """The command line that finds out what would be installed, and installs nothing."""
    return [
        python, "-m", "pip", "install", "--dry-run", "--quiet", *_QUIET, "--report", report, "--constraint", constraints,
        *source.options(), *requirements,
    ]  # fmt: skip


def install(python: str, exact: Iterable[str], source: Source, again: bool = False) -> list[str]:
    """The command line that installs exactly these, and nothing that they require.

    Args:
        python: the interpreter to install for.
        exact: ``name==version``.
        source: where from.
        again: also over what is there, without looking at it: for what was installed only in part.
    """
    how = ["--ignore-installed"] if again else []
    return [
        python, "-m", "pip", "install", "--no-deps", "--progress-bar", "off", *_QUIET, *how, *source.options(), *exact,
    ]  # fmt: skip


def install_tree(python: str, tree: str, source: Source, own_backend: bool) -> list[str]:
    """The command line that installs framelane itself out of a folder.

    Args:
        python: the interpreter to install for.
        tree: the folder with its ``pyproject.toml``.
        source: where a build backend would come from.
        own_backend: build with the setuptools that is installed here.
    """
    how = ["--no-build-isolation"] if own_backend else []
    return [
        python, "-m", "pip", "install", "--no-deps", "--quiet", "--force-reinstall", *_QUIET, *how, *source.options(), tree,
    ]  # fmt: skip


def uninstall(python: str, names: Iterable[str]) -> list[str]:
    """The command line that removes these."""
    return [python, "-m", "pip", "uninstall", "--yes", "--disable-pip-version-check", *names]


def run(command: list[str], source: Source, say: Callable[[str], None] | None = None) -> None:
    """Run pip.

    Args:
        command: from a function above.
        source: where packages come from.
        say: gets a line for each package that is fetched.

    Raises:
        SetupError: pip failed; its last lines are in the text.
    """
    last: list[str] = []
    environment = source.environment(os.environ)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=tempfile.gettempdir()
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = [*last[-14:], line.rstrip()]
            if say and line.startswith("Downloading "):
                say(line.strip())
    if process.returncode:
        raise SetupError(_sentence(last, process.returncode))


def _sentence(last: list[str], code: int) -> str:
    errors = [line.removeprefix("ERROR: ") for line in last if line.startswith("ERROR: ")] or last[-3:]
    return f"pip ended with {code}: {' '.join(errors) or 'it said nothing'}"


def dry_run(requirements: list[str], constraints: list[str], source: Source) -> dict[str, Any]:
    """Ask pip's resolver.

    Raises:
        SetupError: it finds no answer, or the index cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="framelane-setup-") as folder:
        limits, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        limits.write_text("\n".join(constraints) + "\n")
        run(resolve(PYTHON, requirements, str(limits), str(report), source), source)
        answer: dict[str, Any] = json.loads(report.read_text())
        return answer
