"""https for real: its own certificate and its owner's, slow clients, streams, a program that knows the fingerprint."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from appliance import config
from appliance.client import on_server
from appliance.errors import BadInput, NotLetIn
from appliance.network import certificate
from appliance.network.addresses import names
from appliance.network.certificate import Certificate
from appliance.people.access import Access, Role
from tests.web.test_server import MEMORY, Running, started

PAIRED = """
import dataclasses, sys
from appliance.web.__main__ import made
from appliance.web.server import serve

serve(dataclasses.replace(made(sys.argv[1:]), paired=True), patience=1.0)
"""


def own(folder: Path, **more: object) -> Certificate:
    found = certificate.certificate(config.load({"data_dir": folder, "tls": True, **more}), names("attic", ""))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A box that was opened to a network, as far as its rules go: it listens on this machine alone."""
    with started(tmp_path_factory.mktemp("tls"), "--tls", code=PAIRED) as running:
        yield running


def trusting(server: Running) -> ssl.SSLContext:
    """Who has installed the box's certificate."""
    return ssl.create_default_context(cafile=str(server.data_dir / "tls.pem"))


def call(
    server: Running, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPSConnection("localhost", server.port, context=trusting(server), timeout=10)
    sent = None if body is None else json.dumps(body)
    connection.request(method, path, sent, {"Content-Type": "application/json"} | headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def test_a_certificate_is_made_once_and_its_key_is_its_owners_alone(tmp_path: Path) -> None:
    first, again = own(tmp_path), own(tmp_path)
    assert first == again
    assert first.key.stat().st_mode & 0o077 == 0
    der = ssl.PEM_cert_to_DER_cert(first.cert.read_text().split("-----END PRIVATE KEY-----\n")[1])
    assert first.fingerprint.replace(":", "").lower() == hashlib.sha256(der).hexdigest()


def test_without_tls_there_is_none(tmp_path: Path) -> None:
    assert certificate.certificate(config.load({"data_dir": tmp_path}), names("attic", "")) is None
    assert not (tmp_path / "tls.pem").exists()


def test_the_owners_own_is_shown_and_a_bad_one_is_a_sentence(tmp_path: Path) -> None:
    given = own(tmp_path / "given").cert
    found = own(tmp_path / "box", tls_cert=given, tls_key=given)
    assert (found.cert, found.fingerprint) == (given, own(tmp_path / "given").fingerprint)
    assert not (tmp_path / "box" / "tls.pem").exists()
    (tmp_path / "bad.pem").write_text("no certificate")
    for cert, key in ((given, None), (None, given), (tmp_path / "none.pem", given), (tmp_path / "bad.pem", given)):
        with pytest.raises(BadInput):
            own(tmp_path / "box", tls_cert=cert, tls_key=key)


def test_who_knows_the_certificate_is_served_and_the_cookie_stays_on_https(server: Running) -> None:
    assert call(server, "GET", "/healthz")[0] == 200
    pin = Access(server.data_dir / "access.json").invite(Role.OWNER)
    status, headers, _ = call(server, "POST", "/v1/pair", {"pin": pin})
    assert status == 201
    cookie = headers["Set-Cookie"]
    for part in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
        assert part in cookie
    assert call(server, "GET", "/v1/offer", Cookie=cookie.split(";")[0])[0] == 200
    assert call(server, "GET", "/v1/offer")[0] == 401


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_and_plain_http_get_no_answer(server: Running) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with server.connect() as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(plain)
    with server.connect() as plain:
        plain.sendall(b"GET /v1/offer HTTP/1.1\r\nHost: localhost\r\n\r\n")
        told = b""
        while piece := plain.recv(4096):
            told += piece
    assert b"200" not in told
    assert b"prompt" not in told


def test_who_stalls_in_the_handshake_or_after_it_is_dropped(server: Running) -> None:
    with server.connect() as silent, server.connect() as half:
        silent.sendall(b"\x16\x03\x01")  # the beginning of a hello
        with trusting(server).wrap_socket(half, server_hostname="localhost") as shaken:
            shaken.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
            assert call(server, "GET", "/healthz")[0] == 200
            assert silent.recv(4096) == b""
            assert shaken.recv(4096) == b""


def test_a_stream_goes_on_over_https_and_its_thread_comes_back(server: Running) -> None:
    token = Access(server.data_dir / "access.json").issue(Role.OWNER, "a program")[1]
    bearer = {"Authorization": f"Bearer {token}"}
    job = json.loads(call(server, "POST", "/v1/jobs", {"prompt": "a red apple"}, **bearer)[2])["id"]
    asked = f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    with server.connect() as plain, trusting(server).wrap_socket(plain, server_hostname="localhost") as stream:
        stream.sendall(asked.encode())
        told = b""
        while b"event: progress" not in told:
            told += stream.recv(4096)
        time.sleep(1.2)  # longer than a request may take
        call(server, "DELETE", f"/v1/jobs/{job}", **bearer)
        while b"event: end" not in told:
            told += stream.recv(4096)
    last = time.monotonic() + 15
    while b"appliance_watchers 0.0" not in call(server, "GET", "/metrics", **bearer)[2]:
        assert time.monotonic() < last


def test_a_program_with_the_fingerprint_needs_no_authority_and_tells_nobody_else_its_token(
    server: Running, tmp_path: Path
) -> None:
    access = Access(server.data_dir / "access.json")
    url, fields = f"https://localhost:{server.port}", {"prompt": "a red apple", "size": "9x9"}
    shown = certificate.fingerprint(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", server.port))))
    token = access.issue(Role.GUEST, "a program")[1]
    with pytest.raises(BadInput, match="9x9 is not offered"):
        on_server(fields, url, token, shown)
    with pytest.raises(NotLetIn):
        on_server(fields, url, "wrong", shown)
    with pytest.raises(BadInput, match="another certificate"):
        on_server(fields, url, token, own(tmp_path).fingerprint)
    with pytest.raises(BadInput, match="--fingerprint"):
        on_server(fields, url, token)
    with pytest.raises(BadInput, match="32 bytes"):
        on_server(fields, url, token, "AB:CD")


def test_the_console_tells_the_fingerprint_beside_the_pin(server: Running) -> None:
    command = [sys.executable, "-m", "appliance", "pair", "--data-dir", str(server.data_dir)]
    alone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert alone.returncode == 2
    assert "--host 0.0.0.0" in alone.stderr


def test_https_stays_small(server: Running) -> None:
    for path in ("/", "/healthz", "/readyz", "/v1/pair"):
        call(server, "GET", path)
    assert psutil.Process(server.process.pid).memory_info().rss < MEMORY
