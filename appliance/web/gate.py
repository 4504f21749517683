"""Before any route: is this box meant, who asks, is it too much, is it another site's doing, and may he?"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Container
from urllib.parse import urlsplit

from flask import Flask, g, request
from werkzeug.exceptions import MisdirectedRequest

from appliance.errors import NotLetIn, Refused
from appliance.web.connection import client_address
from appliance.web.limits import max_body
from appliance.web.rules import RULES
from appliance.web.services import services
from appliance.web.visitors import Visitor, identify

TOKEN = "X-Ensueno-Token"  # noqa: S105 a header's name
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN = "Another web site sent this: use the box's own page or a program."


def init_app(app: Flask) -> None:
    """Guard every route of the app."""
    app.before_request(_guard)


def _guard() -> None:
    box = services()
    if not meant(request.host, box.hosts):
        raise MisdirectedRequest(
            "This box does not go by that name: use its address, or name it in the setting `hosts`."
        )
    g.visitor = found = identify(request, box.access)
    if box.access is not None and request.endpoint != "health.healthz":
        client = found.key or client_address(request.remote_addr)
        box.rates.count(client, changes=request.method not in _HARMLESS, size=_size())
    _refuse_other_sites()
    least = None if request.endpoint is None else RULES[request.endpoint]  # none: answered with 404 or 405
    if not found.may(least):
        if found.role is None:
            raise NotLetIn("The box does not know you: pair on its page, or send a token (Authorization: Bearer).")
        raise Refused("Only the box's owner may do this.")
    if request.method not in _HARMLESS:
        _refuse_what_the_page_did_not_send(found)


def meant(host: str, names: Container[str]) -> bool:
    """Whether a request to this host means this box.

    Any number does: a name is what an attacker can point at us (DNS rebinding), and a number is no name.
    """
    name = urlsplit(f"//{host}").hostname if _well_formed(host) else None
    if name is None:
        return False
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return name.lower().removesuffix(".") in names


def _well_formed(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").port != 0 and not set(host) & set("/?#@\\")
    except ValueError:
        return False


def _size() -> int:
    """Bytes of the body; of one whose length is not said, the most it may have."""
    if request.content_length is not None:
        return min(request.content_length, max_body(request.path))
    return max_body(request.path) if "Transfer-Encoding" in request.headers else 0


def _refuse_other_sites() -> None:
    """Every method: what another site reads it cannot see, but it would hold streams and threads."""
    origin = request.headers.get("Origin")
    if origin is not None and not _same(origin, request.host):
        raise Refused(_FOREIGN)
    sent_by = request.headers.get("Sec-Fetch-Site")
    followed = request.method == "GET" and request.headers.get("Sec-Fetch-Dest") == "document"  # a link
    if sent_by in ("cross-site", "same-site") and not followed:
        raise Refused(_FOREIGN)


def _refuse_what_the_page_did_not_send(found: Visitor) -> None:
    """A cookie is sent by the browser itself; the token beside it only by who could read it."""
    expected = found.token
    if expected is None:
        return
    sent = request.headers.get(TOKEN, "")
    if not hmac.compare_digest(expected.encode(), sent.encode("utf-8", "replace")):
        raise Refused(f"The page's token is missing or wrong: load the page again, or send {TOKEN}.")


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    default = ":443" if parts.scheme == "https" else ":80"
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)
