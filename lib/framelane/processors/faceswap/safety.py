"""Everything that must have happened before a face is swapped, in one place, so that no caller can forget a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framelane.perception import content
from framelane.perception.faces.base import FaceFinder
from framelane.processors.base import Context
from framelane.processors.faceswap import consent, host
from framelane.processors.faceswap.swapper import Source
from framelane.provenance import Provenance, VisibleMark, seal
from framelane.schema import Settings
from framelane.sections.faceswap import FaceswapSettings
from framelane.video.clip import Clip


def require(settings: Settings, output: Path) -> None:
    """What can be known before any clip is looked at: consent, an output that can be sealed, a sound content model.

    Raises:
        UsageError: there is no consent, or the output cannot carry credentials, or the certificate cannot sign.
        FramelaneError: the content model or the package that signs is missing or damaged.
    """
    consent.require(settings)
    seal.require(output, settings.faceswap.certificate, settings.faceswap.private_key)
    content.sound_weights()


@dataclass(frozen=True)
class Passed:
    """What the checks of one job found; without it there is no provenance, and without that no output.

    Attributes:
        records: the consent record of each source.
        details: for the report.
        options: certificate and key.
    """

    records: tuple[Mapping[str, Any], ...]
    details: Mapping[str, Any]
    options: FaceswapSettings

    def provenance(self, statement: str, mark: VisibleMark) -> Provenance:
        """What the output must say of itself.

        Args:
            statement: what was done, in words.
            mark: the label as it is drawn.
        """
        own = self.options.certificate, self.options.private_key
        return Provenance(statement, mark, self.records, *own, self.details)


def check(clip: Clip, context: Context, sources: Sequence[Source], finder: FaceFinder) -> Passed:
    """Every check of a job: consent is there, contents are fit, then the consent is put on record.

    Args:
        clip: the input as the processor sees it.
        context: of the job.
        sources: the source faces, in the order of ``faceswap.source`` or ``faceswap.pairs``.
        finder: the finder in use; where it tells ages, they are looked at.

    Raises:
        UsageError: there is no consent.
        FramelaneError: a source or a moment of the clip is refused, or a check cannot be done.
    """
    consent.require(context.settings)
    notice = host.notice()
    if notice:
        context.warn(notice)
    checked = content.check_clip(clip, sources, finder=finder, device=context.device, threads=context.threads)
    context.models.append(content.listed())
    records = consent.check(context.settings, sources, age=checked["age"])
    details = {"content_check": checked, **({"host_notice": notice} if notice else {})}
    return Passed(tuple(records), details, context.settings.faceswap)
