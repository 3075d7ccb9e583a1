"""Why a process ended, in a sentence."""

from __future__ import annotations

import signal


def cause_of_death(code: int, last_words: str, *, out_of_memory: bool, what: str = "worker") -> str:
    """Why a process ended, in a sentence.

    Args:
        code: as ``subprocess`` gives it: below 0 it is a signal.
        last_words: the last line of its standard error.
        out_of_memory: whether the kernel killed for want of memory in the meantime.
        what: which process, in a word.
    """
    if code >= 0:
        said = f" ({last_words})" if last_words else ""
        return f"The {what} process ended by itself with exit code {code}{said}."
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if out_of_memory:
        return f"The system ran out of memory and killed the {what} process ({name})."
    why = {
        "SIGKILL": "; the system does that when memory runs out",
        "SIGSEGV": "; a native library crashed",
        "SIGABRT": "; a native library gave up",
        "SIGBUS": "; a native library crashed, or a disk is full",
    }.get(name, "")
    return f"The {what} process was ended by {name}{why}."
