"""Which rung encodes a clip: the first that proves itself on this machine, with the refusals of those before it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from framelane.errors import FramelaneError, UsageError
from framelane.schema import Settings
from framelane.video.clip import Clip
from framelane.video.codecs import CPU_ENCODERS, GPU_ENCODERS, Probe, probe_encoder
from framelane.video.colour import BT709, LIMITED, ColourTags
from framelane.video.encoders.options import keyframes
from framelane.video.encoders.refusal import NO_B_FRAMES, SESSIONS_USED
from framelane.video.encoders.spec import EncodeSpec, encode_spec, keeps
from framelane.video.encoders.trial import Trial, try_rung
from framelane.video.ffmpeg import ffmpeg_program

GPU_RUNGS = ("pyav", "nvcodec", "ffmpeg")
RUNGS = (*GPU_RUNGS, "cpu")
"""All rungs, in the order in which they are tried."""

_LABELS = {"h264": "H.264", "hevc": "HEVC"}


@dataclass(frozen=True)
class EncoderChoice:
    """What encodes.

    Attributes:
        rung: one of :data:`RUNGS`.
        encoder: FFmpeg's name.
        reason: a sentence where it is not what was preferred.
        refused: what was tried before, each with its sentence.
        program: the ffmpeg program, where one runs.
        b_frames: as asked for, or 0 where the card makes none.
        notes: sentences on what was asked for and cannot be had.
    """

    rung: str
    encoder: str
    reason: str | None = None
    refused: tuple[Probe, ...] = ()
    program: str = ""
    b_frames: int = -1
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What unfinished work remembers: the frames depend on the encoder and on what runs it."""
        return self.encoder if self.rung == "cpu" else f"{self.encoder} ({self.rung})"


def choose_encoder(clip: Clip, settings: Settings, device: str, touches: bool, begun: str = "") -> EncoderChoice:
    """The rung that encodes a clip.

    Args:
        clip: the input.
        settings: ``hardware.encoder``, ``hardware.prefer_gpu`` and ``output``.
        device: where frames lie, ``"cpu"`` or ``"cuda"``.
        touches: whether the processor draws on them.
        begun: the :attr:`EncoderChoice.name` that unfinished work was begun with; among the GPU's rungs it is tried first.

    Raises:
        FramelaneError: a rung that was asked for by name refuses, or the GPU is required and none of its rungs works, or
            the CPU's encoder does not work either.
    """
    wanted, required = settings.hardware.encoder, settings.output.require_gpu
    if wanted == "cpu" and required:
        raise FramelaneError(
            "A GPU encoder is required (--require-gpu), and --encoder cpu asks for the CPU's. Drop one."
        )
    preferred = required or (settings.hardware.prefer_gpu and device == "cuda")
    if wanted == "cpu" or (wanted == "auto" and not preferred):
        return cpu_encoder(settings.output.codec)
    refused: list[Probe] = []
    for rung in _order(begun) if wanted == "auto" else (wanted,):
        found = _try(rung, clip, settings, device, touches, forced=wanted != "auto" or required)
        if isinstance(found, EncoderChoice):
            return replace(found, refused=tuple(refused))
        refused.append(found)
    return _fall_back(settings, refused)


def cpu_encoder(codec: Literal["h264", "hevc"]) -> EncoderChoice:
    """The CPU's encoder.

    Raises:
        FramelaneError: it does not work here.
    """
    cpu = probe_encoder(CPU_ENCODERS[codec])
    if not cpu.ok:
        raise FramelaneError(
            f"No {_LABELS[codec]} encoder works here. {cpu.reason} Reinstall PyAV ('pip install --force-reinstall av')."
        )
    return EncoderChoice("cpu", cpu.name)


def probe(rung: str, codec: Literal["h264", "hevc"] = "h264") -> Probe:
    """Try a rung with a small made clip; the refusal is an answer, never an exception.

    Args:
        rung: one of :data:`RUNGS`.
        codec: what it encodes.
    """
    name = (CPU_ENCODERS if rung == "cpu" else GPU_ENCODERS)[codec]
    spec = EncodeSpec(
        encoder=name, width=320, height=192, pixel_format="yuv420p", rate=Fraction(25), time_base=Fraction(1, 12800),
        colour=ColourTags(BT709, LIMITED, BT709, BT709, 192), quality=20, preset="medium" if rung == "cpu" else "p3",
        threads=1, rung=rung, device=_card() if rung != "cpu" else "cpu",
    )  # fmt: skip
    missing, program = _missing(rung)
    if missing:
        return Probe(rung, False, missing)
    trial = _tried(replace(spec, program=program))
    return Probe(rung, trial.ok, trial.reason)


