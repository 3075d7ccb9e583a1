"""Ways to decode, from NVDEC down to the CPU: each proves itself on the clip's own frames before it is used."""

from framelane.video.decoders.base import Broken, Pass, Rung
from framelane.video.decoders.choose import (
    RUNGS,
    DecoderChoice,
    choose_decoder,
    compare,
    probe,
    rung_named,
    sentences,
    try_rung,
)
from framelane.video.decoders.cpu import CpuRung

__all__ = [
    "RUNGS", "Broken", "CpuRung", "DecoderChoice", "Pass", "Rung", "choose_decoder", "compare", "probe",
    "rung_named", "sentences", "try_rung",
]  # fmt: skip
