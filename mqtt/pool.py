"""A pool: boxes that share one stream of jobs, each job drawn by one of them.

It has a connection of its own, since Receive Maximum is fixed at connect and the box's own jobs must not wait behind
the pool's. Claims go by the box's main connection for the same reason: a claim that comes back must not wait behind the
jobs that wait for it. The broker hands each job to one box (`$share`), and never a dead box's to another: the requester
sends it again, and the claim decides who owns it. A claim is kept on the broker; every box of the pool hears them all.

* A job without a living claim is claimed with the next epoch. What the broker keeps of it is read first (`looks.py`).
* The broker's order decides between two boxes that claim at once: the first claim of an epoch is the owner's, and
  whoever reads its own one after another's has lost.
* The owner claims again and again while the job is open. A claim that was not renewed for its lease is dead.
* A box that comes back reads the claims of its own jobs before it says a word of them. Where another has claimed one
  with a higher epoch, it stops drawing and tells no end: the double run is suppressed at its second end, and counted.
* The claim of a job that has ended goes before every other, whatever its epoch.
* A broker that was killed may have forgotten all claims. Each box then says its own again, those of the jobs it ended
  in the last hour too, and takes no job before the others have had the time for it.

Leases are measured from when a claim was read, so no two clocks are ever compared.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from appliance.errors import BadInput, EnsuenoError
from mqtt import topics
from mqtt.answers import Answers
from mqtt.askers import Asker, Askers
from mqtt.connection import Closed, Connection, Delivery, Event, Opened, Subscribed, Unsubscribed
from mqtt.jobs import JobDoor, Refused, asker_of
from mqtt.looks import Looks
from mqtt.messages import Claim, Claimed, Wish, read

LEASE = 15.0  # seconds
RENEW = LEASE / 3
KEPT_AFTER_END = 3600  # seconds that an ended job's claim stays on the broker
MOST_RETOLD = 500  # claims of ended jobs that are said again
MOST_OPEN = 4  # of the pool's jobs in this box; with more it takes none
_MOST_CLAIMS = 100_000  # known at once; the oldest are forgotten


@dataclass(slots=True)
class _Known:
    """A claim as it was read last."""

    claim: Claim
    read: float

    def living(self, now: float) -> bool:
        return self.claim.ended or now - self.read <= self.claim.lease


@dataclass(slots=True)
class _Waiting:
    """A job that nobody owns as far as we know: its claim is looked at, then claimed with `epoch`, and it is accepted
    once that claim came back as the first of its epoch."""

    wish: Wish
    delivery: Delivery
    connection: Connection  # that it came by
    since: float
    epoch: int | None = None


class Claims:
    """Every claim of the pool, in the broker's order."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._known: dict[str, _Known] = {}

    def heard(self, job_id: str, claim: Claim | None, now: float) -> None:
        """One more, or with None the end of one."""
        if claim is None:
            self._known.pop(job_id, None)
            return
        known = self._known.get(job_id)
        if known is not None and not _goes_before(claim, known.claim):
            return
        self._known[job_id] = _Known(claim, now)
        if len(self._known) > _MOST_CLAIMS:
            del self._known[next(iter(self._known))]

    def knows(self, job_id: str, claim: Claim | None) -> bool:
        """Whether it was read before, when it was said."""
        known = self._known.get(job_id)
        return known is not None and known.claim == claim

    def forget_open(self) -> None:
        """All but those of ended jobs: their owners say them again."""
        self._known = {job_id: known for job_id, known in self._known.items() if known.claim.ended}

    def owner(self, job_id: str, now: float) -> str | None:
        """The box that owns it by a living claim."""
        known = self._known.get(job_id)
        return known.claim.device if known is not None and known.living(now) else None

    def holder(self, job_id: str) -> tuple[str, int] | None:
        """The last claim's device and epoch, alive or not."""
        known = self._known.get(job_id)
        return None if known is None else (known.claim.device, known.claim.epoch)

    def ended(self, job_id: str) -> bool:
        """Whether somebody has told its end."""
        known = self._known.get(job_id)
        return known is not None and known.claim.ended

    def next_epoch(self, job_id: str) -> int:
        known = self._known.get(job_id)
        return 1 if known is None else known.claim.epoch + 1


def _goes_before(new: Claim, known: Claim) -> bool:
    """Whether a claim that is read now is to be believed rather than the one that was read before it."""
    if new.ended != known.ended:
        return new.ended
    if new.epoch != known.epoch:
        return new.epoch > known.epoch
    return new.device == known.device  # renewed; another's is second in its epoch


