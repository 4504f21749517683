"""The log: json lines that a machine reads, with the job, and without a word of what was asked for."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from appliance import logs
from appliance.worker.drive import Driver
from tests.conftest import Box


@pytest.fixture
def told() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the engine logs from now on."""
    root, stream = logging.getLogger(), io.StringIO()
    before = root.handlers[:], root.level
    logs.begin("engine", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = before[0], before[1]


def test_a_jobs_way_can_be_followed_by_its_id(
    told: Callable[[], list[dict[str, Any]]], box: Box, finish: Callable[[Driver], int]
) -> None:
    driver = box.driver()
    job = box.submit("the canary sings", steps=2)
    finish(driver)
    lines = [line for line in told() if line.get("job") == job]
    assert [line["event"] for line in lines] == ["begun", "finished"]
    assert (lines[1]["process"], lines[1]["level"], lines[1]["engine"]) == ("engine", "info", "onnxruntime")
    assert datetime.fromisoformat(lines[1]["time"]).utcoffset() is not None
    assert "canary" not in json.dumps(told())


def test_an_error_keeps_its_traceback_in_one_line(told: Callable[[], list[dict[str, Any]]]) -> None:
    try:
        raise ValueError("ñ")
    except ValueError:
        logging.getLogger("x").exception("it broke", extra={"job": "j"})
    (line,) = told()
    assert (line["event"], line["level"], line["job"]) == ("it broke", "error", "j")
    assert "ValueError: ñ" in line["traceback"]


def test_on_a_terminal_it_speaks_plainly_and_seldom() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    root = logging.getLogger()
    before, stream = (root.handlers[:], root.level), Terminal()
    logs.begin("web", stream)
    logging.getLogger("x").info("nothing")
    logging.getLogger("x").warning("mind the gap")
    root.handlers[:], root.level = before[0], before[1]
    assert stream.getvalue() == "WARNING x: mind the gap\n"
