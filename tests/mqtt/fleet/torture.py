"""The long proofs of the cloud side, in rounds: seeded, resumable, each with a negative control that must fail.

    payloads   random and mutated messages: nothing crashes, each is kept or counted with a reason
    broker     a real Mosquitto with Debian's defaults is killed (-9) in the middle of telemetry, and the collector dies
               between keeping and acknowledging: at the end every record is there once
    doors      the device's side: messages and properties by chance at every handler of a link (tests/mqtt/doors.py)

Short rounds run in the tests, long ones by scripts/torture-fleet. What a kill does not show: a power cut (the page
cache lives on); SQLite's synchronous=FULL, read back at each start, is there for that.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path

from mqtt import topics
from mqtt.address import Address
from mqtt.fleet import intake, simulate
from mqtt.fleet.broker import Broker, Received
from mqtt.fleet.collector import GROUP, Collector
from mqtt.fleet.counters import Counters
from mqtt.fleet.simulate import Device, Fleet
from mqtt.fleet.store import Kept, Store
from tests.mqtt.doors import doors
from tests.mqtt.fleet.fake_post import FakePost
from tests.mqtt.fleet.records import NOW, payload, record
from tests.mqtt.fleet.services import PlainBroker, plain_broker
from tests.served import free_port
from tests.tiny_bundles import make_tiny_bundle


@dataclass(frozen=True)
class Outcome:
    """What one round did. `missing` and `doubled` count records."""

    seed: int
    said: int
    kills: int
    deaths: int
    missing: int
    doubled: int


class Death(Exception):  # noqa: N818
    """A collector's process ends here."""


class HastyCollector(Collector):
    """The negative control: acknowledges first and keeps afterwards."""

    def _keep(self, batch: list[Received], taken: intake.Taken) -> Kept | None:
        told = Kept()
        for one in taken.readings:
            told.ranges.setdefault((one.device, one.session), []).append((one.seq, one.seq))
        self._acknowledge(batch, told)
        self._failpoint("acknowledged")
        return super()._keep(batch, taken)


