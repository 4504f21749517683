"""`build`: a bundle's networks become plans under the data dir, one at a time, each with its place in the passport.

A build that was killed goes on: the passport, sealed again after every plan, knows which are done.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance import durable, stop_signals
from appliance.errors import BadInput, BadPassport, NoRoom
from appliance.lock import only_one
from appliance.pipeline.manifest import Bundle
from appliance.plans import blueprint, passport
from appliance.plans.building import PROGRESS
from appliance.plans.passport import Inputs, Passport, Plan
from engine_build import builder, memory
from engine_build.build_progress import BuildProgress
from engine_build.targets import Target
from engine_build.tensor_file import read_header

Say = Callable[[str], None]

LARGE = 100_000_000  # parameters
_UNET = "unet"


def build(bundle: Bundle, target: Target, data_dir: Path, out: Path | None, say: Say) -> dict[str, Any]:
    """Build what is not built yet; → the report. `out` None: `<data-dir>/engines/<passport id>`.

    Raises `BadBundle`, `BadInput`, `Unavailable` (no memory), `NoRoom`, `builder.Stopped`.
    """
    _check_files(bundle)
    bundle = bundle.of_float16()
    _advise(bundle, say)
    inputs = inputs_for(bundle, target)
    if out is None:
        folder = _made(passport.engines_folder(data_dir) / inputs.id, bundle, "--data-dir")
    else:
        folder = _made(out, bundle, "--out")
    key = passport.read_key(data_dir)
    with only_one(folder / "build.lock", "Another build"):
        done = _done(folder, inputs, key, say)
        waiting = [name for name in inputs.components if name not in done.plans]
        progress = BuildProgress(folder / PROGRESS, waiting)
        site = _Site(bundle, target, inputs, folder, _timings(data_dir, target), progress)
        with _ended(progress), _asked_to_stop() as stopping:
            for name in waiting:
                plan = site.build(name, stopping)
                done = done.model_copy(update={"plans": {**done.plans, name: plan}})
                passport.write_passport(folder, done, key)
    return _report(folder, done, waiting)


def _advise(bundle: Bundle, say: Say) -> None:
    """A plan computes in its graph's own type: a large UNet in float32 takes twice the memory and more time."""
    unet = bundle.manifest.components[_UNET]
    if unet.parameters >= LARGE and blueprint.precision(unet) == "float32":
        say(
            "The UNet has no float16 graph, so its plan computes in float32, in twice the memory: to have one, export "
            "the bundle again with --precision f16."
        )


def inputs_for(bundle: Bundle, target: Target) -> Inputs:
    """All that the bundle's plans for this target depend on."""
    return blueprint.inputs_for(bundle, target.name, target.version, target.sm, target.gpu)


def _check_files(bundle: Bundle) -> None:
    """Every hash, then every header, before any parser sees a byte."""
    bundle.verify()
    for name in bundle.manifest.files:
        if name.endswith(".safetensors"):
            read_header(bundle.path(name))


def _made(folder: Path, bundle: Bundle, option: str) -> Path:
    """Where the plans go, as `option` says. Raises `BadInput`."""
    if folder.resolve().is_relative_to(bundle.folder.resolve()):
        raise BadInput(f"{folder} lies in the bundle, which is read-only: name another {option}.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made ({error.strerror}): name another {option}.") from None
    return folder


def _done(folder: Path, inputs: Inputs, key: bytes, say: Say) -> Passport:
    """What an earlier build left here, as far as it is for the same inputs and its plans are whole."""
    fresh = Passport(inputs=inputs)
    if not (folder / passport.PASSPORT).exists():
        return fresh
    try:
        found = passport.read_passport(folder, key)
    except BadPassport as error:
        say(f"Everything is built again: {error}")
        return fresh
    if found.inputs != inputs:
        say("Everything is built again: what lies here was built from or for something else.")
        return fresh
    whole = {name: plan for name, plan in found.plans.items() if _is_whole(folder, name, found)}
    return found if whole == found.plans else Passport(inputs=inputs, plans=whole)


def _is_whole(folder: Path, component: str, found: Passport) -> bool:
    try:
        with passport.opened_plan(folder, component, found):
            return True
    except BadPassport:
        return False


@dataclass(frozen=True)
class _Site:
    """Where and with what the plans of one bundle are built."""

    bundle: Bundle
    target: Target
    inputs: Inputs
    folder: Path
    timings: Path
    progress: BuildProgress

    def build(self, name: str, stopping: Callable[[], bool]) -> Plan:
        """One plan, on the disk when this returns."""
        memory.check(self.bundle, name)
        self.progress.begin(name)
        onnx = self.bundle.path(self.bundle.manifest.components[name].file)
        profile = self.inputs.components[name].profile
        data, kept = builder.build(self.target, name, onnx, profile, _read(self.timings), self.progress, stopping)
        durable.write(passport.plan_path(self.folder, name), data)
        if kept:
            with contextlib.suppress(NoRoom):  # it only saves time
                durable.write(self.timings, kept)
        return Plan(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def _timings(data_dir: Path, target: Target) -> Path:
    """A timing cache serves all bundles, on one GPU with one TensorRT."""
    folder = passport.engines_folder(data_dir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"timings-{target.name}-{target.version}-sm{target.sm}.cache"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@contextlib.contextmanager
def _ended(progress: BuildProgress) -> Iterator[None]:
    """However the build ends, the progress file says so."""
    try:
        yield
    except (Exception, builder.Stopped) as error:
        progress.end(str(error))
        raise
    progress.end("Done.")


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """True after SIGINT or SIGTERM; the builder then ends at its next step."""
    asked: list[int] = []
    with stop_signals.heard(lambda number, _: asked.append(number)):
        yield lambda: bool(asked)


def _report(folder: Path, done: Passport, built: list[str]) -> dict[str, Any]:
    return {
        "out": os.fspath(folder),
        "id": done.inputs.id,
        "target": done.inputs.target,
        "version": done.inputs.version,
        "sm": done.inputs.sm,
        "built": built,
        "plans": {name: plan.model_dump() for name, plan in done.plans.items()},
    }
