"""What root does in the box's folder is done as the box's user: a file of root's there would shut the box out."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """For a while the effective user, group and groups of the folder's owner; only root becomes another."""
    if os.geteuid() != 0 or not folder.exists() or folder.stat().st_uid == 0:
        yield
        return
    owner, before = folder.stat(), (os.getegid(), os.getgroups())
    groups = [owner.st_gid]
    with contextlib.suppress(KeyError):  # a number without a name is in no other group
        groups = os.getgrouplist(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    os.setgroups(groups)
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])
