"""Small Project Aria recordings (VRS): the file format written byte by byte, for no package writes Aria's streams.

The format is that of VRS 1 (github.com/facebookresearch/vrs, ``FileFormat.h``, ``DescriptionRecord.cpp``,
``IndexRecord.h``, ``DataLayout.cpp``); the records' fields are those of projectaria-tools' ``ImageSensorMetadata.h``.
All numbers are little endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

RGB_CAMERA, SLAM_CAMERA = (214, 1), (1201, 1)  # StreamId.h: RgbCameraRecordableClass, SlamCameraData
GREY8, RGB8, YUV420 = 1, 4, 5  # RecordFormat.h, PixelFormat
GEN1, GEN2 = "Aria", "Oatmeal"  # the tag device_type (DeviceVersion.cpp)
_INDEX, _DESCRIPTION = 1, 2
_CONFIGURATION, _DATA = 2, 3
_LATEST = 1.7976931348623157e308  # Record::kMaxTimestamp
_HEAD = "<8sQIIqqqQQQ4s4s"
_RECORD_HEAD = struct.Struct("<IIiIdHBBI")
_TYPES = {"d": "double", "I": "uint32_t", "Q": "uint64_t", "q": "int64_t"}


class Picture(NamedTuple):
    """One data record: when it was taken, and its bytes (a JPEG, raw pixels, or a coded frame)."""

    time_ns: int
    content: bytes
    key_ns: int = 0  # video only: the time of the key frame that it needs
    since_key: int = 0


def write(
    path: Path,
    pictures: Sequence[Picture],
    size: tuple[int, int],
    *,
    stream: tuple[int, int] = RGB_CAMERA,
    pixels: int = RGB8,
    image: str = "jpg",
    device: str = GEN1,
    rate: float = 30.0,
) -> Path:
    """Write a recording with one camera.

    Args:
        path: the ``.vrs`` file to write.
        pictures: in order of time.
        size: width and height of every picture as it is stored.
        stream: type and number of the stream.
        pixels: the pixel format of a picture.
        image: ``jpg``, ``raw`` or ``video/codec=H.265`` (as Aria Gen 2 stores it).
        device: the kind of glasses.
        rate: the nominal pictures a second.

    Returns:
        The path.
    """
    channels = 1 if pixels == GREY8 else 3
    configuration: list[tuple[str, str, float | int | str]] = [
        ("device_type", "s", device), ("device_version", "s", "1"), ("device_serial", "s", "none"),
        ("camera_id", "I", 0), ("sensor_model", "s", "none"), ("sensor_serial", "s", "none"), ("nominal_rate", "d", rate),
        ("image_width", "I", size[0]), ("image_height", "I", size[1]), ("image_stride", "I", size[0] * channels),
        ("image_pixel_format", "I", pixels),
    ]  # fmt: skip
    records = [(_CONFIGURATION, pictures[0].time_ns / 1e9 if pictures else 0.0, _content(configuration))]
    for number, picture in enumerate(pictures):
        records.append((_DATA, picture.time_ns / 1e9, _content(_shot(number, picture)) + picture.content))
    formats = {
        "VRS_Original_Recordable_Name": "RGB Camera Class" if stream == RGB_CAMERA else "Camera Data (SLAM)",
        "RF:Configuration:1": "data_layout", "DL:Configuration:1:0": _layout(configuration),
        "RF:Data:1": f"data_layout+image/{image}", "DL:Data:1:0": _layout(_shot(0, Picture(0, b""))),
    }  # fmt: skip
    path.write_bytes(_file(stream, formats, {"device_type": device}, records))
    return path


def _shot(number: int, picture: Picture) -> list[tuple[str, str, float | int | str]]:
    return [
        ("group_id", "Q", number), ("group_mask", "Q", 1), ("frame_number", "Q", number),
        ("exposure_duration_s", "d", 0.005), ("gain", "d", 1.0), ("capture_timestamp_ns", "q", picture.time_ns),
        ("arrival_timestamp_ns", "q", picture.time_ns), ("temperature_deg_c", "d", 30.0),
        ("image_key_frame_timestamp", "d", picture.key_ns / 1e9), ("image_key_frame_index", "I", picture.since_key),
    ]  # fmt: skip


def _file(
    stream: tuple[int, int],
    formats: dict[str, str],
    tags: dict[str, str],
    records: list[tuple[int, float, bytes]],
) -> bytes:
    """Head, description, records, index; every record tells its own size and that of the one before."""
    whose = struct.pack("<iH", *stream)
    blocks = [
        _record(
            _DESCRIPTION, 0, _DATA, _LATEST, 2, struct.pack("<I", 1) + whose + _map({}) + _map(formats) + _map(tags), 0
        )
    ]
    listed = b""
    for kind, seconds, content in records:
        blocks.append(_record(*stream, kind, seconds, 1, content, len(blocks[-1])))
        listed += struct.pack("<dIB", seconds, len(blocks[-1]), kind) + whose
    index = struct.pack("<I", 1) + whose + struct.pack("<I", len(records)) + listed
    last = _record(_INDEX, 0, _DATA, _LATEST, 2, index, len(blocks[-1]))
    body = b"".join(blocks)
    head = struct.calcsize(_HEAD)
    return (
        struct.pack(
            _HEAD, b"VisionRe", 1, head, _RECORD_HEAD.size, head + len(body), head, 0, 0, 0, 0, b"cord", b"VRS1"
        )
        + body
        + last
    )


def _record(type_id: int, instance: int, kind: int, seconds: float, version: int, content: bytes, before: int) -> bytes:
    size = _RECORD_HEAD.size + len(content)
    return _RECORD_HEAD.pack(size, before, type_id, version, seconds, instance, kind, 0, 0) + content


def _map(pairs: dict[str, str]) -> bytes:
    texts = [text.encode() for pair in sorted(pairs.items()) for text in pair]
    return struct.pack("<I", len(pairs)) + b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _layout(fields: list[tuple[str, str, float | int | str]]) -> str:
    """The description of a data layout: numbers by their offset, texts by their place in the index of texts."""
    described: list[dict[str, str | int]] = []
    offset = index = 0
    for name, code, _ in fields:
        if code == "s":
            described.append({"name": name, "type": "DataPieceString", "index": index})
            index += 1
        else:
            described.append({"name": name, "type": f"DataPieceValue<{_TYPES[code]}>", "offset": offset})
            offset += struct.calcsize(f"<{code}")
    return json.dumps({"data_layout": described}, separators=(",", ":"))


def _content(fields: list[tuple[str, str, float | int | str]]) -> bytes:
    """A data layout's bytes: the numbers, then offset and length of every text, then the texts."""
    numbers = b"".join(struct.pack(f"<{code}", value) for _, code, value in fields if code != "s")
    index = texts = b""
    for _, code, value in fields:
        if code == "s":
            text = str(value).encode()
            index += struct.pack("<II", len(texts), len(text))
            texts += text
    return numbers + index + texts
