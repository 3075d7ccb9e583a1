"""Everything that must have happened before a face is swapped, in one place, so that no caller can forget a part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from framelane.perception import content
from framelane.perception.faces.base import FaceFinder
from framelane.processors.base import Context
from framelane.processors.faceswap import consent, host
from framelane.processors.faceswap.label import Label
from framelane.processors.faceswap.swapper import Source
from framelane.provenance import Provenance, seal
from framelane.schema import Settings
from framelane.video.clip import Clip

if TYPE_CHECKING:
    import torch

STATEMENT = (
    "AI-generated: in this video faces were replaced by computer (framelane faceswap), with the consent of the person "
    "whose face is shown, as declared by the maker. It shows events that did not take place like this."
)


def require(settings: Settings, output: Path) -> None:
    """What can be known before any clip is looked at: consent, an output that can be sealed, a sound content model.

    Raises:
        UsageError: there is no consent, or the output cannot carry credentials, or the certificate cannot sign.
        FramelaneError: the content model or the package that signs is missing or damaged.
    """
    consent.require(settings)
    seal.require(output, settings.faceswap.certificate, settings.faceswap.private_key)
    content.sound_weights()


class Safety:
    """The checks of one job, done when it is made; without one there is no label and no provenance.

    Args:
        clip: the input as the processor sees it; a working size smaller than the file's is well.
        context: of the job.
        sources: the source faces, in the order of ``faceswap.source`` or ``faceswap.pairs``.
        finder: the finder in use; where it tells ages, they are looked at.

    Raises:
        UsageError: there is no consent.
        FramelaneError: a source or a moment of the clip is refused, or a check cannot be done.
    """

    def __init__(self, clip: Clip, context: Context, sources: Sequence[Source], finder: FaceFinder) -> None:
        settings = context.settings
        require(settings, Path("output.mp4"))
        sentence = host.notice()
        if sentence:
            context.warn(sentence)
        self.label = Label(settings.faceswap)
        mark = self.label.mark(*clip.display_size)
        checked = content.check_clip(clip, sources, finder=finder, threads=context.threads)
        context.models.append(content.listed())
        records = consent.check(settings, sources)
        for record in records:
            record["age"] = checked["age"]
        self._provenance = Provenance(
            STATEMENT,
            mark,
            tuple(records),
            settings.faceswap.certificate,
            settings.faceswap.private_key,
            {"content_check": checked, "host_notice": sentence},
        )

    def draw(self, rgb: torch.Tensor) -> torch.Tensor:
        """Label frames, (N, 3, H, W) uint8, in place."""
        return self.label.draw(rgb)

    def provenance(self) -> Provenance:
        """What the output must say of itself."""
        return self._provenance
