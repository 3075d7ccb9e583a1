"""What signs content credentials: the user's own certificate, or a local one that is made on first use.

The local one is a test certificate: readers say that the credentials are sound and that nobody vouches for the signer.
"""

from __future__ import annotations

import datetime
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError, UsageError, chain
from framelane.resources import state_dir

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateBuilder

_LIFE = datetime.timedelta(days=3650)
_RENEWED = datetime.timedelta(days=30)
_DAY = datetime.timedelta(days=1)
_ELLIPTIC = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}


@dataclass(frozen=True)
class Signing:
    """What a signer needs.

    Attributes:
        algorithm: as C2PA names it, for example ``b"es256"``.
        chain: PEM, the signing certificate first.
        key: PEM, PKCS 8, not encrypted.
        serial: serial number of the signing certificate, to know it again in what was signed.
        local: whether it is the local test certificate.
    """

    algorithm: bytes
    chain: bytes
    key: bytes
    serial: str
    local: bool


def signing(certificate: str | None, private_key: str | None) -> Signing:
    """The user's certificate and key, or the local ones.

    Raises:
        UsageError: only one of the two is named, or a file is no such PEM.
        FramelaneError: the package that reads certificates is missing, or the local ones cannot be stored.
    """
    _require_packages()
    if (certificate is None) != (private_key is None):
        raise UsageError("faceswap.certificate and faceswap.private_key go together; give both, or neither.")
    if certificate is not None and private_key is not None:
        return _own(Path(certificate), Path(private_key))
    return _local(state_dir() / "credentials" / "local-test.pem")


def _require_packages() -> None:
    try:
        import c2pa  # noqa: F401
        import cryptography  # noqa: F401
    except Exception as error:  # a native library may fail with anything
        raise FramelaneError(
            f"Content credentials cannot be written ({chain(error)}), and nothing is made without them; install "
            "c2pa-python (pip install 'framelane[faceswap]')."
        ) from error


def _own(certificate: Path, private_key: Path) -> Signing:
    try:
        pem, secret = certificate.read_bytes(), private_key.read_bytes()
    except OSError as error:
        raise UsageError(f"The signing certificate or its key cannot be read ({chain(error)}).") from error
    try:
        return _signing(pem, secret, local=False)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{certificate} and {private_key} are not a PEM chain and its unencrypted PEM key ({chain(error)})."
        ) from error


def _signing(pem: bytes, secret: bytes, *, local: bool) -> Signing:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    leaf, *issuers = x509.load_pem_x509_certificates(pem)
    key: Any = serialization.load_pem_private_key(secret, password=None)
    public = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*public) != leaf.public_key().public_bytes(*public):
        raise ValueError("the key is not that of the first certificate")
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    whole = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (leaf, *issuers))
    return Signing(_algorithm(key), whole, plain, str(leaf.serial_number), local)


def _algorithm(key: Any) -> bytes:
    """C2PA specification 2.2, section 13.2.1: the signature algorithm that goes with a key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _ELLIPTIC:
        return _ELLIPTIC[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return b"ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return b"ps256"
    raise ValueError("C2PA allows P-256, P-384, P-521, Ed25519 and RSA of 2048 bits and more")


def _local(path: Path) -> Signing:
    """The local chain and key, in one file so that they always fit together; made anew where they are of no more use."""
    for attempt in range(2):
        try:
            kept = path.read_bytes()
            if _good_for_a_while(kept):
                return _signing(kept, kept, local=True)
        except (OSError, ValueError, TypeError, IndexError):
            pass
        if attempt == 0:
            _make(path)
    raise FramelaneError(f"The local test certificate {path} cannot be read back; remove it and try again.")


def _good_for_a_while(pem: bytes) -> bool:
    from cryptography import x509

    leaf = x509.load_pem_x509_certificates(pem)[0]
    now = datetime.datetime.now(datetime.UTC)
    return leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc - _RENEWED


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, part = tempfile.mkstemp(dir=path.parent)  # readable by its owner only
        with os.fdopen(handle, "wb") as file:
            file.write(_new_chain())
        os.replace(part, path)
    except OSError as error:
        raise FramelaneError(
            f"The local test certificate cannot be stored in {path.parent} ({chain(error)}). FRAMELANE_STATE names "
            "another folder."
        ) from error


def _new_chain() -> bytes:
    """Key, leaf and root as PEM: what C2PA asks of a signing certificate (specification 2.2, section 14.5.1)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        _builder("framelane local test root", "framelane local test root", root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _builder("framelane local test signer", "framelane local test root", key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret + _pem(leaf) + _pem(root)


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(subject: str, issuer: str, key: Any) -> CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "framelane (local test certificate)")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, ca: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip
