"""All settings: what they are, their ranges, and how the layers are merged.

Layers, weakest first: defaults < profile (what the hardware allows) < mode (what the user picks) < the user's YAML
< ``--set`` and keywords. :func:`load` merges them and remembers for every key which layer its value came from.

Two rules keep profile and mode apart. A mode that nobody picked (``balanced``, then) is weaker than the profile: what
the profile chose for the hardware stays. A mode that was picked is stronger, but never goes beyond the profile's
``limits``: numbers that a mode or a default may not exceed. Only the user's own values may.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from framelane.errors import UsageError
from framelane.resources import config_names, data_path

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
        "nanodet", description="the object detector of channel B; yolo needs the AGPL package ultralytics"
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


class EngineSettings(Section):
    """How a job runs; none of these changes a pixel but through x264's closing of segments."""

    segment_seconds: float = Field(10.0, gt=0, le=600, description="seconds of output between two checkpoints")
    queue_batches: int = Field(2, ge=1, le=8, description="frame batches that may wait between two stages")
    min_free_mb: int = Field(
        256,
        ge=0,
        description="free disk space in MB that must remain, else a job does not start, or stops after a segment",
    )


class OutputSettings(Section):
    """The file that comes out."""

    codec: Literal["h264", "hevc"] = Field("h264", description="video codec")
    quality: int = Field(20, ge=0, le=51, description="CRF (x264, x265): lower is better and larger")
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        Field("medium", description="x264/x265 preset: slower is smaller")
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
    batch_size: int = Field(8, ge=1, le=64, description="frames per frame batch")
    threads: int = Field(0, ge=0, le=64, description="threads of the encoder and the models; 0 is the number of cores")
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


class Settings(Section):
    """Everything that can be set for one job."""

    mode: Literal["fast", "balanced", "quality"] = Field(
        "balanced", description="what the user picks: speed against quality"
    )
    profile: str = Field("auto", description=f"what the hardware allows: auto, {', '.join(config_names('profiles'))}")
    attention: AttentionSettings = AttentionSettings()
    engine: EngineSettings = EngineSettings()
    output: OutputSettings = OutputSettings()
    gif: GifSettings = GifSettings()
    hardware: HardwareSettings = HardwareSettings()


@dataclass(frozen=True)
class Loaded:
    """Merged settings and, for every dotted key, the layer its value came from.

    Attributes:
        limited: in sentences, where the picked mode or a default wanted more than the profile allows.
    """

    settings: Settings
    origin: Mapping[str, str] = field(default_factory=dict)
    limited: tuple[str, ...] = ()


