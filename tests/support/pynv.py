"""NVIDIA's ``PyNvVideoCodec`` as its 2.2 package describes itself, with x264 in place of the card.

It stands in for the encoder only: frames come in as the real one takes them from host memory, packets go out as dicts with
``data``, ``timestamp`` and ``picture_type``, late and in coding order. What is tested is what framelane makes of them.
"""

from __future__ import annotations

import sys
import types
from fractions import Fraction
from importlib.machinery import ModuleSpec

import av
import numpy as np


class NV_ENC_PIC_PARAMS:  # noqa: N801 (their name)
    inputTimeStamp = 0  # noqa: N815


class _Encoder:
    def __init__(self, width, height, fmt, host, **options):
        assert (fmt, host) == ("NV12", True)
        assert all(isinstance(value, str) for value in options.values())
        self.size, self.between = (width, height), max(0, int(options.get("bf", 3)) - 1)
        self.context = av.CodecContext.create("libx264", "w")
        self.context.width, self.context.height, self.context.pix_fmt = width, height, "nv12"
        self.context.time_base, self.context.framerate = Fraction(1, 25), Fraction(25)
        self.context.options = {"preset": "veryfast", "crf": "10", "bf": str(self.between), "b-adapt": "0"}

    def GetNumBFrames(self):  # noqa: N802
        return self.between

    def Encode(self, flat, parameters):  # noqa: N802
        width, height = self.size
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(flat).reshape(height * 3 // 2, width), format="nv12")
        frame.pts = parameters.inputTimeStamp
        return [self._dict(packet) for packet in self.context.encode(frame)]

    def EndEncode(self):  # noqa: N802
        return [self._dict(packet) for packet in self.context.encode(None)]

    def _dict(self, packet):
        return {"data": bytes(packet), "timestamp": packet.pts, "picture_type": 3 if packet.is_keyframe else 0}


def install(monkeypatch):
    """Make it importable for one test."""
    module = types.ModuleType("PyNvVideoCodec")
    module.__spec__ = ModuleSpec("PyNvVideoCodec", None)
    module.CreateEncoder, module.NV_ENC_PIC_PARAMS = _Encoder, NV_ENC_PIC_PARAMS
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", module)
