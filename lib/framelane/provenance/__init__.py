"""What an output says of itself: a visible mark, metadata, and signed content credentials.

A processor whose results must say what they are names a :class:`Provenance`; the job writes it when it seals the joined
file and reads it back before the file gets its name. See :mod:`framelane.provenance.seal`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framelane.errors import FramelaneError, UsageError

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC NewsCodes: several elements, at least one of them made by a trained algorithm."""

_LEGIBLE = 5.0  # pixels of a capital letter


class Unlabelled(FramelaneError):
    """A joined video does not show its label everywhere: its segments are of no use."""


@dataclass(frozen=True, eq=False)
class VisibleMark:
    """A label that stands on every frame, always the same pixels at the same place.

    Attributes:
        text: what it says.
        picture: uint8 (h, w, 3) RGB; opaque.
        left: column of its first pixel.
        top: row of it.
        frame: (width, height) of the frames that it is drawn on, as displayed.
        letters: height of its capital letters in pixels.
    """

    text: str
    picture: NDArray[np.uint8]
    left: int
    top: int
    frame: tuple[int, int]
    letters: int


@dataclass(frozen=True, eq=False)
class Provenance:
    """What must be written into an output.

    Attributes:
        statement: what was done, in words, for the metadata.
        mark: what every frame shows.
        consent: the consent record of each source; there is at least one.
        certificate: PEM chain that signs; None is the local test certificate.
        private_key: PEM key of the certificate.
        details: whatever else the report should keep, as the results of the checks before the work.
    """

    statement: str
    mark: VisibleMark
    consent: tuple[Mapping[str, Any], ...]
    certificate: str | None = None
    private_key: str | None = None
    details: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.consent:
            raise UsageError("There is no consent record; nothing is made without one. Give it with --consent.")


def record_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a consent record in hex: ties an output to the audit log without a name in public metadata."""
    return hashlib.sha256(json.dumps(dict(record), sort_keys=True).encode()).hexdigest()


def legible(mark: VisibleMark, height: int, of: int) -> bool:
    """Whether the mark can still be read in a picture of ``height`` lines made of one of ``of`` lines."""
    letters = mark.letters * of / mark.frame[1]
    return letters * height / of >= _LEGIBLE


def report_of(provenance: Provenance) -> dict[str, Any]:
    """What the report keeps beside what was verified."""
    mark = provenance.mark
    return {
        "statement": provenance.statement,
        "label": {"text": mark.text, "letters_px": mark.letters, "left": mark.left, "top": mark.top},
        "consent": [dict(record) for record in provenance.consent],
        **(provenance.details or {}),
    }
