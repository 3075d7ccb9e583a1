"""Decoders and encoders, each rung with real frames through it: pictures and times compared with what went in."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from framelane.doctor import round_trip
from framelane.doctor.finding import Figure, Finding, sentence
from framelane.doctor.round_trip import SIZE, TIME_BASE, Trip
from framelane.errors import chain
from framelane.video.codecs import CPU_ENCODERS, GPU_ENCODERS

CARD_RUNGS = ("pyav", "nvcodec", "ffmpeg")
COMPARED: dict[str, str] = {}
"""Rungs that framelane's makers have compared with the CPU on a card, as in ``{"decode pyav": "Tesla T4, 2027-01-31"}``."""
_CODECS = ("h264", "hevc")
_EXACT_DB = 45.0  # decoding is exact; the clip itself was made at CRF 6, which leaves 53 dB
_GOOD_DB = 32.0  # at the default quality; a wrong matrix, range or plane order costs more than 10 dB
_REINSTALL = "Run: pip install --force-reinstall --no-deps av, then the doctor again."
_AVOID = "Do not force this rung; until it is mended, add"
_BUILD = (
    "Run: python colab_setup/install.py --build; in a container also NVIDIA_DRIVER_CAPABILITIES=compute,utility,video."
)


def probe(rungs: Sequence[str]) -> list[Finding]:
    """Decoders and encoders of some rungs.

    Args:
        rungs: ``cpu`` and any of :data:`CARD_RUNGS`.
    """
    found: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="framelane-") as name:
        folder = Path(name)
        for rung in rungs:
            found.append(decoder_of_the_cpu(folder) if rung == "cpu" else decoder_of_the_card(rung, folder))
            for codec in _CODECS:
                encoder = (
                    encoder_of_the_cpu(folder, codec) if rung == "cpu" else encoder_of_the_card(rung, folder, codec)
                )
                found.append(encoder)
    return found


def decoder_of_the_cpu(folder: Path) -> Finding:
    """Framelane's own reader, on a made clip with uneven times."""
    name = "decode cpu"
    try:
        trip = round_trip.compare(through_reader(_made(folder)))
    except Exception as error:  # whatever a codec throws is its answer
        return Finding(name, "error", f"A made clip could not be decoded ({chain(error)}).", _REINSTALL)
    return judged(name, "H.264 decoded on the CPU", trip, _EXACT_DB)


def decoder_of_the_card(rung: str, folder: Path) -> Finding:
    """A rung of NVDEC: its own trial first, then the same clip as the CPU's decoder had."""
    from framelane.video import decoders

    name = f"decode {rung}"
    try:
        tried = decoders.probe(rung)
        if not tried.ok:
            return Finding(name, "note", sentence(tried.reason))
        trip = round_trip.compare(through_reader(_made(folder), rung))
    except Exception as error:
        return Finding(
            name, "warning", f"A made clip could not be decoded ({chain(error)}).", f"{_AVOID} --decoder cpu."
        )
    return judged(name, f"H.264 decoded by NVDEC through {rung}", trip, _EXACT_DB, f"{_AVOID} --decoder cpu.")


def encoder_of_the_cpu(folder: Path, codec: str) -> Finding:
    """Framelane's own writer with x264 or x265, read back by the CPU's decoder."""
    name = f"encode cpu {codec}"
    try:
        trip = round_trip.compare(through_writer(folder / f"{codec}.nut", spec_for("cpu", codec)))
    except Exception as error:
        return Finding(name, "error", f"Made frames could not be encoded ({chain(error)}).", _REINSTALL)
    return judged(name, f"{CPU_ENCODERS[codec]} on the CPU", trip, _GOOD_DB)


def encoder_of_the_card(rung: str, folder: Path, codec: str) -> Finding:
    """A rung of NVENC: its own trial first, then the same frames as the CPU's encoder had."""
    from framelane.video.encoders import choice

    name = f"encode {rung} {codec}"
    try:
        tried = choice.probe(rung, codec)  # type: ignore[arg-type]
        if not tried.ok:
            return Finding(name, "note", sentence(tried.reason))
        trip = round_trip.compare(through_writer(folder / f"{rung}-{codec}.nut", spec_for(rung, codec)))
    except Exception as error:
        return Finding(
            name, "warning", f"Made frames could not be encoded ({chain(error)}).", f"{_AVOID} --encoder cpu."
        )
    return judged(name, f"{GPU_ENCODERS[codec]} through {rung}", trip, _GOOD_DB, f"{_AVOID} --encoder cpu.")


def summary(gpu: bool, found: Sequence[Finding]) -> Iterator[Finding]:
    """What the rungs come to: which would be chosen here, and which of them nobody has compared on a card yet.

    Args:
        gpu: whether there is a GPU.
        found: the findings of :func:`probe` for all rungs; others are passed over.
    """
    works = {f.name: f.status == "ok" for f in found if f.name.split()[0] in ("decode", "encode")}
    decoder, encoder = (_first(works, f"{way} {{}}{codec}") for way, codec in (("decode", ""), ("encode", " h264")))
    figures: dict[str, Figure] = {"decoder": decoder, "encoder": encoder}
    said = f"By itself, framelane decodes H.264 through {decoder} here and encodes it through {encoder}"
    name = "video rungs"
    if gpu and "cpu" in (decoder, encoder):
        yield Finding(name, "warning", f"{said}, although there is a GPU.", _BUILD, figures)
    else:
        yield Finding(name, "ok", f"{said}{'' if gpu else ': there is no GPU'}.", figures=figures)
    unproven = [
        name for name, right in works.items() if not right and name.split()[1] != "cpu" and name not in COMPARED
    ]
    if unproven:
        text = (
            f"Never compared with the CPU on any card, neither by framelane's makers nor here: {', '.join(unproven)}. Each "
            "is chosen by itself only once it has compared frames on your own card."
        )
        yield Finding("unproven rungs", "note", text, figures={"rungs": ", ".join(unproven)})


