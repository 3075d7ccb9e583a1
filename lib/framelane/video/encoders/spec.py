"""What decides the encoder's bits: the spec of an output, and the sentences for what it cannot keep."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from framelane.video.clip import Clip
from framelane.video.colour import ColourTags

_LATE_S = 60.0
# What both CPU encoders take as it is; every other format goes through 8-bit RGB to yuv420p.
_KEPT = {f"yuv{j}{chroma}p" for j in ("", "j") for chroma in (420, 422, 444)} | {
    f"yuv{chroma}p10le" for chroma in (420, 422, 444)
}
# What NVENC takes on every card that has it: 4:2:0, of 8 bits for H.264 and of 8 or 10 for HEVC.
_KEPT_8 = {"yuv420p", "yuvj420p", "nv12"}
_KEPT_10 = {"yuv420p10le", "p010le"}


@dataclass(frozen=True)
class EncodeSpec:
    """Everything that decides the encoder's bits, but the frames.

    Attributes:
        encoder: FFmpeg's name: ``libx264``, ``libx265``, ``h264_nvenc`` or ``hevc_nvenc``.
        width: coded width in pixels; even.
        height: coded height in pixels; even.
        pixel_format: of the coded pictures. NVENC is given the same samples as NV12 or P010.
        rate: average frames per second; a hint for rate control.
        time_base: seconds per tick.
        quality: CRF, or NVENC's target quality (CQ).
        preset: of x264 and x265 (``medium``) or of NVENC (``p3``).
        threads: encoder threads. x264's output depends on it, so it is never "auto" here.
        pad: columns and rows repeated at the right and at the bottom to make both sides even.
        keyframes: frames from one key frame to the next at most; 0 leaves it to the encoder.
        rung: what runs the encoder: ``cpu``, ``pyav``, ``nvcodec`` or ``ffmpeg``.
        bitrate: average bits per second instead of a quality; 0 keeps the quality.
        b_frames: B-frames between two others; -1 leaves it to the encoder.
        device: where the frames lie: ``cpu`` or ``cuda``.
        program: the ffmpeg program of the rung ``ffmpeg``.
    """

    encoder: str
    width: int
    height: int
    pixel_format: str
    rate: Fraction
    time_base: Fraction
    colour: ColourTags
    quality: int
    preset: str
    threads: int
    sample_aspect: Fraction | None = None
    pad: tuple[int, int] = (0, 0)
    keyframes: int = 0
    rung: str = "cpu"
    bitrate: int = 0
    b_frames: int = -1
    device: str = "cpu"
    program: str = ""

    @property
    def nvenc(self) -> bool:
        """Whether the GPU's encoder is wanted."""
        return self.encoder.endswith("_nvenc")

    @property
    def codec(self) -> str:
        """``h264`` or ``hevc``."""
        return "hevc" if self.encoder in ("libx265", "hevc_nvenc") else "h264"

    @property
    def surface_format(self) -> str:
        """What a surface given to the GPU's encoder holds: ``nv12`` or ``p010le``."""
        return "p010le" if "10" in self.pixel_format else "nv12"

    @property
    def described(self) -> str:
        """For people and reports, as in ``libx264 medium crf 20 yuv420p (2 threads)``."""
        rate = f"{self.bitrate / 1e6:g} Mbit/s" if self.bitrate else f"{'cq' if self.nvenc else 'crf'} {self.quality}"
        what = f"{self.encoder} {self.preset} {rate} {self.pixel_format}"
        return f"{what} (through {self.rung})" if self.nvenc else f"{what} ({self.threads} threads)"


def keeps(encoder: str, clip: Clip) -> bool:
    """Whether an encoder takes a clip's untouched frames as they were decoded.

    Args:
        encoder: FFmpeg's name.
        clip: the input.
    """
    if any(_pad(clip)):
        return False
    if encoder.endswith("_nvenc"):
        return clip.pixel_format in (_KEPT_8 | _KEPT_10 if encoder == "hevc_nvenc" else _KEPT_8)
    return clip.pixel_format in _KEPT


def encode_spec(
    clip: Clip,
    *,
    encoder: str,
    quality: int,
    preset: str,
    threads: int,
    touches: bool,
    rung: str = "cpu",
    bitrate: int = 0,
    keyframes: int = 0,
    b_frames: int = -1,
    device: str = "cpu",
    program: str = "",
) -> tuple[EncodeSpec, list[str]]:
    """What to encode a clip's twin with, and in sentences what cannot be kept.

    Args:
        clip: the input.
        encoder: FFmpeg's encoder name.
        quality: CRF, or CQ.
        preset: of the encoder.
        threads: encoder threads, at least 1.
        touches: whether the processor draws on frames; those become 8-bit 4:2:0.
        rung: see :class:`EncodeSpec`; so are those that follow.
        bitrate: average bits per second; 0 keeps the quality.
        keyframes: frames between two key frames at most; 0 leaves it to the encoder.
        b_frames: -1 leaves it to the encoder.
        device: where frames lie.
        program: of the rung ``ffmpeg``.
    """
    kept = not touches and keeps(encoder, clip)
    return EncodeSpec(
        encoder=encoder,
        width=clip.width + clip.width % 2,
        height=clip.height + clip.height % 2,
        pixel_format=_format(encoder, clip) if kept else "yuv420p",
        rate=clip.rate,
        time_base=clip.time_base,
        colour=clip.colour,
        quality=quality,
        preset=preset,
        threads=threads,
        sample_aspect=clip.sample_aspect,
        pad=_pad(clip),
        keyframes=keyframes,
        rung=rung,
        bitrate=bitrate,
        b_frames=b_frames,
        device=device,
        program=program,
    ), _lost(clip, touches, kept)


def _format(encoder: str, clip: Clip) -> str:
    if not encoder.endswith("_nvenc"):
        return clip.pixel_format
    return "yuv420p10le" if clip.pixel_format in _KEPT_10 else "yuv420p"


def _lost(clip: Clip, touches: bool, kept: bool) -> list[str]:
    pad = _pad(clip)
    notes = []
    if clip.interlaced:
        notes.append("The clip is interlaced; the output is progressive, with both fields woven into each frame.")
    begins = float(clip.start_pts * clip.time_base)
    if begins > _LATE_S:
        notes.append(
            f"The clip's clock begins at {begins:.0f} s, which is kept; some players count the time before "
            "it as part of the length."
        )
    if touches and clip.bit_depth > 8:
        notes.append(f"The clip has {clip.bit_depth} bits per sample; frames that are drawn on become 8-bit.")
    only_depth = touches and clip.pixel_format in ("yuv420p10le", "yuv420p12le")
    if not kept and not only_depth and clip.pixel_format not in ("yuv420p", "yuvj420p"):
        notes.append(f"The clip's pixels are {clip.pixel_format}; the output's are yuv420p.")
    if any(pad):
        notes.append(
            f"The clip is {clip.width}x{clip.height}; 4:2:0 video needs even sides, so the last "
            f"{' and '.join(n for n, p in zip(('column', 'row'), pad, strict=True) if p)} is repeated once."
        )
    return notes


def _pad(clip: Clip) -> tuple[int, int]:
    return (clip.width % 2, clip.height % 2)
