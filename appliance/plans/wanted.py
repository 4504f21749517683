"""Plans that the box wants: an engine that serves without them asks in a file, and who can build takes it.

`ensueno-build.path` and `ensueno serve` look for the file; they park the queue, since builder and engine do not fit
side by side on the smaller boards, and build. That is not done for ever: the very same plans are given up after `TRIES`
builds, however they ended, except those that were asked to stop or lost their power.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from appliance import durable
from appliance.errors import NoRoom
from appliance.ids import boot_id
from appliance.plans.passport import Target, engines_folder

WANTED = "wanted.json"
TRIED = "tried.json"
TRIES = 3


class Wanted(BaseModel):
    """Plans of a bundle for a target; `made_of` is all that decides whether they can be built (`attempts.made_of`).

    `tries` counts the builds of the very same; `boot` is that in which one runs, None when none does.
    """

    model_config = ConfigDict(frozen=True)

    target: Target
    bundle: Path
    made_of: Mapping[str, str | None]
    tries: int = 0
    boot: str | None = None


def ask(data_dir: Path, plans: Wanted, boot: Callable[[], str] = boot_id) -> bool:
    """Ask for them; False where the very same were tried often enough, or the disk takes no more.

    A build that ended without a word, in this boot, was killed: that was a try.
    """
    before = _read(engines_folder(data_dir) / TRIED)
    tries = 0
    if before is not None and before.made_of == plans.made_of:
        tries = before.tries + (before.boot == boot())
    if tries >= TRIES:
        return False
    with contextlib.suppress(OSError, NoRoom):
        durable.private_folder(engines_folder(data_dir))
        _write(engines_folder(data_dir) / WANTED, plans.model_copy(update={"tries": tries}))
        return True
    return False


def wanted(data_dir: Path) -> Wanted | None:
    """What is asked for and not taken yet."""
    return _read(engines_folder(data_dir) / WANTED)


def take(data_dir: Path, boot: Callable[[], str] = boot_id) -> None:
    """What was asked for is being built from now on. Raises `NoRoom`, and then nothing is asked for any more."""
    asked = engines_folder(data_dir) / WANTED
    plans = _read(asked)
    asked.unlink(missing_ok=True)
    if plans is not None:
        _write(engines_folder(data_dir) / TRIED, plans.model_copy(update={"boot": boot()}))


@contextmanager
def taken(data_dir: Path, target: Target, bundle: Path | None) -> Iterator[None]:
    """Around a build of these plans, `bundle` None for the box's own: takes what was asked for, if these were.

    One that is asked to stop (`KeyboardInterrupt`) is no try. Raises `NoRoom`.
    """
    asked = wanted(data_dir)
    if asked is None or _are(asked, target, bundle):  # a damaged wish goes with any build, or it would be for ever
        take(data_dir)
    tried = _read(engines_folder(data_dir) / TRIED)
    if tried is None or not _are(tried, target, bundle):
        yield
        return
    counts = 1
    try:
        yield
    except KeyboardInterrupt:
        counts = 0
        raise
    finally:
        _ended(data_dir, counts)


def _are(plans: Wanted, target: Target, bundle: Path | None) -> bool:
    """The box's own build is of the bundle that is active by now: nothing older is waited for."""
    return plans.target == target and (bundle is None or bundle.resolve() == plans.bundle.resolve())


def _ended(data_dir: Path, counts: int) -> None:
    tried = engines_folder(data_dir) / TRIED
    plans = _read(tried)
    if plans is not None and plans.boot is not None:
        with contextlib.suppress(NoRoom):
            _write(tried, plans.model_copy(update={"tries": plans.tries + counts, "boot": None}))


def _write(path: Path, plans: Wanted) -> None:
    durable.write(path, plans.model_dump_json().encode())


def _read(path: Path) -> Wanted | None:
    try:
        return Wanted.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
