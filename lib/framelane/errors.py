"""Errors that are sentences: what failed, in which file, what to do. Each knows the exit code it ends with."""

from __future__ import annotations

from collections.abc import Mapping


class FramelaneError(Exception):
    """Something failed that the user should read about. Its text is one or more plain sentences."""

    exit_code = 1


class UsageError(FramelaneError):
    """The command, a setting or a path given by the user is wrong; nothing was started."""

    exit_code = 2


class Cancelled(FramelaneError):
    """The user (or the calling program) asked to stop; what is finished stays and can be resumed."""

    exit_code = 130


class OutOfMemory(FramelaneError):
    """Even a single frame does not fit into the memory of the device.

    Attributes:
        next_step: settings, by dotted key, with which the clip may fit; empty where there is nothing left to try.
    """

    def __init__(self, message: str, next_step: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.next_step = dict(next_step or {})


def chain(error: BaseException) -> str:
    """One line for an error that is not ours: its type and its first line, for the end of a sentence."""
    # FFmpeg's errors have a number of their own and repeat the file's name: neither is for people.
    plain = getattr(error, "strerror", None) if type(error).__module__.startswith("av.") else None
    if plain:
        return str(plain)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
