"""All settings: what they are, their defaults and ranges. How layers of them are merged is in ``settings``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from framelane.resources import config_names

Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True)


class FamilyColours(Section):
    """The colour of each class family, as ``#rrggbb``; one track's shade varies around it."""

    person: Colour = Field("#ff8c1a", description="people")
    vehicle: Colour = Field("#ffd21a", description="bicycles, cars, buses, trains, boats")
    animal: Colour = Field("#4fd35a", description="birds and four-legged animals")
    ball: Colour = Field("#ff4fa3", description="balls and other sports gear that flies")
    other: Colour = Field("#c58cff", description="everything else")


class AttentionSettings(Section):
    """What the ``attention`` processor computes and draws."""

    channels: Literal["a", "b", "ab"] = Field(
        "ab", description="a: the frame's attention; b: tracked objects; ab: both"
    )
    method: Literal["gmar", "rollout", "last_layer", "chefer", "gradcam"] = Field(
        "gmar", description="how attention maps of all layers and heads become one map"
    )
    gmar_norm: Literal["l1", "l2"] = Field("l1", description="norm of the gradient that weighs a head (gmar)")
    start_layer: int | None = Field(
        None,
        ge=0,
        le=47,
        description="first layer that counts; 0 takes all, as published; null is the backbone's own (DINOv2: 7, for its "
        "early layers dilute the map; video transformers: 0)",
    )
    backbone: Literal["dinov2_vits14", "mvit_v2_s", "mvit_v2_b", "videomae"] = Field(
        "dinov2_vits14", description="the vision transformer that is looked into: of images, or of windows of video"
    )
    target: str = Field(
        "top-1",
        min_length=1,
        description="whose attention a video transformer shows: top-1, the name of a class, or mean",
    )
    pooling: Literal["uniform", "learned"] = Field(
        "uniform", description="how pooled attention is brought back to full resolution (learned is an ablation)"
    )
    detector: Literal["nanodet", "rfdetr", "deformable_detr", "rtdetr", "yolo"] = Field(
        "nanodet",
        description="the object detector of channel B; yolo (AGPL-3.0) runs an ONNX file that you exported yourself",
    )
    detector_size: Literal["nano", "small", "medium", "large"] = Field(
        "nano", description="how large a detector, where it comes in sizes"
    )
    tracker: Literal["bytetrack", "botsort"] = Field("bytetrack", description="the tracker of channel B")
    sample_fps: float = Field(
        4.0, gt=0, le=240, description="maps of an image backbone computed per second; frames between are interpolated"
    )
    window: int | None = Field(
        None,
        ge=2,
        le=64,
        description="frames in a video transformer's window; null is what it was trained with (16 or 32)",
    )
    window_fps: float | None = Field(
        None,
        gt=0,
        le=60,
        description="frames per second in a video transformer's window; null is what it was trained at",
    )
    overlap: float = Field(
        0.5, ge=0, le=0.9, description="share of a window that the next one covers again, blended in time"
    )
    spatial_resolution: int = Field(
        224,
        ge=112,
        le=896,
        description="square root of the pixel area given to the backbone; an image backbone keeps the aspect ratio",
    )
    detect_every: int = Field(
        2,
        ge=1,
        le=10,
        description="detect on every N-th frame, at once after a cut, and on every 4N-th while the picture stands still; "
        "boxes between are interpolated",
    )
    detection_threshold: float = Field(0.35, ge=0.05, le=0.95, description="lowest detection score that starts a track")
    classes: list[str] = Field(default_factory=list, description="COCO class names to keep; empty keeps all")
    smoothing_s: float = Field(
        0.25, ge=0, le=5, description="time constant in seconds of the motion-following smoothing; 0 is off"
    )
    cut_threshold: float = Field(
        0.3, ge=0.05, le=1, description="how different (0 to 1) two frames must be, motion removed, for a cut"
    )
    colour: Colour = Field("#1a5cff", description="colour of the attention shadow")
    alpha: float = Field(0.6, ge=0, le=1, description="opacity of the shadow where attention is strongest")
    object_alpha: float = Field(0.18, ge=0, le=0.5, description="opacity of the tint inside an object's box")
    object_shadow: float = Field(
        0.42, ge=0, le=0.5, description="opacity of an object's own attention (DETR family), instead of that tint"
    )
    family_colours: FamilyColours = FamilyColours()
    trail_s: float = Field(2.0, ge=0, le=30, description="length in seconds of the path drawn behind an object")
    gap_s: float = Field(0.6, ge=0, le=5, description="how long an object that is not seen stays drawn, fading")
    legend: bool = Field(True, description="draw the legend")


