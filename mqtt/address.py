"""Where a broker is, how we prove who we are there, and in plain words why one end will not have the other."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from appliance.errors import BadInput

if TYPE_CHECKING:
    from appliance.config import Settings

_REFUSALS = {
    "CERTIFICATE_VERIFY_FAILED": "the broker's certificate is not vouched for: check mqtt_ca and the broker's name",
    "CERTIFICATE_EXPIRED": "the broker refuses our certificate, which is expired: have a new one made",
    "CERTIFICATE_REVOKED": "the broker refuses our certificate, which was revoked: have a new one made",
    "CERTIFICATE_REQUIRED": "the broker asks for our certificate: name mqtt_certificate and mqtt_key",
    "UNKNOWN_CA": "the broker refuses our certificate, which another authority made: have one made by its own",
    "DECRYPT_ERROR": "the broker refuses our certificate, which another authority made: have one made by its own",
    "Bad user name or password": "the broker refuses our name or password: check them",
    "Not authorized": "the broker refuses us: check its rights, our name and our password",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is and how to prove who we are."""

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(
        cls,
        url: str,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        *,
        token_file: Path | None = None,
    ) -> Address:
        """`mqtt://[user[:password]@]host[:1883]` or `mqtts://…[:8883]`; a token is the password. Raises `BadInput`."""
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")  # what no network would take for a name
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/") or port == 0:
            raise BadInput("The broker must look like mqtt://broker.local:1883 or mqtts://broker.example:8883.")
        tls = parts.scheme == "mqtts"
        if not tls and (ca or certificate or key or token_file):
            raise BadInput("Certificates and tokens need an encrypted connection: write mqtts:// in its address.")
        for path in (ca, certificate, key, token_file):
            if path is not None and not os.access(path, os.R_OK):
                raise BadInput(f"{path} cannot be read: check its name and its permissions.")
        password = None if parts.password is None else unquote(parts.password)
        if token_file is not None:
            password = _token(token_file)
        return cls(
            parts.hostname,
            port or (8883 if tls else 1883),
            tls,
            None if parts.username is None else unquote(parts.username),
            password,
            ca,
            certificate,
            key,
        )

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext:
        """TLS that checks the broker and shows our certificate. Raises `BadInput`."""
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(str(self.certificate), None if self.key is None else str(self.key))
        except (OSError, ssl.SSLError) as error:
            raise BadInput(f"The certificates cannot be used ({error}): check ca, certificate and key.") from None
        return context


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"{path} holds no token: name a text file with mqtt_token_file.") from None


def address_of(settings: Settings, url: str) -> Address:
    """The broker at `url` with the credentials of the settings. Raises `BadInput`."""
    return Address.of(
        url,
        ca=settings.mqtt_ca,
        certificate=settings.mqtt_certificate,
        key=settings.mqtt_key,
        token_file=settings.mqtt_token_file,
    )


def refusal(reason: str) -> str | None:
    """Why the other end will not have us (or we not it), in a sentence; None when trying again may help."""
    return next((sentence for mark, sentence in _REFUSALS.items() if mark in reason), None)
