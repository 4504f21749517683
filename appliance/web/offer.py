"""What this box can draw, for the page and for other programs."""

from __future__ import annotations

from flask import Blueprint, Response, request

from appliance.locales import resolve
from appliance.pipeline.manifest import Manifest
from appliance.progress import engine_alive
from appliance.request import MAX_PROMPT
from appliance.web.answers import as_json
from appliance.web.documented import documented
from appliance.web.models import OfferView, Range
from appliance.web.page import page_language
from appliance.web.services import services

blueprint = Blueprint("offer", __name__)


@blueprint.get("/v1/offer")
@documented({200: OfferView})
def offer() -> Response:
    """Sizes, ranges, defaults and examples of this box's model."""
    box = services()
    limits, manifest, pulse = box.offer, box.manifest, box.board.pulse()
    (steps_low, steps_high), (guidance_low, guidance_high) = limits.steps, limits.guidance
    return as_json(
        OfferView(
            name=manifest.name,
            version=manifest.version,
            licence=manifest.licence,
            engine=pulse.engine if pulse is not None and engine_alive(pulse) else None,
            sizes=[f"{width}x{height}" for width, height in limits.sizes],
            steps=Range(minimum=steps_low, maximum=steps_high, default=limits.default_steps),
            guidance=Range(minimum=guidance_low, maximum=guidance_high, default=limits.default_guidance),
            schedulers=list(limits.schedulers),
            max_count=limits.max_count,
            max_prompt=MAX_PROMPT,
            pictures=limits.pictures,
            locales=manifest.locales,
            locale=_visitors(manifest),
            examples=_examples(manifest),
        ),
        Vary="Accept-Language",
    )


def _visitors(manifest: Manifest) -> str:
    """The bundle's locale nearest to one of the visitor's, else to the page's language, else the bundle's own."""
    asked = [*request.accept_languages.values(), page_language(), manifest.defaults.locale]
    found = (resolve(locale, manifest.locales) for locale in asked)
    return next((locale for locale in found if locale is not None), manifest.defaults.locale)


def _examples(manifest: Manifest) -> dict[str, list[str]]:
    """Every locale of the bundle has the prompts of the nearest one that has any."""
    own = {locale: prompts for locale, prompts in manifest.examples.items() if prompts}
    near = {locale: resolve(locale, list(own)) for locale in manifest.locales}
    return own | {locale: own[name] for locale, name in near.items() if name is not None}
