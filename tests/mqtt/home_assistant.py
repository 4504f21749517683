"""What Home Assistant's documentation lets a discovery message hold, as JSON schemas written by hand from its pages.

    device, availability, origin   https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
    each platform                  https://www.home-assistant.io/integrations/<platform>.mqtt/
    classes and their units        https://developers.home-assistant.io/docs/core/entity/sensor/#available-device-classes

They hold the keys that are documented and those that are required; unlike Home Assistant, which drops what it does not
know, they refuse it. What they do not prove: that a Home Assistant that runs shows what is meant.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string", "minLength": 1}
_TEMPLATE: Schema = {"type": "string", "pattern": r"\{\{.*\}\}"}
_TOPIC: Schema = {"type": "string", "pattern": "^[^+#\\u0000]+$", "maxLength": 65535}
_NUMBER: Schema = {"type": "integer"}
_SUMMARY: Schema = {"type": "string", "maxLength": 255}
_UNITS = {
    "duration": ["d", "h", "min", "s", "ms", "µs"],
    "temperature": ["°C", "°F", "K"],
    "power": ["mW", "W", "kW", "MW", "GW", "TW"],
    "data_size": ["bit", "kbit", "Mbit", "Gbit", "B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB", "KiB", "MiB",
                  "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"],
}  # fmt: skip


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


_AVAILABILITY = _object(
    ("topic",), topic=_TOPIC, payload_available=_TEXT, payload_not_available=_TEXT, value_template=_TEMPLATE
)
_COMMON: dict[str, Schema] = {
    "platform": _TEXT, "unique_id": _TEXT, "name": _TEXT, "icon": _TEXT, "qos": {"enum": [0, 1, 2]},
    "entity_category": {"enum": ["config", "diagnostic"]}, "enabled_by_default": {"type": "boolean"},
    "default_entity_id": _TEXT, "entity_picture": _TEXT, "encoding": _TEXT, "json_attributes_topic": _TOPIC,
    "json_attributes_template": _TEMPLATE, "availability": {"type": "array", "items": _AVAILABILITY},
    "availability_mode": {"enum": ["all", "any", "latest"]}, "availability_topic": _TOPIC,
}  # fmt: skip
_REQUIRED = ("platform", "unique_id")  # the latter wherever a device has several entities
_COMMANDED = {"command_topic": _TOPIC, "command_template": _TEMPLATE, "retain": {"type": "boolean"}}


def _platform(required: tuple[str, ...], **properties: Schema) -> Schema:
    return _object(_REQUIRED + required, **_COMMON, **properties)


PLATFORMS: dict[str, Schema] = {
    "image": _platform(
        (), image_topic=_TOPIC, url_topic=_TOPIC, url_template=_TEMPLATE, image_encoding={"const": "b64"},
        content_type={"type": "string", "pattern": "^image/"},
    ) | {
        "oneOf": [{"required": ["image_topic"]}, {"required": ["url_topic"]}],
        "not": {"required": ["url_topic", "content_type"]},
    },
    "text": _platform(
        ("command_topic",), **_COMMANDED, state_topic=_TOPIC, value_template=_TEMPLATE, pattern=_TEXT,
        min=_NUMBER | {"minimum": 0, "maximum": 255}, max=_NUMBER | {"minimum": 1, "maximum": 255},
        mode={"enum": ["text", "password"]},
    ),
    "button": _platform(
        ("command_topic",), **_COMMANDED, payload_press=_TEXT, device_class={"enum": ["identify", "restart", "update"]}
    ),
    "select": _platform(
        ("command_topic", "options"), **_COMMANDED, state_topic=_TOPIC, value_template=_TEMPLATE,
        optimistic={"type": "boolean"}, options={"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True},
    ),
    "sensor": _platform(
        ("state_topic",), state_topic=_TOPIC, value_template=_TEMPLATE, unit_of_measurement=_TEXT,
        device_class={"enum": list(_UNITS)}, state_class={"enum": ["measurement", "total", "total_increasing"]},
        expire_after=_NUMBER, force_update={"type": "boolean"}, suggested_display_precision=_NUMBER,
    ) | {
        "allOf": [
            {
                "if": {"properties": {"device_class": {"const": name}}, "required": ["device_class"]},
                "then": {"properties": {"unit_of_measurement": {"enum": units}}, "required": ["unit_of_measurement"]},
            }
            for name, units in _UNITS.items()
        ]
    },
    "update": _platform(
        (), state_topic=_TOPIC, value_template=_TEMPLATE, latest_version_topic=_TOPIC,
        latest_version_template=_TEMPLATE, command_topic=_TOPIC, payload_install=_TEXT, title=_TEXT,
        release_summary=_SUMMARY, release_url=_TEXT, display_precision=_NUMBER, device_class={"const": "firmware"},
    ),
}  # fmt: skip
"""By platform; a key that is not there is not documented."""

UPDATE_STATE = _object(
    ("installed_version",), installed_version=_TEXT, latest_version=_TEXT, title=_TEXT, release_summary=_TEXT,
    release_url=_TEXT, entity_picture=_TEXT, in_progress={"type": "boolean"}, update_percentage=_NUMBER,
)  # fmt: skip
"""What an update's state topic may say as json."""

_DEVICE = _object(
    (), identifiers={"type": "array", "items": _TEXT, "minItems": 1}, connections={"type": "array"}, name=_TEXT,
    manufacturer=_TEXT, model=_TEXT, model_id=_TEXT, hw_version=_TEXT, sw_version=_TEXT, serial_number=_TEXT,
    suggested_area=_TEXT, via_device=_TEXT,
    configuration_url={"type": "string", "pattern": "^(https?|homeassistant)://[^/]+"},
) | {"anyOf": [{"required": ["identifiers"]}, {"required": ["connections"]}]}  # fmt: skip

DISCOVERY = _object(
    ("device", "origin", "components"), device=_DEVICE,
    origin=_object(("name",), name=_TEXT, sw_version=_TEXT, support_url=_TEXT),
    availability={"type": "array", "items": _AVAILABILITY}, availability_mode={"enum": ["all", "any", "latest"]},
    state_topic=_TOPIC, command_topic=_TOPIC, qos={"enum": [0, 1, 2]}, encoding=_TEXT,
    components={
        "type": "object",
        "additionalProperties": {
            "required": ["platform"],
            "properties": {"platform": {"enum": list(PLATFORMS)}},
            "allOf": [
                {"if": {"properties": {"platform": {"const": name}}}, "then": schema}
                for name, schema in PLATFORMS.items()
            ],
        },
    },
)  # fmt: skip
"""A whole device's message, homeassistant/device/<id>/config."""