def spec_of(
    clip: Clip, settings: Settings, choice: EncoderChoice, *, threads: int, touches: bool, device: str = "cpu"
) -> tuple[EncodeSpec, list[str]]:
    """How a clip is encoded with the rung that was chosen, and in sentences what cannot be kept.

    Args:
        clip: the input.
        settings: ``output``, ``engine.segment_seconds`` and ``hardware.batch_size``, at whose multiples segments end.
        choice: the rung.
        threads: of x264.
        touches: whether the processor draws on frames.
        device: where frames lie.
    """
    wanted = settings.output
    spec, lost = encode_spec(
        clip,
        encoder=choice.encoder,
        quality=wanted.quality,
        preset=wanted.nvenc_preset if choice.encoder.endswith("_nvenc") else wanted.preset,
        threads=threads,
        touches=touches,
        rung=choice.rung,
        bitrate=round(wanted.bitrate_mbps * 1e6),
        keyframes=keyframes(
            wanted.gop_seconds, settings.engine.segment_seconds, clip.rate, settings.hardware.batch_size
        ),
        b_frames=choice.b_frames if choice.rung != "cpu" else wanted.b_frames,
        device=device,
        program=choice.program,
    )
    return spec, [*choice.notes, *lost]


def _order(begun: str) -> Iterator[str]:
    first = begun.partition(" (")[2].rstrip(")")
    yield from sorted(GPU_RUNGS, key=lambda rung: rung != first)


def _try(rung: str, clip: Clip, settings: Settings, device: str, touches: bool, forced: bool) -> EncoderChoice | Probe:
    """The choice where a rung works for this clip, else its refusal."""
    codec = settings.output.codec
    name = GPU_ENCODERS[codec]
    if not forced and not touches and keeps(CPU_ENCODERS[codec], clip) and not keeps(name, clip):
        kept = (
            f"The clip's {clip.pixel_format} pixels pass untouched, and {CPU_ENCODERS[codec]} keeps them; NVENC cannot."
        )
        return Probe(rung, False, kept)
    missing, program = _missing(rung)
    if missing:
        return Probe(rung, False, missing)
    asked = settings.output.b_frames
    choice = EncoderChoice(rung, name, program=program, b_frames=asked)
    trial = _tried(spec_of(clip, settings, choice, threads=1, touches=touches, device=device)[0])
    if trial.cause == NO_B_FRAMES and asked > 0:
        choice = replace(choice, b_frames=0, notes=(f"{trial.reason} The output has none (output.b_frames={asked}).",))
        trial = _tried(spec_of(clip, settings, choice, threads=1, touches=touches, device=device)[0])
    return choice if trial.ok else Probe(rung, False, trial.reason)


_known: dict[EncodeSpec, Trial] = {}


def _tried(spec: EncodeSpec) -> Trial:
    """A trial, once a process for each spec; a session that was refused may be granted the next time."""
    key = replace(spec, quality=0, bitrate=0)
    if key not in _known or _known[key].cause == SESSIONS_USED:
        _known[key] = try_rung(spec)
    return _known[key]


def _missing(rung: str) -> tuple[str, str]:
    """What a rung lacks before it can be tried, as a sentence, and the program that it runs."""
    if rung == "nvcodec" and importlib.util.find_spec("PyNvVideoCodec") is None:
        return "The package PyNvVideoCodec is not installed.", ""
    if rung != "ffmpeg":
        return "", ""
    try:
        program = ffmpeg_program()
    except UsageError as error:
        return str(error), ""
    if program is None:
        return "There is no ffmpeg program on this machine.", ""
    return "", str(program)


def _card() -> str:
    """``"cuda"`` where torch computes on a card, so that a probe takes the way that frames will take."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _fall_back(settings: Settings, refused: list[Probe]) -> EncoderChoice:
    """The CPU's encoder after the GPU's rungs refused, or the error where that is not allowed."""
    codec, wanted = settings.output.codec, settings.hardware.encoder
    label = _LABELS[codec]
    if wanted != "auto":
        raise FramelaneError(
            f"--encoder {wanted} cannot encode this clip in {label}: {refused[0].reason} Drop it, or take another of "
            f"{', '.join(rung for rung in RUNGS if rung != wanted)}."
        )
    reasons = list(dict.fromkeys(probe.reason for probe in refused))
    told = reasons[0] if len(reasons) == 1 else " ".join(f"[{p.name}] {p.reason}" for p in refused)
    if settings.output.require_gpu:
        raise FramelaneError(
            f"A GPU encoder is required (output.require_gpu) but cannot be used. {told} Set output.require_gpu=false to "
            "let the CPU encode."
        )
    cpu = cpu_encoder(codec)
    return replace(cpu, reason=f"{label} is encoded on the CPU with {cpu.encoder}: {told}", refused=tuple(refused))