class FacePair(Section):
    """One source and the face that it replaces."""

    source: str = Field(min_length=1, description="an image, or a folder of images that are averaged")
    target: str = Field(min_length=1, description="an image of the face to replace, or SECONDS#INDEX as in 12.5#0")


class FaceswapSettings(Section):
    """Whose face ``faceswap`` puts where, and how."""

    source: str | None = Field(None, description="the source face: an image, or a folder of images that are averaged")
    consent: str | None = Field(
        None,
        description="who agreed to the use of the source face, and on what ground; with it you declare that the person is "
        "an adult. Nothing is swapped without it",
    )
    select: Literal["many", "largest", "reference"] = Field(
        "many",
        description="which faces are replaced: all, the largest of each frame, or the one like faceswap.reference",
    )
    reference: str | None = Field(
        None,
        description="the face to replace: an image of it, or SECONDS#INDEX, the INDEX-th face from the left at that second "
        "of the clip, as in 12.5#0",
    )
    similar_face_distance: float = Field(
        0.85,
        gt=0,
        le=4,
        description="largest squared distance of two unit embeddings that are the same person's (reference, pairs)",
    )
    pairs: list[FacePair] = Field(
        default_factory=list, description="several sources at once, each with its target; instead of source and select"
    )
    finder: Literal["centerface", "insightface"] = Field(
        "centerface",
        description="what finds faces; insightface (weights for non-commercial research) also tells who they are",
    )
    swapper: Literal["warp", "inswapper"] = Field(
        "warp", description="warp: geometric, embedded; inswapper: InSwapper-128 (weights for non-commercial research)"
    )
    restore: Literal["none", "gfpgan"] = Field("none", description="what restores the detail of swapped faces")
    restore_strength: float = Field(0.8, ge=0, le=1, description="share of the restored face in the result")
    restore_version: Literal["1.3", "1.4"] = Field("1.4", description="of GFPGAN's weights")
    restore_min_px: int = Field(96, ge=16, le=1024, description="faces smaller than this are not restored")
    blend: float = Field(1.0, ge=0, le=1, description="share of the swapped face in the result")
    keep_mouth: bool = Field(False, description="keep the mouth of the clip, with what is in front of it")
    min_face_px: int = Field(32, ge=16, le=1024, description="faces smaller than this are left alone")
    detect_every: int = Field(
        1, ge=1, le=10, description="find faces on every N-th frame; those between are interpolated"
    )
    detection_threshold: float = Field(0.5, ge=0.05, le=0.95, description="lowest score of a face")
    label: str = Field(
        "AI-generated face",
        min_length=3,
        max_length=60,
        description="the visible label; whatever it says, it begins with AI-generated",
    )
    label_corner: Literal["top-left", "top-right", "bottom-left", "bottom-right"] = Field(
        "bottom-right", description="where the visible label stands"
    )
    label_size: float = Field(
        0.035, ge=0.02, le=0.2, description="height of the label's letters, share of the picture's height"
    )
    certificate: str | None = Field(
        None, description="PEM chain that signs the content credentials; null is a local test certificate"
    )
    private_key: str | None = Field(None, description="PEM key of the certificate")


class EngineSettings(Section):
    """How a job runs; none of these changes a pixel but through x264's closing of segments."""

    segment_seconds: float = Field(10.0, gt=0, le=600, description="seconds of output between two checkpoints")
    queue_batches: int = Field(2, ge=1, le=8, description="frame batches that may wait between two stages")
    min_free_mb: int = Field(
        256,
        ge=0,
        description="free disk space in MB that must remain, else a job does not start, or stops after a segment",
    )
    preview_s: float = Field(
        0,
        ge=0,
        le=60,
        description="seconds between two previews of the current frame, before and after, among the events; 0 makes none",
    )


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


Rung = Annotated[
    str, Field(pattern=r"^(batch|height [1-9]\d{1,3}|stride [2-8]|pace 0\.[1-9]\d?|pause|emergency|stop)$")
]


class GuardRule(Section):
    """When the guard acts on one quantity, and how.

    The ladder is taken rung by rung while the quantity stays bad, and back in reverse order: ``batch`` halves the batch
    until it is 1, ``height N`` works at N lines and ``stride N`` runs models on every N-th of their frames (both from the
    next clip on), ``pace 0.N`` works for that share of the time, ``pause`` waits, ``emergency`` flushes caches and keeps
    one frame batch in every queue, ``stop`` ends the job after a segment.

    Attributes:
        low: True where it is low values that are bad.
    """

    low: ClassVar[bool] = False
    enter: float = Field(description="acts from here on")
    leave: float = Field(description="begins to go back from here on")
    dwell_s: float = Field(10, ge=1, le=600, description="seconds that it must be bad, and between two rungs")
    recover_s: float = Field(60, ge=1, le=3600, description="seconds that it must be good before a rung is given back")
    ladder: list[Rung] = Field(description="what is done, rung by rung")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.leave <= self.enter if self.low else self.leave >= self.enter:
            side = "above" if self.low else "below"
            raise ValueError(f"leave ({self.leave:g}) must be {side} enter ({self.enter:g})")
        return self


