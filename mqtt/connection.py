"""One connection to a broker. paho is a transport only: it keeps no message that matters and never reconnects.

A `Connection` has one life after another. A life is one paho client in one thread; when it ends for whatever reason
(refused, lost, an error inside, a thread that is silent for `SILENCE` seconds), `turn` begins the next one after a
pause. Nothing goes over from life to life but the broker's own session (`clean_start=False`, session expiry): what was
not acknowledged comes again, from the broker and from the callers' own books on the disk.

Everything that happens is an event in one queue, so that its owner is single-threaded:

    for event in connection.turn(now): Opened | Subscribed | Delivery | Sent | Unsent | Unsubscribed | Closed
"""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from mqtt.address import Address, refusal

SILENCE = 15.0  # seconds without a sign of life from a thread before it is given up
KEEP_ALIVE = 10
SESSION_EXPIRY = 7 * 24 * 3600
IN_FLIGHT = 20  # what Mosquitto grants by default
MAX_PACKET = 256 << 10
_CONNECT_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STEADY = 30.0  # seconds of a life after which the next one may begin soon: two with one name end each other at once
_TAKEN_OVER = 142  # reason code of DISCONNECT: another client came with our id
_LARGEST = 5 + 0x0FFF_FFFF  # bytes of a packet that MQTT can say
_WAITING = 1000  # events not yet looked at: beyond it, what nobody acknowledges (QoS 0) is dropped


@dataclass(frozen=True, slots=True)
class Opened:
    """The broker took us; `session_present`: it knew our session, so our subscriptions still stand."""

    session_present: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """A life is over; `refused`: neither end will have the other as it is, so the next life will end alike."""

    reason: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """The broker acknowledged what `publish` gave this number for (which is no promise that it keeps it)."""

    number: int


@dataclass(frozen=True, slots=True)
class Unsent:
    """The broker will not have what `publish` gave this number for: it is too large for it, or forbidden to us."""

    number: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message. With QoS 1 it comes again until `Connection.acknowledge`."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None
    correlation: bytes | None
    expires_in: float | None  # seconds left when it arrived
    life: int
    mid: int
    qos: int


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker answered a `subscribe`; `refused` of its filters are forbidden to us."""

    refused: int


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """The broker sends no more by what an `unsubscribe` named."""


Event = Opened | Closed | Sent | Unsent | Delivery | Subscribed | Unsubscribed


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we vanish, `delay` seconds later unless we are back by then."""

    topic: str
    payload: bytes
    delay: int


class _Life:
    """One paho client in one thread."""

    def __init__(self, number: int, client: paho.Client) -> None:
        self.number = number
        self.client = client
        self.began = self.beat = self.heard = time.monotonic()
        self.open = False
        self.largest = _LARGEST
        self.unsent = 0
        self.reason: str | None = None
        self.refused = False
        self.taken_over = False
        self.dropped = False
        self.thread = threading.Thread(target=self._live, name=f"mqtt-{number}", daemon=True)

    def start(self, address: Address, properties: Properties) -> None:
        self._address, self._properties = address, properties
        self.thread.start()

    def _live(self) -> None:
        to = self._address
        try:
            self.client.connect(to.host, to.port, KEEP_ALIVE, clean_start=False, properties=self._properties)
            while not self.dropped and self.client.loop(timeout=1.0) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.beat = time.monotonic()
        except Exception as error:  # whatever it was, the next life begins afresh
            self.ended(str(error) or type(error).__name__)
        finally:
            self.open = False

    def ended(self, reason: str) -> None:
        """Why, said by whoever knows it first."""
        if self.reason is None:
            self.refused = (sentence := refusal(reason)) is not None
            self.reason = sentence or reason

    def logged(self, level: int, text: str) -> None:
        """A line of paho's own log."""
        if level == LogLevel.MQTT_LOG_ERR:  # what TLS said is told nowhere else
            self.ended(text)
        elif text.startswith("Received"):  # a ping that came back too
            self.heard = time.monotonic()

    def over(self, now: float) -> bool:
        return not self.thread.is_alive() or now - self.beat > SILENCE

    def drop(self) -> None:
        """Let go of the socket as a crash would: without a farewell, so that the will is spoken."""
        self.dropped = True
        sock = self.client.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # type: ignore[arg-type]
            sock.close()


