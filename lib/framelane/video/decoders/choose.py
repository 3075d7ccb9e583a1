"""Which rung decodes a clip: the first whose frames of this very clip are those of the CPU's decoder."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from framelane.errors import FramelaneError, chain
from framelane.video import codecs
from framelane.video.clip import Clip
from framelane.video.clip import probe as probe_clip
from framelane.video.codecs import Probe
from framelane.video.decoders.base import Pass, Rung
from framelane.video.decoders.cpu import CpuRung
from framelane.video.decoders.ffmpeg import FfmpegRung
from framelane.video.decoders.nvcodec import NvCodecRung
from framelane.video.decoders.pyav import PyAvRung
from framelane.video.surface import Surface
from framelane.video.transfer import UPLOADED, upload

RUNGS: tuple[Rung, ...] = (PyAvRung(), NvCodecRung(), FfmpegRung(), CpuRung())
"""From the fastest way down to the one that always works."""

_COMPARED = 6  # frames; more than the reorder depth of usual clips, so that a wrong order shows


@dataclass(frozen=True)
class DecoderChoice:
    """The rung to decode with.

    Attributes:
        name: the rung's.
        reason: why, in one sentence or several; None where the CPU was asked for or nothing else was wanted.
        refused: the rungs tried before, each with its sentence.
    """

    name: str
    reason: str | None = None
    refused: tuple[Probe, ...] = ()

    @property
    def rung(self) -> Rung:
        """What decodes."""
        return rung_named(self.name)

    @property
    def fell_back(self) -> bool:
        """Whether the GPU was there and wanted, and the CPU decodes all the same."""
        return not self.rung.on_gpu and bool(self.refused)


def rung_named(name: str) -> Rung:
    """The rung of that name.

    Raises:
        KeyError: there is none.
    """
    return {rung.name: rung for rung in RUNGS}[name]


def choose_decoder(
    clip: Clip, *, forced: str = "auto", prefer_gpu: bool = True, require_gpu: bool = False, device: str = "cpu"
) -> DecoderChoice:
    """The rung for a clip.

    Args:
        clip: what will be decoded; a few of its frames are, by every rung tried.
        forced: a rung's name, or ``"auto"``.
        prefer_gpu: try NVDEC where frames are wanted on a GPU.
        require_gpu: refuse to decode on the CPU.
        device: where the frames are wanted: ``"cpu"`` or a CUDA device.

    Raises:
        FramelaneError: the rung forced, or every one on the GPU where one is required, refuses; the text says why.
    """
    if forced != "auto" and rung_named(forced).on_gpu:
        tried = try_rung(rung_named(forced), clip, device)
        if not tried.ok:
            raise FramelaneError(
                f"The decoder {forced} was asked for (--decoder, hardware.decoder) and cannot decode {clip.path.name}. "
                f"{tried.reason} Without --decoder, one that works is chosen."
            )
        return DecoderChoice(forced, tried.reason)
    wanted = forced == "auto" and prefer_gpu and device != "cpu"
    refused: list[Probe] = []
    for rung in RUNGS if wanted else ():
        if not rung.on_gpu:
            continue
        tried = try_rung(rung, clip, device)
        if tried.ok:
            return DecoderChoice(rung.name, tried.reason, tuple(refused))
        refused.append(tried)
    if require_gpu:
        why = sentences(refused) or "The settings have the CPU decode (hardware.decoder, hardware.prefer_gpu)."
        raise FramelaneError(
            f"A GPU is required (--require-gpu), but {clip.path.name} would be decoded on the CPU: {why}"
        )
    if not refused:
        return DecoderChoice("cpu")
    return DecoderChoice(
        "cpu",
        f"{clip.path.name} is decoded on the CPU, and its frames are uploaded: {sentences(refused)}",
        tuple(refused),
    )


def sentences(refused: list[Probe] | tuple[Probe, ...]) -> str:
    """Why rungs refused; what several say alike is said once."""
    by: dict[str, list[str]] = {}
    for probe in refused:
        by.setdefault(probe.reason, []).append(probe.name)
    if len(by) == 1:
        return next(iter(by))
    return " ".join(f"{', '.join(names)}: {reason}" for reason, names in by.items())


def try_rung(rung: Rung, clip: Clip, device: str) -> Probe:
    """Decode the clip's first frames with a rung and compare them with the CPU's; a refusal is an answer.

    What is known of the machine or the clip without trying answers first; a trial is made once per process and file.
    """
    said = rung.missing() or rung.refuses(clip, device)
    if said:
        return Probe(rung.name, False, said)
    return _proof(rung, clip, device, clip.path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _proof(rung: Rung, clip: Clip, device: str, changed_ns: int) -> Probe:  # noqa: ARG001 (a file that changed is another)
    try:
        theirs = _first(rung, clip, device)
    except FramelaneError as error:
        return Probe(rung.name, False, str(error))
    except Exception as error:  # whatever a decoder throws is its answer
        return Probe(rung.name, False, f"The decoder {rung.name} failed on the clip's first frames ({chain(error)}).")
    return compare(rung.name, _first(CpuRung(), clip, "cpu"), theirs)


def _first(rung: Rung, clip: Clip, device: str) -> list[tuple[int | None, list[np.ndarray]]]:
    """Timestamps and samples of a clip's first frames."""
    work = Pass(clip, device=device)
    frames = rung.frames(work)
    try:
        return [(frame.pts, samples(frame)) for frame in islice(frames, _COMPARED)]
    finally:
        frames.close()  # type: ignore[attr-defined]


