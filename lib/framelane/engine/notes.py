"""What a job says of its clip and its settings beside the frames: warnings and degradations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from framelane.engine.events import Event


@dataclass
class Notes:
    """Warnings and degradations: said once each, as events and in the report, and kept over a resume."""

    emit: Callable[[Event], None]
    saved: dict[str, Any] = field(default_factory=lambda: {"warnings": [], "degradations": []})

    def warn(self, message: str) -> None:
        """Something the user should know of the clip or the settings."""
        self._add("warnings", "warning", message)

    def degrade(self, message: str) -> None:
        """Something that works less well than asked for, and why."""
        self._add("degradations", "degraded", message)

    def recall(self, earlier: dict[str, Any]) -> None:
        """Take over what an interrupted run had noted."""
        for kind, messages in earlier.items():
            self.saved[kind] = list(dict.fromkeys([*messages, *self.saved.get(kind, [])]))

    def _add(self, kind: str, event: str, message: str) -> None:
        if message not in self.saved[kind]:
            self.saved[kind].append(message)
            self.emit(Event(event=event, message=message))
