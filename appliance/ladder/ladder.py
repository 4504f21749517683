"""The ladder of engines: the best rung that loads the bundle and draws its golden pictures is used.

Each rung that is passed over leaves one sentence, which /readyz, `ensueno status` and `ensueno doctor` show: a bad
upgrade gives slow pictures and a plain sentence, not a dead box; a library that kills the process twice is passed
over too (attempts.py). The last rung, ONNX Runtime, is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from appliance.config import Settings
from appliance.engines import Engine, KeepsPassports, tensorrt
from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadPassport, EngineFault, EnsuenoError, NoEngine, NoPlans
from appliance.ladder import attempts, golden
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.plans import blueprint, libraries
from appliance.plans.passport import PassportState, Target
from appliance.plans.wanted import Wanted

Wrap = Callable[[Engine], Engine]
_INSTALL = "install it with `.venv/bin/pip install -e '.[%s]'` in Ensueño's folder"
ASKED_FOR = "The engine that was asked for cannot be used. "


@dataclass(frozen=True)
class Rung:
    """An engine that can be asked for by `name`; `make` imports its library and raises when it cannot be had.

    `libraries` are the distributions whose versions decide whether it can be. One that runs `plans` opens them by their
    passports.
    """

    name: str
    make: Callable[[Settings], Engine]
    libraries: tuple[str, ...] = ()
    plans: bool = False


Passed = tuple[Rung, Exception]


@dataclass(frozen=True)
class Climbed:
    """The pipeline on the rung that was taken, its engine, and one sentence for each rung that was passed over.

    `lacking` are the plans that a better rung would serve with.
    """

    pipeline: TextToImage
    engine: Engine
    passed_over: list[str] = field(default_factory=list)
    passport: PassportState = "none"
    lacking: Wanted | None = None


def unwrapped(engine: Engine) -> Engine:
    """The engine as it is."""
    return engine


def climb(bundle: Bundle, settings: Settings, wrap: Wrap = unwrapped) -> Climbed:
    """Load the bundle on the rung that `settings.engine` names, or else on the best that passes.

    `wrap` may put something around each engine that is tried. Raises `NoEngine` when the named engine cannot be had or
    does not draw as it must, which says nothing against the bundle; and whatever the reference says of the bundle.
    """
    *rungs, reference = RUNGS
    if settings.engine == reference.name:
        rungs = []
    if settings.engine not in (None, reference.name):
        (asked,) = (rung for rung in rungs if rung.name == settings.engine)
        return _only(asked, bundle, settings, wrap)
    passed: list[Passed] = []
    for rung in rungs:
        try:
            return _told(_stand(rung, bundle, settings, wrap), rung, passed, settings)
        except Exception as error:  # a library's surprise costs a rung, never the box
            passed.append((rung, error))
    engine = wrap(reference.make(settings))
    pipeline = TextToImage.load(bundle, engine, decode_budget=settings.decode_budget)
    return _told(Climbed(pipeline, engine), reference, passed, settings)


def _only(rung: Rung, bundle: Bundle, settings: Settings, wrap: Wrap) -> Climbed:
    try:
        return _told(_stand(rung, bundle, settings, wrap), rung, [], settings)
    except Exception as error:
        raise NoEngine(f"{ASKED_FOR}{_sentence(rung, error)}") from None


def _told(found: Climbed, taken: Rung, passed: list[Passed], settings: Settings) -> Climbed:
    """With all that is to be said of the rungs that were passed over."""
    return replace(
        found,
        passed_over=[_sentence(rung, error) for rung, error in passed],
        passport=_passport_state([error for _, error in passed], taken),
        lacking=_lacking(passed, found.pipeline.bundle, settings),
    )


def _lacking(passed: list[Passed], bundle: Bundle, settings: Settings) -> Wanted | None:
    """The plans of the best rung that was passed over for want of them."""
    for rung, error in passed:
        if rung.plans and isinstance(error, (NoPlans, BadPassport)):
            made_of = {**attempts.made_of(rung.libraries, bundle, settings.data_dir), "plans": None}
            return Wanted(target=cast(Target, rung.name), bundle=bundle.folder, made_of=made_of)
    return None


def _stand(rung: Rung, bundle: Bundle, settings: Settings, wrap: Wrap) -> Climbed:
    """Load and judge, unless processes died of that. A pipeline that does not pass gives its memory back."""
    made_of = attempts.made_of(rung.libraries, bundle, settings.data_dir)
    with attempts.attempted(settings.attempts_dir, rung.name, made_of):
        made = rung.make(settings)
        engine = wrap(made)
        pipeline = TextToImage.load(bundle, engine, decode_budget=settings.decode_budget)
        try:
            precision = blueprint.coarser(engine.precision, blueprint.coarsest(bundle))
            result = golden.examine(pipeline, _golden_latents(bundle, settings, wrap), precision)
            if isinstance(made, KeepsPassports):
                made.judged(bundle, result)
            if not result.passed:
                raise EngineFault(f"It does not draw the golden pictures: {result.reason}")
        except BaseException:
            pipeline.close()
            raise
    return Climbed(pipeline, engine)


def _passport_state(errors: list[Exception], taken: Rung) -> PassportState:
    """What became of the plans: a rung that was passed over for its plans is told before one that stands."""
    if any(isinstance(error, BadPassport) for error in errors):
        return "mismatch"
    if any(isinstance(error, NoPlans) for error in errors):
        return "missing"
    return "ok" if taken.plans else "none"


def _golden_latents(bundle: Bundle, settings: Settings, wrap: Wrap) -> list[NDArray[np.float32]]:
    """The reference's, drawn at most once for a bundle: they are kept in the data dir."""
    return golden.reference(
        bundle, settings.golden_dir, lambda: TextToImage.load(bundle, wrap(OnnxRuntime(settings.threads)))
    )


