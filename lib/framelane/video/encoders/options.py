"""The options that each rung gives its encoder: pure functions of the spec, tested as values.

How CRF and CQ compare: x264's rate factor (CRF) and NVENC's target quality (CQ, ``targetQuality`` of NVIDIA's Video Codec
SDK) both run from 0 to 51, lower is better, and six steps halve or double the bits. They are not the same
scale. ``output.quality`` goes to both unchanged; what that means in bits and decibels nobody has measured yet:
``tests/gpu/test_encoding_on_a_card.py`` does on a real card. FFmpeg takes a CQ of 0 for "none given", so 0 becomes 1.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

from framelane.video.colour import FULL
from framelane.video.encoders.spec import EncodeSpec


def encoder_options(spec: EncodeSpec) -> dict[str, str]:
    """What FFmpeg's encoder is given, whichever it is."""
    return nvenc_options(spec) if spec.nvenc else x264_options(spec)


def x264_options(spec: EncodeSpec) -> dict[str, str]:
    """Options of ``libx264`` and ``libx265``.

    An average bit rate begins anew with every segment, and x264 begins carefully: of 2 Mbit/s asked for, ``street.mp4``
    (768x576, 10 fps, medium) took 1.49 in segments of 2.4 s and 1.71 in segments of 10.4 s.
    """
    own = {"preset": spec.preset}
    own |= {"b": str(spec.bitrate)} if spec.bitrate else {"crf": str(spec.quality)}
    own |= {"bf": str(spec.b_frames)} if spec.b_frames >= 0 else {}
    own |= {"g": str(spec.keyframes)} if spec.keyframes else {}
    if spec.encoder == "libx265":
        own["x265-params"] = f"log-level=error:pools={spec.threads}:frame-threads={min(spec.threads, 2)}"
    return own


def nvenc_options(spec: EncodeSpec) -> dict[str, str]:
    """Options of ``h264_nvenc`` and ``hevc_nvenc`` (FFmpeg's ``libavcodec/nvenc_h264.c``).

    Every segment is a session of its own, which begins with an IDR frame; ``g`` is NVENC's IDR period, so that every group
    of pictures is closed. Look-ahead is off: it delays frames, and takes the cores that the models need.
    """
    own = {"preset": spec.preset, "tune": "hq", "rc": "vbr", "rc-lookahead": "0"}
    own |= {"b": str(spec.bitrate)} if spec.bitrate else {"cq": str(cq(spec.quality)), "b": "0"}
    own |= {"bf": str(spec.b_frames)} if spec.b_frames >= 0 else {}
    own |= {"g": str(spec.keyframes)} if spec.keyframes else {}
    own["profile"] = "main10" if spec.surface_format == "p010le" else "main" if spec.codec == "hevc" else "high"
    return own


def nvcodec_options(spec: EncodeSpec) -> dict[str, str]:
    """Keywords of PyNvVideoCodec's ``CreateEncoder`` (its API guide, "Video Encoding Parameter Details").

    Parameter sets are repeated at every IDR frame, as its stream has no header of its own.
    """
    own = {"codec": spec.codec, "preset": spec.preset.upper(), "tuning_info": "high_quality", "rc": "vbr"}
    own |= {"fps": str(max(1, round(spec.rate))), "repeatspspps": "1", "gpu_id": "0"}
    if spec.bitrate:
        own |= {"bitrate": str(spec.bitrate), "maxbitrate": str(spec.bitrate * 2)}
    else:
        own |= {"cq": str(cq(spec.quality)), "bitrate": "0", "maxbitrate": "0"}
    own |= {"bf": str(spec.b_frames)} if spec.b_frames >= 0 else {}
    own |= {"gop": str(spec.keyframes), "idrperiod": str(spec.keyframes)} if spec.keyframes else {}
    return own


