"""All settings: what they are, their ranges, and how the layers are merged.

Layers, weakest first: defaults < profile (what the hardware allows) < mode (what the user picks) < the user's YAML
< ``--set`` and keywords. :func:`load` merges them and remembers for every key which layer its value came from.
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
from framelane.resources import data_path

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
        4.0, gt=0, le=240, description="attention maps computed per second; frames between are interpolated"
    )
    spatial_resolution: int = Field(
        224, ge=112, le=896, description="square root of the pixel area given to the backbone; aspect ratio is kept"
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
    gpu_memory_limit: float = Field(0.9, gt=0.1, le=1, description="share of the GPU's memory that may be used")
    mixed_precision: bool = Field(False, description="FP16 under autocast on a GPU")


class Settings(Section):
    """Everything that can be set for one job."""

    mode: Literal["fast", "balanced", "quality"] = Field(
        "balanced", description="what the user picks: speed against quality"
    )
    profile: str = Field("auto", description="what the hardware allows: auto, cpu or t4")
    attention: AttentionSettings = AttentionSettings()
    engine: EngineSettings = EngineSettings()
    output: OutputSettings = OutputSettings()
    gif: GifSettings = GifSettings()
    hardware: HardwareSettings = HardwareSettings()


@dataclass(frozen=True)
class Loaded:
    """Merged settings and, for every dotted key, the layer its value came from."""

    settings: Settings
    origin: Mapping[str, str] = field(default_factory=dict)


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
    return sorted(path.stem for path in data_path("configs", kind).glob("*.yaml"))


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
    layers = [
        (f"profile {chosen_profile}", flatten(read_yaml(data_path("configs", "profiles", f"{chosen_profile}.yaml")))),
        (f"mode {chosen_mode}", flatten(read_yaml(data_path("configs", "modes", f"{chosen_mode}.yaml")))),
        (str(config), user),
        ("the command line", given),
    ]
    merged: dict[str, Any] = {}
    origin = {key: "default" for key, _ in fields()}
    for source, flat in layers:
        for key, value in flat.items():
            _known(key, source)
            merged[key], origin[key] = value, source
    merged["profile"] = chosen_profile
    return Loaded(_build(merged, origin), origin)


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
