"""A cheap look at the head of a file: is it worth opening as a video?

Ten thousand files that are no clips must not take minutes, so only what looks like a clip is opened with FFmpeg.
"""

from __future__ import annotations

import os
import stat
from enum import Enum
from pathlib import Path

# The marks are those by which FFmpeg's own demuxers know their files (the read_probe functions of libavformat).
_HEAD = 4096
_PREFIXES = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"GIF87a",
    b"GIF89a",
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: WMV
    b".RMF",
    b"\x06\x0e\x2b\x34",  # MXF
    b"nut/multimedia container",
    b"DKIF",  # IVF
    b"YUV4MPEG2 ",
    b"OggS",
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # MP4, QuickTime: the first box
_NO_CLIPS = (b"heic", b"heix", b"heim", b"mif1", b"avif", b"M4A ", b"M4B ")  # brands of pictures and sound
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # (length, offset of the sync byte) of transport streams
_SUFFIXES = (
    ".mp4 .m4v .mov .qt .mkv .webm .avi .ts .m2ts .mts .mpg .mpeg .vob .wmv .asf .flv .ogv .3gp .3g2 .mxf .rm .rmvb "
    ".divx .dv .nut .ivf .y4m"
)
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())


class Look(Enum):
    """What the head of a file says."""

    CLIP = "clip"
    """It has the mark of a container of video, or at least the name of one."""
    OTHER = "other"
    """Something else: a picture, a text, sound."""
    NO_FILE = "no file"
    """A pipe, a socket or a device: never read from."""


def look(path: Path) -> Look:
    """Read the first bytes of a file; pipes and devices are not waited for.

    Raises:
        OSError: it cannot be read, or is gone.
    """
    # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return Look.NO_FILE
        head = os.read(handle, _HEAD)
    finally:
        os.close(handle)
    return Look.CLIP if looks_like_a_clip(head) or named_like_a_clip(path.name) else Look.OTHER


def named_like_a_clip(name: str) -> bool:
    """Whether a file name ends as those of videos do (GIF left out: most are pictures)."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def looks_like_a_clip(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a container that holds video.

    Args:
        head: its first few kilobytes, or all of it.
    """
    if head.startswith(_PREFIXES):
        return True
    if head[4:8] in _BOXES:
        return not (head[4:8] == b"ftyp" and head[8:12] in _NO_CLIPS)
    if head[:4] == b"RIFF":
        return head[8:11] == b"AVI"
    return any(_transport_stream(head, length, offset) for length, offset in _TS_PACKETS)


def _transport_stream(head: bytes, length: int, offset: int) -> bool:
    syncs = head[offset : 5 * length : length]
    return len(syncs) == 5 and set(syncs) == {0x47}
