"""A bundle on trial: either an engine draws its golden pictures, or the bundle before comes back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from appliance import failpoints, stop_signals
from appliance.bundles.slots import Slots
from appliance.config import Settings
from appliance.errors import BadBundle, EngineFault, EnsuenoError
from appliance.ids import boot_id
from appliance.ladder import golden
from appliance.ladder.golden import Draws
from appliance.plans.blueprint import coarser, coarsest
from appliance.plans.passport import Precision


@contextmanager
def on_trial(settings: Settings) -> Iterator[bool]:
    """Around an engine's start; gives whether the bundle is on trial, and then `judge` must be called within.

    A fault of the bundle rolls it back and raises `EngineFault`, so that the engine is started again with the one
    before. A stop, or an engine that cannot be had, says nothing about the bundle: its trial begins anew.
    """
    slots = Slots(settings.data_dir)
    if not slots.pointer().trial or settings.bundle != slots.active():
        yield False
        return
    try:
        survived = slots.try_once(boot_id())
        failpoints.reached("trial.tried")
        if survived:
            yield True
    except (EngineFault, BadBundle) as error:
        _back(slots, settings, str(error))
    except (EnsuenoError, KeyboardInterrupt):
        slots.untry()
        raise
    except Exception as error:
        _back(slots, settings, f"{type(error).__name__}: {error}")
    if not survived:
        _back(slots, settings, "an engine died with it")
    slots.accept()


def judge(pipeline: Draws, precision: Precision) -> None:
    """Hold the bundle to the latents it came with, or at least to pictures that are some. Raises `EngineFault`.

    `precision` is the engine's: what its arithmetic alone makes of a picture says nothing against the bundle.
    """
    reference = golden.stored(pipeline.bundle) or golden.draw(pipeline)
    result = golden.examine(pipeline, reference, coarser(precision, coarsest(pipeline.bundle)))
    if not result.passed:
        raise EngineFault(result.reason or "The golden pictures do not hold.")


def _back(slots: Slots, settings: Settings, why: str) -> NoReturn:
    name = slots.rollback()
    raise EngineFault(
        f"The bundle {settings.bundle.name} did not pass its trial ({' '.join(why.split())[:300].rstrip('.')}): "
        f"back to {name}."
    )


@contextmanager
def stop_raises() -> Iterator[None]:
    """SIGTERM as Ctrl-C, so that a stop while a bundle and its engine load is known from a death."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with stop_signals.heard(stop, (signal.SIGTERM,)):
        yield