def samples(frame: Any) -> list[np.ndarray]:
    """A frame's samples on the host, in one layout for every rung: luma and interleaved chroma, in 8 or 10 bits."""
    if not isinstance(frame, Surface) and frame.format.name not in UPLOADED:
        return [frame.to_ndarray()]
    surface = frame if isinstance(frame, Surface) else upload(frame, "cpu")
    planes = [plane.cpu().numpy() for plane in (surface.y, surface.uv)]
    return planes if surface.bit_depth == 8 else [plane >> 6 for plane in planes]


def compare(
    name: str, ours: list[tuple[int | None, list[np.ndarray]]], theirs: list[tuple[int | None, list[np.ndarray]]]
) -> Probe:
    """Whether a rung's frames are the CPU's: equal samples at equal times.

    Args:
        name: the rung's.
        ours: timestamp and samples of each frame, by the CPU.
        theirs: the same, by the rung.
    """
    if len(ours) != len(theirs):
        return Probe(name, False, f"The decoder {name} gave {len(theirs)} frames where the CPU's gives {len(ours)}.")
    times = ([pts for pts, _ in ours], [pts for pts, _ in theirs])
    if times[0] != times[1]:
        return Probe(
            name, False, f"The decoder {name} gave the timestamps {times[1]} where the CPU's gives {times[0]}."
        )
    if any(a.shape != b.shape for (_, x), (_, y) in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)):
        return Probe(name, False, f"The decoder {name} gave frames of another shape than the CPU's.")
    largest, psnr = _difference([x for _, x in ours], [y for _, y in theirs])
    if largest:
        return Probe(
            name,
            False,
            f"The decoder {name} gave other pictures than the CPU's: samples differ by up to {largest} "
            f"(PSNR {psnr:.1f} dB).",
        )
    return Probe(name, True, f"The first {len(ours)} frames decoded by {name} equal the CPU's, sample for sample.")


def _difference(ours: list[list[np.ndarray]], theirs: list[list[np.ndarray]]) -> tuple[int, float]:
    """The largest difference of samples, and the PSNR in dB against the samples' largest value."""
    flat = [np.concatenate([plane.ravel() for frame in side for plane in frame]) for side in (ours, theirs)]
    gap = flat[0].astype(np.int64) - flat[1]
    peak = 255 if flat[0].dtype == np.uint8 else 1023
    mean = float((gap**2).mean()) if gap.size else 0.0
    return int(np.abs(gap).max(initial=0)), float("inf") if not mean else float(10 * np.log10(peak**2 / mean))


@cache
def probe(name: str) -> Probe:
    """Whether a rung works on this machine: it decodes a small H.264 clip made here; kept for this process.

    Args:
        name: a rung's.

    Returns:
        The outcome; a refusal is an answer, never an exception.
    """
    if name == "cpu":
        return codecs.probe_decoder("cpu")
    rung = rung_named(name)
    if said := rung.missing():
        return Probe(name, False, said)
    with tempfile.TemporaryDirectory(prefix="framelane-") as folder:
        path = Path(folder) / "probe.mp4"
        path.write_bytes(codecs.made_clip())
        return try_rung(rung, probe_clip(path), "cuda")
