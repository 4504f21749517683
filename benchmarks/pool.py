"""`python -m benchmarks.pool`: jobs a second that a pool of 1, 2 and 4 boxes ends on one broker, and one box killed.

It measures the pool and not the drawing: each box is the real link and the real engine process, but the engine is the
fault-injecting one, whose step takes a fixed time and almost no CPU, so that four boxes fit on this machine. All pauses
and leases are those that ship. The last row kills (-9) one of two boxes half way, for good: what it held is drawn by
the other once its lease is over, and every job must have its end.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import appliance.worker.process as worker
from appliance import config
from appliance.config import BUNDLED
from appliance.engines.faulty import Faulty
from mqtt import link
from mqtt.messages import Accepted, End
from mqtt.requester import Target
from torture.box import free_port, until
from torture.broker import Mosquitto
from torture.bundle import hollow
from torture.crowd import Crowd, Request
from torture.forks import Fork
from torture.history import History

POOL = "bench"


@dataclass(frozen=True)
class Row:
    """One run. `doubled`: jobs for which two different ends were told."""

    boxes: int
    killed: int
    jobs: int
    ended: int
    doubled: int
    seconds: float

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.ended / self.seconds


def main() -> int:
    """Measure and print a table, or json; the exit status is 0 when no job was lost or told twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pool", description="What a pool of boxes ends.")
    parser.add_argument("--boxes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--jobs", type=int, default=60, help="for each box")
    parser.add_argument("--waiting", type=int, default=24, help="jobs asked at once, for each box")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--step-seconds", type=float, default=0.1, help="what the engine takes for a step of any batch")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    plans = [(boxes, 0) for boxes in options.boxes] + [(2, 1)]
    rows = [_measure(boxes, killed, options) for boxes, killed in plans]
    if options.json:
        print(json.dumps([asdict(row) | {"rate": row.rate} for row in rows], indent=2))
    else:
        print(f"{'boxes':>6} {'killed':>7} {'jobs':>6} {'ended':>6} {'told twice':>11} {'seconds':>8} {'jobs/s':>7}")
        for row in rows:
            print(f"{row.boxes:>6} {row.killed:>7} {row.jobs:>6} {row.ended:>6} {row.doubled:>11} "
                  f"{row.seconds:>8.1f} {row.rate:>7.2f}")  # fmt: skip
    return int(any(row.ended != row.jobs or row.doubled for row in rows))


def _measure(boxes: int, killed: int, options: argparse.Namespace) -> Row:
    jobs = options.jobs * boxes
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        broker = Mosquitto(folder / "broker", free_port())
        stack.callback(broker.kill)
        broker.start()
        until(broker.answers)
        bundle = hollow(folder / "bundle", BUNDLED)
        forks = [_box(folder, f"box-{number}", bundle, broker.port, options.step_seconds) for number in range(boxes)]
        for box in forks:
            for fork in box:
                stack.callback(fork.kill)
                fork.start()
        _ask(broker, "first", [_request(f"first-{number}", 1) for number in range(4 * boxes)], folder).start()
        until(lambda: _devices(folder / "first.jsonl") == boxes, 120)
        requests = [_request(f"j-{number}", options.steps) for number in range(jobs)]
        people = _ask(broker, "people", requests, folder, window=options.waiting * boxes)
        stack.callback(people.kill)
        start = time.monotonic()
        people.start()
        if killed:
            until(lambda: _ended(folder / "people.jsonl") >= jobs // 2, 600)
            for fork in forks[0]:
                fork.kill()
        until(lambda: not people.alive(), 600)
        seconds = time.monotonic() - start
        return _row(boxes, killed, jobs, folder / "people.jsonl", seconds)


def _box(folder: Path, name: str, bundle: Path, port: int, step_seconds: float) -> tuple[Fork, Fork]:
    settings = config.load({
        "data_dir": folder / name, "bundle": bundle, "mqtt_device": name, "mqtt_pool": POOL, "reserve_mib": 0,
        "mqtt": f"mqtt://127.0.0.1:{port}", "engine": "onnxruntime", "mqtt_home": False,
    })  # fmt: skip
    engine: Callable[[], object] = partial(worker.run, settings, lambda _: Faulty(folder / "orders", step_seconds))
    return (
        Fork(f"link {name}", partial(_link, settings), folder / f"{name}-link.log"),
        Fork(f"engine {name}", engine, folder / f"{name}-engine.log"),
    )


def _link(settings: config.Settings) -> None:
    logging.basicConfig(level=logging.WARNING)
    link.run(settings)


def _request(job_id: str, steps: int) -> Request:
    return Request(job_id, {"prompt": "a red apple", "steps": steps}, Target.of(None, POOL))


def _ask(broker: Mosquitto, name: str, requests: list[Request], folder: Path, window: int = 8) -> Fork:
    def live() -> None:
        history = History(folder / f"{name}.jsonl")

        def heard(answer: Accepted | End) -> None:
            if isinstance(answer, End):
                history.note("end", id=answer.id, device=answer.device, images=[one.id for one in answer.images])

        Crowd(broker.address, name, requests, window, heard).run(time.monotonic)

    return Fork(name, live, folder / f"{name}.log")


def _devices(file: Path) -> int:
    return len({line["device"] for line in _lines(file)})


def _ended(file: Path) -> int:
    return len({line["id"] for line in _lines(file)})


def _lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _row(boxes: int, killed: int, jobs: int, file: Path, seconds: float) -> Row:
    lines = _lines(file)
    ends: dict[str, set[str]] = {}
    for line in lines:
        ends.setdefault(line["id"], set()).add(json.dumps([line["device"], line["images"]]))
    doubled = sum(len(told) > 1 for told in ends.values())
    return Row(boxes, killed, jobs, len(ends), doubled, seconds)


if __name__ == "__main__":
    sys.exit(main())
