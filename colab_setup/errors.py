"""What the installer raises: sentences, with the exit code that they end in (see the README: 1 failed, 2 wrong usage)."""

from __future__ import annotations


class SetupError(Exception):
    """A step failed. The text is a sentence for the user."""

    code = 1


class SetupUsageError(SetupError):
    """Wrong options."""

    code = 2
