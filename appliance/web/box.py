"""How the box is, for its status panel and for other programs."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response

from appliance.device.health import Trouble
from appliance.errors import NotFound
from appliance.job import JobState
from appliance.journal_check import note
from appliance.network import qr
from appliance.plans.building import building
from appliance.progress import engine_alive
from appliance.web.answers import as_json
from appliance.web.documented import documented
from appliance.web.models import BoxView, BuildView, TroubleView
from appliance.web.services import services

blueprint = Blueprint("box", __name__)


@blueprint.get("/v1/box/door.svg")
@documented({200: "image/svg+xml"}, errors=(404,))
def door() -> Response:
    """The box's address for a phone's camera."""
    found = services().addresses()
    if not found:
        raise NotFound("The box serves this machine alone: start it with --host 0.0.0.0.")
    response = Response(qr.svg(found[0]), content_type="image/svg+xml")
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/v1/box")
@documented({200: BoxView})
def how_it_is() -> Response:
    """The box now: its troubles with their remedies, heat, power, memory, disk, queue and pace."""
    box = services()
    health, pulse, figures, counts = box.health(), box.board.pulse(), box.board.figures(), box.journal.counts()
    awake = engine_alive(pulse)
    build = building(box.journal.path.parent)
    found, zone = health.sensors, health.sensors.hottest
    damage = note(box.journal.path)
    troubles = [*health.troubles, *([Trouble("journal", "watch", damage)] if damage else [])]
    return as_json(
        BoxView(
            level=health.level if damage is None or health.level == "bad" else "watch",
            troubles=[TroubleView(**vars(trouble)) for trouble in troubles],
            note=pulse.note if pulse else None,
            awake=awake,
            engine=pulse.engine if pulse and awake else None,
            board=found.board,
            waiting=counts[JobState.QUEUED],
            running=counts[JobState.RUNNING],
            seconds_per_picture=pulse.seconds_per_picture if pulse and awake else None,
            joules_per_picture=figures.joules_per_picture if figures and awake else None,
            celsius=zone.celsius if zone else None,
            throttle_celsius=zone.throttle if zone else None,
            gpu_load=found.gpu.load,
            watts=found.watts,
            power_mode=found.power_mode,
            memory_total=found.memory.total,
            memory_available=found.memory.available,
            disk_total=health.disk.total,
            disk_free=health.disk.free,
            building=BuildView(**asdict(build)) if build else None,
            addresses=box.addresses(),
        )
    )
