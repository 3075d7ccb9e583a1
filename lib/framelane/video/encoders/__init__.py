"""Encoding rungs: x264 and x265 on the CPU, and three ways to NVENC, each behind the same session."""

from __future__ import annotations

from framelane.video.encoders import cpu, ffmpeg, nvcodec, pyav
from framelane.video.encoders.base import SESSIONS, Session
from framelane.video.encoders.choice import RUNGS, EncoderChoice, choose_encoder, cpu_encoder, probe, spec_of
from framelane.video.encoders.refusal import SessionRefused
from framelane.video.encoders.spec import EncodeSpec, encode_spec

__all__ = [
    "RUNGS",
    "SESSIONS",
    "EncodeSpec",
    "EncoderChoice",
    "Session",
    "SessionRefused",
    "choose_encoder",
    "cpu",
    "cpu_encoder",
    "encode_spec",
    "ffmpeg",
    "nvcodec",
    "probe",
    "pyav",
    "spec_of",
]
