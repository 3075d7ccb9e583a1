"""Metadata that says what a file is: plain container tags, and XMP with IPTC's digital source type.

XMP lies where the XMP specification (part 3, Adobe, 2020) puts it: MP4 in a ``uuid`` box, QuickTime in ``moov/udta/XMP_``,
GIF in an application extension.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from framelane.errors import FramelaneError, chain
from framelane.provenance import DIGITAL_SOURCE_TYPE, Provenance

_XMP_BOX = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_TAGS = ("comment", "description")
# XMP part 3, section 1.1.2: the packet reads as one block of a GIF, and these bytes bring the reader to its end.
_GIF_XMP_END = bytes([1, *range(255, -1, -1), 0])


def tags(provenance: Provenance, suffix: str, own: dict[str, str]) -> dict[str, str]:
    """Container tags for the join.

    Args:
        provenance: what is to be said.
        suffix: of the output.
        own: the clip's tags, which are kept behind what is said here.
    """
    said = {key: " | ".join(filter(None, (provenance.statement, own.get(key)))) for key in _TAGS}
    # FFmpeg writes the key "xmp" as moov/udta/XMP_ for QuickTime only (movenc.c, mov_write_udta_tag).
    return {**said, "xmp": xmp(provenance.statement)} if suffix == ".mov" else said


def xmp(statement: str) -> str:
    """The XMP packet."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}" xmp:CreatorTool="framelane">'
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(statement)}</rdf:li></rdf:Alt></dc:description>'
        "</rdf:Description></rdf:RDF></x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    )


def write(path: Path, provenance: Provenance) -> None:
    """Put XMP into an MP4 or a GIF that has none yet; a MOV got its own with the join.

    Raises:
        OSError: the disk is full or not writable.
        FramelaneError: it is no whole GIF.
    """
    packet = xmp(provenance.statement).encode()
    if path.suffix == ".mp4":
        with path.open("ab") as file:  # behind everything else: no offset in the file changes
            file.write((8 + len(_XMP_BOX) + len(packet)).to_bytes(4, "big") + b"uuid" + _XMP_BOX + packet)
    elif path.suffix == ".gif":
        data = path.read_bytes()
        blocks = _gif_comment(provenance.statement) + b"\x21\xff\x0bXMP DataXMP" + packet + _GIF_XMP_END
        start = _behind_header(data, path)
        path.write_bytes(data[:start] + blocks + data[start:])


def _behind_header(data: bytes, path: Path) -> int:
    """Where a GIF's blocks begin: behind its screen descriptor and global palette (GIF89a, sections 17 to 19)."""
    if data[:6] != b"GIF89a" or data[-1:] != b";":
        raise FramelaneError(f"The GIF {path} is cut off.")
    flags = data[10]
    return 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)


def _gif_comment(statement: str) -> bytes:
    text = statement.encode("ascii", "replace")
    blocks = [text[start : start + 255] for start in range(0, len(text), 255)]
    return b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\x00"


def check(path: Path, provenance: Provenance) -> None:
    """Read the metadata back as any other program would.

    Raises:
        FramelaneError: it is not there.
    """
    found = _read_gif(path) if path.suffix == ".gif" else _read_video(path)
    for what, text in found.items():
        wanted = DIGITAL_SOURCE_TYPE if what == "xmp" else provenance.statement
        if wanted not in text:
            raise FramelaneError(f"{path.name} does not say what it is: its metadata ({what}) could not be read back.")


def _read_video(path: Path) -> dict[str, str]:
    import av

    try:
        with av.open(f"file:{path}", options={"export_xmp": "1"}) as container:
            said = dict(container.metadata)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise FramelaneError(f"{path} cannot be read back ({chain(error)}).") from error
    return {key: said.get(key, "") for key in ("comment", "xmp")}


def _read_gif(path: Path) -> dict[str, str]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            comment, packet = picture.info.get("comment", b""), picture.info.get("xmp", b"")
    except (OSError, ValueError, EOFError) as error:
        raise FramelaneError(f"{path} cannot be read back ({chain(error)}).") from error
    data = path.read_bytes()
    packet = packet or data[data.find(b"XMP DataXMP") :]
    return {"comment": comment.decode("ascii", "replace"), "xmp": packet.decode("utf-8", "replace")}