class Connection:
    """`turn` keeps it; `publish` and `subscribe` work while it `is_open` and say so when they cannot.

    `woken` is called from the network thread whenever an event waits.
    """

    def __init__(
        self,
        address: Address,
        client_id: str,
        *,
        receive_maximum: int = IN_FLIGHT,
        max_packet: int = MAX_PACKET,
        session_expiry: int = SESSION_EXPIRY,
        woken: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self.will: Will | None = None
        self._client_id = client_id
        self._receive_maximum = receive_maximum
        self._max_packet = max_packet
        self._session_expiry = session_expiry
        self._woken = woken
        self._context = address.context() if address.tls else None
        self._events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
        self._life: _Life | None = None
        self.lives = 0
        self._pause = _FIRST_PAUSE
        self._next = 0.0

    @property
    def is_open(self) -> bool:
        return self._life is not None and self._life.open

    def is_answered(self, now: float) -> bool:
        """Open, and the broker has said something of late: at least that our ping came."""
        life = self._life
        return life is not None and life.open and now - life.heard <= 2 * KEEP_ALIVE + SILENCE

    def turn(self, now: float) -> list[Event]:
        """Begin or end a life where that is due; returns what has happened since the last turn, oldest first."""
        events = self._drain()
        life = self._life
        if life is not None and life.over(now):
            events += self._drain()  # what its thread told last
            events.append(self._bury(life, now))
        if self._life is None and now >= self._next:
            self._begin()
        return events

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expiry: int | None = None,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> int | None:
        """Give it to the broker with QoS 1; returns the number that its `Sent` or `Unsent` will carry, or None when it
        cannot go now."""
        life = self._life
        if not self.is_open or life is None:
            return None
        properties = Properties(PacketTypes.PUBLISH)
        if expiry is not None:
            properties.MessageExpiryInterval = expiry
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        if _size(topic, payload, properties) > life.largest:  # the broker would hang up, each time anew
            life.unsent -= 1
            self._events.put((life.number, Unsent(life.unsent)))
            return life.unsent
        info = life.client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def subscribe(self, *filters: str) -> None:
        """Subscribe with QoS 1; what the broker keeps there comes first."""
        self._subscribe(filters, SubscribeOptions(qos=1))

    def subscribe_to_news(self, *filters: str) -> None:
        """Subscribe with QoS 1, without what the broker keeps."""
        self._subscribe(filters, SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND))

    def unsubscribe(self, *filters: str) -> None:
        if self.is_open and self._life is not None and filters:
            self._life.client.unsubscribe(list(filters))

    def acknowledge(self, delivery: Delivery) -> None:
        """Take the message from the broker: only after what it asks for is on our own disk."""
        life = self._life
        if life is not None and life.number == delivery.life and delivery.qos:
            life.client.ack(delivery.mid, delivery.qos)

    def close(self) -> None:
        """Part in good order: what was given to the broker goes out first, and the will stays unspoken."""
        self._part(None)

    def leave(self) -> None:
        """Part for good: the broker forgets our session too."""
        for_good = Properties(PacketTypes.DISCONNECT)
        for_good.SessionExpiryInterval = 0
        self._part(for_good)

    def reset(self) -> None:
        """End the present life; the next begins at once. For a broker that took us but answers nothing."""
        if self._life is not None:
            self._bury(self._life, time.monotonic())
            self._next = 0.0

    # --- inside ----------------------------------------------------------------------------------------------------

    def _part(self, properties: Properties | None) -> None:
        life, self._life = self._life, None
        if life is not None:
            life.client.disconnect(properties=properties)
            life.thread.join(_CONNECT_SECONDS)
            life.drop()

    def _subscribe(self, filters: Sequence[str], options: SubscribeOptions) -> None:
        if self.is_open and self._life is not None and filters:
            self._life.client.subscribe([(one, options) for one in filters])

    def _drain(self) -> list[Event]:
        events: list[Event] = []
        while True:
            try:
                number, event = self._events.get_nowait()
            except queue.Empty:
                return events
            if self._life is not None and number == self._life.number:
                events.append(event)

    def _begin(self) -> None:
        self.lives += 1
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=paho.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_SECONDS
        client.max_inflight_messages = IN_FLIGHT
        client.max_queued_messages = 4 * IN_FLIGHT
        if self.address.username is not None or self.address.password is not None:
            client.username_pw_set(self.address.username or self._client_id, self.address.password)
        if self._context is not None:
            client.tls_set_context(self._context)
        if self.will is not None:
            delayed = Properties(PacketTypes.WILLMESSAGE)
            delayed.WillDelayInterval = self.will.delay
            client.will_set(self.will.topic, self.will.payload, qos=1, retain=True, properties=delayed)
        self._life = _Life(self.lives, client)
        self._listen(self._life)
        self._life.start(self.address, self._connect_properties())

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = self._session_expiry
        properties.ReceiveMaximum = self._receive_maximum
        properties.MaximumPacketSize = self._max_packet
        return properties

    def _listen(self, life: _Life) -> None:
        """paho's callbacks, in its thread: each only puts an event into the queue."""

        def tell(event: Event) -> None:
            self._events.put((life.number, event))
            self._woken()

        def on_connect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                life.ended(str(reason))
            else:
                life.largest = getattr(properties, "MaximumPacketSize", _LARGEST)
                life.open = True
                tell(Opened(bool(flags.session_present)))

        def on_disconnect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            life.open = False
            life.ended(str(reason))
            life.taken_over = reason.value == _TAKEN_OVER
            self._woken()

        def on_publish(client: Any, data: Any, mid: int, reason: Any, properties: Any) -> None:
            tell(Unsent(mid) if reason.is_failure else Sent(mid))

        def on_subscribe(client: Any, data: Any, mid: int, reasons: Any, properties: Any) -> None:
            tell(Subscribed(sum(reason.is_failure for reason in reasons)))

        client = life.client
        client.on_log = lambda client, data, level, text: life.logged(level, text)
        client.on_subscribe = on_subscribe
        client.on_unsubscribe = lambda client, data, mid, reasons, properties: tell(Unsubscribed())
        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        client.on_publish = on_publish
        client.on_message = lambda client, data, message: self._heard(life, message, tell)
        # With a callback here paho leaves the socket to the thread that loops. Without, `publish` writes to it too, and
        # a packet that one thread has sent half is cut by the other's.
        client.on_socket_register_write = lambda client, data, sock: None

    def _heard(self, life: _Life, message: paho.MQTTMessage, tell: Callable[[Event], None]) -> None:
        try:
            delivery = _delivery(message, life.number)
        except UnicodeDecodeError:  # a broker that lets such a topic through would send it for ever
            life.client.ack(message.mid, message.qos)
            return
        if message.qos or self._events.qsize() < _WAITING:
            tell(delivery)

    def _bury(self, life: _Life, now: float) -> Closed:
        if life.thread.is_alive():
            life.reason = "its thread was silent"
        life.drop()
        self._life = None
        reason = life.reason or "the connection was lost"
        if life.taken_over:
            reason = f"another client came with our name {self._client_id}: give each device its own name"
            self._pause = _LONGEST_PAUSE
        elif now - life.began > _STEADY:
            self._pause = _FIRST_PAUSE
        self._next = now + self._pause * random.uniform(0.7, 1.3)  # noqa: S311 so that a fleet does not come at once
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return Closed(reason, life.refused)


def _size(topic: str, payload: bytes, properties: Properties) -> int:
    """Of the packet, at most."""
    return 5 + 2 + len(topic.encode()) + 2 + len(properties.pack()) + len(payload)


def _delivery(message: paho.MQTTMessage, life: int) -> Delivery:
    properties = message.properties
    expires_in = getattr(properties, "MessageExpiryInterval", None)
    return Delivery(
        topic=message.topic,
        payload=bytes(message.payload),
        retained=message.retain,
        response_topic=getattr(properties, "ResponseTopic", None),
        correlation=getattr(properties, "CorrelationData", None),
        expires_in=None if expires_in is None else float(expires_in),
        life=life,
        mid=message.mid,
        qos=message.qos,
    )
