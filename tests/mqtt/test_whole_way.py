"""The real processes over a real broker: `ensueno serve --mqtt`, `ensueno generate --mqtt`, killed in earnest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mqtt import topics
from tests.mqtt.broker import Broker
from tests.mqtt.rig import Ear
from tests.mqtt.rig import until as heard_until
from tests.served import Served, free_port, running, until


class Asked:
    """`ensueno generate --mqtt …` as a process."""

    def __init__(self, broker: Broker, folder: Path, *arguments: str) -> None:
        self.out = folder / "picture.png"
        command = [sys.executable, "-m", "appliance", "generate", "a red apple", "--mqtt", broker.url, "--json"]
        self.process = subprocess.Popen(
            [*command, "--out", str(self.out), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def end(self) -> dict[str, Any]:
        stdout, stderr = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, stderr
        assert self.out.read_bytes().startswith(b"\x89PNG")
        told: dict[str, Any] = json.loads(stdout)
        return told


@pytest.fixture(scope="module")
def broker_of_the_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    from tests.mqtt.broker import broker

    with broker(tmp_path_factory.mktemp("mosquitto")) as made:
        yield made


@pytest.fixture(scope="module")
def served(tiny_folder: Path, broker_of_the_box: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = ("--mqtt", broker_of_the_box.url, "--mqtt-device", "box-1")
    with running(tiny_folder, tmp_path_factory.mktemp("served"), *options) as box:
        yield box


def test_a_wish_over_mqtt_becomes_a_picture(served: Served, broker_of_the_box: Broker, tmp_path: Path) -> None:
    told = Asked(broker_of_the_box, tmp_path, "--device", "box-1", "--seed", "7").end()
    assert told["images"] == [{"path": str(tmp_path / "picture.png"), "seed": 7}]


def test_a_refusal_is_one_sentence_and_status_2(served: Served, broker_of_the_box: Broker, tmp_path: Path) -> None:
    asked = Asked(broker_of_the_box, tmp_path, "--device", "box-1", "--size", "9x9")
    _, stderr = asked.process.communicate(timeout=60)
    assert asked.process.returncode == 2
    assert stderr.startswith("The size 9x9 is not offered")
    assert len(stderr.splitlines()) == 1


def test_one_end_for_a_job_whose_broker_link_and_requester_are_killed(
    served: Served, broker_of_the_box: Broker, tmp_path: Path
) -> None:
    options = ("--device", "box-1", "--id", "three-deaths", "--steps", "50", "--count", "4")
    asked = Asked(broker_of_the_box, tmp_path, *options)
    until(lambda: served.call("/v1/jobs/three-deaths")[0] == 200)
    broker_of_the_box.kill()
    link = served.link()
    os.kill(link, signal.SIGKILL)
    broker_of_the_box.start()
    until(lambda: served.link() != link)
    asked.process.kill()
    asked.process.communicate()
    told = Asked(broker_of_the_box, tmp_path, *options).process
    stdout, stderr = told.communicate(timeout=120)
    assert told.returncode == 0, stderr
    assert len(json.loads(stdout)["images"]) == 4
    pictures = served.call("/v1/images")[1]["images"]
    assert sum(picture["job"] == "three-deaths" for picture in pictures) == 4


class Killable:
    """A box of a pool as a process, all of whose processes can be killed at once, as by a power cut."""

    def __init__(self, name: str, bundle: Path, folder: Path, broker: Broker) -> None:
        self.name = name
        port = free_port()
        command = [sys.executable, "-m", "appliance", "serve", "--port", str(port), "--threads", "1"]
        command += ["--bundle", str(bundle), "--data-dir", str(folder / name)]
        command += ["--mqtt", broker.url, "--mqtt-device", name, "--mqtt-pool", "two"]
        self.served = Served(subprocess.Popen(command), f"http://127.0.0.1:{port}", folder / name)
        until(self.served.ready)

    def kill(self) -> None:
        """-9, the supervisor first, which would start the others again."""
        parent = psutil.Process(self.served.process.pid)
        for process in (parent, *parent.children(recursive=True)):
            process.kill()
        self.served.process.wait(30)

    def stop(self) -> None:
        self.served.process.send_signal(signal.SIGTERM)
        self.served.process.wait(30)


@pytest.fixture
def two(tiny_folder: Path, broker_of_the_box: Broker, tmp_path: Path) -> Iterator[list[Killable]]:
    boxes: list[Killable] = []
    try:
        for name in ("pool-a", "pool-b"):
            boxes.append(Killable(name, tiny_folder, tmp_path, broker_of_the_box))
        yield boxes
    finally:
        for box in boxes:
            box.stop()


def test_a_prompt_to_a_pool_of_two_boxes_of_which_one_is_killed_is_one_picture(
    two: list[Killable], tiny_folder: Path, broker_of_the_box: Broker, tmp_path: Path
) -> None:
    ear = Ear(broker_of_the_box.url, "ear-of-two", (topics.statuses("+"),))
    heard_until(lambda: ear.ready, ear)
    engines = [box.served.engine() for box in two]
    for engine in engines:
        os.kill(engine, signal.SIGSTOP)  # neither draws before one is killed
    asked = Asked(broker_of_the_box, tmp_path, "--pool", "two", "--id", "shared", "--seed", "7")
    owner = until(lambda: next((box for box in two if box.served.call("/v1/jobs/shared")[0] == 200), None))
    (other,) = [box for box in two if box is not owner]
    owner.kill()
    os.kill(engines[two.index(other)], signal.SIGCONT)
    assert asked.end()["images"] == [{"path": str(tmp_path / "picture.png"), "seed": 7}]

    again = Killable(owner.name, tiny_folder, tmp_path, broker_of_the_box)
    two[two.index(owner)] = again
    again.served.ended("shared")  # cancelled, or drawn and kept to itself
    heard_until(lambda: ends(ear), ear)
    ear.close()
    assert {end["device"] for end in ends(ear)} == {other.name}
    assert len(other.served.call("/v1/images")[1]["images"]) == 1


def ends(ear: Ear) -> list[dict[str, Any]]:
    topics_of_both = [topics.status(name, "shared") for name in ("pool-a", "pool-b")]
    return [body for topic in topics_of_both for body in ear.bodies(topic) if body["kind"] == "end"]
