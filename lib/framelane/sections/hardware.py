"""The settings of the hardware."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from framelane.sections.base import Section


class HardwareSettings(Section):
    """What the machine is asked to carry; set by the profile."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where models run")
    prefer_gpu: bool = Field(
        True, description="decode and encode on the GPU where a few real frames, compared, show that it works"
    )
    decoder: Literal["auto", "pyav", "nvcodec", "ffmpeg", "cpu"] = Field(
        "auto",
        description="what decodes: auto takes the first that proves itself on this machine; pyav, nvcodec and ffmpeg "
        "are ways to NVDEC",
    )
    encoder: Literal["auto", "pyav", "nvcodec", "ffmpeg", "cpu"] = Field(
        "auto",
        description="what encodes: auto takes the first that proves itself on this machine; pyav, nvcodec and ffmpeg "
        "are ways to NVENC",
    )
    batch_size: int = Field(8, ge=1, le=64, description="frames per frame batch")
    threads: int = Field(0, ge=0, le=64, description="threads of the encoder and the models; 0 is the number of cores")
    cpu_affinity: list[Annotated[int, Field(ge=0)]] = Field(
        default_factory=list, description="numbers of the CPU cores that a job may run on; empty is all of them"
    )
    ram_limit: float = Field(
        0,
        ge=0,
        le=4096,
        description="RAM in GB (2^30 bytes) that the process may use; from 85 % on caches and queues shrink, beyond it the "
        "job stops after a segment (guard.ram, guard.ceiling); 0 is what the machine has",
    )
    stride: int = Field(
        1,
        ge=1,
        le=8,
        description="models run on every N-th only of the frames that they would run on (attention: sample_fps and "
        "overlap / N, detect_every * N; faceswap: detect_every * N, at most 16)",
    )
    working_height: int = Field(
        0,
        ge=0,
        le=4320,
        description="lines at which frames are worked on (their shorter side, as in 480p); the output is scaled up to the "
        "clip's own size; 0 is the clip's own",
    )
    gpu_memory_limit: float = Field(0.9, gt=0.1, le=1, description="share of the GPU's memory that may be used")
    gpu_memory_gb: float = Field(
        0, ge=0, le=1024, description="GPU memory in GB (2^30 bytes) that may be used at most; 0 leaves it to the share"
    )
    mixed_precision: bool = Field(False, description="FP16 under autocast on a GPU")
    gradient_checkpointing: bool = Field(
        False, description="compute a video transformer's layers twice instead of keeping them: less memory, more time"
    )
    empty_cache_every: int = Field(
        0, ge=0, le=1000, description="give unused memory back to the system after every N frame batches; 0 is never"
    )
