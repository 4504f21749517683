"""The web process: the page, the HTTP API and its streams. Loads no model and touches no GPU.

    create_app(journal=..., store=..., board=..., manifest=...) → a Flask app, one blueprint per concern

    jobs     POST and DELETE, the job as it stands      openai   OpenAI's image route
    events   the stream of one job, and its moment      offer    what this box can draw
    images   gallery, files, feedback                   health   healthz, readyz, metrics
    page     the page, its files, openapi.json          server   gunicorn around it all
    limits   the web's own figures                      connection   no client holds the others up
    ready    a health check's question, from outside

`create_app` is imported when it is first used: gunicorn's main process does not need it, and stays small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appliance.web.limits import Limits

if TYPE_CHECKING:
    from appliance.web.app import create_app

__all__ = ["Limits", "create_app"]


def __getattr__(name: str) -> Any:
    if name == "create_app":
        from appliance.web.app import create_app

        return create_app
    raise AttributeError(name)