class Pool:
    """This box's part in a pool. `able` says why it can take no job now, or None; `known` whether it was at the broker
    in an earlier life."""

    def __init__(
        self,
        name: str,
        connection: Connection,
        main: Connection,
        door: JobDoor,
        answers: Answers,
        askers: Askers,
        able: Callable[[], str | None],
        known: bool,
    ) -> None:
        self.name = name
        self.connection = connection
        self._main = main
        self.claims = Claims(answers.device)
        self._device = answers.device
        self._door = door
        self._answers = answers
        self._askers = askers
        self._able = able
        self._waiting: dict[str, _Waiting] = {}
        self._renewed: dict[str, float] = {}
        self._taking = False
        self._looks = Looks(name, answers.device, main, self._looked)
        self._now = 0.0
        self._known = known  # the broker had a session of ours, unless it forgot it
        self._patient_until = 0.0  # the others say theirs again meanwhile
        self._settled = False  # what the others say can be heard, and they had the time to say it
        self._retell: deque[Asker] = deque()
        self.shares = False  # the broker hands us jobs
        self.lost: deque[str] = deque()  # jobs that another box has taken from us
        self.doubles = 0

    def turn(self, now: float) -> None:
        """One look at the broker."""
        self._now = now
        for event in self.connection.turn(now):
            self._on(event, now)
        if self._main.is_open:
            mine = [asker for asker in self._askers.waiting() if asker.pool == self.name]
            self._give_back_stale(now)
            self._looks.want([*(asker.job for asker in mine), *self._waiting])
            self._looks.turn(now)
            self._renew(mine, now)
            self._settled = self._looks.caught_up and now >= self._patient_until
            self._take_or_not(self._settled and len(mine) + len(self._waiting) < MOST_OPEN)

    def take(self, wish: Wish, delivery: Delivery, connection: Connection, now: float) -> None:
        """A job of the pool, by the share or asked of us alone: ours to go on, another's to leave, or to be claimed."""
        owner = self.claims.owner(wish.id, now)
        mine = self._askers.of(wish.id)
        if owner == self._device or (owner is None and mine is not None):
            self._accept(wish, delivery, None if mine is None else mine.epoch)
        elif owner is not None:
            claimed = Claimed(id=wish.id, device=self._device, owner=owner)
            self._answers.word(connection.publish, claimed, asker_of(delivery))
        elif (reason := self._able()) is not None:
            self._door.refuse(connection.publish, Refused("not_ready", reason, retry=True), asker_of(delivery))
        elif not self._settled:
            error = Refused("not_ready", "The pool's claims are being read: ask again in a moment.", retry=True)
            self._door.refuse(connection.publish, error, asker_of(delivery))
        else:
            self._await(_Waiting(wish, delivery, connection, now), now)
            return
        connection.acknowledge(delivery)

    def may_tell(self, asker: Asker) -> bool | None:
        """Whether a job's end is ours to tell: not when another box owns it. None: not known yet, as after a stall in
        which the claim grew old."""
        if asker.pool != self.name:
            return True
        owner = self.claims.owner(asker.job, self._now + RENEW)
        if not self._settled or owner is None:
            return None  # it is claimed again before others may take it for dead
        if owner == self._device:
            return True
        self.doubles += 1
        return False

    def ended(self, asker: Asker) -> None:
        """Its end is told: no late box shall draw it."""
        if asker.pool == self.name:
            self._say(asker.job, asker.epoch or 1, ended=True)
            self._renewed.pop(asker.job, None)

    def main_opened(self, session_present: bool, now: float) -> None:
        """The main connection is there again: hear all claims, and say ours. A broker that forgot us forgot them."""
        self._renewed.clear()
        self._settled = False
        self._looks.begin()
        self._main.subscribe_to_news(topics.claims(self.name))
        if not session_present:
            self.claims.forget_open()  # the order in which they are said now decides
        if self._known and not session_present:
            self._patient_until = now + LEASE
        self._known = True
        if self._main.lives == 1 or not session_present:
            self._retell = deque(self._askers.lately_told(self.name, KEPT_AFTER_END, MOST_RETOLD))

    def main_closed(self) -> None:
        """No claim can come back: the broker brings these jobs again, or who asked asks again."""
        self._looks.begin()
        for job_id in list(self._waiting):
            self._give_back(job_id)

    def heard(self, delivery: Delivery, now: float) -> None:
        """A claim, or our own word behind those that we asked for."""
        if delivery.topic == self._looks.topic:
            self._looks.heard(delivery, now)
            return
        job_id = topics.job_of(delivery.topic)
        if job_id is None or delivery.topic != topics.claim(self.name, job_id):
            return
        try:
            claim = read(Claim, delivery.payload) if delivery.payload else None
        except BadInput:
            return
        if not (delivery.retained and self.claims.knows(job_id, claim)):  # what was kept is no new sign of life
            self.claims.heard(job_id, claim, now)
        self._settle(job_id, now)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _on(self, event: Event, now: float) -> None:
        match event:
            case Opened():
                self._taking = False
            case Closed():
                self.shares = False
            case Subscribed(refused) if refused:
                logging.warning("The broker forbids the pool %s to %s: check its ACL.", self.name, self._device)
            case Subscribed() | Unsubscribed():
                self.shares = self._taking
            case Delivery():
                self._wish(event, now)

    def _wish(self, delivery: Delivery, now: float) -> None:
        wish = self._door.read(self.connection.publish, delivery)
        if wish is not None and wish.kind == "job":
            self.take(wish, delivery, self.connection, now)
            return
        if wish is not None:
            error = BadInput("A pool's job is cancelled at the box that accepted it: ask that one.")
            self._door.refuse(self.connection.publish, error, asker_of(delivery))
        self.connection.acknowledge(delivery)

    def _settle(self, job_id: str, now: float) -> None:
        """A claim was read: what waited for it is ours or another's; what we had may be lost."""
        holder = self.claims.holder(job_id)
        waiting = self._waiting.get(job_id)
        epoch = None if waiting is None else waiting.epoch
        if epoch is not None and holder is not None and holder[1] >= epoch:
            self._take_up(job_id, now)
        elif holder is not None and holder[0] != self._device:
            asker = self._askers.of(job_id)
            later = asker is not None and holder[1] > (asker.epoch or 0)
            if asker is not None and asker.pool == self.name and (later or self.claims.ended(job_id)):
                self.lost.append(job_id)

    def _await(self, waiting: _Waiting, now: float) -> None:
        """It may be ours: look what the broker knows of it."""
        job_id = waiting.wish.id
        before = self._waiting.get(job_id)
        if before is not None:  # asked again meanwhile
            waiting.since, waiting.epoch = before.since, before.epoch
            before.connection.acknowledge(before.delivery)
        if waiting.connection is self._main:  # the claim comes back this way: nothing may wait here
            waiting.connection.acknowledge(waiting.delivery)
        self._waiting[job_id] = waiting
        if self._looks.seen(job_id):
            self._looked(job_id, now)

    def _looked(self, job_id: str, now: float) -> None:
        """All that the broker keeps of its claim was read. Nobody's: say that it is ours, and its order will tell."""
        waiting = self._waiting.get(job_id)
        if waiting is None or waiting.epoch is not None:
            return
        if self.claims.owner(job_id, now) is not None:
            self._take_up(job_id, now)
            return
        waiting.epoch = self.claims.next_epoch(job_id)
        if self._say(job_id, waiting.epoch) is None:  # too much is on its way: who asked asks again
            self._give_back(job_id)

    def _take_up(self, job_id: str, now: float) -> None:
        """It waits no longer: an owner is known."""
        waiting = self._waiting.pop(job_id)
        self.take(waiting.wish, waiting.delivery, waiting.connection, now)

    def _give_back(self, job_id: str) -> None:
        """It waits no longer: who asked asks again."""
        waiting = self._waiting.pop(job_id, None)
        if waiting is not None:
            waiting.connection.acknowledge(waiting.delivery)

    def _give_back_stale(self, now: float) -> None:
        """What waits for a claim that the broker dropped on its way back would keep its place for ever."""
        for job_id in [job_id for job_id, waiting in self._waiting.items() if now - waiting.since > LEASE]:
            self._give_back(job_id)

    def _accept(self, wish: Wish, delivery: Delivery, epoch: int | None) -> None:
        holder = self.claims.holder(wish.id)
        asker = asker_of(delivery)
        noted = Asker(wish.id, asker.response_topic, asker.correlation, self.name, epoch or (holder or ("", 1))[1])
        try:
            self._door.accept(self.connection.publish, wish, noted, delivery)
        except EnsuenoError as error:
            self._door.refuse(self.connection.publish, error, noted)
            if not self._door.knows(wish.id):  # else this was another body for a job that stays ours
                self._main.publish(topics.claim(self.name, wish.id), b"", retain=True)  # it is another's to try

    def _take_or_not(self, room: bool) -> None:
        """Be in the share while there is room and health: a box outside it is handed nothing."""
        take = room and self.connection.is_open and self._able() is None
        if take and not self._taking:
            self.connection.subscribe(topics.pool_share(self.name))
        elif not take and self._taking:
            self.connection.unsubscribe(topics.pool_share(self.name))
        self._taking = take

    def _renew(self, mine: list[Asker], now: float) -> None:
        while self._retell and self._say(self._retell[0].job, self._retell[0].epoch or 1, ended=True) is not None:
            self._retell.popleft()
        for asker in mine:
            due = self._looks.seen(asker.job) and now - self._renewed.get(asker.job, float("-inf")) >= RENEW
            open_ = not self.claims.ended(asker.job)  # its end, told once, is told again with no new claim
            if due and open_ and self.claims.owner(asker.job, now) in (None, self._device):
                self._renewed[asker.job] = now
                self._say(asker.job, self._epoch_of(asker))

    def _epoch_of(self, asker: Asker) -> int:
        """Of our claim: the next one where another's, which came after ours, is dead."""
        holder = self.claims.holder(asker.job)
        if holder is None or holder[0] == self._device:
            return asker.epoch or 1
        epoch = self.claims.next_epoch(asker.job)
        self._askers.note(Asker(asker.job, pool=self.name, epoch=epoch))
        return epoch

    def _say(self, job_id: str, epoch: int, *, ended: bool = False) -> int | None:
        claim = Claim(job=job_id, device=self._device, epoch=epoch, lease=LEASE, ended=ended)
        if ended:  # known before it comes back: an ask that comes first must not have us claim it anew, over the end
            self.claims.heard(job_id, claim, self._now)
        expiry = KEPT_AFTER_END if ended else int(4 * LEASE)
        return self._main.publish(topics.claim(self.name, job_id), claim.as_bytes(), retain=True, expiry=expiry)
