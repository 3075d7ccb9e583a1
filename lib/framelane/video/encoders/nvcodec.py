"""The rung ``nvcodec``: NVENC through PyNvVideoCodec 2.2, its packets muxed by PyAV.

What is known of its API was read from the package: ``Encode`` and ``EndEncode`` return lists of dicts with ``data``
(Annex B bytes), ``timestamp`` (what ``NV_ENC_PIC_PARAMS.inputTimeStamp`` was for that picture) and ``picture_type``, in
coding order. Its own muxer keeps every packet in memory until the end, and is not used.
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.video.disk import write_error
from framelane.video.encoders.base import Session
from framelane.video.encoders.options import metadata_filter, nvcodec_options
from framelane.video.encoders.pictures import DevicePictures, in_one_piece
from framelane.video.encoders.refusal import refusal
from framelane.video.encoders.ring import REORDERED
from framelane.video.encoders.spec import EncodeSpec
from framelane.video.frames import FrameBatch
from framelane.video.surface import Surface

if TYPE_CHECKING:
    import torch

IDR = 3
"""``NV_ENC_PIC_TYPE_IDR`` of NVIDIA's ``nvEncodeAPI.h``."""

_FORMATS = {"nv12": "NV12", "p010le": "P010"}


class NvcodecSession(Session):
    """``PyNvEncoder``, and a NUT file that PyAV writes."""

    rung = "nvcodec"

    def __init__(self, path: Path, spec: EncodeSpec, explain: bool = False) -> None:
        super().__init__(path, spec, explain)
        self._pictures = DevicePictures(spec)
        self._pts: list[int] = []
        self._coded: list[int] = []
        self._alive: dict[int, Surface] = {}
        try:
            self._module = importlib.import_module("PyNvVideoCodec")
            self._encoder: Any = self._create()
        except Exception as error:  # whatever the package or the driver throws is a refusal
            raise refusal([], error, spec) from error
        self._open_file()

    def _create(self) -> Any:
        """The encoder, with as many B-frames as asked for.

        NVIDIA's guide counts ``bf`` as the distance of P-frames (1 is IPP), the Video Codec SDK's own samples as the number
        of B-frames between: so the encoder is asked what it made of it.
        """
        spec, options = self.spec, nvcodec_options(self.spec)
        self._handle = _stream_handle(spec.device)
        options |= {"cudastream": str(self._handle)} if self._handle else {}
        make, host = self._module.CreateEncoder, spec.device == "cpu"
        encoder = make(spec.width, spec.height, _FORMATS[spec.surface_format], host, **options)
        if spec.b_frames >= 0 and encoder.GetNumBFrames() != spec.b_frames:
            del encoder  # one session at a time
            options["bf"] = str(spec.b_frames + 1)
            encoder = make(spec.width, spec.height, _FORMATS[spec.surface_format], host, **options)
        return encoder

    def _open_file(self) -> None:
        import av
        from av.bitstream import BitStreamFilterContext

        spec = self.spec
        try:
            self._container: Any = av.open(str(self.path), "w", format="nut")
            self._stream: Any = self._container.add_mux_stream(
                spec.codec, rate=spec.rate, width=spec.width, height=spec.height
            )
            self._stream.time_base = spec.time_base
            self._filter = BitStreamFilterContext(metadata_filter(spec), spec.codec)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise write_error(self.path, error) from error

    def encode(self, batch: FrameBatch, index: int) -> None:
        """See :meth:`Session.encode`."""
        surface = in_one_piece(self._pictures.surface(batch, index))
        settings = self._module.NV_ENC_PIC_PARAMS()
        settings.inputTimeStamp = len(self._pts)
        # The encoder copies the planes on its stream without waiting for the copy: they live until the packet is there.
        self._alive[len(self._pts)] = surface
        self._pts.append(batch.pts[index])
        self._order()
        self._take(self._encoder.Encode(_Lent(surface) if self.spec.device != "cpu" else _flat(surface), settings))

    def _order(self) -> None:
        """Let the encoder read only what is there.

        It was given the stream that was current when it was made. Given none (the default stream has the number 0), it
        makes a stream of its own that waits for no other (``cuStreamCreate(CU_STREAM_NON_BLOCKING)`` in the package's
        extension), so there the host waits.
        """
        if self.spec.device == "cpu" or (self._handle and self._handle == _stream_handle(self.spec.device)):
            return
        import torch

        torch.cuda.current_stream().synchronize()

    def _take(self, made: list[dict[str, Any]]) -> None:
        """Mux packets: the timestamp is a frame's number, the decode time the earliest that is not taken yet."""
        import av
        from av.packet import Packet

        for one in made:
            packet = Packet(bytes(one["data"]))
            pts = self._pts[int(one["timestamp"])]
            self._alive.pop(int(one["timestamp"]), None)
            packet.pts, packet.dts = pts, decode_time(self._pts, len(self._coded))
            packet.time_base = self.spec.time_base
            packet.is_keyframe = int(one["picture_type"]) == IDR
            self._coded.append(pts)
            try:
                for part in self._filter.filter(packet):
                    part.stream, part.time_base = self._stream, self.spec.time_base
                    self._container.mux(part)
            except (av.error.FFmpegError, OSError, ValueError) as error:
                raise write_error(self.path, error) from error

    def finish(self) -> list[int]:
        """See :meth:`Session.finish`."""
        import av

        self._take(self._encoder.EndEncode())
        self._encoder, self._alive = None, {}
        try:
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise write_error(self.path, error) from error
        return self._coded

    def abandon(self) -> None:
        """See :meth:`Session.abandon`."""
        self._encoder, self._alive = None, {}
        with contextlib.suppress(Exception):
            self._container.close()


def decode_time(shown: list[int], place: int) -> int:
    """A decode time that rises with every packet and is never after its frame is shown.

    The join counts decode times anew; these only have to satisfy the muxer.

    Args:
        shown: timestamps of the frames given to the encoder so far, in order.
        place: the packet's place in coding order.
    """
    early = place - REORDERED
    return shown[early] if early >= 0 else shown[0] + early


class _Plane:
    """A plane as PyNvVideoCodec's samples hand it over (``samples/utils/Utils.py``: AppCAI)."""

    def __init__(self, plane: torch.Tensor, depth: int) -> None:
        size = plane.element_size()
        height, width = int(plane.shape[0]), int(plane.shape[1])
        self.__cuda_array_interface__ = {
            "shape": (height, width, depth),
            "strides": (width * depth * size, max(depth, size), 1),  # as theirs are, for P010 too
            "data": (plane.data_ptr(), False),
            "typestr": "|u1" if size == 1 else "|u2",
            "version": 3,
        }


class _Lent:
    """A surface as ``Encode`` takes it: an object whose ``cuda()`` gives its planes."""

    def __init__(self, surface: Surface) -> None:
        self._planes = [_Plane(surface.y, 1), _Plane(surface.uv, 2)]

    def cuda(self) -> list[_Plane]:
        return self._planes


def _flat(surface: Surface) -> Any:
    """A surface in host memory as one array of bytes, luma first."""
    import numpy as np

    return np.concatenate([plane.numpy().view(np.uint8).reshape(-1) for plane in (surface.y, surface.uv)])


def _stream_handle(device: str) -> int:
    if device != "cuda":
        return 0
    import torch

    return int(torch.cuda.current_stream().cuda_stream)
