"""The app factory: collaborators in, a Flask app out, one blueprint per concern."""

from __future__ import annotations

from flask import Flask
from prometheus_client import CollectorRegistry

from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.pipeline.manifest import Manifest
from appliance.progress import Board
from appliance.web import (
    events,
    health,
    images,
    jobs,
    metrics,
    offer,
    openai,
    page,
    problems,
    security,
)
from appliance.web.limits import MAX_BODY, Limits
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
) -> Flask:
    """The app with its collaborators; makes no thread and no socket until somebody watches a job."""
    limits = limits or Limits()
    app = Flask("appliance.web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    collaborators = Services(
        journal=journal,
        store=store,
        board=board,
        manifest=manifest,
        offer=manifest.offer(),
        limits=limits,
        switchboard=Switchboard(board),
        seats=Seats(limits.max_watchers),
    )
    app.extensions[KEY] = collaborators
    problems.init_app(app)
    security.init_app(app)
    health.init_app(app, metrics.registered(collaborators, registry))
    for part in (jobs, events, images, openai, offer, page):
        app.register_blueprint(part.blueprint)
    return app
