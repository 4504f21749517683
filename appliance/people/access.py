"""Who has been let in: one small file beside the journal, whole or not there (`durable.py`), open to its owner alone.

Nobody is known by what he says but by a secret of 256 random bits that he was given once; kept here is its hash. It is
given against a PIN, which the box shows where only its owner looks: good once, for five minutes, for five tries. What
counts down is the time since this boot, so no clock can be turned back to make a PIN good again.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance import durable
from appliance.errors import BadInput, NotFound, NotLetIn, NotOurs, QueueFull
from appliance.ids import boot_id, new_id
from appliance.job import timestamp
from appliance.progress import boottime

PIN_DIGITS = 8
PIN_SECONDS = 300.0
PIN_TRIES = 5
MOST = 500  # that are let in at a time
NAME = 40  # letters of a name
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 5}  # OWASP's figure that needs 16 MiB: the web process has 80
_NO = "This PIN is not good, or not any more: look at the box's console or log, or make a new one with `ensueno pair`."


class Role(str, Enum):
    """What somebody may do: a guest dreams and sees his own pictures, an owner everything."""

    GUEST = "guest"
    OWNER = "owner"


class Key(BaseModel):
    """Somebody who was let in: a browser or a program."""

    model_config = ConfigDict(frozen=True)

    id: str
    role: Role
    name: str
    created: float = Field(description="Unix seconds.")
    hash: str = Field(repr=False)

    def as_line(self) -> str:
        """For a person."""
        return f"{self.id}  {self.role.value:<5}  {timestamp(self.created):%Y-%m-%d %H:%M}  {self.name}"


class _Pin(BaseModel):
    role: Role
    salt: str
    hash: str
    boot: str
    until: float  # seconds since that boot
    tries: int = PIN_TRIES  # left


class _Password(BaseModel):
    salt: str
    hash: str


class Door(BaseModel):
    """Where the box was opened to the network, and the SHA-256 of its certificate if it shows one."""

    model_config = ConfigDict(frozen=True)

    address: str
    fingerprint: str | None


class _Kept(BaseModel):
    """The whole file."""

    door: Door | None = None
    pin: _Pin | None = None
    password: _Password | None = None
    keys: list[Key] = []


class Access:
    """The file at `path`; any number of threads and processes may use it, all of the one user that its folder belongs
    to. Whatever it cannot read lets nobody in: a damaged file is as none, one that is closed to it raises `NotOurs`.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], float] = boottime,
        clock: Callable[[], float] = time.time,
        boot: str | None = None,
    ) -> None:
        self._path = path
        self._now = now
        self._clock = clock
        self._boot = boot or boot_id()
        self._scrypt = threading.Lock()  # one at a time: each takes 16 MiB
        self._seen: tuple[tuple[int, int], _Kept, dict[str, Key]] | None = None

    # --- who is there ------------------------------------------------------------------------------------------

    def key(self, secret: str) -> Key | None:
        """Whose secret it is; nobody's while the file is closed to us."""
        try:
            return self._look()[1].get(_hash(secret))
        except NotOurs:
            return None

    def knows(self, key_id: str) -> bool:
        """Whether he is still let in."""
        try:
            return any(key.id == key_id for key in self.people())
        except NotOurs:
            return False

    def people(self) -> list[Key]:
        """All who were let in, the oldest first."""
        return list(self._look()[0].keys)

    @property
    def owned(self) -> bool:
        """Whether anybody owns the box yet."""
        return any(key.role is Role.OWNER for key in self.people())

    def door(self) -> Door | None:
        """None when it serves its own machine alone."""
        return self._look()[0].door

    def set_door(self, door: Door | None) -> None:
        """Tell who makes PINs where the box is found."""
        if door != self.door():
            with self._change() as kept:
                kept.door = door

    # --- letting in --------------------------------------------------------------------------------------------

    def invite(self, role: Role) -> str:
        """A new PIN; the one before is no longer good."""
        pin = f"{secrets.randbelow(10**PIN_DIGITS):0{PIN_DIGITS}d}"
        salt = secrets.token_hex(16)
        with self._change() as kept:
            kept.pin = _Pin(
                role=role, salt=salt, hash=_hash(salt + pin), boot=self._boot, until=self._now() + PIN_SECONDS
            )
        return pin

    def pair(self, pin: str, name: str) -> tuple[Key, str]:
        """The PIN becomes a key and its secret. Raises `BadInput` (no PIN at all), `NotLetIn`, `QueueFull`.

        A wrong try is on the disk before it is answered.
        """
        digits = re.sub(r"[ .\-\u00a0]", "", pin)
        if not re.fullmatch(rf"[0-9]{{{PIN_DIGITS}}}", digits):
            raise BadInput(f"A PIN has {PIN_DIGITS} digits: look at the box's console or log.")
        name = _name(name)
        with self._change() as kept:
            found = kept.pin
            if found is None or found.boot != self._boot or self._now() >= found.until or found.tries < 1:
                raise NotLetIn(_NO)
            if hmac.compare_digest(found.hash, _hash(found.salt + digits)):
                key, secret = self._add(kept, found.role, name)
                kept.pin = None
                return key, secret
            found.tries -= 1
        raise NotLetIn(_NO)

    def issue(self, role: Role, name: str) -> tuple[Key, str]:
        """A key for a program, made by whoever may read this file anyway. Raises `BadInput`, `QueueFull`."""
        with self._change() as kept:
            return self._add(kept, role, _name(name))

    def enter(self, password: str, name: str) -> tuple[Key, str]:
        """An owner's key against the password. Raises `NotLetIn`, also when there is none."""
        found = self._look()[0].password
        name = _name(name)
        if found is None or not hmac.compare_digest(found.hash, self._slow(password, found.salt)):
            raise NotLetIn("This is not the owner's password: try again, or pair with a PIN.")
        return self.issue(Role.OWNER, name)

    def set_password(self, password: str) -> None:
        """The owner's, at least 8 letters; an empty one takes it away. Raises `BadInput`."""
        if password and len(password) < 8:
            raise BadInput("A password has at least 8 letters: choose a longer one.")
        salt = secrets.token_hex(16)
        made = _Password(salt=salt, hash=self._slow(password, salt)) if password else None
        with self._change() as kept:
            kept.password = made

    def revoke(self, key_id: str) -> Key:
        """Let somebody in no more. Raises `NotFound`."""
        with self._change() as kept:
            for key in kept.keys:
                if key.id == key_id:
                    kept.keys.remove(key)
                    return key
        raise NotFound("Nobody has that id: see `ensueno access list`.")

    # --- inside ------------------------------------------------------------------------------------------------

    def _add(self, kept: _Kept, role: Role, name: str) -> tuple[Key, str]:
        if len(kept.keys) >= MOST:
            raise QueueFull(f"{MOST} have been let in already: revoke some of them.")
        secret = secrets.token_urlsafe(32)
        key = Key(id=new_id(), role=role, name=name, created=self._clock(), hash=_hash(secret))
        kept.keys.append(key)
        return key, secret

    def _slow(self, password: str, salt: str) -> str:
        with self._scrypt:
            return hashlib.scrypt(
                password.encode("utf-8", "replace"), salt=salt.encode(), maxmem=64 << 20, dklen=32, **_SCRYPT
            ).hex()

    def _look(self) -> tuple[_Kept, dict[str, Key]]:
        """The file as it is now, read again only when it is another."""
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return _Kept(), {}
        except OSError as error:
            raise _closed(self._path, error) from None
        mark = (state.st_ino, state.st_mtime_ns)
        seen = self._seen
        if seen is None or seen[0] != mark:
            kept = self._read() or _Kept()
            seen = self._seen = mark, kept, {key.hash: key for key in kept.keys}
        return seen[1], seen[2]

    def _read(self) -> _Kept | None:
        """None when it is damaged."""
        try:
            return _Kept.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return _Kept()
        except ValidationError:
            return None
        except OSError as error:
            raise _closed(self._path, error) from None

    @contextmanager
    def _change(self) -> Iterator[_Kept]:
        """Read, change, on the disk when the block ends well. A damaged file is set aside: all pair again."""
        with self._locked():
            kept = self._read()
            if kept is None:
                self._path.rename(self._path.with_suffix(".damaged"))
                kept = _Kept()
            before = kept.model_copy(deep=True)
            yield kept
            if kept != before:
                durable.write(self._path, kept.model_dump_json().encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the file, in a folder of our own: what another user wrote there its own could not read."""
        folder, lock = self._path.parent, self._path.with_suffix(".lock")
        try:
            durable.private_folder(folder)
        except OSError as error:
            raise durable.unusable(folder, error) from None
        if folder.stat().st_uid != os.geteuid():
            raise durable.of_another(folder)
        try:
            file = lock.open("w")
        except OSError as error:
            raise _closed(lock, error) from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _closed(path: Path, error: OSError) -> NotOurs:
    """Why this file cannot be used, and what helps."""
    why = f"{path} cannot be used ({error.strerror})"
    try:
        foreign = path.parent.stat().st_uid != os.geteuid()
    except OSError:
        return NotOurs(f"{why}: run it as the user that it belongs to (sudo -u USER ensueno …).")
    if foreign:
        return durable.of_another(path.parent)
    remedy = f"sudo chown {os.geteuid()} {path}" if isinstance(error, PermissionError) else "check the disk"
    return NotOurs(f"{why}: {remedy}, and try again.")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _name(name: str) -> str:
    """As it is shown to the owner. Raises `BadInput`."""
    found = " ".join(name.split())
    if not found or len(found) > NAME or not found.isprintable():
        raise BadInput(f"A name has 1 to {NAME} letters: choose another.")
    return found
