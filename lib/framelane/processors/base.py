"""The contract between the engine and what happens to frames."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from framelane.errors import UsageError
from framelane.provenance import Provenance
from framelane.schema import Settings
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch
from framelane.video.tones import Tone


@dataclass(frozen=True)
class OutputSpec:
    """What will come out of a processor.

    Attributes:
        touches: whether it draws on frames. Where it does not, the encoder keeps the clip's own pixel format.
        size: (width, height) of the frames that come out, upright; both even. None is the clip's own. Every frame must then
            be given as ``rgb`` of that size, with :func:`framelane.video.scale.at_size`.
    """

    touches: bool = True
    size: tuple[int, int] | None = None


@dataclass
class Context:
    """What a processor may use and say while it works.

    Attributes:
        settings: the merged settings.
        device: ``"cpu"`` or ``"cuda"``.
        threads: threads for models on the CPU.
        warn: takes a sentence for the report and the events.
        degrade: takes a sentence on what works less well than asked for, and why (promises 4 and 5).
        own: the dotted keys of the settings that the user gave, not a default, profile or mode.
        models: the models in use, for the report: name, sha256, licence.
        tell: takes an event of the processor's own, as in ``{"event": "alert", "message": "...", ...}``; JSON-able. After a
            kill, events of the unfinished segment come again: the rows are what lasts.
    """

    settings: Settings
    device: str = "cpu"
    threads: int = 1
    warn: Callable[[str], None] = lambda _: None
    degrade: Callable[[str], None] = lambda _: None
    own: frozenset[str] = frozenset()
    models: list[dict[str, Any]] = field(default_factory=list)
    tell: Callable[[dict[str, Any]], None] = lambda _: None


@dataclass(frozen=True)
class Snapshot:
    """A processor's state between two commits.

    Attributes:
        state: plain JSON-able data, bounded in size, no pixels.
        replay_from: index of the first input frame that the state still needs; None is the next one.
    """

    state: dict[str, Any]
    replay_from: int | None = None


@dataclass(frozen=True)
class Moment:
    """A moment of an output that somebody should look at.

    Attributes:
        seconds: from the first frame.
        why: in a few words.
    """

    seconds: float
    why: str


class Processor(ABC):
    """What happens to frames. A subclass with ``name = "..."`` registers itself.

    Attributes:
        name: what the user types.
        version: raised whenever the same input would give another output: old unfinished work is then started anew.
        history: how many frames before a batch ``infer`` may look at; set it in ``open``.
        makes_sheet: whether a contact sheet may stand beside the output, see :meth:`moments`.
        says_what_it_is: whether every output must be sealed with a provenance; a job without one then fails.
        scalable: whether it may be given smaller frames whose result is scaled up again (``hardware.working_height``). Its
            rows and exports are then in pixels of the smaller frames. One that makes frames of a size of its own
            (:attr:`OutputSpec.size`), or tables in the clip's pixels, is not.
        exports: suffixes (of ``report.EXPORTS``) of the tables that :meth:`export` writes beside the output.
    """

    name: str = ""
    makes_sheet: bool = False
    says_what_it_is: bool = False
    scalable: bool = True
    exports: tuple[str, ...] = ()
    version: int = 1
    history: int = 1
    _registry: ClassVar[dict[str, type[Processor]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            Processor._registry[cls.name] = cls

    def require(self, settings: Settings, output: Path) -> None:
        """Refuse what can never be done, before any clip is looked at: called for a job, and once for a whole batch.

        Args:
            settings: the merged settings.
            output: the file to make; of a batch, a name such as its clips' outputs have.

        Raises:
            UsageError: a setting is missing or does not fit the output.
            FramelaneError: something that the work must not be done without is missing or damaged.
        """

    def provenance(self) -> Provenance | None:
        """What the output must say of itself, known once opened; None where it need not."""
        return None

    @abstractmethod
    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Load models, warm up and say what will come out.

        Raises:
            FramelaneError: a model is missing or damaged.
        """

    def first_pass(self) -> Processor | None:
        """What looks at the whole clip before the frames are made; None where nothing needs to.

        It is a processor itself, already open, run by the same engine: checkpointed, resumed, guarded. Only its rows are
        kept. Asked for after :meth:`open`.
        """
        return None

    def learn(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take over what :meth:`first_pass` found, before the first frame and before :meth:`restore`.

        Args:
            rows: of the whole clip, in order.
        """

    @abstractmethod
    def infer(self, batch: FrameBatch) -> Any:
        """The heavy part: batched, on the device, and pure in ``batch``, so that the engine can repeat it."""

    @abstractmethod
    def commit(self, batch: FrameBatch, inferred: Any) -> list[FrameBatch]:
        """The ordered and cheap part: tracking, smoothing, drawing.

        Must give the same frames however the input is cut into batches. May hold frames back.

        Returns:
            Finished frames in order, with their rows.
        """

    def flush(self) -> list[FrameBatch]:
        """What is still held back, once the clip has ended."""
        return []

    def snapshot(self) -> Snapshot:
        """The state after the last commit.

        Leaves the processor just as :meth:`restore` of the snapshot would, so that a resumed job and an uninterrupted
        one go on from the same state.
        """
        return Snapshot({})

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the state of a snapshot, before the first frame."""

    def report(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Fold the rows of all segments into the report's metrics, in one pass."""
        return {}

    def export(self, suffix: str, rows: Iterable[dict[str, Any]], path: Path) -> None:
        """Write one of :attr:`exports`, in one pass over the rows of all segments.

        Args:
            suffix: which.
            rows: in the order of the frames.
            path: the file to write.

        Raises:
            OSError: the disk is full.
        """
        raise NotImplementedError(f"{self.name} names {suffix} among its exports and does not write it")

    def tones(self, rows: Iterable[dict[str, Any]]) -> list[Tone]:
        """Short tones for the output's sound, in order, seconds counted from the first frame; none leaves the sound alone.

        Args:
            rows: of all segments, in the order of the frames.
        """
        return []

    def moments(self, metrics: Mapping[str, Any]) -> list[Moment]:
        """What is shown on the contact sheet beside the output; none makes no sheet.

        Args:
            metrics: what :meth:`report` returned.
        """
        return []

    def close(self) -> None:
        """Release models and memory."""


def names() -> list[str]:
    """The processors that exist."""
    _load_builtin()
    return sorted(Processor._registry)


def create(name: str) -> Processor:
    """A new processor by name.

    Raises:
        UsageError: there is none of that name; the text gives the nearest.
    """
    _load_builtin()
    if name not in Processor._registry:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"There is no processor {name!r}; there are {', '.join(names())}.{hint}")
    return Processor._registry[name]()


def _load_builtin() -> None:
    """Import every package below ``processors``: their classes register themselves."""
    from framelane import processors

    for module in pkgutil.iter_modules(processors.__path__):
        if module.ispkg:
            importlib.import_module(f"framelane.processors.{module.name}.processor")
