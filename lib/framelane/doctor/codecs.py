"""Decoders and encoders, each rung with real frames through it: pictures and times compared with what went in."""

from __future__ import annotations

import itertools
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from framelane.doctor import round_trip
from framelane.doctor.finding import Finding, sentence
from framelane.doctor.round_trip import SIZE, TIME_BASE, Trip
from framelane.errors import chain

_CODECS = ("h264", "hevc")
_LOSSLESS_DB = 60.0  # decoding is exact; the clip itself was made at CRF 6
_GOOD_DB = 32.0  # at the default quality; a wrong matrix, range or plane order costs more than 10 dB
_REINSTALL = "Run: pip install --force-reinstall --no-deps av, then the doctor again."


def probe(gpu: bool) -> list[Finding]:
    """Every decoder and every encoder.

    Args:
        gpu: whether there is a GPU, so that a rung which it does not run is worth a word.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [decoder_of_the_cpu(folder), *(encoder_of_the_cpu(folder, codec) for codec in _CODECS)]


def decoder_of_the_cpu(folder: Path) -> Finding:
    """Framelane's own reader, on a made clip with uneven times."""
    name = "decode cpu"
    try:
        round_trip.make_clip(folder / "made.mp4")
        trip = round_trip.compare(through_reader(folder / "made.mp4"))
    except Exception as error:  # whatever a codec throws is its answer
        return Finding(name, "error", f"A made clip could not be decoded ({chain(error)}).", _REINSTALL)
    return judged(name, "H.264 decoded on the CPU", trip, 40.0)


def encoder_of_the_cpu(folder: Path, codec: str) -> Finding:
    """Framelane's own writer with x264 or x265, read back by the CPU's decoder."""
    name = f"encode cpu {codec}"
    try:
        path = folder / f"{codec}.nut"
        through_writer(path, codec)
        trip = round_trip.compare(round_trip.read(path))
    except Exception as error:
        return Finding(name, "error", f"Made frames could not be encoded ({chain(error)}).", _REINSTALL)
    return judged(name, f"{'libx264' if codec == 'h264' else 'libx265'} on the CPU", trip, _GOOD_DB)


def through_reader(path: Path) -> list[tuple[np.ndarray, Fraction]]:
    """Frames of a clip as framelane's reader gives them."""
    from framelane.video.clip import probe as probe_clip
    from framelane.video.reader import open_reader

    clip = probe_clip(path)
    found = []
    for batch in open_reader(clip, 1).batches(4):
        for plane, pts in zip(batch.planes, batch.pts, strict=True):
            found.append((plane.to_ndarray(format="yuv420p"), pts * clip.time_base))
    return found


def through_writer(path: Path, codec: str) -> None:
    """The made frames through framelane's writer."""
    from framelane.video.colour import ColourTags
    from framelane.video.frames import FrameBatch, Layout
    from framelane.video.writer import EncodeSpec, open_writer

    tags = ColourTags(1, 1, 1, 1, SIZE[1])
    made, times = round_trip.frames(), round_trip.timestamps()
    spec: Any = EncodeSpec(
        encoder="libx264" if codec == "h264" else "libx265", width=SIZE[0], height=SIZE[1], pixel_format="yuv420p",
        rate=Fraction(30), time_base=TIME_BASE, colour=tags, quality=20, preset="veryfast", threads=1,
    )  # fmt: skip
    gaps = (*(b - a for a, b in itertools.pairwise(times)), 20)
    layout = Layout(*SIZE, TIME_BASE, 0, tags)
    writer = open_writer(path, spec)
    writer.write(FrameBatch(tuple(made), tuple(times), gaps, 0, layout))
    writer.close()


def judged(name: str, what: str, trip: Trip, least_db: float) -> Finding:
    """A finding on what came back.

    Args:
        name: of the finding.
        what: was tried; the beginning of the sentence.
        trip: how it came back.
        least_db: the PSNR below which pictures count as wrong.
    """
    said = sentence(f"{what}: {trip}")
    figures = {"psnr_db": round(trip.psnr, 1), "frames": trip.frames, "times_kept": trip.times_kept}
    if not trip.times_kept:
        return Finding(name, "error", said, _REINSTALL, figures)
    if trip.psnr < least_db:
        return Finding(name, "error", f"{said} The pictures are wrong.", _REINSTALL, figures)
    return Finding(name, "ok", said, figures=figures)
