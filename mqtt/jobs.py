"""The door for jobs over MQTT: a message becomes a job in the journal, and its end goes back to who asked.

`take` returns only when all that the message asks for is on the disk; only then may it be acknowledged. A message that
is refused is answered and acknowledged too: it was never accepted, and its sender may send it again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from appliance.errors import BadInput, Conflict, EnsuenoError, NoRoom, NotFound, QueueFull, TooLarge, Unavailable
from appliance.ids import JOB_ID
from appliance.job import Job
from appliance.journal import Journal
from appliance.progress import ANYTHING, Board
from appliance.request import GenerationRequest, Offer
from mqtt import topics
from mqtt.answers import Answers, Publish
from mqtt.askers import Asker, Askers
from mqtt.connection import Delivery, Sent, Unsent
from mqtt.messages import MAX_WISH, Progress, Reason, Rejected, Wish, WrongVersion, read_json, read_wish

_REASONS: list[tuple[type[EnsuenoError], Reason, bool]] = [
    (WrongVersion, "bad_version", False),
    (TooLarge, "too_large", False),
    (BadInput, "bad_input", False),
    (Conflict, "conflict", False),
    (QueueFull, "queue_full", True),
    (NoRoom, "no_room", True),
    (NotFound, "not_found", False),
    (Unavailable, "not_ready", True),
    (EnsuenoError, "fault", True),
]
_PROGRESS_EVERY = 1.0
_LOOK_EVERY = 5.0  # seconds between two looks at every open job: a lost ring costs at most that
_TELLING = 8  # ends on their way to the broker at once
_TRIES = 3  # connections that end with an end on its way until it goes without pictures: to what is over its
# message_size_limit Mosquitto answers with a code that MQTT does not have there, and the connection is over


class Refused(EnsuenoError):  # noqa: N818 as in appliance.errors
    """Not accepted, for a reason that only this door knows."""

    def __init__(self, reason: Reason, detail: str, *, retry: bool = False) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.retry = retry


class JobDoor:
    """Takes messages. `refused` counts by reason what was not accepted."""

    def __init__(self, journal: Journal, offer: Offer, board: Board, askers: Askers, answers: Answers) -> None:
        self._journal = journal
        self._offer = offer
        self._board = board
        self._askers = askers
        self._answers = answers
        self.refused: Counter[str] = Counter()

    def read(self, publish: Publish, delivery: Delivery) -> Wish | None:
        """The message, if it is one; else it is refused."""
        try:
            if delivery.response_topic is not None and not topics.is_reply(delivery.response_topic):
                raise Refused("bad_response_topic", f"Answers are only sent to {topics.REPLIES}…: choose such a topic.")
            return read_wish(delivery.payload)
        except EnsuenoError as error:
            self.refuse(publish, error, asker_of(delivery))
            return None

    def take(self, publish: Publish, wish: Wish, delivery: Delivery) -> None:
        """Do what the message asks, durably, and answer."""
        asker = asker_of(delivery)
        try:
            if wish.kind == "cancel":
                self.cancel(wish, asker)
            else:
                self.accept(publish, wish, asker, delivery)
        except EnsuenoError as error:
            self.refuse(publish, error, asker)

    def accept(self, publish: Publish, wish: Wish, asker: Asker, delivery: Delivery) -> Job:
        """Put a job into the journal, or find it there; answers how it stands. Raises `EnsuenoError`."""
        job, new = self._submit(wish, delivery)
        self._note(asker)
        if new:
            self._board.ring(job.id)
        if not job.state.ended:
            self._answers.state(publish, job, asker)
        return job

    def knows(self, job_id: str) -> bool:
        """Whether the job is in the journal."""
        try:
            self._journal.job(job_id)
        except NotFound:
            return False
        return True

    def cancel(self, wish: Wish, asker: Asker) -> None:
        """Cancel; the end is told as any other. Raises `NotFound`."""
        job = self._journal.cancel(wish.id)
        self._note(asker)
        self._board.ring(job.id)

    def refuse(self, publish: Publish, error: EnsuenoError, asker: Asker) -> None:
        """Say why not, and count it."""
        if isinstance(error, Refused):
            reason, retry = error.reason, error.retry
        else:
            reason, retry = next((reason, retry) for kind, reason, retry in _REASONS if isinstance(error, kind))
        self.refused[reason] += 1
        rejected = Rejected(
            id=asker.job or None, device=self._answers.device, reason=reason, detail=str(error), retry=retry
        )
        self._answers.word(publish, rejected, asker)

    def _submit(self, wish: Wish, delivery: Delivery) -> tuple[Job, bool]:
        """Into the journal. An expired message only finds what is there already."""
        if delivery.expires_in is not None and delivery.expires_in <= 0:
            return self._known(wish), False
        request = GenerationRequest.of(wish.fields, self._offer)
        return self._journal.submit(
            request, job_id=wish.id, origin="mqtt", expires_in=delivery.expires_in, priority=wish.priority
        )

    def _known(self, wish: Wish) -> Job:
        try:
            return self._journal.job(wish.id)
        except NotFound:
            raise Refused("expired", "The job came after its expiry: send it again with more time.") from None

    def _note(self, asker: Asker) -> None:
        """The job is accepted whatever happens here: who is not noted hears the end by asking again."""
        try:
            self._askers.note(asker)
        except EnsuenoError as error:
            logging.warning("The asker of %s could not be noted: %s", asker.job, error)


class Ends:
    """Tells each end until the broker has it, and progress on the way. `told` hears whose end it has whole."""

    def __init__(
        self, journal: Journal, board: Board, askers: Askers, answers: Answers, told: Callable[[Asker], None]
    ) -> None:
        self._journal = journal
        self._board = board
        self._askers = askers
        self._answers = answers
        self._told = told
        self._on_the_way: dict[str, set[int]] = {}  # with no number left it is told, and still to be noted
        self._failed: Counter[str] = Counter()  # how often the broker did not take an end
        self._open: dict[str, Asker] = {}
        self._looked = float("-inf")
        self._told_progress: dict[str, float] = {}
        self.suppressed = 0

    def begin_again(self) -> None:
        """The connection was lost, perhaps by what was on its way: it is told anew."""
        self._failed.update(self._on_the_way.keys())
        self._on_the_way.clear()
        self._looked = float("-inf")

    def look_soon(self) -> None:
        """Somebody asked: look at every open job in this turn."""
        self._looked = float("-inf")

    def turn(self, publish: Publish, rung: Iterable[str], now: float, may_tell: Callable[[Asker], bool | None]) -> None:
        """Look at the jobs that rang, or at all of them when it is time; `may_tell` knows a pool's job that is lost,
        and says None while it cannot know."""
        self._note_told()
        rung = set(rung)
        if ANYTHING in rung or now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._open = {asker.job: asker for asker in self._askers.waiting()}
            rung = set(self._open)
        for job_id in [job_id for job_id in self._open if job_id in rung]:
            self._look(publish, self._open[job_id], now, may_tell)

    def unsent(self, event: Unsent) -> None:
        """The broker will not have one of them: it is told again without pictures. Refused that way too, it counts as
        told, since nothing more can be done: who asks again hears it again."""
        job_id = next((job_id for job_id, numbers in self._on_the_way.items() if event.number in numbers), None)
        if job_id is None:
            return
        if self._failed[job_id] >= _TRIES:
            logging.warning("The broker refuses the end of %s: check its ACL and its limits.", job_id)
            self.sent(Sent(event.number))
            return
        self._failed[job_id] = _TRIES
        del self._on_the_way[job_id]
        self._looked = float("-inf")

    def sent(self, event: Sent) -> None:
        """The broker has one more of them."""
        for numbers in self._on_the_way.values():
            numbers.discard(event.number)
        self._note_told()

    @property
    def open(self) -> int:
        return len(self._open)

    def _look(self, publish: Publish, asker: Asker, now: float, may_tell: Callable[[Asker], bool | None]) -> None:
        if asker.job in self._on_the_way:
            return
        try:
            job = self._journal.job(asker.job)
        except NotFound:
            self._drop(asker)
            return
        if not job.state.ended:
            self._tell_progress(publish, job, asker, now)
        elif (ours := may_tell(asker)) is None:
            self._looked = float("-inf")
        elif not ours:
            self.suppressed += 1
            self._drop(asker)
        elif sum(map(bool, self._on_the_way.values())) < _TELLING:
            tell = self._answers.bare_end if self._failed[asker.job] >= _TRIES else self._answers.end
            numbers = tell(publish, job, asker)
            if numbers is not None:
                self._on_the_way[asker.job] = numbers
            self._told_progress.pop(asker.job, None)

    def _note_told(self) -> None:
        """Raises `NoRoom`: what could not be noted is tried again, and told to nobody a second time meanwhile."""
        for job_id in [job_id for job_id, numbers in self._on_the_way.items() if not numbers]:
            self._askers.told(job_id)
            del self._on_the_way[job_id]
            self._failed.pop(job_id, None)
            self._open.pop(job_id, None)
            self._looked = float("-inf")  # others may wait for this one's place
            asker = self._askers.of(job_id)
            if asker is not None:
                self._told(asker)

    def _drop(self, asker: Asker) -> None:
        self._askers.drop(asker.job)
        self._failed.pop(asker.job, None)
        self._open.pop(asker.job, None)

    def _tell_progress(self, publish: Publish, job: Job, asker: Asker, now: float) -> None:
        progress = self._board.progress(job.id)
        if progress is None or now - self._told_progress.get(job.id, float("-inf")) < _PROGRESS_EVERY:
            return
        self._told_progress[job.id] = now
        word = Progress(
            id=job.id,
            device=self._answers.device,
            step=progress.step,
            steps=progress.steps,
            seconds_left=progress.seconds_left,
        )
        self._answers.word(publish, word, asker)


def asker_of(delivery: Delivery) -> Asker:
    """Who sent it, with whatever id can be read from it: a refusal wants to name the job too."""
    response_topic = delivery.response_topic
    if response_topic is not None and not topics.is_reply(response_topic):
        response_topic = None
    try:
        body = read_json(delivery.payload, MAX_WISH)
        name = body.get("id") if isinstance(body, dict) else None
    except BadInput:
        name = None
    job_id = name if isinstance(name, str) and JOB_ID.fullmatch(name) else ""
    return Asker(job_id, response_topic, delivery.correlation)
