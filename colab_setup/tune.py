"""Tuning from the installer: ``framelane tune`` in a process of its own, once framelane is installed.

Standard library only.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def command(arguments: Sequence[str] = ()) -> list[str]:
    """The command line, such as ``[python, -m, framelane.cli, tune, --seconds, 60]``."""
    return [sys.executable, "-m", "framelane.cli", "tune", *arguments]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure for about a minute and write what was best; returns the exit code of ``framelane tune``.

    Args:
        arguments: ``--seconds N``, ``--dry-run``; None takes the command line's.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return subprocess.run(command(given), check=False).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
