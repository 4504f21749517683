"""Every topic, in one place. `D` is a device, `P` a pool, `J` a job's id, `R` a requester, `N` a command's nonce.

| topic                          | from → to              | kept | what                                          |
|--------------------------------|------------------------|------|-----------------------------------------------|
| ensueno/v1/D/jobs              | requester → D          |      | `Wish`: a job, or its cancelling              |
| ensueno/v1/D/jobs/J/status     | D → anyone             |      | `Answer`                                      |
| ensueno/v1/D/presence          | D (or its will) → all  | yes  | `Presence`                                    |
| ensueno/v1/D/telemetry         | D → collector          |      | `Telemetry`, one or a list                    |
| ensueno/v1/D/ack               | collector → D          |      | `Ack`                                         |
| ensueno/v1/D/commands          | owner → D              |      | `Command`, signed                             |
| ensueno/v1/D/commands/N/result | D → owner              |      | `CommandResult`                               |
| ensueno/v1/D/home/…            | D ↔ Home Assistant     | some | plain values (`discovery.py`)                 |
| ensueno/v1/pools/P/jobs        | requester → one of P   |      | `Wish`; boxes read `$share/P/…`               |
| ensueno/v1/pools/P/claims/J    | box → all of P         | yes  | `Claim`: who owns a pool's job                |
| ensueno/v1/pools/P/claims/~D   | box → itself           |      | nothing: comes back behind what it asked for  |
| ensueno/v1/replies/R           | D → requester          |      | `Answer`, pictures inline when they fit       |

A device may write its own `ensueno/v1/D/#`, `…/replies/#` and the claims of its pools, and read its own `jobs`, `ack`,
`commands`, `presence` and `home/+/set`, `homeassistant/status`, and its pools' jobs and claims. Nothing else.
"""

from __future__ import annotations

import re
import socket

from appliance.errors import BadInput
from appliance.ids import JOB_ID, slug

ROOT = "ensueno/v1"
REPLIES = f"{ROOT}/replies/"
POOL = "default"  # every box is in it unless told otherwise
HOME_BIRTH = "homeassistant/status"
HOME_DISCOVERIES = "homeassistant/device/+/config"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # a device, a pool or a requester: also a certificate's CN
RESERVED = frozenset({"pools", "replies"})

ALL_TELEMETRY = f"{ROOT}/+/telemetry"
ALL_PRESENCE = f"{ROOT}/+/presence"


def checked_name(name: str) -> str:
    """The name of a device or pool, if it can be part of a topic. Raises `BadInput`."""
    if not NAME.fullmatch(name) or name in RESERVED:
        raise BadInput(
            f"{name[:70]!r} cannot name a device or pool: use 1 to 64 letters, digits, dashes or underscores,"
            " the first a letter or digit, and neither 'pools' nor 'replies'."
        )
    return name


def device_name(named: str | None) -> str:
    """What this box is called: as it is told, or as its host is. Raises `BadInput`."""
    return checked_name(named or slug(socket.gethostname(), 40) or "ensueno")


def jobs(device: str) -> str:
    return f"{ROOT}/{device}/jobs"


def status(device: str, job_id: str) -> str:
    return f"{ROOT}/{device}/jobs/{job_id}/status"


def statuses(device: str) -> str:
    """The filter of all a device's answers."""
    return f"{ROOT}/{device}/jobs/+/status"


def presence(device: str) -> str:
    return f"{ROOT}/{device}/presence"


def telemetry(device: str) -> str:
    return f"{ROOT}/{device}/telemetry"


def ack(device: str) -> str:
    return f"{ROOT}/{device}/ack"


def commands(device: str) -> str:
    return f"{ROOT}/{device}/commands"


def command_result(device: str, nonce: str) -> str:
    return f"{ROOT}/{device}/commands/{nonce}/result"


def home(device: str, entity: str) -> str:
    return f"{ROOT}/{device}/home/{entity}"


def home_set(device: str, entity: str) -> str:
    return f"{ROOT}/{device}/home/{entity}/set"


def home_discovery(device: str) -> str:
    """Where Home Assistant looks for a device with all its entities."""
    return f"homeassistant/device/ensueno-{device}/config"


def pool_jobs(pool: str) -> str:
    return f"{ROOT}/pools/{pool}/jobs"


def pool_share(pool: str) -> str:
    """The shared subscription: each job goes to one box of the pool."""
    return f"$share/{pool}/{pool_jobs(pool)}"


def claim(pool: str, job_id: str) -> str:
    return f"{ROOT}/pools/{pool}/claims/{job_id}"


def fence(pool: str, device: str) -> str:
    """Beside the claims, and no job's: an id never begins with a tilde."""
    return f"{ROOT}/pools/{pool}/claims/~{device}"


def claims(pool: str) -> str:
    """The filter of all a pool's claims."""
    return f"{ROOT}/pools/{pool}/claims/+"


def reply(requester: str) -> str:
    return f"{REPLIES}{requester}"


def shared(group: str, topic_filter: str) -> str:
    """A shared subscription, for collectors."""
    return f"$share/{group}/{topic_filter}"


def device_of(topic: str) -> str | None:
    """The device that a topic belongs to, or None: bytes from outside, so nothing is taken for granted."""
    head, _, rest = topic.partition(f"{ROOT}/")
    name = rest.partition("/")[0]
    return name if not head and NAME.fullmatch(name) and name not in RESERVED else None


def is_reply(topic: str) -> bool:
    """Whether answers may be sent there: a response topic is chosen by a stranger."""
    rest = topic.removeprefix(REPLIES)
    plain = rest.isascii() and rest.isprintable() and not set("+#$ ") & set(rest)
    return topic.startswith(REPLIES) and plain and 0 < len(rest) <= 128 and all(rest.split("/"))


def job_of(topic: str) -> str | None:
    """The job's id at the end of a claim's topic, or before `/status`."""
    name = topic.removesuffix("/status").rpartition("/")[2]
    return name if JOB_ID.fullmatch(name) else None
