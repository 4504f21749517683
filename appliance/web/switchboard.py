"""One bell for the whole process, fanned out to every request that waits for a job."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType

from appliance.progress import ANYTHING, Bell, Board

PATIENCE = 5.0  # between two looks for an end, when nothing rings
STIR = 0.5  # at most this often does somebody else's job move the queue


class Subscription:
    """One waiting request. While `curious`, the news of other jobs wakes it too (its place may have moved)."""

    def __init__(self, switchboard: Switchboard, job_id: str) -> None:
        self.job_id = job_id
        self.curious = True
        self._switchboard = switchboard
        self._rung = threading.Event()

    def wait(self, timeout: float) -> bool:
        """Sleep until there is news or `timeout` seconds; whether there was news."""
        rung = self._rung.wait(timeout)
        self._rung.clear()
        return rung

    def wake(self) -> None:
        self._rung.set()

    @property
    def closing(self) -> bool:
        """Whether the server is going away."""
        return self._switchboard.closed

    def close(self) -> None:
        self._switchboard.forget(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Switchboard:
    """Listens to the board with one thread, begun at the first subscription."""

    def __init__(self, board: Board) -> None:
        self.closed = False
        self._board = board
        self._lock = threading.Lock()
        self._subscriptions: set[Subscription] = set()
        self._thread: threading.Thread | None = None
        self._stirred = False
        self._last_stir = 0.0

    def subscribe(self, job_id: str) -> Subscription:
        """Begin to hear of a job; subscribe first and look afterwards, so that nothing falls between."""
        subscription = Subscription(self, job_id)
        with self._lock:
            if self._thread is None and not self.closed:
                bell = self._board.bell()
                self._thread = threading.Thread(target=self._listen, args=(bell,), name="switchboard", daemon=True)
                self._thread.start()
            self._subscriptions.add(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """Wake everybody for the last time; safe in a signal handler (takes no lock)."""
        self.closed = True
        for subscription in tuple(self._subscriptions):
            subscription.wake()
        with contextlib.suppress(OSError):
            self._board.ring()

    def turn(self, bell: Bell) -> None:
        """One turn of the listener: wait for rings and pass them on."""
        rung = bell.wait(STIR if self._stirred else PATIENCE)
        self._stirred = self._stirred or bool(rung)
        now = time.monotonic()
        stir = self._stirred and now - self._last_stir >= STIR
        if stir:
            self._stirred, self._last_stir = False, now
        with self._lock:
            waiting = tuple(self._subscriptions)
        for subscription in waiting:
            own = subscription.job_id in rung or ANYTHING in rung
            if own or (stir and subscription.curious):
                subscription.wake()

    def _listen(self, bell: Bell) -> None:
        with bell:
            while not self.closed:
                self.turn(bell)
