"""`python -m mqtt.link`: the process between the box and the broker, as `ensueno serve` or systemd starts it.

One thread does everything: `Link.turn` looks at what came from the broker and at what rang in the box. The network has
threads of its own (`connection.py`) that only put events into a queue.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from appliance import config, notify
from appliance.bundles.slots import Slots
from appliance.config import Settings
from appliance.device import health
from appliance.device.admission import Admission
from appliance.errors import BadInput, EnsuenoError, NoRoom, NotFound, Unavailable, kept_status
from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.lock import only_one
from appliance.network.addresses import addresses
from appliance.options import serve_options
from appliance.pipeline.manifest import Bundle
from appliance.progress import Board, board_folder
from appliance.prompt_filter import filtered
from mqtt import topics
from mqtt.address import Address, address_of
from mqtt.answers import Answers
from mqtt.askers import Asker, Askers
from mqtt.condition import Condition
from mqtt.connection import Closed, Connection, Delivery, Event, Opened, Sent, Subscribed, Unsent
from mqtt.discovery import Home
from mqtt.jobs import Ends, JobDoor
from mqtt.messages import Ack, CommandResult, read
from mqtt.outbox import Outbox
from mqtt.pool import MOST_OPEN, Pool
from mqtt.presence import Birth
from mqtt.sender import Sender
from mqtt.store import Store
from mqtt.telemetry import Telemetry
from mqtt.updates import Updates
from mqtt.waker import Waker

if TYPE_CHECKING:
    from mqtt.commands import Commands

TURN_SECONDS = 1.0  # the longest between two looks


class Link:
    """Everything the link holds for its life. `turn` is one look; `run` repeats it until asked to stop."""

    def __init__(self, settings: Settings, address: Address) -> None:
        manifest = Bundle.open(settings.bundle).manifest
        self.device = topics.device_name(settings.mqtt_device)
        self._waker = Waker()
        self._board = Board(board_folder(settings.data_dir))
        self._store = Store(settings.data_dir / "link.db")
        self._journal = Journal(
            settings.journal_path,
            queue_limit=settings.queue_limit,
            reserve=settings.reserve_mib << 20,
            admit=filtered(settings.prompt_filter, Admission(self._board, manifest.offer())),
        )
        condition = Condition(self._board, partial(health.look, settings.data_dir, settings.reserve_mib << 20))
        askers = Askers(self._store)
        self._trouble: str | None = None
        with self._patiently():
            askers.forget_old()
        page = addresses(settings.host, settings.port, settings.scheme)[-1]
        images = ImageStore(settings.images_dir)
        answers = Answers(self.device, self._journal, images, lambda path: page + path)
        self._door = JobDoor(self._journal, manifest.offer(), self._board, askers, answers)
        self._ends = Ends(self._journal, self._board, askers, answers, self._told)
        outbox = Outbox(self._store, self.device)
        self._telemetry = Telemetry(outbox, self._journal, self._board, condition.health, self.own_figures)
        self._sender = Sender(outbox, self.device)
        session = self._begun()
        self._birth = Birth(self.device, session, self._store.boot, page, manifest.title)
        self.connection = Connection(address, f"ensueno-{self.device}", woken=self._waker.wake)
        self.connection.will = self._birth.will
        self.pool: Pool | None = None
        if settings.mqtt_pool:
            shared = Connection(
                address, f"ensueno-{self.device}-pool", receive_maximum=MOST_OPEN, woken=self._waker.wake
            )
            name = topics.checked_name(settings.mqtt_pool)
            able, known = condition.unable, session > 1
            self.pool = Pool(name, shared, self.connection, self._door, answers, askers, able, known)
        self._outbox = outbox
        self.subscribed = False
        self._stopping = False
        self._now = 0.0  # of the present turn
        self._slot = Slots(settings.data_dir).watch()
        self._on_topic: dict[str, Callable[[Delivery], None]] = {
            topics.jobs(self.device): self._on_wish,
            topics.ack(self.device): self._on_ack,
            self._birth.topic: self._on_presence,
        }
        self.home: Home | None = None
        if settings.mqtt_home:
            self.home = Home(
                self.device, page, Updates(settings.data_dir, manifest), settings.mqtt_home_updates, manifest.offer(),
                self._journal, images, self._board, self._telemetry.numbers,
            )  # fmt: skip
            self._on_topic |= dict.fromkeys(self.home.filters, self._on_home)
        self.commands: Commands | None = None
        if settings.mqtt_owner_key is not None:
            from mqtt.commands import Commands, deeds  # and with it the cryptography, only where it is needed

            allowed = deeds(self._board, self._journal, settings.data_dir, self._telemetry.numbers)
            self.commands = Commands(self.device, settings.mqtt_owner_key, self._store, allowed)
            self._on_topic[topics.commands(self.device)] = self._on_command

    def turn(self, rung: Iterable[str], now: float) -> None:
        """One look at the broker and at the box. What a full disk stops is tried again at the next."""
        self._now = now
        self._trouble, before = None, self._trouble
        for event in self.connection.turn(now):
            with self._patiently(before):
                self._on(event, now)
        for part in (self._turn_pool, self._telemetry.turn, partial(self._turn_ends, rung), self._turn_others):
            with self._patiently(before):
                part(now)
        if self.connection.is_answered(now) or not self.connection.is_open:  # without a broker its lives go on
            notify.working()

    def own_figures(self) -> dict[str, float]:
        """The link's own numbers."""
        refused = self._door.refused
        figures = {
            "answers_open": self._ends.open,
            "jobs_refused_total": sum(refused.values()),
            "link_connections_total": self.connection.lives + (self.pool.connection.lives if self.pool else 0),
            "link_doubles_total": self._birth.doubles,
            "outbox_records": self._outbox.records,
            "outbox_bytes": self._outbox.size,
            "outbox_sent_again_total": self._sender.again,
            "pool_doubles_total": self.pool.doubles if self.pool else 0,
        }
        return {name: float(value) for name, value in figures.items()} | {
            f"jobs_refused_{reason}_total": float(count) for reason, count in refused.items()
        }

    def run(self) -> None:
        """Turn until `ask_to_stop` or until another bundle is active, then part in good order."""
        notify.ready(f"Looks for {self.connection.address} as {self.device}.")
        with self._board.bell() as bell:
            poll = select.poll()
            poll.register(bell, select.POLLIN)
            poll.register(self._waker, select.POLLIN)
            while not self._stopping and not self._slot.moved():
                poll.poll(TURN_SECONDS * 1000)
                self._waker.clear()
                self.turn(bell.wait(0), time.monotonic())
        self.close()

    def close(self) -> None:
        """Part in good order."""
        notify.stopping()
        for result in self.commands.close() if self.commands is not None else ():
            self._tell(result)
        self._birth.part(self.connection.publish)
        self.connection.close()
        if self.pool is not None:
            self.pool.connection.close()
        self._store.close()

    def ask_to_stop(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """End after the present turn; safe in a signal handler."""
        self._stopping = True
        self._waker.wake()

    # --- inside ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _patiently(self, said: str | None = None) -> Iterator[None]:
        """A full disk, or a busy file, ends nothing: it is said once, unless it was `said` in the turn before."""
        try:
            yield
        except (NoRoom, Unavailable) as error:
            if str(error) not in (said, self._trouble):
                logging.warning("%s", error)
            self._trouble = str(error)

    def _begun(self) -> int:
        """The number of this start; on a full disk the next one has it too."""
        try:
            return self._store.count("session")
        except NoRoom as error:
            logging.warning("%s", error)
            return int(self._store.fact("session") or 0) + 1

    def _turn_pool(self, now: float) -> None:
        if self.pool is not None:
            self.pool.turn(now)
            self._give_up(self.pool)

    def _turn_ends(self, rung: Iterable[str], now: float) -> None:
        if self.connection.is_open:
            self._ends.turn(self.connection.publish, rung, now, self._may_tell)

    def _turn_others(self, now: float) -> None:
        if not self.connection.is_open:
            return
        if self.home is not None:
            self.home.turn(self.connection.publish, now)
        for result in self.commands.results() if self.commands is not None else ():
            self._tell(result)
        self._sender.turn(self.connection.publish, now)

    def _on(self, event: Event, now: float) -> None:
        match event:
            case Opened(session_present):
                self._on_opened(session_present, now)
            case Closed(reason):
                self.subscribed = False
                if self.pool is not None:
                    self.pool.main_closed()
                logging.warning("No connection to %s: %s.", self.connection.address, reason)
            case Subscribed(refused):
                self.subscribed = not refused
                if refused:
                    logging.warning("The broker forbids %d topics to %s: check its ACL.", refused, self.device)
            case Sent():
                self._ends.sent(event)
            case Unsent():
                self._ends.unsent(event)
            case Delivery(topic=topic):
                self._on_topic.get(topic, self._on_other)(event)

    def _told(self, asker: Asker) -> None:
        if self.pool is not None:
            self.pool.ended(asker)

    def _on_opened(self, session_present: bool, now: float) -> None:
        """The broker may have forgotten everything: subscribe, say who we are, and tell again what is untold."""
        notify.ready(f"Speaks with {self.connection.address} as {self.device}.")
        logging.warning("The broker %s took us as %s.", self.connection.address, self.device)
        self.connection.subscribe(*self._on_topic)
        if self.pool is not None:
            self.pool.main_opened(session_present, now)
        self._birth.say(self.connection.publish)
        if self.home is not None:
            self.home.say(self.connection.publish)
        self._ends.begin_again()
        self._sender.begin_again(now)

    def _on_wish(self, delivery: Delivery) -> None:
        wish = self._door.read(self.connection.publish, delivery)
        self._ends.look_soon()
        if wish is not None and wish.kind == "job" and self.pool is not None and wish.pool == self.pool.name:
            self.pool.take(wish, delivery, self.connection, self._now)
            return
        if wish is not None:
            self._door.take(self.connection.publish, wish, delivery)
        self.connection.acknowledge(delivery)

    def _on_ack(self, delivery: Delivery) -> None:
        with contextlib.suppress(BadInput), self._patiently(self._trouble):  # it is sent again, and so is the ack
            self._sender.acknowledged(read(Ack, delivery.payload))
        self.connection.acknowledge(delivery)

    def _on_presence(self, delivery: Delivery) -> None:
        self._birth.heard(delivery, self.connection.publish)
        self.connection.acknowledge(delivery)

    def _on_home(self, delivery: Delivery) -> None:
        if self.home is not None:
            self.home.heard(delivery, self.connection.publish)
        self.connection.acknowledge(delivery)

    def _on_command(self, delivery: Delivery) -> None:
        result = None if self.commands is None else self.commands.take(delivery.payload)
        if result is not None:
            self._tell(result)
        self.connection.acknowledge(delivery)

    def _on_other(self, delivery: Delivery) -> None:
        """A claim; or no topic of ours: a subscription of another version, still in the broker's session."""
        if self.pool is not None:
            self.pool.heard(delivery, self._now)
        self.connection.acknowledge(delivery)

    def _tell(self, result: CommandResult) -> None:
        self.connection.publish(topics.command_result(self.device, result.nonce), result.as_bytes())

    def _may_tell(self, asker: Asker) -> bool | None:
        return self.pool is None or self.pool.may_tell(asker)

    def _give_up(self, pool: Pool) -> None:
        """Stop drawing what another box of the pool has claimed after us."""
        while pool.lost:
            with contextlib.suppress(NotFound):
                self._board.ring(self._journal.cancel(pool.lost.popleft()).id)


def run(settings: Settings) -> None:
    """The whole life of the process. Raises `BadInput`, `Unavailable` when another link holds this data dir."""
    if not settings.mqtt:
        raise BadInput("The link needs a broker: name one with --mqtt mqtt://broker.local:1883.")
    address = address_of(settings, settings.mqtt)
    with only_one(settings.data_dir / "link.lock", "Another link"):
        link = Link(settings, address)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, link.ask_to_stop)
        link.run()


def main(arguments: list[str]) -> int:
    """Live until asked to stop; one sentence on standard error when that is impossible."""
    os.umask(0o077)
    logging.basicConfig(format="link: %(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        options, file = serve_options("python -m mqtt.link", arguments)
        run(config.load(options, file))
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return kept_status(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