class VramRule(GuardRule):
    """GPU memory."""

    enter: float = Field(92, gt=0, le=100, description="% of the usable GPU memory in use, PyTorch's cache not counted")
    leave: float = Field(80, gt=0, le=100, description="% from which the way back begins")
    ladder: list[Rung] = Field(
        ["batch", "height 720", "height 480", "height 360", "stride 2"],
        description="what is done about it, rung by rung",
    )


class TemperatureRule(GuardRule):
    """Heat."""

    low: ClassVar[bool] = True
    enter: float = Field(3, ge=0, le=40, description="°C below the device's own slowdown point")
    leave: float = Field(10, ge=0, le=60, description="°C below it from which the way back begins")
    ladder: list[Rung] = Field(["pace 0.7", "pace 0.4", "pause"], description="what is done about it, rung by rung")


class RamRule(GuardRule):
    """Memory of the machine, or of ``hardware.ram_limit``."""

    enter: float = Field(85, gt=0, le=100, description="% of the RAM in use")
    leave: float = Field(75, gt=0, le=100, description="% from which the way back begins")
    dwell_s: float = Field(2, ge=1, le=600, description="seconds that it must be bad, and between two rungs")
    recover_s: float = Field(30, ge=1, le=3600, description="seconds that it must be good before a rung is given back")
    ladder: list[Rung] = Field(["emergency", "batch"], description="what is done about it, rung by rung")


class CeilingRule(GuardRule):
    """The process against ``hardware.ram_limit``."""

    enter: float = Field(100, gt=0, le=200, description="% of hardware.ram_limit that the process uses")
    leave: float = Field(90, gt=0, le=200, description="% from which the way back begins")
    ladder: list[Rung] = Field(["stop"], description="what is done about it, rung by rung")


class DiskRule(GuardRule):
    """Disk space."""

    low: ClassVar[bool] = True
    enter: float = Field(0, ge=0, description="MB free on the output's disk beyond engine.min_free_mb")
    leave: float = Field(64, ge=0, description="MB from which the way back begins")
    dwell_s: float = Field(2, ge=1, le=600, description="seconds that it must be bad, and between two rungs")
    ladder: list[Rung] = Field(["stop"], description="what is done about it, rung by rung")


class GuardSettings(Section):
    """What slows work down before the machine breaks."""

    enabled: bool = Field(True, description="act on what the sensors say; they are read and reported all the same")
    max_pause_s: float = Field(
        180, ge=1, le=3600, description="longest pause; still hot after it, work goes on at the lowest pace"
    )
    slowdown_c: float | None = Field(
        None,
        ge=40,
        le=110,
        description="temperature in °C taken as the slowdown point; null asks the device (80 where it does not say, 75 on "
        "Tegra boards)",
    )
    vram: VramRule = VramRule()
    temperature: TemperatureRule = TemperatureRule()
    ram: RamRule = RamRule()
    ceiling: CeilingRule = CeilingRule()
    disk: DiskRule = DiskRule()

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        for name in ("vram", "temperature", "ram", "ceiling", "disk"):
            rule: GuardRule = getattr(self, name)
            if "pause" in rule.ladder and self.max_pause_s < rule.dwell_s:
                raise ValueError(
                    f"max_pause_s ({self.max_pause_s:g}) must be at least {name}.dwell_s ({rule.dwell_s:g})"
                )
        return self


class Settings(Section):
    """Everything that can be set for one job."""

    mode: Literal["fast", "balanced", "quality"] = Field(
        "balanced", description="what the user picks: speed against quality"
    )
    profile: str = Field("auto", description=f"what the hardware allows: auto, {', '.join(config_names('profiles'))}")
    attention: AttentionSettings = AttentionSettings()
    faceswap: FaceswapSettings = FaceswapSettings()
    engine: EngineSettings = EngineSettings()
    output: OutputSettings = OutputSettings()
    gif: GifSettings = GifSettings()
    hardware: HardwareSettings = HardwareSettings()
    guard: GuardSettings = GuardSettings()
