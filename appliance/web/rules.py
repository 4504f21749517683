"""Who may do what: the whole table, in one place. A route that is not in it keeps the box from starting."""

from __future__ import annotations

from flask import Flask

from appliance.people.access import Role

GUEST, OWNER = Role.GUEST, Role.OWNER

# The least role that each route needs. None: anybody; the page is an empty shell until somebody is let in.
RULES: dict[str, Role | None] = {
    "page.page": None,
    "page.static": None,
    "health.healthz": None,
    "health.readyz": None,
    "pairing.who": None,
    "pairing.pair": None,
    "pairing.leave": GUEST,
    "pairing.people": OWNER,
    "pairing.invite": OWNER,
    "pairing.revoke": OWNER,
    "page.openapi": GUEST,
    "offer.offer": GUEST,
    "jobs.submit": GUEST,
    "jobs.look": GUEST,
    "jobs.cancel": GUEST,
    "events.progress": GUEST,
    "events.stream": GUEST,
    "images.gallery": GUEST,
    "images.entry": GUEST,
    "images.file": GUEST,
    "images.feedback": GUEST,
    "keeping.remove": GUEST,
    "keeping.favourite": OWNER,  # it outlasts the rules of what goes
    "openai.models": GUEST,
    "openai.generations": GUEST,
    "openai.edits": GUEST,
    "box.how_it_is": OWNER,
    "box.door": OWNER,
    "health.metrics": OWNER,
}


def hold(app: Flask) -> None:
    """Raises `LookupError` when route and table differ."""
    differ = sorted({rule.endpoint for rule in app.url_map.iter_rules()} ^ set(RULES))
    if differ:
        raise LookupError(f"Route and rule do not match: {', '.join(differ)}. See appliance/web/rules.py.")
