"""Who may do what at the broker: one block of Mosquitto's ACL file for each user, and nothing for anyone else.

A user is a certificate's common name. There is no general rule: a certificate without a block sees nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from mqtt import topics
from mqtt.fleet.certificates import write

Role = Literal["device", "requester", "collector", "operator", "home"]
ROLES: tuple[Role, ...] = get_args(Role)
_BLOCK = re.compile(r"^user (\S+)\n(?:topic .*\n)*", re.MULTILINE)
_HEAD = "# Written by `python -m mqtt.fleet provision`. Mosquitto reads it anew on SIGHUP.\n"


def block(name: str, role: Role, pools: Sequence[str] = ()) -> str:
    """The rights of one user, as lines of the file."""
    every = {"device": _device, "requester": _requester, "collector": _collector, "operator": _operator, "home": _home}
    rights = every[role]
    lines = [f"topic {what} {topic}" for what, topic in rights(name, pools)]
    return "\n".join([f"user {name}", *lines, ""])


def read(path: Path) -> dict[str, str]:
    """The blocks of a file by user; none when there is no file."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return {found[1]: found[0] for found in _BLOCK.finditer(text)}


def save(path: Path, blocks: Mapping[str, str]) -> None:
    """Write the file, users in order."""
    text = "\n".join([_HEAD, *(blocks[name] for name in sorted(blocks))])
    write(path, text.encode(), mode=0o644)


_Rights = list[tuple[str, str]]


def _device(name: str, pools: Sequence[str]) -> _Rights:
    rights = [
        ("read", topics.jobs(name)),
        ("read", topics.ack(name)),
        ("read", topics.commands(name)),
        ("readwrite", topics.presence(name)),
        ("write", topics.telemetry(name)),
        ("write", topics.statuses(name)),
        ("write", topics.command_result(name, "+")),
        ("write", topics.home(name, "+")),
        ("read", topics.home_set(name, "+")),
        ("write", topics.home_discovery(name)),
        ("read", topics.HOME_BIRTH),
        ("write", topics.reply("#")),
    ]
    for pool in pools:
        rights += [("read", topics.pool_jobs(pool)), ("readwrite", topics.claims(pool))]
    return rights


def _requester(name: str, _pools: Sequence[str]) -> _Rights:
    return [
        ("write", topics.jobs("+")),
        ("write", topics.pool_jobs("+")),
        ("read", topics.reply(name)),
        ("read", topics.reply(f"{name}/#")),
        ("read", topics.presence("+")),
    ]


def _collector(_name: str, _pools: Sequence[str]) -> _Rights:
    return [("read", topics.ALL_TELEMETRY), ("read", topics.ALL_PRESENCE), ("write", topics.ack("+"))]


def _operator(_name: str, _pools: Sequence[str]) -> _Rights:
    return [
        ("write", topics.commands("+")),
        ("read", topics.command_result("+", "+")),
        ("read", topics.presence("+")),
    ]


def _home(_name: str, _pools: Sequence[str]) -> _Rights:
    """Home Assistant: it says that it is there, finds the boxes, shows what they say and sets what they let it set."""
    return [
        ("readwrite", topics.HOME_BIRTH),
        ("read", topics.HOME_DISCOVERIES),
        ("read", topics.presence("+")),
        ("read", topics.home("+", "+")),
        ("write", topics.home_set("+", "+")),
    ]
