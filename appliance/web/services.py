"""What the web's routes work with: collaborators passed in by `create_app`, reached through the app."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import cast

from flask import current_app

from appliance.images import ImageStore
from appliance.job import Job
from appliance.journal import Journal
from appliance.pipeline.manifest import Manifest
from appliance.progress import Board, engine_alive
from appliance.request import Offer
from appliance.web.models import Moment
from appliance.web.seats import Seats
from appliance.web.switchboard import Switchboard

KEY = "ensueno"


@dataclass(frozen=True, slots=True)
class Settings:
    """The web's own figures, in seconds unless they say otherwise.

    `max_watchers` bounds the requests that hold a thread for long (streams, OpenAI's waits): below `threads`.
    """

    threads: int = 32
    max_watchers: int = 22
    heartbeat: float = 5.0
    stream_life: float = 900.0
    wait_limit: float = 300.0
    max_body: int = 64 << 10
    disk: Path | None = None  # whose free room the metrics tell
    clock: Callable[[], float] = time


@dataclass(frozen=True, slots=True)
class Services:
    """The collaborators of every route."""

    journal: Journal
    store: ImageStore
    board: Board
    manifest: Manifest
    offer: Offer
    settings: Settings
    switchboard: Switchboard
    seats: Seats

    def ring(self, job_id: str) -> None:
        """Wake whoever waits for this job; what is accepted stays accepted when nobody can be woken."""
        with contextlib.suppress(OSError):
            self.board.ring(job_id)

    def moment(self, job: Job) -> Moment:
        """How the job stands this instant."""
        pulse = self.board.pulse()
        alive = engine_alive(pulse)
        if job.position is not None:
            pace = pulse.seconds_per_picture if pulse is not None and alive else None
            left = None if pace is None else round(pace * job.position, 1)
            return Moment(state=job.state, position=job.position, seconds_left=left, engine_alive=alive)
        progress = None if job.state.ended else self.board.progress(job.id)
        if progress is None:
            return Moment(state=job.state, engine_alive=alive)
        return Moment(state=job.state, engine_alive=alive, **progress.model_dump())


def services() -> Services:
    """The collaborators of the app that serves this request."""
    return cast(Services, current_app.extensions[KEY])
