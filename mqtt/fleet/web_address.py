"""Where a Prometheus is: an address of the web, checked before anything is begun."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from appliance.errors import BadInput


def checked(url: str, remedy: str) -> SplitResult:
    """The parts of an http or https address. Raises `BadInput`, which ends with the remedy."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise BadInput(f"{url} is no address of a Prometheus: {remedy}.")
    return parts
