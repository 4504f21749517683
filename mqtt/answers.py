"""What the box says about a job, and where: its status topic for all, and the asker's response topic."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from appliance.errors import NotFound
from appliance.images import ImageStore
from appliance.job import Job
from appliance.journal import Journal
from mqtt import topics
from mqtt.askers import Asker
from mqtt.messages import INLINE_BYTES, Accepted, Claimed, End, Picture, Progress, Rejected, as_base64

END_EXPIRY = 24 * 3600  # seconds the broker keeps an end for an asker who is away
WORD_EXPIRY = 60  # and any lesser word


class Publish(Protocol):
    """`Connection.publish`."""

    def __call__(
        self, topic: str, payload: bytes, *, expiry: int | None = None, correlation: bytes | None = None
    ) -> int | None: ...


class Answers:
    """Says it; each call returns the numbers of what went out, or None when it cannot go out now."""

    def __init__(self, device: str, journal: Journal, store: ImageStore, url: Callable[[str], str | None]) -> None:
        self.device = device
        self._journal = journal
        self._store = store
        self._url = url

    def word(self, publish: Publish, answer: Accepted | Rejected | Claimed | Progress, asker: Asker | None) -> None:
        """A lesser answer: sent if it can go now, and never missed since who asks again hears it again."""
        payload = answer.as_bytes()
        if answer.id is not None:
            publish(topics.status(self.device, answer.id), payload, expiry=WORD_EXPIRY)
        if asker is not None and asker.response_topic is not None:
            publish(asker.response_topic, payload, expiry=WORD_EXPIRY, correlation=asker.correlation)

    def state(self, publish: Publish, job: Job, asker: Asker) -> None:
        """How a job that has no end yet stands."""
        self.word(publish, Accepted(id=job.id, device=self.device, state=job.state, position=job.position), asker)

    def end(self, publish: Publish, job: Job, asker: Asker) -> set[int] | None:
        """The end, with the pictures inline for the asker alone, if they are small enough."""
        files = self._files(job)
        fits = sum(map(len, files.values())) <= INLINE_BYTES
        return self._end(publish, job, asker, files, files if fits else {})

    def bare_end(self, publish: Publish, job: Job, asker: Asker) -> set[int] | None:
        """The end as all may read it: where the pictures are."""
        return self._end(publish, job, asker, self._files(job), {})

    # --- inside ----------------------------------------------------------------------------------------------------

    def _end(
        self, publish: Publish, job: Job, asker: Asker, files: dict[str, bytes], inline: dict[str, bytes]
    ) -> set[int] | None:
        plain = self._end_of(job, files, {}).as_bytes()
        numbers = {publish(topics.status(self.device, job.id), plain, expiry=END_EXPIRY)}
        if asker.response_topic is not None:
            full = self._end_of(job, files, inline).as_bytes()
            numbers.add(publish(asker.response_topic, full, expiry=END_EXPIRY, correlation=asker.correlation))
        sent = {number for number in numbers if number is not None}
        return sent if len(sent) == len(numbers) else None

    def _end_of(self, job: Job, files: dict[str, bytes], inline: dict[str, bytes]) -> End:
        return End(
            id=job.id,
            device=self.device,
            state=job.state,
            error=job.error,
            engine=job.engine,
            truncated=job.truncated,
            images=[self._picture(image, data, inline.get(image)) for image, data in files.items()],
        )

    def _files(self, job: Job) -> dict[str, bytes]:
        """Its pictures; those that were deleted since are left out."""
        return {image: data for image in job.images if (data := self._read(image)) is not None}

    def _picture(self, image_id: str, data: bytes, inline: bytes | None) -> Picture:
        image = self._journal.gallery.image(image_id)
        return Picture(
            id=image_id,
            seed=image.seed,
            width=image.width,
            height=image.height,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            blurred=image.blurred,
            url=self._url(image.url),
            png=None if inline is None else as_base64(inline),
        )

    def _read(self, image_id: str) -> bytes | None:
        try:
            return self._store.path(image_id).read_bytes()
        except (NotFound, OSError):
            return None
