"""Who asks: found by a cookie or a bearer token, never by an address or by what a header says of one."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import cast

from flask import Request, Response, g

from appliance.people.access import Access, Role
from appliance.people.share import GUESTS, WHOLE, Share

COOKIE = "ensueno"
_COOKIE_LIFE = 400 * 24 * 3600  # seconds; the longest that browsers keep one, begun anew at each visit


@dataclass(frozen=True, slots=True)
class Visitor:
    """`role` is None when nobody knows him; `key` is that of `Access`, None for this machine's own user.

    `cookie` is his secret when a browser sent it by itself: then each change needs `token` too.
    """

    role: Role | None
    key: str | None = None
    name: str = ""
    cookie: str | None = None

    @property
    def sees(self) -> str | None:
        """Whose jobs and pictures alone he sees; None: all."""
        return self.key if self.role is Role.GUEST else None

    @property
    def share(self) -> Share:
        """How much of what all share is open to him."""
        return GUESTS if self.role is Role.GUEST else WHOLE

    def may(self, least: Role | None) -> bool:
        """Whether he may do what needs this role; None: anybody may."""
        return least is None or self.role is Role.OWNER or self.role is least

    @property
    def token(self) -> str | None:
        """What only the box's own page can read, and so only it can send."""
        if self.cookie is None:
            return None
        return hmac.new(self.cookie.encode("utf-8", "replace"), b"page", hashlib.sha256).hexdigest()


HERE = Visitor(Role.OWNER)
NOBODY = Visitor(None)


def identify(request: Request, access: Access | None) -> Visitor:
    """Who sent this. A box without `access` serves its own machine alone: whoever reaches it owns it."""
    if access is None:
        return HERE
    header = request.headers.get("Authorization")
    if header is None:
        secret = request.cookies.get(COOKIE, "")
    else:
        kind, _, secret = header.partition(" ")
        if kind.lower() != "bearer":
            return NOBODY
    found = access.key(secret.strip()) if secret else None
    if found is None:
        return NOBODY
    return Visitor(found.role, found.id, found.name, secret if header is None else None)


def visitor() -> Visitor:
    """Who sent the request that is being answered."""
    return cast(Visitor, g.visitor)


def keep(response: Response, secret: str, *, secure: bool) -> None:
    """Give a browser its cookie: no script reads it, no other site makes it sent."""
    response.set_cookie(COOKIE, secret, max_age=_COOKIE_LIFE, path="/", secure=secure, httponly=True, samesite="Strict")


def forget(response: Response) -> None:
    """Take it back."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
