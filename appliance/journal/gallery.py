"""The gallery: the pictures of finished jobs, what people think of them, and whose every file is."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from appliance.errors import NotFound
from appliance.job import Feedback, Image, JobState, picture_seed
from appliance.journal import rows
from appliance.journal.age import Age
from appliance.journal.database import Connection, Database, first, one
from appliance.request import GenerationRequest

_OLDER = """ AND seq <= coalesce(
    (SELECT seq - 1 FROM images WHERE id = ?),
    (SELECT max(seq) FROM images WHERE created <= (SELECT ended FROM jobs, json_each(jobs.images) WHERE value = ?)))"""


@dataclass(frozen=True)
class Found:
    """A picture on the disk that no job of this journal was allotted; its request has the picture's seed, count 1."""

    image_id: str
    request: GenerationRequest
    engine: str
    created: float  # unix seconds
    blurred: bool


class Gallery:
    """Pictures, newest first. Where an `asker` is named, what others asked for is not there; None sees everything."""

    def __init__(self, database: Database, age: Age) -> None:
        self._database = database
        self._age = age

    def hang(self, db: Connection, job_id: str, now: float, blurred: Collection[str]) -> None:
        """Show the pictures of a job, those of the ids `blurred` as such, within the transaction that ends it."""
        request, images = one(db, "SELECT request, images FROM jobs WHERE id = ?", (job_id,))
        fields, lived = json.loads(request), self._age.lived(db)
        drawn = [
            (image, job_id, fields["prompt"], picture_seed(fields["seed"], index), fields["width"],
             fields["height"], now, lived, image in blurred)
            for index, image in enumerate(json.loads(images))
        ]  # fmt: skip
        db.executemany(
            "INSERT INTO images (id, job, prompt, seed, width, height, created, lived, blurred)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            drawn,
        )

    def take_in(self, found: Sequence[Found]) -> None:
        """Show these too, each as the picture of a finished job of its own, whose id is the picture's."""
        with self._database.write("take_in") as db:
            for each in found:
                db.execute(
                    "INSERT INTO jobs (id, digest, request, images, origin, state, engine, created, ended)"
                    " VALUES (?, ?, ?, ?, 'found', ?, ?, ?, ?)",
                    (each.image_id, rows.digest(each.request), each.request.to_json(), json.dumps([each.image_id]),
                     JobState.FINISHED.value, each.engine, each.created, each.created),
                )  # fmt: skip
                self.hang(db, each.image_id, each.created, [each.image_id] if each.blurred else [])

    def images(self, limit: int = 50, before: str | None = None, asker: str | None = None) -> list[Image]:
        """The newest pictures first; `before` is the id of the last one already seen.

        Where that was deleted since, its job's end tells its place: pictures of that instant may come twice.
        """
        older = "" if before is None else _OLDER
        values = (*rows.seen_by(asker), *(() if before is None else (before, before)), limit)
        with self._database.read() as db:
            return [rows.image(row) for row in db.execute(rows.IMAGES + older + " ORDER BY seq DESC LIMIT ?", values)]

    def image(self, image_id: str, asker: str | None = None) -> Image:
        """One picture. Raises `NotFound`."""
        with self._database.read() as db:
            row = first(db, rows.IMAGES + " AND id = ?", (*rows.seen_by(asker), image_id))
        if row is None:
            raise NotFound("There is no such picture.")
        return rows.image(row)

    def feedback(self, image_id: str, feedback: Feedback | None, asker: str | None = None) -> Image:
        """Keep a thumb up or down, or take it back with None. Raises `NotFound`."""
        self.image(image_id, asker)
        with self._database.write("feedback") as db:
            value = None if feedback is None else feedback.value
            db.execute("UPDATE images SET feedback = ? WHERE id = ?", (value, image_id))
        return self.image(image_id)

    def favourite(self, image_id: str, favourite: bool) -> Image:
        """Keep a picture whatever else goes, or no longer. Raises `NotFound`."""
        with self._database.write("favourite") as db:
            db.execute("UPDATE images SET favourite = ? WHERE id = ?", (favourite, image_id))
        return self.image(image_id)

    def forget(self, image_id: str) -> Image:
        """Take a picture out; the caller removes its file afterwards. Returns what it was. Raises `NotFound`."""
        image = self.image(image_id)
        with self._database.write("forget") as db:
            db.execute("DELETE FROM images WHERE id = ?", (image_id,))
        return image

    def older(self, seconds: float) -> list[str]:
        """Pictures that may go and are older than so many seconds of the box's own life, oldest first.

        No favourites, and none that were found again (their job has their id): nobody knows any more which were.
        """
        self._age.keep()
        with self._database.read() as db:
            asked = "SELECT id FROM images WHERE NOT favourite AND job <> id AND ifnull(lived, 0) <= ? ORDER BY seq"
            return [row[0] for row in db.execute(asked, (self._age.lived(db) - seconds,))]

    def open_images(self) -> set[str]:
        """The image ids of every job that is still to be drawn."""
        asked = "SELECT images FROM jobs WHERE state IN ('queued', 'running')"
        with self._database.read() as db:
            return {image for row in db.execute(asked) for image in json.loads(row[0])}

    def known_images(self) -> set[str]:
        """The ids of all pictures that are shown or still to be drawn."""
        still_open = self.open_images()  # first: what ends in between is shown by then
        return still_open | self.shown_images()

    def ever_allotted(self) -> set[str]:
        """The ids of all pictures of all jobs, whatever became of them."""
        with self._database.read() as db:
            return {row[0] for row in db.execute("SELECT value FROM jobs, json_each(jobs.images)")}

    def shown_images(self) -> set[str]:
        """The ids of all pictures in the gallery."""
        with self._database.read() as db:
            return {row[0] for row in db.execute("SELECT id FROM images")}