def _sentence(rung: Rung, error: Exception) -> str:
    said = str(error) if isinstance(error, EnsuenoError) else f"{type(error).__name__}: {_first_line(error)}"
    return f"{rung.name}: {said}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["it gave no reason"])[0][:200]


@contextmanager
def _library(name: str, remedy: str) -> Iterator[None]:
    """Around the import of an engine: a missing library costs a rung. A broken one raises `OSError`."""
    try:
        yield
    except (ImportError, OSError) as error:
        raise NoEngine(libraries.of_import(name, error, remedy)) from None


def _openvino(settings: Settings) -> Engine:
    with _library("OpenVINO", _INSTALL % "openvino"):
        from appliance.engines.openvino import OpenVino
    return OpenVino(settings.threads)


def _openvino_bf16(settings: Settings) -> Engine:
    with _library("OpenVINO", _INSTALL % "openvino"):
        from appliance.engines.openvino import OpenVino
    return OpenVino(settings.threads, "bfloat16")


def _onnxruntime(settings: Settings) -> Engine:
    return OnnxRuntime(settings.threads)


def _tensorrt(settings: Settings) -> Engine:
    remedy = "install JetPack's python3-libnvinfer, make .venv with --system-site-packages, add '.[tensorrt]'"
    with _library("TensorRT", remedy):
        return tensorrt.open_engine("tensorrt", settings.data_dir)


def _tensorrt_rtx(settings: Settings) -> Engine:
    with _library("TensorRT for RTX", _INSTALL % "tensorrt,tensorrt-rtx"):
        return tensorrt.open_engine("tensorrt-rtx", settings.data_dir)


_CUDA = ("pycuda", "cuda-bindings")
RUNGS = (
    Rung("tensorrt", _tensorrt, ("tensorrt", *_CUDA), plans=True),
    Rung("tensorrt-rtx", _tensorrt_rtx, ("tensorrt_rtx_cu13", *_CUDA), plans=True),
    Rung("openvino-bf16", _openvino_bf16, ("openvino",)),
    Rung("openvino", _openvino, ("openvino",)),
    Rung("onnxruntime", _onnxruntime),
)
"""The best first; the last is the reference and must always be to be had."""
