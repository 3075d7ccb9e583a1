"""A finished result that stands at an output: the same job's is not done again, another's is not replaced unasked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framelane import report
from framelane.engine.checkpoint import WorkFolder
from framelane.errors import UsageError
from framelane.identity import asked_for, clip_and_processor
from framelane.processors.base import Processor
from framelane.settings import Loaded
from framelane.video.clip import Clip

_MADE_OF = "made_of"


def made_of(clip: Clip, processor: Processor, asked: Loaded) -> dict[str, str]:
    """What a result is known by, for its report: the clip's content, the processor and its version, the settings."""
    return {**clip_and_processor(clip, processor), "asked for": asked_for(processor.name, asked)}


def require_ours(output: Path, clip: Clip, processor: Processor) -> None:
    """Refuse an output where the finished result of another clip or of another processor stands.

    The same clip with other settings is what people try one after the other: that is replaced.

    Raises:
        UsageError: it would be lost; nothing was started.
    """
    standing = _report_at(output)
    if not standing:
        return
    theirs, name = str(standing.get("processor")), str(standing.get("clip"))
    known = standing.get(_MADE_OF) or {}
    other_clip = known.get("clip") != clip_and_processor(clip, processor)["clip"] if known else True
    if theirs != processor.name or (other_clip and Path(name).absolute() != clip.path.absolute()):
        raise UsageError(
            f"{output} is the finished result of {theirs} on {name}. Name another output, or add --restart to replace it."
        )


def finished(output: Path, clip: Clip, processor: Processor, asked: Loaded) -> Mapping[str, Any]:
    """The report of this very job, where its result stands there with all that belongs to it; else empty.

    Also empty where work lies beside it to go on with.
    """
    if WorkFolder(output).path.exists():
        return {}
    standing = _report_at(output)
    whole = all(path.is_file() for path in report.made_by_us(output))
    return standing if whole and standing.get(_MADE_OF) == made_of(clip, processor, asked) else {}


def _report_at(output: Path) -> Mapping[str, Any]:
    """What the report says of the video that stands there; empty where one of the two is missing or not ours."""
    if not output.is_file() or output not in report.made_by_us(output):
        return {}
    data: dict[str, Any] = json.loads(report.report_path(output).read_text(encoding="utf-8"))
    return data
