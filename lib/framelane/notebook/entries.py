"""What the dashboard's model is made of: jobs that are worth a line, acts of the guard, sentences of the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Row:
    """A job that is worth a line of its own.

    Attributes:
        job: the result's path in the output folder.
        state: as in ``jobs.state``.
        reason: why, in the library's English.
        frame: frames done, of ``frames``.
        fps: frames a second.
        eta_s: seconds left; None where nobody knows.
        seconds: that it took.
    """

    job: str
    state: str
    reason: str = ""
    frame: int = 0
    frames: int = 0
    fps: float = 0.0
    eta_s: float | None = None
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """Of its frames, 0 to 1."""
        return min(1.0, self.frame / self.frames) if self.frames else 0.0


@dataclass(frozen=True)
class Mark:
    """A moment at which the guard acted.

    Attributes:
        at: seconds, as given to :meth:`framelane.notebook.model.Model.take`.
        rule: of ``guard.*``.
        worse: whether it restricted the work, or gave back.
        text: what it did and why, in the reader's language.
    """

    at: float
    rule: str
    worse: bool
    text: str


@dataclass(frozen=True)
class Line:
    """A sentence of the log.

    Attributes:
        level: ``info``, ``good``, ``warning`` or ``bad``.
        text: in the reader's language.
        clock: the time of day.
    """

    level: str
    text: str
    clock: str
