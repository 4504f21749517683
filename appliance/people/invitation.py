"""What the box says to its owner, on the console or in its log, so that a first or another one can pair."""

from __future__ import annotations

from appliance.errors import BadInput
from appliance.people.access import PIN_SECONDS, PIN_TRIES, Access, Role


def invitation(access: Access, role: Role, *, with_code: bool) -> str:
    """A new PIN, where to enter it, and how to know that it is this box; `with_code`: a code for a phone's camera.

    Raises `BadInput` where nobody need pair.
    """
    door = access.door()
    if door is None:
        raise BadInput("This box serves its own machine alone, so nobody need pair: open it with --host 0.0.0.0 first.")
    pin = access.invite(role)
    lines = [
        f"Pair at {door.address} with the PIN {pin[:4]} {pin[4:]} ({role.value}): good once, for"
        f" {PIN_SECONDS / 60:.0f} minutes and {PIN_TRIES} tries. `ensueno pair` makes another."
    ]
    if door.fingerprint is not None:
        lines.append(f"Its certificate's fingerprint (SHA-256) is {door.fingerprint}")
    if with_code:
        from appliance.network import qr

        lines.append(qr.terminal(f"{door.address}/#pin={pin}"))
    return "\n".join(lines)
