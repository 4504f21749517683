"""What the box shows for TLS: the owner's certificate, or one it makes for itself once, known by its fingerprint.

Its own has no end that matters and is made once: a box may have no clock at its first start, and whoever compared the
fingerprint when pairing need never compare it again.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from appliance import durable
from appliance.config import Settings
from appliance.errors import BadInput

_FROM, _UNTIL = datetime(2020, 1, 1, tzinfo=timezone.utc), datetime(2050, 1, 1, tzinfo=timezone.utc)
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Two PEM files (they may be one), and the SHA-256 of the certificate as browsers show it."""

    cert: Path
    key: Path
    fingerprint: str


def certificate(settings: Settings, names: Iterable[str]) -> Certificate | None:
    """None without TLS; a missing one of the box's own is made, for these names. Raises `BadInput`, `NoRoom`."""
    found = there(settings)
    if found is not None or not settings.secure:
        return found
    durable.private_folder(settings.data_dir)
    durable.write(_own(settings), _made(settings.name, names))
    return there(settings)


def there(settings: Settings) -> Certificate | None:
    """The one that the box shows, if it is there already: its owner's, or its own. Raises `BadInput`."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is not None and key is not None:
        return _checked(cert.expanduser(), key.expanduser())
    if cert is not None or key is not None:
        raise BadInput("tls_cert and tls_key belong together: name both.")
    own = _own(settings)
    return _checked(own, own) if settings.tls and own.exists() else None


def _own(settings: Settings) -> Path:
    return settings.data_dir / "tls.pem"


def fingerprint(der: bytes) -> str:
    """`AB:CD:…`, of a certificate in DER."""
    return hashlib.sha256(der).digest().hex(":").upper()


def _checked(cert: Path, key: Path) -> Certificate:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        found = _BLOCK.findall(cert.read_text("ascii"))[0]
    except (OSError, ValueError, IndexError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"The certificate {cert} cannot be used ({why}): name others, or remove them.") from None
    return Certificate(cert, key, fingerprint(ssl.PEM_cert_to_DER_cert(found)))


def _made(name: str, names: Iterable[str]) -> bytes:
    """Key and certificate in one PEM, so that they are never apart."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    local = [x509.IPAddress(ip_address(number)) for number in ("127.0.0.1", "::1")]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([*map(x509.DNSName, sorted(names)), *local]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem + made.public_bytes(serialization.Encoding.PEM)
