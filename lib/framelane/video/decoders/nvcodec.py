"""PyNvVideoCodec 2.2: NVIDIA's own NVDEC library, fed with packets that PyAV demuxes, so that timestamps are the clip's.

API as in the package's ``samples/advanced/decode.py`` and the docstrings of its extension module.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from framelane.errors import FramelaneError, chain
from framelane.video.clip import Clip, open_container, video_stream
from framelane.video.decoders.base import Broken, Pass, Rung, codec_of, stays_on_card, surface_format
from framelane.video.decoders.cpu import packets, seek
from framelane.video.decoders.driver import NVDEC, driver_problem, explain, torch_problem
from framelane.video.surface import Surface

if TYPE_CHECKING:
    import torch

# cudaVideoCodec's member for FFmpeg's codec.
_CODECS = {
    "av1": "AV1", "h264": "H264", "hevc": "HEVC", "mpeg1video": "MPEG1", "mpeg2video": "MPEG2", "mpeg4": "MPEG4",
    "vc1": "VC1", "vp8": "VP8", "vp9": "VP9",
}  # fmt: skip
# NVDEC's parser wants start codes, MP4 and Matroska store lengths; MPEG-4 keeps its header outside the packets.
_FILTERS = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb", "mpeg4": "dump_extra"}
_OLDEST = (2, 2)  # the first whose packets can be made by the caller, as here; older ones were not looked at
_END_OF_PICTURE = 8  # CUVID_PKT_ENDOFPICTURE in nvcuvid.h: a packet is one whole picture


class NvCodecRung(Rung):
    """Frames are decoded into VRAM by PyNvVideoCodec and cloned there before the next packet is given to it."""

    name: ClassVar[str] = "nvcodec"

    def missing(self) -> str | None:
        """The driver's or the package's answer; see :class:`~framelane.video.decoders.base.Rung`."""
        return driver_problem() or package_problem()

    def refuses(self, clip: Clip, device: str) -> str | None:
        """Also interlaced clips: PyNvVideoCodec deinterlaces by itself, and the CPU's decoder does not."""
        if codec_of(clip) not in _CODECS:
            return f"PyNvVideoCodec does not decode {codec_of(clip)}."
        if clip.interlaced:
            return "The clip is interlaced; PyNvVideoCodec would deinterlace it, which nobody asked for."
        return stays_on_card(self.name, device) or super().refuses(clip, device)

    def frames(self, work: Pass) -> Iterator[Any]:
        """Surfaces in VRAM; see :class:`~framelane.video.decoders.base.Rung`."""
        if problem := torch_problem():
            raise Broken(problem)
        with open_container(work.clip.path) as container:
            stream = video_stream(container, work.clip.path)
            if not seek(container, stream, work):
                return
            times = _Times(work.clip)
            try:
                decoder = _decoder(work)
                for packet in _pictures(packets(container, stream, work), stream, work.clip):
                    yield from _taken(decoder.Decode(times.sent(packet)), work.clip, times)
            except (FramelaneError, GeneratorExit):
                raise
            except Exception as error:  # whatever the extension throws is its refusal
                raise Broken(explain([], chain(error), work.clip)) from error


class _Times:
    """Which packets went in: a frame gets the duration of the packet with its timestamp, or is refused."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._open: dict[int, tuple[int, bool]] = {}

    def sent(self, packet: Any) -> Any:
        """A packet as PyNvVideoCodec takes it; None ends the stream. Its memory is the packet's own."""
        import PyNvVideoCodec

        data = PyNvVideoCodec.PacketData()
        if packet is None:
            return data  # no bytes: the end of the stream
        if packet.pts is None:
            raise Broken("The clip has packets without a timestamp, which PyNvVideoCodec could not give back.")
        self._open[packet.pts] = (packet.duration or 0, bool(packet.is_discard))
        data.bsl, data.bsl_data, data.pts = packet.size, packet.buffer_ptr, packet.pts
        data.dts, data.duration, data.key = packet.dts or packet.pts, packet.duration or 0, int(packet.is_keyframe)
        data.decode_flag = _END_OF_PICTURE
        return data

    def of(self, pts: int) -> tuple[int, bool]:
        """A frame's duration, and whether the file says that it is not shown (an edit list's cut)."""
        if pts not in self._open:
            raise Broken(
                f"PyNvVideoCodec gave a frame of {self.clip.path.name} a timestamp ({pts}) that no packet has."
            )
        found = self._open.pop(pts)
        # What is shown before this frame has come: frames leave in order.
        self._open = {key: value for key, value in self._open.items() if key > pts}
        return found


