"""What the doctor hears of the link: the link's own sentences, and whether a broker answers."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from appliance import config
from appliance.errors import BadInput, Unavailable
from mqtt import probe
from tests.served import free_port


def settings(**told: Any) -> config.Settings:
    return config.Settings(**told)


def test_a_broker_that_answers_is_named_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        port = broker.getsockname()[1]
        assert probe.look(settings(mqtt=f"mqtt://me:secret@127.0.0.1:{port}")) == f"mqtt://127.0.0.1:{port} answers"


def test_one_that_does_not_is_no_mistake_in_the_settings() -> None:
    with pytest.raises(Unavailable, match=r"cannot be reached \(Connection refused\): check its address"):
        probe.look(settings(mqtt=f"mqtt://127.0.0.1:{free_port()}"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mqtt": "mqtt://h", "mqtt_ca": Path("/nowhere.pem")}, "Certificates and tokens need an encrypted connection"),
        ({"mqtt": "mqtts://h", "mqtt_ca": Path(__file__)}, "The certificates cannot be used"),
        ({"mqtt": "mqtt://h", "mqtt_device": "pools"}, "cannot name a device"),
        ({"mqtt": "mqtt://h", "mqtt_pool": "a/b"}, "cannot name a device or pool"),
        ({"mqtt": "mqtts://h", "mqtt_token_file": Path("/")}, "holds no token"),
        ({"mqtt": "mqtt://h", "mqtt_owner_key": Path("/nowhere.pem")}, "no Ed25519 public key"),
    ],
)
def test_what_the_link_would_not_live_with_is_told(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        probe.look(settings(**wrong))
