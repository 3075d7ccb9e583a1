"""What to do when something goes wrong: the same few sentences in every notebook, in the README, and in ``help()``."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from framelane.errors import UsageError
from framelane.i18n import gettext as _


@dataclass(frozen=True)
class Topic:
    """One thing that goes wrong.

    Attributes:
        name: as :func:`help` takes it.
        title: of its section.
        command: the line for a notebook's cell that tells whether it is so.
        text: what to do.
    """

    name: str
    title: str
    command: str
    text: str

    def markdown(self) -> str:
        """A paragraph: title, what to do, the command."""
        return f"**{self.title}** {self.text} {_('What tells:')} `{self.command}`"


@dataclass(frozen=True)
class Advice:
    """Topics, as a notebook shows them after a cell, and as a terminal prints them."""

    topics: tuple[Topic, ...]

    def _repr_markdown_(self) -> str:
        return "\n\n".join(topic.markdown() for topic in self.topics)

    def __repr__(self) -> str:
        return "\n\n".join(
            f"{topic.title}\n  {topic.text}\n  {_('What tells:')} {topic.command}" for topic in self.topics
        )


def topics() -> tuple[Topic, ...]:
    """All of them, in the language in use; the first is met first."""
    return (
        Topic(
            "gpu",
            _("No GPU is attached."),
            "!framelane doctor",
            _(
                "On Colab choose “Change runtime type” in the menu “Runtime”, pick T4 GPU, and run all cells again; "
                "on Kaggle it is “Accelerator” in the settings. When the host has none to give, everything runs on "
                "the CPU too: take the mode fast and few clips, or come back later."
            ),
        ),
        Topic(
            "time",
            _("The session is about to end."),
            "!framelane plan attention FOLDER -o RESULTS",
            _(
                "Nothing that is finished is lost. Press “Stop after this clip”, or let it end: open the notebook "
                "again tomorrow, run the same cells with the same folders, and it goes on where it was, in the middle "
                "of a clip too. For that the results must lie in Drive; what lies in the session goes with it."
            ),
        ),
        Topic(
            "memory",
            _("Out of memory."),
            "!nvidia-smi",
            _(
                "The guard takes smaller batches and fewer lines by itself and says so in the log. Where that is not "
                "enough, take the profile memory_saver, or set hardware.working_height to 480; where the machine's "
                "own RAM is full, restart the session so that other notebooks let go of it."
            ),
        ),
        Topic(
            "slow",
            _("It is slow."),
            "!framelane doctor",
            _(
                "See first whether a GPU is attached and decodes and encodes. The dashboard names the stage that the "
                "others wait for. Take the mode fast; `!framelane tune` measures for a minute which settings are "
                "fastest on this machine and keeps them."
            ),
        ),
        Topic(
            "nothing",
            _("No faces or objects are found."),
            "notebook.results()",
            _(
                "The report says how much was found and why faces were left alone. Set faceswap.min_face_px to 16 for "
                "small faces, faceswap.detection_threshold or attention.detection_threshold to 0.25 for unclear ones, "
                "and faceswap.detect_every or attention.detect_every to 1; the mode quality looks more closely, too."
            ),
        ),
        Topic(
            "drive",
            _("Drive is full."),
            "!df -h /content/drive",
            _(
                "Finished results stay on the session's own disk, and a sentence says where: download them before the "
                "session ends. Make room in Drive, empty its bin as well, for it counts, and run the cell again: what "
                "is missing is copied then."
            ),
        ),
    )


def help(topic: str | None = None) -> Advice:
    """What to do when something goes wrong.

    Args:
        topic: ``gpu``, ``time``, ``memory``, ``slow``, ``nothing`` or ``drive``; None is all of them.

    Raises:
        UsageError: another word.
    """
    known = {one.name: one for one in topics()}
    if topic is None:
        return Advice(tuple(known.values()))
    if topic not in known:
        near = difflib.get_close_matches(str(topic), known, 1)
        hint = " " + _("Did you mean {name}?").format(name=near[0]) if near else ""
        raise UsageError(
            _("There is no help on {topic}; there is help on {names}.").format(
                topic=repr(topic), names=", ".join(known)
            )
            + hint
        )
    return Advice((known[topic],))


def section() -> str:
    """All of it as Markdown, below a heading of the reader's own."""
    return Advice(topics())._repr_markdown_()