def fields(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every settable key in dotted form (``"attention.method"``) with its pydantic field, in declared order."""
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping to dotted keys: ``{"a": {"b": 1}}`` to ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def names(kind: Literal["modes", "profiles"]) -> list[str]:
    """The modes or profiles that ship, by name."""
    return config_names(kind)


def parse_assignment(text: str) -> tuple[str, Any]:
    """``"gif.max_mb=5"`` to ``("gif.max_mb", 5)``; the value is read as YAML.

    Raises:
        UsageError: there is no ``=``, or the value is not YAML.
    """
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise UsageError(
            f"--set {text!r} is not of the form section.key=value, for example --set attention.method=rollout."
        )
    try:
        # A colour such as #1a5cff would be a comment in YAML.
        return key.strip(), value.strip() if value.strip().startswith("#") else yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key.strip()}: the value {value!r} cannot be read.") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of settings as a nested dict.

    Raises:
        UsageError: the file is missing, unreadable, or no mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"The settings file {path} does not exist.") from error
    except IsADirectoryError as error:
        raise UsageError(f"The settings file {path} is a folder; name a YAML file in it.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"The settings file {path} cannot be read as YAML: {first}.") from error
    if data is None:
        return {}
    if isinstance(data, dict):
        data = {key: {} if value is None and key in Settings.model_fields else value for key, value in data.items()}
    if not isinstance(data, dict):
        raise UsageError(
            f"The settings file {path} must hold sections such as 'attention:', not a {type(data).__name__}."
        )
    return data


def load(
    *,
    mode: str | None = None,
    profile: str | None = None,
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    detected_profile: str = "cpu",
) -> Loaded:
    """Merge all layers.

    Args:
        mode: overrides the mode that the YAML names.
        profile: overrides the profile that the YAML names; ``"auto"`` takes ``detected_profile``.
        config: the user's YAML file.
        overrides: dotted keys from ``--set`` or keywords.
        detected_profile: the profile that fits the hardware.

    Raises:
        UsageError: an unknown key or a value out of range; the text names the key, the file and what is allowed.
    """
    user = flatten(read_yaml(config)) if config else {}
    given = {**(overrides or {})}
    if mode:
        given["mode"] = mode
    if profile:
        given["profile"] = profile
    where = str(config) if config else "the command line"
    chosen_mode = _choice("mode", given.get("mode", user.get("mode", "balanced")), names("modes"), where)
    wanted = given.get("profile", user.get("profile", "auto"))
    chosen_profile = (
        detected_profile if wanted == "auto" else _choice("profile", wanted, ["auto", *names("profiles")], where)
    )
    profile_layer = (f"profile {chosen_profile}", profile_values(chosen_profile))
    mode_layer = (f"mode {chosen_mode}", flatten(read_yaml(data_path("configs", "modes", f"{chosen_mode}.yaml"))))
    picked = "mode" in given or "mode" in user
    layers = [profile_layer, mode_layer] if picked else [mode_layer, profile_layer]
    merged: dict[str, Any] = {}
    origin = {key: "default" for key, _ in fields()}
    for source, flat in [*layers, (str(config), user), ("the command line", given)]:
        for key, value in flat.items():
            _known(key, source)
            merged[key], origin[key] = value, source
    merged["profile"] = chosen_profile
    limited = _limit(merged, origin, chosen_profile, {*user, *given})
    return Loaded(_build(merged, origin), origin, limited)


def profile_values(name: str) -> dict[str, Any]:
    """What a profile sets, by dotted key, without its limits."""
    return flatten({k: v for k, v in _profile(name).items() if k != "limits"})


def profile_limits(name: str) -> dict[str, float]:
    """The numbers that a profile lets no mode and no default exceed, by dotted key."""
    return flatten(_profile(name).get("limits", {}))


def _profile(name: str) -> dict[str, Any]:
    return read_yaml(data_path("configs", "profiles", f"{name}.yaml"))


def _limit(merged: dict[str, Any], origin: dict[str, str], profile: str, own: set[str]) -> tuple[str, ...]:
    """Hold values to the profile's limits, but for the user's own; returns what was held, in sentences."""
    said = []
    defaults = flatten(Settings().model_dump())
    for key, most in profile_limits(profile).items():
        _known(key, f"profile {profile}")
        wanted = merged.get(key, defaults[key])
        if key in own or wanted <= most:
            continue
        said.append(
            f"{key} is {most:g} instead of {wanted:g} ({origin[key]}): more than the profile {profile} allows. "
            f"--set {key}={wanted:g} takes it all the same."
        )
        merged[key], origin[key] = most, f"profile {profile} (limit)"
    return tuple(said)


def _choice(key: str, value: object, allowed: list[str], where: str) -> str:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{key}: {value!r} (from {where}) is unknown; allowed are {', '.join(allowed)}.{hint}")
    return str(value)


def _known(key: str, source: str) -> None:
    valid = [name for name, _ in fields()]
    if key in valid:
        return
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.0)
    inside = [name for name in valid if name.startswith(f"{key}.")]
    hint = f"it is a section with keys such as {inside[0]}" if inside else f"the nearest valid key is {near[0]}"
    raise UsageError(f"Unknown setting {key!r} (from {source}); {hint}.")


def _build(flat: Mapping[str, Any], origin: Mapping[str, str]) -> Settings:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    try:
        return Settings.model_validate(nested)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        raise UsageError(
            f"{key}: {first['input']!r} (from {origin.get(key, 'the settings')}) is not allowed: {_reason(first)}."
        ) from error


def _reason(detail: Mapping[str, Any]) -> str:
    text = str(detail["msg"])
    return (text[0].lower() + text[1:]).replace("input should", "it should")
