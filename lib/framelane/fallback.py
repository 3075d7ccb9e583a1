"""Settings that memory forced on a job: 360 lines, then the CPU; or what the guard had set for the next clip.

They stand in the work folder's ``fallback.json`` while the job is unfinished. So a job that was killed goes on with them
where its last finished segment ended, instead of finding work of another size and starting anew.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framelane import settings as settings_module
from framelane.engine.rungs import Held
from framelane.errors import OutOfMemory, chain
from framelane.memory import is_out_of_memory
from framelane.schema import Settings
from framelane.settings import Loaded
from framelane.video.clip import Clip
from framelane.video.writer import write_error

SMALLEST = 360
"""Lines at which a job is tried again when a single frame does not fit into memory."""

BY = "what memory allows"


@dataclass(frozen=True)
class Fallback:
    """What is changed, and what is said of it.

    Attributes:
        changed: settings by dotted key.
        said: sentences for the report.
    """

    changed: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def plus(self, changed: Mapping[str, Any], sentence: str) -> Fallback:
        """This, and something more."""
        return Fallback({**self.changed, **changed}, [*self.said, sentence])


def next_step(settings: Settings, clip: Clip, device: str) -> dict[str, Any]:
    """What to change when a clip does not fit into memory, one frame at a time.

    Args:
        settings: as they were.
        clip: the input.
        device: ``"cpu"`` or ``"cuda"``, as it was.

    Returns:
        360 lines where it was more, then the CPU where that is allowed, then nothing.
    """
    if lines(settings, clip) > SMALLEST:
        return {"hardware.working_height": SMALLEST}
    if device == "cuda" and not settings.output.require_gpu:
        return {"hardware.device": "cpu"}
    return {}


def sentence(step: Mapping[str, Any], why: str) -> str:
    """What is changed and why, for events and the report."""
    if "hardware.device" in step:
        return f"{why} The clip goes on on the CPU."
    return f"{why} The clip is done anew at {step['hardware.working_height']} lines, and scaled back up."


def lines(settings: Settings, clip: Clip) -> int:
    """Lines at which a clip is worked on: its shorter side, or less."""
    return min(clip.width, clip.height, settings.hardware.working_height or clip.height)


def of_guard(held: Held, settings: Settings, clip: Clip) -> Fallback:
    """What the guard wanted for the next clip, where that is less than the settings ask for."""
    heights = [kept["height"] for kept in held.values() if "height" in kept]
    strides = [kept["stride"] for kept in held.values() if "stride" in kept]
    found = Fallback()
    if heights and min(heights) < lines(settings, clip):
        height = int(min(heights))
        text = f"Frames are worked on at {height} lines: the guard asked for it in the clip before."
        found = found.plus({"hardware.working_height": height}, text)
    if strides and max(strides) > settings.hardware.stride:
        stride = int(max(strides))
        text = f"Models run on every {stride}. of their frames only: the guard asked for it in the clip before."
        found = found.plus({"hardware.stride": stride}, text)
    return found


def applied(loaded: Loaded, changed: Mapping[str, Any]) -> Loaded:
    """Settings with some of them changed."""
    return settings_module.replaced(loaded, changed, BY)


@contextlib.contextmanager
def out_of_memory(settings: Settings, clip: Clip, device: str) -> Iterator[None]:
    """Turn running out of memory, wherever it happens, into an error that knows what may be tried next.

    Raises:
        OutOfMemory: with its ``next_step``, see :func:`next_step`.
    """
    try:
        yield
    except Exception as error:
        if not (isinstance(error, OutOfMemory) or is_out_of_memory(error)):
            raise
        said = str(error) if isinstance(error, OutOfMemory) else f"Memory ran out ({chain(error)})."
        raise OutOfMemory(said, next_step(settings, clip, device)) from error


def begin(folder: Path, asked: Mapping[str, Any], held: Held, settings: Settings, clip: Clip) -> Fallback:
    """What a job begins with: what an interrupted run of it was forced to, else what the guard set in the clip before.

    Args:
        folder: the work folder; it need not exist.
        asked: what the job is asked for.
        held: of the clip before.
        settings: as asked for.
        clip: the input.

    Raises:
        FramelaneError: the disk is full, or not writable.
    """
    forced = recall(folder, asked)
    if forced.changed or (folder / "job.json").exists():  # what is begun goes on as it is
        return forced
    forced = of_guard(held, settings, clip)
    if forced.changed:
        save(folder, asked, forced)
    return forced


def save(folder: Path, asked: Mapping[str, Any], fallback: Fallback) -> None:
    """Keep it with the unfinished work.

    Args:
        folder: the work folder.
        asked: what the job was asked for; with anything else the fallback is not taken up again.
        fallback: what is kept.

    Raises:
        FramelaneError: the disk is full, or not writable.
    """
    data = {"asked": asked, "changed": fallback.changed, "said": fallback.said}
    part = folder / "fallback.json.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(data), encoding="utf-8")
        part.replace(folder / "fallback.json")
    except OSError as error:
        raise write_error(folder, error) from error


def recall(folder: Path, asked: Mapping[str, Any]) -> Fallback:
    """What an earlier run of the same job had been forced to; nothing where it was asked for something else."""
    path = folder / "fallback.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["asked"] == json.loads(json.dumps(asked)):
            return Fallback(dict(data["changed"]), list(data["said"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Fallback()
    with contextlib.suppress(OSError):
        path.unlink()
    return Fallback()
