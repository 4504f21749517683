"""Being let in, letting in, and letting go."""

from __future__ import annotations

import logging
from typing import TypeVar

from flask import Blueprint, Response, request
from pydantic import BaseModel, ValidationError

from appliance.errors import BadInput, Conflict
from appliance.job import timestamp
from appliance.network import qr
from appliance.people.access import PIN_SECONDS, PIN_TRIES, Access, Key
from appliance.web.answers import as_json
from appliance.web.body import read_json
from appliance.web.connection import client_address
from appliance.web.documented import documented
from appliance.web.models import Invitation, InviteBody, PairBody, Pairing, People, Person
from appliance.web.services import services
from appliance.web.visitors import COOKIE, Visitor, forget, keep, visitor

blueprint = Blueprint("pairing", __name__)
log = logging.getLogger(__name__)
Body = TypeVar("Body", bound=BaseModel)


@blueprint.get("/v1/pair")
@documented({200: Pairing})
def who() -> Response:
    """Who you are to this box, and what your page needs to change something."""
    found = visitor()
    response = as_json(_told(found))
    if found.cookie is not None:
        keep(response, found.cookie, secure=request.is_secure)
    return response


@blueprint.post("/v1/pair")
@documented({201: Pairing}, body=PairBody, errors=(400, 401, 409, 413, 415, 429, 503, 507))
def pair() -> Response:
    """Be let in, by a PIN that the box shows or by the owner's password.

    A browser gets a cookie, a program (`program: true`) a token.
    """
    access = _access()
    asked = _read(PairBody, 'Send {"pin": "1234 5678"}.')
    services().rates.count_try(client_address(request.remote_addr))
    if asked.pin is not None and asked.password is None:
        key, secret = access.pair(asked.pin, asked.name)
    elif asked.password is not None and asked.pin is None:
        services().rates.count_try("everybody with a password")
        key, secret = access.enter(asked.password, asked.name)
    else:
        raise BadInput('Send {"pin": "1234 5678"}.')
    log.info("let in", extra={"key": key.id, "role": key.role.value})
    if asked.program:
        told = _told(Visitor(key.role, key.id, key.name))
        return as_json(told.model_copy(update={"secret": secret}), 201)
    response = as_json(_told(Visitor(key.role, key.id, key.name, secret)), 201)
    keep(response, secret, secure=request.is_secure)
    return response


@blueprint.delete("/v1/pair")
@documented({200: Pairing}, errors=(404, 409, 507))
def leave() -> Response:
    """Be forgotten here: the cookie or token that sent this is good no more."""
    key = _access().revoke(visitor().key or "")
    log.info("left", extra={"key": key.id})
    response = as_json(Pairing(role=None, open=False))
    if COOKIE in request.cookies:
        forget(response)
    return response


@blueprint.get("/v1/people")
@documented({200: People}, errors=(409,))
def people() -> Response:
    """All who were let in."""
    return as_json(People(people=[_person(key) for key in _access().people()]))


@blueprint.post("/v1/people")
@documented({201: Invitation}, body=InviteBody, errors=(400, 409, 413, 415, 507))
def invite() -> Response:
    """Make a PIN for somebody else; the one before is no longer good."""
    box = services()
    role = _read(InviteBody, 'Send {"role": "guest"} or "owner".').role
    pin = _access().invite(role)
    address = next(iter(box.addresses()), None)
    return as_json(
        Invitation(
            pin=pin,
            role=role,
            seconds=PIN_SECONDS,
            tries=PIN_TRIES,
            address=address,
            code=qr.svg(f"{address or request.host_url.rstrip('/')}/#pin={pin}").decode(),
            fingerprint=box.fingerprint,
        ),
        201,
    )


@blueprint.delete("/v1/people/<string(length=26):key_id>")
@documented({200: Person}, errors=(404, 409, 507))
def revoke(key_id: str) -> Response:
    """Let somebody in no more."""
    key = _access().revoke(key_id)
    log.info("revoked", extra={"key": key.id})
    return as_json(_person(key))


def _access() -> Access:
    """Raises `Conflict` where there is nothing to pair with."""
    found = services().access
    if found is None:
        raise Conflict("This box serves its own machine alone, and whoever reaches it owns it: nobody need pair.")
    return found


def _told(found: Visitor) -> Pairing:
    return Pairing(role=found.role, open=services().access is None, name=found.name, id=found.key, token=found.token)


def _person(key: Key) -> Person:
    return Person(id=key.id, role=key.role, name=key.name, created=timestamp(key.created), you=key.id == visitor().key)


def _read(model: type[Body], otherwise: str) -> Body:
    try:
        return model.model_validate(read_json())
    except ValidationError:
        raise BadInput(otherwise) from None
