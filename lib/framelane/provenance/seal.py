"""Sealing: metadata and content credentials written into a file, and everything read back before it counts.

Content credentials are those of C2PA (https://spec.c2pa.org), written and read by ``c2pa-python``. They lie in the file
itself: MP4, MOV and GIF can carry them. Matroska cannot: no reader looks there, and a manifest beside the file is lost
with the next copy. So an ``.mkv`` is refused before anything starts.

Signing copies the file, and takes up to half a gigabyte of memory however long it is (seen with 262 and 785 MB): the
library hashes in blocks of 256 MB.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError, UsageError, chain
from framelane.provenance import DIGITAL_SOURCE_TYPE, Provenance, metadata, record_digest, visible
from framelane.provenance.certificate import Signing, signing

MIME = {".mp4": "video/mp4", ".mov": "video/quicktime", ".gif": "image/gif", ".png": "image/png", ".jpg": "image/jpeg"}
VIDEOS = (".mp4", ".mov")
ROOM = 16_384
"""Bytes that metadata and credentials take at most with a usual certificate chain."""

_UNKNOWN_SIGNER = "signingCredential.untrusted"
_ACTION = "c2pa.edited"


def require(output: Path, certificate: str | None, private_key: str | None) -> None:
    """Refuse an output that could not be sealed, by signing a tiny picture in memory.

    Raises:
        UsageError: the container cannot carry credentials, or the certificate cannot sign.
        FramelaneError: ``c2pa-python`` is missing.
    """
    if output.suffix.lower() not in VIDEOS:
        raise UsageError(
            f"{output.name}: a {output.suffix} cannot carry content credentials, and a swapped video is not made without "
            f"them; choose {' or '.join(VIDEOS)}."
        )
    signs = signing(certificate, private_key)
    picture = _tiny_picture()
    try:
        signed = io.BytesIO()
        with _library():
            _sign_stream(_manifest("trial", "", ()), signs, "image/png", io.BytesIO(picture), signed)
            _read("trial.png", "image/png", signed, signs)
    except FramelaneError as error:
        what = "The local test certificate" if signs.local else str(certificate)
        raise UsageError(f"{what} cannot sign content credentials: {error}") from error


def seal(path: Path, provenance: Provenance, title: str) -> dict[str, Any]:
    """Write metadata and content credentials into a finished file, and read all of it back.

    Args:
        path: the file, ``.mp4``, ``.mov``, ``.gif``, ``.png`` or ``.jpg``; it is replaced by the sealed one.
        provenance: what is written.
        title: what the credentials call it.

    Returns:
        What was verified, for the report.

    Raises:
        FramelaneError: it could not be written, or not be read back as written; the file must not be given out.
    """
    signs = signing(provenance.certificate, provenance.private_key)
    signed = path.with_name(f"signed-{path.name}")
    try:
        metadata.write(path, provenance)
        manifest = _manifest(title, provenance.statement, _consent_digests(provenance))
        with _library(), path.open("rb") as source, signed.open("w+b") as target:
            _sign_stream(manifest, signs, MIME[path.suffix.lower()], source, target)
            target.flush()
            os.fsync(target.fileno())
        signed.replace(path)
    except OSError as error:
        from framelane.video.writer import write_error

        raise write_error(path, error, "sealed") from error
    finally:
        signed.unlink(missing_ok=True)
    return check(path, provenance, signs)


def check(path: Path, provenance: Provenance, signs: Signing | None = None) -> dict[str, Any]:
    """Read everything back: the credentials, the metadata and, of a video, the label on every frame.

    Returns:
        What was found, for the report.

    Raises:
        FramelaneError: something is missing, or was changed after it was signed.
    """
    suffix = path.suffix.lower()
    signs = signs or signing(provenance.certificate, provenance.private_key)
    with _library(), path.open("rb") as stream:
        found = _read(path.name, MIME[suffix], stream, signs)
    if suffix in (*VIDEOS, ".gif"):
        metadata.check(path, provenance)
    if suffix in VIDEOS:
        found["label_seen_on_frames"] = visible.check(path, provenance.mark)
    return found


def signed_here(path: Path, certificate: str | None, private_key: str | None) -> bool:
    """Whether a finished file still carries sound credentials of this very certificate.

    Args:
        path: a file that a process sealed before it died.
        certificate: as in the settings of its job.
        private_key: of it.
    """
    try:
        signs = signing(certificate, private_key)
        with _library(), path.open("rb") as stream:
            _read(path.name, MIME[path.suffix.lower()], stream, signs)
    except (FramelaneError, OSError, KeyError):
        return False
    return True


@contextmanager
def _library() -> Iterator[None]:
    """What the library raises, as sentences."""
    import c2pa

    try:
        yield
    except c2pa.C2paError as error:
        raise FramelaneError(f"Content credentials could not be written and read back ({chain(error)}).") from error


def _sign_stream(manifest: dict[str, Any], signs: Signing, mime: str, source: Any, target: Any) -> None:
    import c2pa

    # No network: no time stamp of an authority, no thumbnail of a face.
    context = c2pa.Context.from_dict({"builder": {"thumbnail": {"enabled": False}}})
    info = c2pa.C2paSignerInfo(signs.algorithm, signs.chain, signs.key, None)
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest), context) as builder:
        builder.sign(signer, mime, source, target)


def _manifest(title: str, statement: str, consent: tuple[str, ...]) -> dict[str, Any]:
    """What is claimed: made here, of several elements, one of them by a trained algorithm. No name of a person."""
    made_by = {"name": "framelane", "version": _version()}
    made = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "description": statement,
        "softwareAgent": made_by,
    }
    edited = {**made, "action": _ACTION, "description": "Faces were replaced by a consented source face and labelled."}
    return {
        "claim_generator_info": [made_by],
        "title": title,
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [made, edited]}},
            {"label": "org.framelane.consent", "data": {"records_sha256": list(consent)}},
        ],
    }


def _version() -> str:
    try:
        return version("framelane")
    except PackageNotFoundError:
        return "0"


def _read(name: str, mime: str, stream: Any, signs: Signing) -> dict[str, Any]:
    """Validate with the C2PA reader, and see that the claim is the one that was made here.

    Raises:
        FramelaneError: the credentials are not sound, not ours, or say something else.
    """
    import c2pa

    stream.seek(0)
    with c2pa.Reader(mime, stream) as reader:
        store, state = json.loads(reader.json()), reader.get_validation_state()
    wrong = [
        entry["code"]
        for entry in store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
        if entry["code"] != _UNKNOWN_SIGNER
    ]
    if state not in ("Valid", "Trusted") or wrong:
        raise FramelaneError(f"The content credentials of {name} are not sound ({', '.join(wrong) or state}).")
    manifest = store["manifests"][store["active_manifest"]]
    signature = manifest.get("signature_info", {})
    if signature.get("cert_serial_number") != signs.serial:
        raise FramelaneError(f"The content credentials of {name} are signed by another certificate.")
    if not any(action.get("digitalSourceType") == DIGITAL_SOURCE_TYPE for action in _actions(manifest)):
        raise FramelaneError(f"The content credentials of {name} do not say how it was made.")
    return {
        "state": state,
        "manifest": store["active_manifest"],
        "signer": signature.get("common_name"),
        "issuer": signature.get("issuer"),
        "test_certificate": signs.local,
        "digital_source_type": DIGITAL_SOURCE_TYPE,
    }


def _actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    of_actions = (each for each in manifest["assertions"] if each["label"].startswith("c2pa.actions"))
    return [action for each in of_actions for action in each["data"]["actions"]]


def _consent_digests(provenance: Provenance) -> tuple[str, ...]:
    return tuple(record_digest(record) for record in provenance.consent)


def _tiny_picture() -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (8, 8), (128, 128, 128)).save(made, "PNG")
    return made.getvalue()
