"""`ensueno generate --server URL`: the same wish, drawn by a running box."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from appliance.errors import (
    BadInput,
    Conflict,
    EnsuenoError,
    NoRoom,
    NotFound,
    NotLetIn,
    QueueFull,
    Refused,
    TooLarge,
    Unavailable,
)
from appliance.generate import Drawn, seeds
from appliance.ids import new_id

_TIMEOUT = 30.0
_POLL = 0.2
_TRIES = 5


def on_server(fields: dict[str, Any], url: str, token: str | None = None, fingerprint: str | None = None) -> Drawn:
    """Ask a running box and wait for the job's end; interrupted, the job is cancelled. Raises what the box answered.

    The job's id is made here, so a question whose answer was lost is asked again and drawn once. `token` is what the
    box gave (`ensueno pair --program`), `fingerprint` that of its own certificate: then no authority need vouch for it.
    """
    box = _Box(_base(url), token, fingerprint)
    job_url = f"/v1/jobs/{(job_id := new_id())}"
    try:
        job = box.ask("/v1/jobs", {**_as_json(fields), "id": job_id})
        while job["state"] in ("queued", "running"):
            time.sleep(_POLL)
            job = box.ask(job_url)
    except KeyboardInterrupt:
        box.call(job_url, method="DELETE")
        raise
    if job["state"] != "finished":
        raise EnsuenoError(job["error"] or f"The job was {job['state']}.")
    pngs = [box.call(f"/v1/images/{image}.png") for image in job["images"]]
    return Drawn(pngs, seeds(job["request"]), job["engine"], job.get("truncated"))


def _as_json(fields: dict[str, Any]) -> dict[str, Any]:
    """Files travel in base64."""
    return {
        name: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        for name, value in fields.items()
    }


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise BadInput("The server must look like http://box.local:8080.")
    return url.rstrip("/")


class _Box:
    """A box's HTTP, with what it must be shown and what it must show."""

    def __init__(self, base: str, token: str | None, fingerprint: str | None) -> None:
        self._base = base
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        pinned = [] if fingerprint is None else [_PinnedHandler(_hex(fingerprint))]
        self._opener = urllib.request.build_opener(_NoRedirect, *pinned)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A json answer; a box that is away for a moment is asked again."""
        for attempt in range(_TRIES):
            try:
                answer: dict[str, Any] = json.loads(self.call(path, body))
                return answer
            except ValueError:
                raise Unavailable(f"{self._base} does not answer as an Ensueño box does: check the address.") from None
            except Unavailable:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(_POLL * 2**attempt)
        raise AssertionError("unreachable")

    def call(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> bytes:
        """The bytes of an answer."""
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(self._base + path, data, self._headers, method=method)  # noqa: S310
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                raise BadInput(
                    f"Nobody vouches for the certificate of {self._base}:"
                    " give --fingerprint as the box shows it beside its PIN."
                ) from None
            raise Unavailable(f"{self._base} does not answer ({error}): is `ensueno serve` running there?") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is not carried elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _PinnedHandler(urllib.request.HTTPSHandler):
    """https to one certificate, by its SHA-256."""

    def __init__(self, sha256: str) -> None:
        super().__init__()
        self._sha256 = sha256

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_Pinned, sha256=self._sha256), request)


class _Pinned(http.client.HTTPSConnection):
    """Nothing is sent to a box with another certificate."""

    def __init__(self, *options: Any, sha256: str, **more: Any) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        super().__init__(*options, **more, context=context)
        self._sha256 = sha256

    def connect(self) -> None:
        super().connect()
        shown = self.sock.getpeercert(binary_form=True)
        if hashlib.sha256(shown or b"").hexdigest() != self._sha256:
            self.close()
            raise BadInput(f"{self.host} shows another certificate: it is not the box you paired with, or it is new.")


def _hex(fingerprint: str) -> str:
    """Raises `BadInput`."""
    found = fingerprint.replace(":", "").replace(" ", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", found):
        raise BadInput("A fingerprint has 32 bytes in hex, AB:CD:…: copy it as the box shows it beside its PIN.")
    return found


def _refusal(error: urllib.error.HTTPError) -> EnsuenoError:
    """The box's own sentence, as the error class that gives the right exit status."""
    with error:
        try:
            detail = str(json.loads(error.read())["detail"])
        except (ValueError, KeyError, TypeError):
            detail = f"The box answered {error.code}."
    kinds: list[type[EnsuenoError]] = [
        BadInput,
        NotLetIn,
        Refused,
        NotFound,
        Conflict,
        TooLarge,
        QueueFull,
        Unavailable,
        NoRoom,
    ]
    return next((kind for kind in kinds if kind.status == error.code), EnsuenoError)(detail)