@cache
def package_problem() -> str | None:
    """Why PyNvVideoCodec cannot be used, in one sentence, or None.

    Importing it loads NVENC's library too, so that a driver without NVENC refuses here, even for decoding.
    """
    import logging

    said = logging.getLogger("PyNvVideoCodec")
    level = said.level
    said.setLevel(logging.CRITICAL)  # it logs its troubleshooting steps besides raising them
    try:
        import PyNvVideoCodec
    except Exception as error:
        return _why_not(error)
    finally:
        said.setLevel(level)
    version = str(getattr(PyNvVideoCodec, "__version__", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
        return f"PyNvVideoCodec {version} is too old; pip install 'PyNvVideoCodec>=2.2'."
    return None


def _why_not(error: Exception) -> str:
    """A failed import in one sentence."""
    text = str(error)
    if getattr(error, "name", None) == "PyNvVideoCodec":
        return "PyNvVideoCodec is not installed; pip install 'PyNvVideoCodec>=2.2'."
    if "nvidia-encode" in text or "NVENC library" in text:
        return (
            "PyNvVideoCodec cannot be imported: the driver's library libnvidia-encode.so.1 is missing, which it loads even "
            "for decoding."
        )
    if "too old" in text:
        return "PyNvVideoCodec cannot be imported: the NVIDIA driver is too old for it. Update the driver."
    return f"PyNvVideoCodec cannot be imported ({_first(error)})."


def _first(error: BaseException) -> str:
    return chain(error).strip().splitlines()[0].rstrip(".")


def _decoder(work: Pass) -> Any:
    """A decoder on the clip's codec, in the primary context that PyTorch uses too."""
    import PyNvVideoCodec
    import torch

    device = torch.device(work.device)
    torch.cuda.current_stream(device)  # PyTorch's context exists before the decoder joins it
    codec = getattr(PyNvVideoCodec.cudaVideoCodec, _CODECS[codec_of(work.clip)])
    index = device.index or 0
    caps = PyNvVideoCodec.GetDecoderCaps(gpuid=index, codec=codec, bitdepth=work.clip.bit_depth)
    if not caps.get("num_decoder_engines", 1):
        raise Broken(f"{NVDEC} is not on this card.")
    return PyNvVideoCodec.CreateDecoder(gpuid=index, codec=codec, cudacontext=0, cudastream=0, usedevicememory=True)


def _pictures(found: Iterator[Any], stream: Any, clip: Clip) -> Iterator[Any]:
    """Packets as NVDEC's parser takes them, then None."""
    from av.bitstream import BitStreamFilterContext

    name = _FILTERS.get(codec_of(clip))
    converting = BitStreamFilterContext(name, stream) if name else None
    for packet in found:
        if packet is None:
            break
        yield from converting.filter(packet) if converting else (packet,)
    yield from converting.filter(None) if converting else ()
    yield None


def _taken(decoded: Any, clip: Clip, times: _Times) -> list[Surface]:
    """Decoded frames as surfaces of our own; done before the decoder gets the next packet and writes over them."""
    import torch

    kept = []
    for frame in decoded:
        duration, hidden = times.of(int(frame.getPTS()))
        if hidden:
            continue
        y, uv = planes_of(torch.utils.dlpack.from_dlpack(frame).clone(), clip)
        kept.append(Surface(y, uv, surface_format(clip) or "", pts=int(frame.getPTS()), time_base=clip.time_base))
        kept[-1].duration = duration or None
    if kept:  # the decoder's own stream does not wait for ours
        torch.cuda.current_stream(kept[0].device).synchronize()
    return kept


def planes_of(whole: torch.Tensor, clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma and chroma of a frame that lies in one piece: H rows of luma, then H/2 rows of Cb and Cr in turn.

    Args:
        whole: NV12 or P010 (16 bits a sample) of the clip's size, in any shape.
        clip: 4:2:0 with even sides.

    Raises:
        Broken: the frame has another size.
    """
    import torch

    flat = whole.contiguous().reshape(-1).view(torch.uint8)
    kind = torch.uint8 if surface_format(clip) == "nv12" else torch.uint16
    luma = clip.width * clip.height * (1 if kind == torch.uint8 else 2)
    if flat.numel() != luma * 3 // 2:
        raise Broken(
            f"PyNvVideoCodec gave frames of {flat.numel()} bytes, and a frame of {clip.path.name} has {luma * 3 // 2}."
        )
    y = flat[:luma].view(kind).reshape(clip.height, clip.width)
    uv = flat[luma:].view(kind).reshape(clip.height // 2, clip.width // 2, 2)
    return y, uv
