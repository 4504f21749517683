"""What the web's routes work with: collaborators passed in by `create_app`, reached through the app."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import cast

from flask import current_app

from appliance.device.health import Health
from appliance.images import ImageStore
from appliance.job import Job
from appliance.journal import Journal
from appliance.keeping import Keeper
from appliance.people.access import Access
from appliance.pipeline.manifest import Manifest
from appliance.progress import Board, engine_alive
from appliance.request import Offer
from appliance.web.limits import Limits
from appliance.web.models import Moment
from appliance.web.rates import Rates
from appliance.web.seats import Seats
from appliance.web.switchboard import Switchboard
from appliance.web.visitors import Visitor

KEY = "ensueno"


@dataclass(frozen=True, slots=True)
class Services:
    """The collaborators of every route."""

    journal: Journal
    store: ImageStore
    keeper: Keeper
    board: Board
    manifest: Manifest
    offer: Offer
    limits: Limits
    switchboard: Switchboard
    seats: Seats
    uploads: Seats
    health: Callable[[], Health]
    addresses: Callable[[], list[str]]
    hosts: Container[str]  # names it goes by
    access: Access | None  # None: whoever reaches it owns it
    rates: Rates
    fingerprint: str | None  # of the box's own certificate

    def let_go(self, asker: Visitor) -> bool:
        """Whether who was let in when he asked is let in no more."""
        return self.access is not None and asker.key is not None and not self.access.knows(asker.key)

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
            pictures = job.position - 1 + job.request.count  # rough: each job ahead is taken for one picture
            left = None if pace is None else round(pace * pictures, 1)
            return Moment(state=job.state, position=job.position, seconds_left=left, engine_alive=alive)
        progress = None if job.state.ended else self.board.progress(job.id)
        if progress is None:
            return Moment(state=job.state, engine_alive=alive)
        return Moment(state=job.state, engine_alive=alive, **progress.model_dump())


def services() -> Services:
    """The collaborators of the app that serves this request."""
    return cast(Services, current_app.extensions[KEY])
