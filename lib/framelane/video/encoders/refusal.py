"""Why NVENC refused, in a sentence: read from what FFmpeg, PyNvVideoCodec or the ffmpeg program said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from framelane.errors import FramelaneError, chain
from framelane.video.encoders.spec import EncodeSpec


class SessionRefused(FramelaneError):
    """The encoder did not open; nothing was encoded, and another try may succeed.

    Attributes:
        cause: the name of one of :data:`CAUSES`, or ``""``.
    """

    def __init__(self, text: str, cause: str = "") -> None:
        super().__init__(text)
        self.cause = cause


@dataclass(frozen=True)
class Cause:
    """One reason for a refusal.

    Attributes:
        name: for programs.
        pattern: a regular expression that is found in what was said.
        text: the sentence; ``{0}`` and so on are the pattern's groups.
    """

    name: str
    pattern: str
    text: str


NO_DRIVER, NO_DEVICE, NO_LIBRARY, OLD_DRIVER = "no driver", "no device", "no NVENC library", "old driver"
SESSIONS_USED, NO_NVENC, NO_B_FRAMES = "session refused", "no NVENC", "no B-frames"

# The first that is found. What is quoted is said by FFmpeg's libavcodec/nvenc.c and ffnvcodec's dynlink_loader.h, and by
# PyNvVideoCodec's VersionCheck and NvEncoder.cpp.
CAUSES = (
    Cause(
        OLD_DRIVER,
        r"required nvenc API version\. Required: ([\d.]+) Found: ([\d.]+)(?:.*driver for nvenc is ([\d.]+))?",
        "The NVIDIA driver is too old: it speaks NVENC's API {1}, and {0} is needed (driver {2} or newer). Update the "
        "driver, or build an FFmpeg that fits it with 'python colab_setup/install.py --build'.",
    ),
    Cause(
        OLD_DRIVER,
        r"Driver version is too old|does not support this NvEncodeAPI version",
        "The NVIDIA driver is too old for PyNvVideoCodec, which needs NVENC's API 12.1 (driver 530.41 or newer).",
    ),
    Cause(
        NO_LIBRARY,
        r"Cannot load libnvidia-encode|load NVENC library|NVENC library file is not found",
        "NVENC's library, libnvidia-encode.so.1, is not found. A container needs "
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video; on Colab LD_LIBRARY_PATH=/usr/lib64-nvidia may help.",
    ),
    Cause(
        NO_DRIVER,
        r"Cannot load libcuda|Could not dynamically load CUDA|libcuda\.so\.1: cannot open",
        "No NVIDIA driver was found on this machine (libcuda.so.1 is missing).",
    ),
    Cause(
        NO_DEVICE,
        r"cuInit\(0\) failed|CUDA_ERROR_NO_DEVICE|no CUDA-capable device|No CUDA capable devices found",
        "The NVIDIA driver finds no card that can be used.",
    ),
    Cause(
        SESSIONS_USED,
        r"OpenEncodeSessionEx failed: (?:out of memory|incompatible client key)|(?:nvEncOpenEncodeSessionEx|Session).*"
        r"(?:OUT_OF_MEMORY|error 10\b|returned error 10\b)",
        "NVENC refused another session: as many as the driver allows are open already, in this or in other programs, or "
        "the card's memory is full.",
    ),
    Cause(
        NO_NVENC,
        r"OpenEncodeSessionEx failed: (?:unsupported device|no encode device)|UNSUPPORTED_DEVICE|NO_ENCODE_DEVICE|"
        r"Codec not supported",
        "The card does not encode this codec: A100, H100 and H200 decode video but have no NVENC.",
    ),
    Cause(NO_B_FRAMES, r"Max B-frames (\d+) exceed (\d+)", "The card makes {1} B-frames in this codec, not {0}."),
    Cause("no 10 bits", r"10 bit encode not supported", "The card does not encode 10 bits."),
    Cause(
        "too large", r"(Width|Height) (\d+) exceeds (\d+)", "{0} {1} is more than the {2} pixels that the card encodes."
    ),
    Cause("too small", r"(?:Frame Dimension|dimension).*less than the minimum", "The picture is too small for NVENC."),
    Cause(
        "not built in",
        r"Unknown encoder '(\w+)'",
        "The ffmpeg program was built without {0}; build one with 'python colab_setup/install.py --build'.",
    ),
    Cause("no module", r"No module named 'PyNvVideoCodec'", "The package PyNvVideoCodec is not installed."),
)


def cause_of(said: str) -> tuple[Cause, tuple[str, ...]] | None:
    """The cause that a log or an exception names, and what its pattern caught; None where it is unknown."""
    for cause in CAUSES:
        if found := re.search(cause.pattern, said, re.DOTALL | re.IGNORECASE):
            return cause, tuple(group or "?" for group in found.groups())
    return None


def refusal(lines: Sequence[str], error: BaseException | None, spec: EncodeSpec) -> SessionRefused:
    """Why an encoder did not open.

    Args:
        lines: what was logged.
        error: what was raised.
        spec: how it was to encode.
    """
    said = "\n".join([*lines, str(error) if error else ""])
    if found := cause_of(said):
        return SessionRefused(found[0].text.format(*found[1]), found[0].name)
    last = next((line for line in reversed(lines) if line), chain(error) if error else "no reason given")
    return SessionRefused(
        f"{spec.encoder} did not open for {spec.width}x{spec.height} {spec.surface_format}: {last.rstrip('.')}."
    )