def _first(works: dict[str, bool], pattern: str) -> str:
    return next((rung for rung in CARD_RUNGS if works.get(pattern.format(rung))), "cpu")


def _made(folder: Path) -> Path:
    path = folder / "made.mp4"
    if not path.exists():
        round_trip.make_clip(path)
    return path


def through_reader(path: Path, rung: str = "cpu") -> list[tuple[np.ndarray, Fraction]]:
    """Frames of a clip as framelane's reader gives them, with their times in seconds.

    Args:
        path: the clip.
        rung: what decodes it; the frames of one on the card come from there.
    """
    from framelane.video.clip import probe as probe_clip
    from framelane.video.decoders import rung_named
    from framelane.video.reader import open_reader

    clip = probe_clip(path)
    reader = open_reader(clip, 1, rung=rung_named(rung), device="cpu" if rung == "cpu" else "cuda")
    found = []
    for batch in reader.batches(4):
        for plane, pts in zip(batch.planes, batch.pts, strict=True):
            found.append((planar(plane), pts * clip.time_base))
    return found


def planar(frame: Any) -> np.ndarray:
    """A decoded frame, wherever it lies, as a yuv420p array ``(H * 3 / 2, W)``."""
    from framelane.video.decoders.choose import samples

    y, uv = samples(frame)
    flat = np.concatenate([part.ravel() for part in (y, uv[..., 0], uv[..., 1])])
    return flat.reshape(y.shape[0] * 3 // 2, y.shape[1])


def spec_for(rung: str, codec: str) -> Any:
    """How the made frames are encoded with a rung: the default quality, a fast preset."""
    from framelane.video.colour import ColourTags
    from framelane.video.encoders import EncodeSpec
    from framelane.video.ffmpeg import ffmpeg_program

    card = rung != "cpu"
    return EncodeSpec(
        encoder=(GPU_ENCODERS if card else CPU_ENCODERS)[codec], width=SIZE[0], height=SIZE[1], pixel_format="yuv420p",
        rate=Fraction(30), time_base=TIME_BASE, colour=ColourTags(1, 1, 1, 1, SIZE[1]), quality=20,
        preset="p3" if card else "veryfast", threads=1, rung=rung, device="cuda" if card else "cpu",
        program=str(ffmpeg_program() or "") if rung == "ffmpeg" else "",
    )  # fmt: skip


def through_writer(path: Path, spec: Any) -> list[tuple[np.ndarray, Fraction]]:
    """The made frames through framelane's writer, and back by the CPU's decoder."""
    from framelane.video.writer import open_writer

    times = round_trip.timestamps()
    writer = open_writer(path, spec)
    try:
        writer.write(_batch(round_trip.frames(), times, spec))
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return round_trip.read(path)


def speed(path: Path, spec: Any, seconds: float) -> tuple[float, int]:
    """Frames per second of an encoder, and the frames that it was given: the made ones, larger, again and again.

    Args:
        path: the file to write.
        spec: how to encode, at which size.
        seconds: about how long.
    """
    from framelane.video.writer import open_writer

    made = [frame.reformat(width=spec.width, height=spec.height) for frame in round_trip.frames()]
    writer, count, begun = open_writer(path, spec), 0, time.perf_counter()
    try:
        while not count or time.perf_counter() - begun < seconds:
            writer.write(_batch(made, [20 * (count + k) for k in range(len(made))], spec))
            count += len(made)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return count / (time.perf_counter() - begun), count


def _batch(made: list[Any], times: list[int], spec: Any) -> Any:
    """Frames where the encoder wants them."""
    from framelane.video.frames import FrameBatch, Layout
    from framelane.video.transfer import upload

    if spec.device != "cpu":
        made = [upload(frame, spec.device) for frame in made]
        for surface in made:
            surface.host = None  # else a rung that encodes on the host would not have to bring it down
    gaps = (*(b - a for a, b in itertools.pairwise(times)), 20)
    return FrameBatch(tuple(made), tuple(times), gaps, 0, Layout(spec.width, spec.height, TIME_BASE, 0, spec.colour))


def judged(name: str, what: str, trip: Trip, least_db: float, fix: str = "") -> Finding:
    """A finding on what came back.

    Args:
        name: of the finding.
        what: was tried; the beginning of the sentence.
        trip: how it came back.
        least_db: the PSNR below which pictures count as wrong.
        fix: what to do where they do.
    """
    said = sentence(f"{what}: {trip}")
    figures = {"psnr_db": round(trip.psnr, 1), "frames": trip.frames, "times_kept": trip.times_kept}
    if not trip.times_kept:
        return Finding(name, "error", said, fix or _REINSTALL, figures)
    if trip.psnr < least_db:
        return Finding(name, "error", f"{said} The pictures are wrong.", fix or _REINSTALL, figures)
    return Finding(name, "ok", said, figures=figures)
