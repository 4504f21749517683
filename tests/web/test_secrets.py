"""No secret comes out by itself: a canary wherever one can stand, and then a look at all that was written."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from appliance.people.access import Access, Role
from tests.web.test_server import Running, started

PAIRED = """
import dataclasses, logging, sys
from appliance import logs
from appliance.web.__main__ import made
from appliance.web.server import serve

begin = logs.begin
logs.begin = lambda process: (begin(process), logging.getLogger().setLevel(logging.DEBUG))  # all that can be logged
serve(dataclasses.replace(made(sys.argv[1:]), paired=True))
"""


def ask(server: Running, method: str, path: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        server.url + path, data, {"Content-Type": "application/json"} | headers, method=method
    )
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def test_no_token_password_pin_or_prompt_is_in_any_log(tmp_path: Path) -> None:
    prompt, wrong_token, wrong_password = "canary-prompt", "canary-token", "canary-password"
    with (tmp_path / "out").open("wb") as out, started(tmp_path, code=PAIRED, stdout=out, stderr=out) as server:
        access = Access(server.data_dir / "access.json")
        access.set_password("canary-good-password")
        pin, wrong_pin = access.invite(Role.OWNER), "13571357"
        ask(server, "POST", "/v1/pair", {"pin": wrong_pin})
        secret = ask(server, "POST", "/v1/pair", {"pin": pin, "program": True})["secret"]
        by_password = ask(server, "POST", "/v1/pair", {"password": "canary-good-password", "program": True})["secret"]
        ask(server, "POST", "/v1/pair", {"password": wrong_password})
        bearer = {"Authorization": f"Bearer {secret}"}
        ask(server, "GET", "/v1/offer", Authorization=f"Bearer {wrong_token}")
        ask(server, "GET", "/v1/offer", Cookie=f"ensueno={wrong_token}")
        ask(server, "POST", "/v1/jobs", {"prompt": prompt}, **bearer)
        ask(server, "POST", "/v1/jobs", {"prompt": prompt, "steps": prompt}, **bearer)
        guest_pin = ask(server, "POST", "/v1/people", {"role": "guest"}, **bearer)["pin"]
        for broken in (
            f"GET /{wrong_token} HTTP/9.9\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\0\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer {secret}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: ensueno={secret}; {'x' * 5000}\r\n\r\n",
            f"{wrong_token} {secret}\r\n\r\n",
        ):
            with server.connect() as client:
                client.sendall(broken.encode())
                while client.recv(4096):
                    pass
        command = [sys.executable, "-m", "appliance", "access", "list", "--data-dir", str(server.data_dir)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        kept = b"".join(path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file())
    said = (tmp_path / "out").read_text() + listed
    assert "let in" in said  # it does log
    for hidden in (prompt, wrong_token, wrong_password, "canary-good-password", pin, wrong_pin, guest_pin, secret,
                   by_password):  # fmt: skip
        assert hidden not in said, hidden
    for hidden in (secret, by_password, "canary-good-password", pin, guest_pin, wrong_token):
        assert hidden.encode() not in kept, hidden
