"""What people ask of work that runs: pause, go on, stop after this clip, cancel.

:class:`Controls` is asked from any thread, and whatever runs looks at it where it can wait: a batch between two clips, the
pipeline between two frame batches. As text a wish is a JSON line, ``{"control": "pause"}``: that is what
``framelane batch --controls -`` reads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable

PAUSED = "Paused by the user"
RESUMED = "Resumed by the user"
WISHES = ("pause", "resume", "stop_after", "cancel")


class Controls:
    """Switches of a batch. Setting one twice is setting it once.

    Args:
        cancelled: the event that cancels; None makes one.

    Attributes:
        paused: set while the work is to wait.
        stopping: set once no further clip is to be begun.
        cancelled: set once the work is to end; what is finished is kept.
    """

    def __init__(self, cancelled: threading.Event | None = None) -> None:
        self.paused, self.stopping = threading.Event(), threading.Event()
        self.cancelled = cancelled or threading.Event()

    def pause(self) -> None:
        """Wait from the next frame batch on."""
        self.paused.set()

    def resume(self) -> None:
        """Go on after a pause."""
        self.paused.clear()

    def stop_after_clip(self) -> None:
        """Finish the clips that are worked on, and begin no other."""
        self.stopping.set()

    def cancel(self) -> None:
        """End now; finished segments are kept. Works while paused."""
        self.cancelled.set()

    def obey(self, line: str) -> str:
        """Do what a line asks for.

        Args:
            line: JSON, as in ``{"control": "pause"}``.

        Returns:
            Why it cannot be done, in a sentence; empty where it was done.
        """
        try:
            wish = json.loads(line)["control"]
        except (ValueError, TypeError, KeyError):
            wish = None
        if not isinstance(wish, str) or wish not in WISHES:
            shown = line.strip()[:80]
            return f'The control {shown!r} is not known; write it as {{"control": "pause"}}: {", ".join(WISHES)}.'
        {"pause": self.pause, "resume": self.resume, "stop_after": self.stop_after_clip, "cancel": self.cancel}[wish]()
        return ""

    def follow(self, lines: Iterable[str], refuse: Callable[[str], None], ended: Callable[[], None]) -> None:
        """Obey lines as they come, in a thread of its own.

        Args:
            lines: for example standard input.
            refuse: is told why a line was not obeyed.
            ended: is called after the last line.
        """

        def listen() -> None:
            try:
                for line in lines:
                    if line.strip() and (problem := self.obey(line)):
                        refuse(problem)
            except (ValueError, OSError) as error:  # not text, or closed while it was read
                refuse(f"The controls cannot be read any more ({error}).")
            ended()

        threading.Thread(target=listen, name="controls", daemon=True).start()
