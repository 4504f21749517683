"""A connection to the broker for the cloud side: MQTT 5, QoS 1, no thread; the caller's loop is the only one.

The collector begins clean each time. It needs no session at the broker: what it has not acknowledged, end to end, comes
again from the device, and a session left behind would only swallow its share of the messages.
"""

from __future__ import annotations

import select
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from appliance.errors import Unavailable
from mqtt.address import Address

LARGEST = 256 << 10  # bytes of a packet; the broker throws away what is larger before it comes here
BATCH_BYTES = 1 << 20  # of messages handed out at once: a turn must be over long before the keep alive is
_READ = 64 << 10  # bytes asked of the system at once
_DISCONNECT = b"\xe0"
RETRY = (0.5, 30.0)  # seconds between two tries: first, most


@dataclass(frozen=True, slots=True)
class Received:
    """A message in our hands; `life` names the connection that it may be acknowledged on."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    life: int


class _Client(Client):
    """paho asks the system several times for each packet: here once for many, read and written through two buffers."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._read, self._at = b"", 0
        self.unsent = bytearray()

    @property
    def buffered(self) -> bool:
        """Whether there is something to read without asking the system."""
        return self._at < len(self._read)

    def begin_anew(self) -> None:
        """What lay in the buffers belonged to a connection that is over."""
        self._read, self._at = b"", 0
        self.unsent.clear()

    def flush(self) -> None:
        """Write what the system takes now."""
        try:
            while self.unsent:
                del self.unsent[: super()._sock_send(self.unsent)]
        except BlockingIOError:
            return
        except OSError:  # the connection is over: reading will say so
            self.unsent.clear()

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.buffered:
            self._read, self._at = super()._sock_recv(max(bufsize, _READ)), 0
        part = self._read[self._at : self._at + bufsize]
        self._at += len(part)
        return part

    def _sock_send(self, buf: bytes | bytearray) -> int:
        self.unsent += buf
        if buf[:1] == _DISCONNECT or len(self.unsent) > _READ:  # after the first paho closes the socket
            self.flush()
        return len(buf)


class Broker:
    """One connection, made again for ever. `receive` does all the work: reading, writing, keeping alive."""

    def __init__(
        self,
        address: Address,
        client_id: str,
        filters: Sequence[str] = (),
        *,
        in_flight: int = 1000,
        on_delivered: Callable[[int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address, self._filters, self._in_flight, self._clock = address, filters, in_flight, clock
        self._inbox: deque[Received] = deque()
        self._life, self._ready, self._again, self._wait = 0, False, 0.0, RETRY[0]
        self.trouble: str | None = "not connected yet"
        self._client = _Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        self._client.connect_timeout = 5.0
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(in_flight)
        self._client.username_pw_set(address.username, address.password)
        if address.tls:
            self._client.tls_set_context(address.context())
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        if on_delivered is not None:
            self._client.on_publish = lambda _client, _data, mid, _reason, _properties: on_delivered(mid)

    @property
    def ready(self) -> bool:
        """Connected, and every subscription granted."""
        return self._ready

    @property
    def life(self) -> int:
        """Grows with each new connection: what was unacknowledged before may be lost."""
        return self._life

    def receive(self, most: int = 1000, wait: float = 0.5) -> list[Received]:
        """Up to `most` messages or about `BATCH_BYTES`: those at hand, else what comes within `wait` seconds."""
        deadline = self._clock() + wait
        while not self._inbox:
            left = deadline - self._clock()
            self._turn(max(left, 0.0))
            if left <= 0:
                break
        batch: list[Received] = []
        size = 0
        while len(batch) < most and size < BATCH_BYTES and (self._inbox or self._turn(0.0)):
            if self._inbox:
                batch.append(self._inbox.popleft())
                size += len(batch[-1].payload)
        return batch

    def pause(self, wait: float) -> None:
        """Keep the connection alive for `wait` seconds, whatever waits in the inbox."""
        deadline = self._clock() + wait
        while self._clock() < deadline:
            self._turn(deadline - self._clock())

    def ack(self, message: Received) -> None:
        """Tell the broker that it may forget the message; nothing when it came by an earlier connection."""
        if message.life == self._life and self._client.socket() is not None:
            self._client.ack(message.mid, message.qos)

    def publish(self, topic: str, payload: bytes, qos: int = 0) -> int:
        """Send, or hand to paho to send; returns the message id. Raises `Unavailable` without a connection."""
        if not self._ready:
            raise Unavailable(f"The broker cannot be reached ({self.trouble}).")
        return self._client.publish(topic, payload, qos).mid

    def close(self) -> None:
        """Part in good order; the broker can be used no more."""
        self._client.disconnect()
        self._ready = False
        # Without a circle of references paho's client ends here, and closes what it has open.
        for name in ("on_connect", "on_disconnect", "on_subscribe", "on_message", "on_publish"):
            setattr(self._client, name, None)

    # --- inside ------------------------------------------------------------------------------------------------

    def _turn(self, wait: float) -> bool:
        """One look at the socket; True when there was something to read."""
        if self._client.socket() is None:
            self._connect(wait)
            return False
        if self._client.buffered:
            self._client.loop_read()
            return True
        self._client.flush()
        readable = self._look(wait)
        if readable:
            self._client.loop_read()
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()
        return readable

    def _look(self, wait: float) -> bool:
        sock: Any = self._client.socket()
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        writing = [sock] if self._client.want_write() or self._client.unsent else []
        try:
            readable, _, _ = select.select([sock], writing, [], min(wait, 1.0))
        except (OSError, ValueError):  # closed under our hands: reading says so
            return True
        return bool(readable)

    def _connect(self, wait: float) -> None:
        now = self._clock()
        if now < self._again:
            time.sleep(min(wait, self._again - now))
            return
        self._again, self._wait = now + self._wait, min(self._wait * 2, RETRY[1])
        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call,unused-ignore]
        properties.ReceiveMaximum = self._in_flight
        properties.MaximumPacketSize = LARGEST
        self._life += 1
        self._client.begin_anew()
        self._inbox.clear()  # they come again, from the devices
        try:
            self._client.connect(
                self._address.host, self._address.port, keepalive=15, clean_start=True, properties=properties
            )
        except (OSError, UnicodeError) as error:  # UnicodeError: a part of the name is too long
            self.trouble = str(error)

    def _on_connect(
        self, client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self.trouble = f"the broker says: {reason}"
            return
        self._wait = RETRY[0]
        if self._filters:
            client.subscribe([(name, 1) for name in self._filters])
        else:
            self._ready, self.trouble = True, None

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._ready = not refused
        self.trouble = f"the broker refused a subscription: {refused[0]}" if refused else None

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._ready = False
        if self.trouble is None:
            self.trouble = f"the connection ended: {reason}"

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._inbox.append(Received(topic, bytes(message.payload), message.mid, message.qos, self._life))
