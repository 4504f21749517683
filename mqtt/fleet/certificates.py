"""A small certificate authority: one for a fleet, in a folder of its own that never leaves the owner's machine.

    ca.key ca.crt     the authority            crl.pem     what was revoked, for the broker
    issued.json       each name's serial numbers, so that it can be revoked when its certificates are carried away
    revoked.json      serial numbers, so that the list can be made again

Keys are P-256. A certificate's common name is the user name at the broker, and for a device the device's name.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.errors import BadInput

_DAY = timedelta(days=1)
_AUTHORITY_DAYS = 3650


class Authority:
    """The fleet's authority in `folder`; made there when there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / "ca.key").exists():
            self._make()
        try:
            self._key = _load_key(folder / "ca.key")
            self.certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise BadInput(f"The authority in {folder} cannot be read ({error}): choose another --pki.") from None

    def issue(
        self, name: str, hosts: Sequence[str] = (), *, days: float = 825, now: datetime | None = None
    ) -> tuple[bytes, bytes]:
        """A key and a certificate as PEM: a client's, or with `hosts` a server's. `days` < 0 makes one that is over."""
        now = now or datetime.now(timezone.utc)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _named(name, self.certificate.subject, key.public_key())
            .not_valid_before(now - _DAY + min(timedelta(days=days), timedelta()))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        self._remember(name, certificate.serial_number)
        return _pem(key), certificate.public_bytes(serialization.Encoding.PEM)

    def revoke(self, name: str) -> bool:
        """Put all that `name` was ever given on the list of revoked ones; False when it was given nothing.

        The broker reads the list anew on SIGHUP.
        """
        serials = [int(serial) for serial in self._read("issued.json", {}).get(name, [])]
        revoked = [int(serial) for serial in self._read("revoked.json", [])]
        self._write_list(sorted({*revoked, *serials}))
        return bool(serials)

    def _remember(self, name: str, serial: int) -> None:
        issued = self._read("issued.json", {})
        issued.setdefault(name, []).append(str(serial))
        write(self._folder / "issued.json", json.dumps(issued).encode())

    def _read(self, name: str, otherwise: Any) -> Any:
        path = self._folder / name
        return json.loads(path.read_text()) if path.exists() else otherwise

    def _write_list(self, serials: Sequence[int]) -> None:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - _DAY)
            .next_update(now + _AUTHORITY_DAYS * _DAY)  # a list that is over would shut everyone out
        )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - _DAY).build()
            builder = builder.add_revoked_certificate(entry)
        text = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        write(self._folder / "revoked.json", json.dumps([str(serial) for serial in serials]).encode())
        write(self._folder / "crl.pem", text, mode=0o644)

    def _make(self) -> None:
        now = datetime.now(timezone.utc)
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ensueño fleet authority")])
        self.certificate = (
            _named("Ensueño fleet authority", name, self._key.public_key())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _AUTHORITY_DAYS * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        write(self._folder / "ca.crt", self.certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
        self._write_list([])
        write(self._folder / "ca.key", _pem(self._key))  # last: with it the authority is whole


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file whole, never half."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode)
    temporary.chmod(mode)
    temporary.write_bytes(data)
    temporary.replace(path)


def _named(name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host.encode("idna").decode())
    except UnicodeError:
        raise BadInput(f"{host} can be no name of a machine: give another --host.") from None


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic curve key")
    return key
