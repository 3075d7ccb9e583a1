"""Encoding rungs: x264 and x265 on the CPU, and three ways to NVENC, each behind the same session."""

from __future__ import annotations

from framelane.video.encoders import cpu, ffmpeg, nvcodec, pyav
from framelane.video.encoders.base import SESSIONS, Session, SessionRefused
from framelane.video.encoders.spec import EncodeSpec, encode_spec

__all__ = [
    "SESSIONS",
    "EncodeSpec",
    "Session",
    "SessionRefused",
    "cpu",
    "encode_spec",
    "ffmpeg",
    "nvcodec",
    "pyav",
]