def metadata_filter(spec: EncodeSpec) -> str:
    """The bitstream filter that writes colour tags and sample aspect into the stream's own parameter sets."""
    tags = spec.colour
    matrix = tags.effective_matrix if tags.matrix == 0 else tags.matrix  # RGB input: the output is YUV
    said = [f"colour_primaries={tags.primaries}", f"transfer_characteristics={tags.transfer}"]
    said.append(f"matrix_coefficients={matrix}")
    said.append(f"video_full_range_flag={int(tags.effective_range == FULL)}")
    if spec.sample_aspect:
        said.append(f"sample_aspect_ratio={spec.sample_aspect.numerator}/{spec.sample_aspect.denominator}")
    return f"{spec.codec}_metadata={':'.join(said)}"


def ffmpeg_command(spec: EncodeSpec, path: Path, version: tuple[int, int]) -> list[str]:
    """The command of the rung ``ffmpeg``: raw frames in NUT on stdin, the segment's NUT file out.

    Args:
        spec: how to encode; ``spec.program`` is run.
        path: the file to write.
        version: of the program; 5.1 gave ``-vsync`` its new name.
    """
    tags, base = spec.colour, spec.time_base
    matrix = tags.effective_matrix if tags.matrix == 0 else tags.matrix
    command = [spec.program, "-hide_banner", "-nostdin", "-loglevel", "warning", "-y", "-f", "nut", "-i", "pipe:0"]
    command += ["-map", "0:v:0", "-c:v", spec.encoder, "-pix_fmt", _program_format(spec)]
    for name, value in encoder_options(spec).items():
        command += [f"-{name}:v", value]
    command += ["-threads", str(spec.threads)] if not spec.nvenc else []
    if version >= (7, 0) and tags.effective_range == FULL:  # since then it would convert what is not said to be full
        command += ["-vf", "setparams=range=pc"]
    # Numbers are H.273's code points; ffmpeg takes them in place of names.
    command += ["-color_range", str(tags.effective_range if tags.matrix == 0 else tags.range)]
    command += ["-colorspace", str(matrix), "-color_primaries", str(tags.primaries), "-color_trc", str(tags.transfer)]
    command += ["-fps_mode" if version >= (5, 1) else "-vsync", "passthrough"]
    command += ["-enc_time_base", f"{base.numerator}/{base.denominator}", "-flags", "+global_header"]
    return [*command, "-f", "nut", f"file:{path}"]


def _program_format(spec: EncodeSpec) -> str:
    """NVENC takes 10 bits as P010 only; the program rearranges them without a loss.

    NUT has one name for ``yuv420p`` and ``yuvj420p``, which are the same samples: the range says which it is.
    """
    if spec.nvenc and spec.surface_format == "p010le":
        return "p010le"
    return spec.pixel_format.replace("yuvj", "yuv")


def cq(quality: int) -> int:
    """``output.quality`` on NVENC's scale; see the module's text."""
    return max(1, quality)


def keyframes(gop_seconds: float, segment_seconds: float, rate: Fraction, batch: int = 1) -> int:
    """Frames between two key frames at most, such that a whole number of such groups fills a segment.

    Args:
        gop_seconds: wanted at most; 0 leaves it to the encoder, which is 0 here, too.
        segment_seconds: every segment begins with a key frame anyway.
        rate: frames per second.
        batch: frames per frame batch.
    """
    if not gop_seconds:
        return 0
    frames = segment_frames(segment_seconds, rate, batch)
    longest = max(1, math.floor(gop_seconds * rate + Fraction(1, 1000)))
    return math.ceil(frames / math.ceil(frames / longest))


def segment_frames(segment_seconds: float, rate: Fraction, batch: int) -> int:
    """Frames of a segment at a constant rate: it closes behind the frame batch in which its time is over.

    The rule is that of :meth:`framelane.engine.processing.Processing.run`.
    """
    over = math.ceil(round(segment_seconds * rate, 6)) + 1  # the first frame that is not shown before the time is over
    return batch * math.ceil(over / batch)
