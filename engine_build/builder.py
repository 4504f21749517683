"""One network through NVIDIA's parser and builder: an ONNX file becomes a plan.

Only names that mean the same in TensorRT 10.3 to 11 and in TensorRT for RTX are used here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.errors import BadBundle
from appliance.plans.passport import Profile
from engine_build import remedies
from engine_build.build_progress import BuildProgress
from engine_build.targets import Target


class Stopped(KeyboardInterrupt):
    """The build was asked to stop."""

    def __init__(self) -> None:
        super().__init__("Stopped: start the build again, it goes on where it was.")


def build(
    target: Target,
    component: str,
    onnx: Path,
    profile: Profile,
    timings: bytes,
    progress: BuildProgress,
    stopping: Callable[[], bool],
) -> tuple[memoryview, bytes]:
    """→ the plan, and the timing cache to keep. Raises `BadBundle` with TensorRT's reason, `Stopped`.

    Precision is the graph's own: the network is strongly typed.
    """
    trt = target.trt
    logger = _logger(trt)
    builder = trt.Builder(logger)
    # The flag's number is 1 in TensorRT 10.3 and 0 in 11: always by its name.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        said = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise BadBundle(remedies.of_build(component, [*said, *logger.said]))
    config = builder.create_builder_config()
    target.aim(config)
    monitor = _monitor(trt, progress, stopping)
    config.progress_monitor = monitor
    if target.keeps_timings:
        _set_timings(config, timings)
    if config.add_optimization_profile(_profile(builder, profile)) < 0:
        raise BadBundle(remedies.of_build(component, logger.said))
    plan = builder.build_serialized_network(network, config)
    if stopping():
        raise Stopped
    if plan is None:
        raise BadBundle(remedies.of_build(component, logger.said))
    kept = config.get_timing_cache() if target.keeps_timings else None
    return memoryview(plan), b"" if kept is None else bytes(kept.serialize())


def _profile(builder: Any, ranges: Profile) -> Any:
    profile = builder.create_optimization_profile()
    for name, shapes in ranges.items():
        profile.set_shape(name, shapes.min, shapes.opt, shapes.max)
    return profile


def _set_timings(config: Any, timings: bytes) -> None:
    """A cache of another TensorRT or GPU is refused by TensorRT; an empty one then takes its place."""
    cache = config.create_timing_cache(timings)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _logger(trt: Any) -> Any:
    """Keeps what TensorRT says of errors, for the one sentence that the user gets."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.said.append(message)

    return Logger()


def _monitor(trt: Any, progress: BuildProgress, stopping: Callable[[], bool]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.phase_start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step_complete(phase_name, step)
            return not stopping()

        def phase_finish(self, phase_name: str) -> None:
            progress.phase_finish(phase_name)

    return Monitor()
