"""What a rung is: one way to decode a clip, from its start or from a key frame before a timestamp."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from framelane.errors import FramelaneError
from framelane.video.clip import Clip

# What NVDEC knows at all (NVIDIA's decode support matrix); which of them a card has, only the card says.
_NVDEC_CODECS = {
    "av1": "AV1", "h264": "H.264", "hevc": "HEVC", "mjpeg": "Motion JPEG", "mpeg1video": "MPEG-1",
    "mpeg2video": "MPEG-2", "mpeg4": "MPEG-4", "vc1": "VC-1", "vp8": "VP8", "vp9": "VP9",
}  # fmt: skip
# FFmpeg names a clip's codec by the library that decodes it.
_LIBRARIES = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}
_PIXELS = {"yuv420p": "nv12", "yuvj420p": "nv12", "nv12": "nv12", "yuv420p10le": "p010le", "p010le": "p010le"}


class Broken(FramelaneError):
    """A rung cannot go on with a clip; another one may, from the last good frame."""


@dataclass(frozen=True)
class Pass:
    """One pass over a clip.

    Attributes:
        clip: what to decode.
        seek_pts: begin at a key frame at or before this timestamp (ticks of the clip's time base); None is the start.
        threads: threads of a decoder on the CPU; 0 lets FFmpeg choose.
        device: where the frames are wanted, ``"cpu"`` or a CUDA device.
        damaged: called for every packet that could not be decoded and was skipped.
    """

    clip: Clip
    seek_pts: int | None = None
    threads: int = 0
    device: str = "cpu"
    damaged: Callable[[], None] = lambda: None


class Rung(ABC):
    """One way to decode. Keeps no state between passes.

    Attributes:
        name: what the user types after ``--decoder``.
        on_gpu: whether NVDEC does the work.
    """

    name: ClassVar[str]
    on_gpu: ClassVar[bool] = True

    def missing(self) -> str | None:
        """Why this machine cannot run the rung at all, in one sentence; None where nothing speaks against it.

        Quick, and the same for every clip: a driver that is absent answers here.
        """
        return None

    def refuses(self, clip: Clip, device: str) -> str | None:
        """Why this clip cannot be decoded so, as far as that is known without trying; None where it may be."""
        return nvdec_refuses(clip) if self.on_gpu else None

    @abstractmethod
    def frames(self, work: Pass) -> Iterator[Any]:
        """Decoded frames in presentation order, ``av.VideoFrame`` or ``Surface``, timestamps in the clip's time base.

        Each frame owns its memory: the decoder may go on while it is used.

        Raises:
            Broken: the rung cannot go on.
            OSError: the file cannot be read, or not from ``seek_pts``.
        """

    def describe(self, clip: Clip) -> str:
        """What the report names."""
        return f"{self.name} ({clip.codec})"


def codec_of(clip: Clip) -> str:
    """The clip's codec by FFmpeg's name of the format, whichever library decodes it."""
    return _LIBRARIES.get(clip.codec, clip.codec)


def surface_format(clip: Clip) -> str | None:
    """``"nv12"`` or ``"p010le"``: how the clip's pixels lie in device memory; None where they fit neither."""
    if clip.width % 2 or clip.height % 2:
        return None
    return _PIXELS.get(clip.pixel_format)


def nvdec_refuses(clip: Clip) -> str | None:
    """Why NVDEC's frames of this clip could not be what the CPU decodes, or None."""
    codec = codec_of(clip)
    if codec not in _NVDEC_CODECS:
        return f"NVDEC, the GPU's video decoder, does not decode {codec}."
    if clip.pixel_format not in _PIXELS:
        return (
            f"The clip's pixels are {clip.pixel_format}; on the GPU only 4:2:0 with 8 or 10 bits is decoded to "
            "what the CPU decodes."
        )
    if clip.width % 2 or clip.height % 2:
        return f"The clip is {clip.width}x{clip.height}; NVDEC's surfaces need even sides."
    return None


def stays_on_card(name: str, device: str) -> str | None:
    """Why a rung that leaves frames in VRAM is of no use where they are wanted on the CPU, or None."""
    if device != "cpu":
        return None
    return f"The decoder {name} leaves frames on the card, and this job works on the CPU (hardware.device)."


def label(clip: Clip) -> str:
    """The clip's format for a person: ``H.264 with 10 bits, 1920x1080``."""
    name = _NVDEC_CODECS.get(codec_of(clip), clip.codec)
    return f"{name} with {clip.bit_depth} bits, {clip.width}x{clip.height}"
