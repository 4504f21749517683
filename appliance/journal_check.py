"""A journal that the disk has damaged is found when the box starts, set aside, and said; the box starts with a new one.

Run before anything opens the journal, by whoever starts the processes: `ensueno serve`, or under systemd the unit
`ensueno-check`, as `python -m appliance.journal_check`. SQLite's own check finds pages, trees and rows
that cannot be right; a changed letter inside a text it cannot see, since its pages carry no checksums.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from appliance.durable import private_folder, sync_folder
from appliance.errors import EnsuenoError

_DAMAGED = ".damaged-"
_SIDES = ("-wal", "-shm")


def begin_anew(journal: Path, images: Path) -> str | None:
    """Set a damaged journal aside, and while one lies there show the pictures of `images` that only it knew.

    → what to say, or None when all is well. Raises `NoRoom`, `Unavailable`.
    """
    set_aside_if_damaged(journal)
    said = note(journal)
    if said is None:
        return None
    from appliance.rescue import rescue  # here: whoever asks only for `note` has no room for it

    found = rescue(journal, images)
    return f"{said} {found} pictures that it knew are shown again, by what their files tell." if found else said


def set_aside_if_damaged(journal: Path, clock: Callable[[], float] = time.time) -> str | None:
    """Rename a damaged journal, with its write-ahead log; returns the sentence to say, or None when all is well."""
    if not journal.exists() or _sound(journal):
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock()))
    aside = journal.with_name(f"{journal.name}{_DAMAGED}{stamp}")
    for side in ("", *_SIDES):
        part = journal.with_name(journal.name + side)
        if part.exists():
            part.rename(aside.with_name(aside.name + side))
    sync_folder(journal.parent)
    return note(journal)


def note(journal: Path) -> str | None:
    """What to say for as long as a journal lies aside; None when none does."""
    found = sorted(path.name for path in journal.parent.glob(f"{journal.name}{_DAMAGED}*"))
    found = [name for name in found if not name.endswith(_SIDES)]
    if not found:
        return None
    return (
        f"The job journal was damaged and lies aside as {found[-1]}; a new one was begun:"
        " ask again for what was waiting, check the disk, then remove that file."
    )


def _sound(journal: Path) -> bool:
    """Whether every page can be read and is what it should be; an empty file is a journal that was never begun."""
    try:
        db = apsw.Connection(str(journal))
    except apsw.CantOpenError:
        return True  # not damage: a matter of permissions, which the journal itself reports
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # a look must not sweep the write-ahead log away
        db.set_busy_timeout(10_000)
        return [row[0] for row in db.execute("PRAGMA integrity_check(1)")] == ["ok"]
    except (apsw.CorruptError, apsw.NotADBError, apsw.IOError):
        return False
    except apsw.Error:
        return True  # busy, full, read-only: no damage either
    finally:
        db.close()


def main(arguments: list[str]) -> int:
    """Look, as systemd starts it; a damaged journal is no failure, since the box goes on with a new one."""
    from appliance import config  # here: the web asks `note`, and has no room for the settings' library
    from appliance.lock import only_one
    from appliance.options import serve_options

    os.umask(0o077)
    try:
        options, file = serve_options("python -m appliance.journal_check", arguments)
        settings = config.load(options, file)
        private_folder(settings.data_dir)
        with only_one(settings.data_dir / "engine.lock", "An engine"):
            said = begin_anew(settings.journal_path, settings.images_dir)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(said or "The job journal is whole.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
