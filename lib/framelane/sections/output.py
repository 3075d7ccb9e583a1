"""The settings of the files that come out: the video, and the GIF beside it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from framelane.sections.base import Section


class OutputSettings(Section):
    """The file that comes out."""

    codec: Literal["h264", "hevc"] = Field("h264", description="video codec")
    quality: int = Field(20, ge=0, le=51, description="CRF (x264, x265) or CQ (NVENC): lower is better and larger")
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        Field("medium", description="x264/x265 preset: slower is smaller")
    )
    nvenc_preset: Literal["p1", "p2", "p3", "p4", "p5", "p6", "p7"] = Field(
        "p3", description="preset of the GPU's encoder: p1 is the fastest, p7 the smallest file"
    )
    bitrate_mbps: float = Field(
        0, ge=0, le=400, description="average bit rate in Mbit/s instead of constant quality; 0 keeps output.quality"
    )
    gop_seconds: float = Field(
        0,
        ge=0,
        le=60,
        description="seconds from one key frame to the next at most; every segment begins with one; 0 leaves it to the "
        "encoder",
    )
    b_frames: int = Field(
        -1,
        ge=-1,
        le=5,
        description="B-frames between two others; -1 leaves it to the encoder and to what the card can do",
    )
    require_gpu: bool = Field(False, description="fail instead of falling back to the CPU")
    overwrite: bool = Field(False, description="replace an existing file that framelane did not make")
    upscale: Literal["lanczos", "realesrgan"] = Field(
        "lanczos",
        description="how frames worked on at hardware.working_height get the clip's own size back: resampling, or a "
        "network (seconds a frame on a CPU)",
    )
    upscale_tile: int = Field(
        256,
        ge=64,
        le=2048,
        description="side in pixels of the pieces that realesrgan takes at once: less needs less memory",
    )


class GifSettings(Section):
    """The looping preview beside the output."""

    enabled: bool = Field(True, description="make a GIF beside the output")
    max_mb: float = Field(10.0, gt=0.05, le=200, description="largest size in MB (10^6 bytes)")
    seconds: float = Field(8.0, gt=0, le=60, description="longest stretch shown")
    start: float = Field(0.0, ge=0, description="second at which the stretch begins")
    width: int = Field(640, ge=96, le=1920, description="largest width in pixels")
    fps: float = Field(15.0, ge=2, le=50, description="highest frame rate")
