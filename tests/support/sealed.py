"""A small real processor whose outputs must say what they are: label, consent and provenance, and no swap in between.

Importing this module registers it. It takes the same road through the engine as ``faceswap``.
"""

from __future__ import annotations

import numpy as np

from framelane.perception.faces.base import Face
from framelane.processors.base import OutputSpec, Processor
from framelane.processors.faceswap import consent
from framelane.processors.faceswap.label import Label
from framelane.processors.faceswap.swapper import Source
from framelane.provenance import Provenance
from framelane.provenance.seal import require

CONSENT = "Ada Example, signed release of the first of March"


def face(age=None):
    return Face(np.array([10, 10, 60, 60], np.float32), 0.9, np.zeros((5, 2), np.float32), age=age)


def source(name="ada.png", colour=128):
    return Source(name, (np.full((64, 64, 3), colour, np.uint8),), (face(),))


class Stamped(Processor):
    """Labels every frame and seals the output."""

    name = "stamped"
    says_what_it_is = True

    def require(self, settings, output):
        consent.require(settings)
        require(output, settings.faceswap.certificate, settings.faceswap.private_key)

    def open(self, clip, context):
        wanted = context.settings.faceswap
        self.label = Label(wanted)
        mark = self.label.mark(*clip.display_size)
        records = tuple(consent.check(context.settings, [source()]))
        self.says = Provenance("AI-generated: a test", mark, records, wanted.certificate, wanted.private_key)
        return OutputSpec(touches=True)

    def provenance(self):
        return self.says

    def infer(self, batch):
        return None

    def commit(self, batch, inferred):
        return [batch.replace(rgb=self.label.draw(batch.rgb.clone()))]


class Unlabelled(Stamped):
    """Forgets the label."""

    name = "unlabelled"

    def commit(self, batch, inferred):
        return [batch.replace(rgb=batch.rgb)]


class Silent(Stamped):
    """Forgets to say what its output is."""

    name = "silent"

    def provenance(self):
        return None
