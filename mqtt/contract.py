"""`python -m mqtt.contract` prints `asyncapi.yaml` (AsyncAPI 3.0), made from the topics and the messages themselves.

A test holds the file to this, and everything that is said on the wire to the file.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from appliance import __version__
from appliance.request import GenerationRequest
from mqtt import messages, topics

_MODELS: tuple[type[BaseModel], ...] = (
    messages.Wish, messages.Accepted, messages.Rejected, messages.Claimed, messages.Progress, messages.End,
    messages.Claim, messages.Presence, messages.Telemetry, messages.Ack, messages.Command, messages.CommandResult,
    messages.HomeState,
)  # fmt: skip
_ANSWERS = ("Accepted", "Rejected", "Claimed", "Progress", "End")
_PICTURES = ("image", "mask", "strength")  # to start from: over HTTP only
_LIST = "TelemetryBatch"
_OTHERS: dict[str, dict[str, Any]] = {  # which are no json of ours
    "HomeDiscovery": {"payload": {"type": "object"}, "summary": "A device, as Home Assistant's documentation has it."},
    "HomePicture": {"contentType": "image/png", "payload": {"type": "string", "format": "binary"}},
    "HomeWord": {"contentType": "text/plain", "payload": {"type": "string"}},
}

# channel → (address, who says it, kept on the broker, messages)
_CHANNELS: dict[str, tuple[str, str, bool, tuple[str, ...]]] = {
    "jobs": (topics.jobs("{device}"), "a requester", False, ("Wish",)),
    "status": (topics.status("{device}", "{job}"), "a device", False, _ANSWERS),
    "replies": (topics.reply("{requester}"), "a device", False, _ANSWERS),
    "presence": (topics.presence("{device}"), "a device", True, ("Presence",)),
    "telemetry": (topics.telemetry("{device}"), "a device", False, ("Telemetry", _LIST)),
    "ack": (topics.ack("{device}"), "the collector", False, ("Ack",)),
    "commands": (topics.commands("{device}"), "the owner", False, ("Command",)),
    "commandResult": (topics.command_result("{device}", "{nonce}"), "a device", False, ("CommandResult",)),
    "poolJobs": (topics.pool_jobs("{pool}"), "a requester", False, ("Wish",)),
    "claims": (topics.claim("{pool}", "{job}"), "a device", True, ("Claim",)),
    "homeState": (topics.home("{device}", "state"), "a device", True, ("HomeState",)),
    "homePicture": (topics.home("{device}", "picture"), "a device", True, ("HomePicture",)),
    "homeSet": (topics.home_set("{device}", "{entity}"), "Home Assistant", False, ("HomeWord",)),
    "homeDiscovery": (topics.home_discovery("{device}"), "a device", True, ("HomeDiscovery",)),
    "homeBirth": (topics.HOME_BIRTH, "Home Assistant", True, ("HomeWord",)),
}


def document() -> dict[str, Any]:
    """The whole of it, as plain values."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Ensueño over MQTT 5", "version": __version__, "description": messages.__doc__},
        "defaultContentType": "application/json",
        "channels": {name: _channel(row[0], row[3]) for name, row in _CHANNELS.items()},
        "operations": {name: _operation(name, row[1], row[2]) for name, row in _CHANNELS.items()},
        "components": {"messages": {name: _message(name) for name in _names()}, "schemas": _schemas()},
    }


def _channel(address: str, names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "address": address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }
    parameters: dict[str, Any] = {
        part[1:-1]: {} for part in address.replace("ensueno-", "").split("/") if part.startswith("{")
    }
    return found | ({"parameters": parameters} if parameters else {})


def _operation(name: str, says: str, kept: bool) -> dict[str, Any]:
    return {
        "action": "send" if says == "a device" else "receive",
        "summary": f"{says[0].upper()}{says[1:]} says it.",
        "channel": {"$ref": f"#/channels/{name}"},
        "bindings": {"mqtt": {"qos": 1, "retain": kept, "bindingVersion": "0.2.0"}},
    }


def _message(name: str) -> dict[str, Any]:
    if name in _OTHERS:
        return {"name": name, **_OTHERS[name]}
    found: dict[str, Any] = {"name": name, "payload": {"$ref": f"#/components/schemas/{name}"}}
    if name == "Wish":
        expiry = {"type": "integer", "description": "Seconds the job may wait: after them it never runs."}
        under = {"type": "string", "pattern": f"^{topics.REPLIES}", "description": "Where else to answer."}
        found["bindings"] = {"mqtt": {"messageExpiryInterval": expiry, "responseTopic": under}}
        found["correlationId"] = {"location": "$message.header#/correlationData"}
    return found


def _names() -> list[str]:
    return [*(model.__name__ for model in _MODELS), _LIST, *_OTHERS]


def _schemas() -> dict[str, Any]:
    template = "#/components/schemas/{model}"
    _, definitions = models_json_schema([(model, "validation") for model in _MODELS], ref_template=template)
    schemas: dict[str, Any] = definitions["$defs"]
    schemas["Wish"]["properties"] |= _fields()
    schemas[_LIST] = {"type": "array", "items": {"$ref": "#/components/schemas/Telemetry"}, "maxItems": 4096}
    return schemas


def _fields() -> dict[str, Any]:
    """What of a `GenerationRequest` goes over MQTT; what is absent the bundle gives, which also has the limits."""
    fields = GenerationRequest.model_json_schema(by_alias=False)["properties"]
    size = {"type": "string", "pattern": "^[0-9]+x[0-9]+$", "description": "Instead of width and height: 128x128."}
    return {name: schema for name, schema in fields.items() if name not in _PICTURES} | {"size": size}


def as_yaml(value: Any, depth: int = 0) -> str:
    """Plain values as YAML: blocks for objects and lists, json for what lies in them (which YAML includes)."""
    pad = "  " * depth
    if isinstance(value, dict) and value:
        return "".join(f"{pad}{json.dumps(key)}:{_below(item, depth)}" for key, item in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{_below(item, depth)}" for item in value)
    return f"{pad}{json.dumps(value, ensure_ascii=False)}\n"


def _below(item: Any, depth: int) -> str:
    if isinstance(item, dict | list) and item:
        return "\n" + as_yaml(item, depth + 1)
    return " " + as_yaml(item)


if __name__ == "__main__":
    sys.stdout.write(as_yaml(document()))