class Round:
    """One broker, one store, a fleet that speaks, and misfortune by chance."""

    def __init__(self, folder: Path, seed: int, kind: type[Collector] = Collector) -> None:
        self._folder, self._kind, self._chance = folder, kind, random.Random(seed)
        self._seed, self.deaths = seed, 0

    def run(self, devices: int, records: int, kills: int) -> Outcome:
        """Let the devices say `records` in all while the broker is killed `kills` times."""
        every = max(records // (kills + 1), 1)
        with ExitStack() as stack:
            broker = stack.enter_context(plain_broker(self._folder / "broker", free_port()))
            address = Address.of(broker.url)
            fleet = Fleet(
                simulate.devices(devices, self._seed), simulate.connector(address, "sim"), connections=4, again=2.0
            )
            stack.callback(fleet.close)
            self._life = stack.enter_context(ExitStack())
            self._collector = self._born(address)
            self._speak(fleet, broker, records, every, kills)
            while fleet.waiting:
                self._turn(fleet, address)
        return self._outcome(fleet, records, kills)

    def _speak(self, fleet: Fleet, broker: PlainBroker, records: int, every: int, kills: int) -> None:
        names = list(fleet.devices)
        address, start, killed = Address.of(broker.url), 1_700_000_000.0, 0
        for number in range(records):
            fleet.devices[names[number % len(names)]].say(start + number)
            if number % 50 == 0:
                self._turn(fleet, address)
            if killed < kills and number == every * killed + self._chance.randrange(every) // 2 + every // 2:
                killed += 1
                broker.kill()
                broker.start()
        for _ in range(killed, kills):
            broker.kill()
            broker.start()
            self._turn(fleet, address)

    def _turn(self, fleet: Fleet, address: Address) -> None:
        fleet.turn(0.004)
        try:
            self._collector.turn(0.004)
        except Death:
            self.deaths += 1
            self._life.close()
            self._collector = self._born(address)

    def _born(self, address: Address) -> Collector:
        store = self._life.enter_context(closing(Store(self._folder / "collector.db", reserve=0)))
        shared = topics.shared(GROUP, topics.ALL_TELEMETRY)
        broker = self._life.enter_context(closing(Broker(address, f"collector-{self.deaths}", [shared])))
        clock = 1_700_000_000.0 + 86_400
        return self._kind(broker, store, Counters(), clock=lambda: clock, failpoint=self._perhaps_die)

    def _perhaps_die(self, name: str) -> None:
        if self._chance.random() < (0.02 if name == "kept" else 0.1):
            raise Death

    def _outcome(self, fleet: Fleet, records: int, kills: int) -> Outcome:
        with closing(Store(self._folder / "collector.db", reserve=0)) as store:
            there = store.backlog() // samples_of_a_record()
            missing = sum(device.seq for device in fleet.devices.values()) - store.known()
        return Outcome(self._seed, records, kills, self.deaths, missing, there - (records - missing))


def samples_of_a_record() -> int:
    """How many samples a simulated device's record becomes in a small fleet."""
    device = Device("box", 0, "life")
    device.say(NOW)
    taken = intake.Taken()
    intake.take(topics.telemetry("box"), device.outbox[1], NOW, False, taken)
    return taken.readings[0].samples + len(taken.readings[0].labelled)


def mutated(chance: random.Random) -> tuple[str, bytes]:
    """A message from hell: a good one with bytes flipped, cut, doubled or with fields of other kinds, or pure noise."""
    odd = [None, True, -1, 0, 2**70, 1e308, "", "x" * 70, "\0", [], {}, [[1, 2]], {"a": 1}, NOW + 4e7, -4e7]
    body = record(chance.randrange(1, 12), session=f"life-{chance.randrange(30)}")
    if chance.random() < 0.3:
        body |= {"kind": "lost", "lost": [_range(chance) for _ in range(chance.randrange(4))]}
    for _ in range(chance.randrange(3)):
        body[chance.choice([*body, "lost", "extra"])] = chance.choice(odd)
    data = bytearray(payload(body) if chance.random() < 0.8 else payload(body, record(2)))
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(data) + 1)
        data[place : place + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
    if chance.random() < 0.1:
        data = bytearray(chance.randbytes(chance.randrange(200)))
    topic = chance.choice(
        [topics.telemetry("box")] * 9 + ["", "ensueno/v1/pools/telemetry", "x" * 300, "ensueno/v1//telemetry"]
    )
    return topic, bytes(data)


def _range(chance: random.Random) -> list[int]:
    """Of numbers: in order or not, over others or not, small or as large as can be said."""
    huge = [2**53 - chance.randrange(3), 2**53 + 1]
    return [chance.randrange(-1, 14) if chance.random() < 0.9 else chance.choice(huge) for _ in range(2)]


def payloads(folder: Path, seed: int, count: int) -> Outcome:
    """Feed `count` bad messages through a collector with a real store; `missing` are those counted nowhere."""
    chance, post = random.Random(seed), FakePost()
    lost = expected = 0
    with closing(Store(folder / "payloads.db", reserve=0, clock=lambda: NOW)) as store:
        counters = Counters()
        collector = Collector(post, store, counters, clock=lambda: NOW)
        for number in range(count):
            topic, data = mutated(chance)
            alone = intake.Taken()
            intake.take(topic, data, NOW, False, alone)
            lost += not (alone.readings or alone.refusals)
            expected += len(alone.readings) + len(alone.refusals)
            post.give(topic, data)
            if number % 500 == 499 or number == count - 1:
                collector.turn()
        lost += expected != _counted(counters)
    return Outcome(seed, count, 0, 0, lost, 0)


def _counted(counters: Counters) -> float:
    kept = sum(counters.value("records_total", outcome=outcome) for outcome in ("fresh", "repeated"))
    return kept + sum(counters.value("refused_total", reason=reason) for reason in (*intake.REASONS, "sessions"))


def main() -> int:
    parser = argparse.ArgumentParser(description="The long proofs of the fleet's cloud side, in resumable rounds.")
    parser.add_argument("what", choices=["payloads", "broker", "control", "doors"])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--records", type=int, default=25_000, help="in one round (payloads, doors: messages)")
    parser.add_argument("--kills", type=int, default=5, help="of the broker in one round")
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=Path("torture-fleet.jsonl"), help="one line a round; goes on from it"
    )
    options = parser.parse_args()
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    ours = {line["seed"] for line in done if line["what"] == options.what}
    for seed in range(options.seed, options.seed + options.rounds):
        if seed not in ours:
            with tempfile.TemporaryDirectory() as folder:
                outcome = _round(options, Path(folder), seed)
            done.append({"what": options.what, **asdict(outcome)})
            with options.out.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    return _verdict(options.what, [line for line in done if line["what"] == options.what])


def _round(options: argparse.Namespace, folder: Path, seed: int) -> Outcome:
    if options.what == "doors":
        wrong = doors(folder, make_tiny_bundle(folder / "bundle"), seed, options.records)
        print(*wrong, sep="\n", end="\n" * bool(wrong))
        return Outcome(seed, options.records, 0, 0, len(wrong), 0)
    if options.what == "payloads":
        return payloads(folder, seed, options.records)
    kind: type[Collector] = HastyCollector if options.what == "control" else Collector
    return Round(folder, seed, kind).run(options.devices, options.records, options.kills)


def _verdict(what: str, done: Iterable[dict[str, int]]) -> int:
    lines = list(done)
    total: Callable[[str], int] = lambda name: sum(line[name] for line in lines)  # noqa: E731
    print(
        f"{what}: {len(lines)} rounds, {total('said')} said, {total('kills')} kills of the broker,"
        f" {total('deaths')} deaths of the collector: {total('missing')} missing, {total('doubled')} doubled"
    )
    clean = total("missing") == 0 and total("doubled") == 0
    return 0 if clean != (what == "control") else 1


if __name__ == "__main__":
    sys.exit(main())
