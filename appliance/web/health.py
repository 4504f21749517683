"""Health for supervisors and Prometheus: the process, the engine, the numbers."""

from __future__ import annotations

from flask import Blueprint, Flask, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from appliance.errors import Unavailable
from appliance.journal_check import note
from appliance.progress import engine_alive
from appliance.web.answers import as_json
from appliance.web.documented import documented
from appliance.web.models import Health, Readiness
from appliance.web.services import services
from appliance.web.visitors import visitor


def init_app(app: Flask, registry: CollectorRegistry) -> None:
    """Add the health routes; the metrics come from the registry passed in."""
    blueprint = Blueprint("health", __name__)
    blueprint.get("/healthz")(healthz)
    blueprint.get("/readyz")(readyz)

    @blueprint.get("/metrics")
    @documented({200: "text/plain"})
    def metrics() -> Response:
        """Prometheus' text format."""
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    app.register_blueprint(blueprint)


@documented({200: Health})
def healthz() -> Response:
    """The process answers."""
    return as_json(Health())


@documented({200: Readiness}, errors=(503,))
def readyz() -> Response:
    """200 only while the engine is alive and after it drew a real picture.

    `note` is what its owner should know; whom nobody knows is told yes or no.
    """
    pulse, known = services().board.pulse(), visitor().role is not None
    if pulse is None:
        raise Unavailable("The engine has not started: wait, then see `ensueno doctor`.")
    if not engine_alive(pulse):
        raise Unavailable("The engine gives no sign of life: it is restarting, or see its log.")
    if pulse.pictures < 1:
        why = f" ({pulse.note})" if pulse.note and known else ""
        raise Unavailable(f"The engine has not drawn its first picture yet{why}: wait a moment.")
    if not known:
        return as_json(Readiness(ready=True))
    return as_json(
        Readiness(
            ready=True,
            engine=pulse.engine,
            bundle=pulse.bundle,
            pictures=pulse.pictures,
            passed_over=pulse.passed_over,
            note=note(services().journal.path),
        )
    )
