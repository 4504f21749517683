"""The app factory: collaborators in, a Flask app out, one blueprint per concern."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial
from pathlib import Path

from flask import Flask, request
from prometheus_client import CollectorRegistry

from appliance.ballast import Ballast
from appliance.device.health import Health, Lately, look
from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.keeping import Keeper
from appliance.people.access import Access
from appliance.pipeline.manifest import Manifest
from appliance.progress import Board
from appliance.web import (
    box,
    events,
    gate,
    health,
    images,
    jobs,
    keeping,
    metrics,
    offer,
    openai,
    page,
    pairing,
    problems,
    rules,
    security,
)
from appliance.web.limits import MAX_BODY, UPLOADS, Limits, max_body
from appliance.web.rates import Rates
from appliance.web.seats import Seats
from appliance.web.services import KEY, Services
from appliance.web.switchboard import Switchboard


def create_app(
    *,
    journal: Journal,
    store: ImageStore,
    board: Board,
    manifest: Manifest,
    limits: Limits | None = None,
    registry: CollectorRegistry | None = None,
    health_of_box: Callable[[], Health] | None = None,
    addresses: Callable[[], list[str]] = list,
    hosts: Container[str] = ("localhost",),
    access: Access | None = None,
    fingerprint: str | None = None,
    keeper: Keeper | None = None,
) -> Flask:
    """The app with its collaborators; makes no thread and no socket until somebody watches a job.

    `hosts` are the names by which it may be asked; without `access` whoever reaches it owns it.
    """
    limits = limits or Limits()
    app = Flask("appliance.web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    collaborators = Services(
        journal=journal,
        store=store,
        keeper=keeper or Keeper(journal, store, Ballast(journal.path.parent)),
        board=board,
        manifest=manifest,
        offer=manifest.offer(),
        limits=limits,
        switchboard=Switchboard(board),
        seats=Seats(
            limits.max_watchers,
            "Too many are watching already, or you yourself: "
            "ask again in a moment, or read /v1/jobs/<id>/progress instead.",
        ),
        uploads=Seats(UPLOADS, "Too many pictures are being sent now: send yours again in a moment."),
        health=health_of_box or Lately(partial(look, limits.disk or Path("/"))),
        addresses=addresses,
        hosts=hosts,
        access=access,
        rates=Rates(limits.requests, limits.changes, limits.bodies, limits.tries),
        fingerprint=fingerprint,
    )
    app.extensions[KEY] = collaborators
    app.before_request(_as_large_as_the_route_takes)
    problems.init_app(app)
    security.init_app(app)
    gate.init_app(app)
    health.init_app(app, metrics.registered(collaborators, registry))
    for part in (jobs, events, images, keeping, openai, offer, box, page, pairing):
        app.register_blueprint(part.blueprint)
    rules.hold(app)
    return app


def _as_large_as_the_route_takes() -> None:
    request.max_content_length = max_body(request.path)
