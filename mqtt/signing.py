"""The owner's key: made, read, what it signs, and whether it did."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)  # fmt: skip

from appliance.errors import BadInput
from mqtt.messages import VERSION, signed_bytes


def new_key(path: Path) -> Path:
    """Write a new private key, and beside it the public one, which boxes are given; → where that is. Raises
    `BadInput`."""
    key = Ed25519PrivateKey.generate()
    public = path.with_name(f"{path.name}.pub")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private)
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except FileExistsError:
        raise BadInput(f"{path} is there already: choose another name, for boxes may trust that key.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): choose another place.") from None
    return public


def private_key(path: Path) -> Ed25519PrivateKey:
    """The owner's private key from a PEM file. Raises `BadInput`."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{path} is no Ed25519 private key (PEM): name the file that owner-key made.")
    return key


def owner_key(path: Path) -> Ed25519PublicKey:
    """The owner's public key from a PEM file. Raises `BadInput`."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{path} is no Ed25519 public key (PEM): name another mqtt_owner_key.")
    return key


def signed(command: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """A command as it goes on the wire."""
    body = {"v": VERSION, **command}
    return json.dumps(body | {"signature": base64.b64encode(key.sign(signed_bytes(body))).decode()}).encode()


def check(command: dict[str, Any], signature: str, key: Ed25519PublicKey) -> None:
    """Raises `BadInput` where it is not the owner who says so."""
    try:
        key.verify(base64.b64decode(signature, validate=True), signed_bytes(command))
    except (ValueError, InvalidSignature):
        raise BadInput("The signature is not the owner's: sign with the key that the box was given.") from None
