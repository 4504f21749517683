"""Names made by the box: sortable ids, file names, and the id of this boot."""

from __future__ import annotations

import re
import secrets
import time
import unicodedata
from pathlib import Path

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def new_id() -> str:
    """A ULID: 48 bits of milliseconds, 80 of chance, in 26 characters that sort by time."""
    number = (int(time.time() * 1000) % (1 << 48)) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def slug(sentence: str, most: int) -> str:
    """A name every file system takes, at most `most` letters: 'Una niña!' → 'una-nina'; empty without any."""
    plain = unicodedata.normalize("NFKD", sentence).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:most].strip("-")


def boot_id() -> str:
    """The kernel's id of this boot; it changes when the machine was off."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
