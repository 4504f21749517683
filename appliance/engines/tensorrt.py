"""TensorRT, and TensorRT for RTX by the same calls: plans that were built on this machine, and by nobody else.

Only calls that work unchanged from TensorRT 10.3 to 11 are used. Every network puts its work on one stream, by tensor
names and addresses. Each (batch, size) has an execution context of its own, as a captured graph must; all of them share
one arena for their activations, since only one network runs at a time.

Nothing of NVIDIA's is imported before `open_engine`.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.engines import Network, Precision, Tensors, check_tensors
from appliance.engines.cpu import available_memory
from appliance.engines.device import Buffer, Capture, Device, Graph
from appliance.errors import BadPassport, EngineFault, NoEngine, NoPlans, NoRoom
from appliance.pipeline.manifest import Bundle, Component, Tensor
from appliance.plans import blueprint, gpu, passport
from appliance.plans.passport import GoldenResult, Passport, Target

if TYPE_CHECKING:
    import tensorrt as trt

Shapes = tuple[tuple[int, ...], ...]
Say = Callable[[str], None]

_MODULES: dict[Target, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64"}


def open_engine(target: Target, data_dir: Path) -> TensorRt:
    """The engine on this machine's GPU. Raises `NoEngine`, `ImportError`, `OSError` where something is missing."""
    here = gpu.gpu()
    if here is None:
        raise NoEngine("No NVIDIA GPU is seen here: run it on a Jetson or a PC with one and its driver.")
    library = importlib.import_module(_MODULES[target])
    if not hasattr(library, "Runtime"):
        raise ImportError(f"{_MODULES[target]} holds no more than its type stubs")
    from appliance.engines.cuda import CudaDevice

    return TensorRt(target, library, here, data_dir, CudaDevice, _capture())


def _capture() -> Capture | None:
    """How graphs are captured, or None without cuda-bindings: networks are then enqueued call by call."""
    try:
        from appliance.engines.cuda_graph import capture
    except (ImportError, OSError):
        return None
    return capture


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


class TensorRt:
    """The engine. `library` is NVIDIA's module; the device is opened at the first load and closed after the last."""

    precision: Precision = "float16"  # a float32 network is multiplied in TF32, which has no finer mantissa

    def __init__(
        self,
        target: Target,
        library: Any,
        here: gpu.Gpu,
        data_dir: Path,
        open_device: Callable[[], Device],
        capture: Capture | None,
        say: Say = _say,
    ) -> None:
        self.name: str = target
        self._target = target
        self._library = library
        self._here = here
        self._data_dir = data_dir
        self._open_device = open_device
        self._capture = capture
        self._say = say
        self._hall: _Hall | None = None

    def load(self, bundle: Bundle, component: str) -> Network:
        """Check the passport, read the plan, report its memory, hold it to the manifest.

        Raises `NoEngine` when there are no plans, `BadPassport` when they must not be opened, `BadBundle`,
        `EngineFault` when TensorRT does not take the plan or memory is short.
        """
        folder, found = self._passport(bundle)
        if self._hall is None:
            self._hall = _Hall(self._library, self._open_device(), self._capture)
        hall = self._hall
        hall.networks += 1
        try:
            try:
                engine = hall.deserialize(folder, component, found)
            except RefusedPlan:
                self._forget(folder, component, found)
                raise
            self._report(component, engine, hall.device)
            declared = bundle.manifest.components[component]
            _check(f"{bundle.folder.name}: the %s of {component}", declared, engine)
            if not blueprint.shrinks(component):
                hall.arena.reserve(engine.device_memory_size_v2)
            return _Network(component, engine, hall, self._leave)
        except BaseException:
            self._leave()
            raise

    def judged(self, bundle: Bundle, result: GoldenResult) -> None:
        """Write what the golden pictures came to into the passport of the plans; a full disk costs only that line."""
        folder, found = self._passport(bundle)
        if found.golden != result:
            with contextlib.suppress(NoRoom):
                sealed = found.model_copy(update={"golden": result})
                passport.write_passport(folder, sealed, passport.read_key(self._data_dir))

    def _forget(self, folder: Path, component: str, found: Passport) -> None:
        """The next build makes that plan again, and no other."""
        left = {name: plan for name, plan in found.plans.items() if name != component}
        with contextlib.suppress(NoRoom):
            sealed = found.model_copy(update={"plans": left, "golden": None})
            passport.write_passport(folder, sealed, passport.read_key(self._data_dir))

    def _passport(self, bundle: Bundle) -> tuple[Path, Passport]:
        version, here = str(self._library.__version__), self._here
        inputs = blueprint.inputs_for(bundle, self._target, version, here.sm, here.name)
        folder = passport.engines_folder(self._data_dir) / inputs.id
        if not (folder / passport.PASSPORT).is_file():
            raise NoPlans(
                f"There are no plans of {inputs.bundle} for {self._here.name} and {self._target} {inputs.version}: "
                f"build them with `python -m engine_build build {bundle.folder} --target {self._target}`."
            )
        found = passport.read_passport(folder, passport.read_key(self._data_dir))
        passport.check_inputs(found, inputs)
        return folder, found

    def _report(self, component: str, engine: trt.ICudaEngine, device: Device) -> None:
        """Say what activations take at most, before there is a context. Raises `EngineFault` when it cannot be had."""
        needed = engine.device_memory_size_v2
        free = available_memory() if gpu.l4t() is not None else device.free_bytes
        self._say(f"{self.name}: {component} takes {needed >> 20} MiB for activations; {free >> 20} MiB are free.")
        if needed > free and not blueprint.shrinks(component):
            raise EngineFault(
                f"{component} needs {needed >> 20} MiB for activations and {free >> 20} MiB are free: stop other "
                "programs, or build for smaller sizes and batches."
            )

    def _leave(self) -> None:
        """One network fewer; the last one closes the device."""
        if self._hall is None:
            return
        self._hall.networks -= 1
        if self._hall.networks == 0:
            self._hall.close()
            self._hall = None


class RefusedPlan(BadPassport):
    """TensorRT does not take it, although it is what was built."""


class _Hall:
    """What all networks of an engine share: runtime, device, stream, arena."""

    def __init__(self, library: Any, device: Device, capture: Capture | None) -> None:
        self.library = library
        self.device = device
        self.capture = capture
        self.arena = _Arena(device)
        self.networks = 0
        self.logger = _logger(library)
        self._runtime: trt.Runtime | None = library.Runtime(self.logger)

    def deserialize(self, folder: Path, component: str, found: Passport) -> trt.ICudaEngine:
        """The plan, mapped and not read: on a Jetson a copy in memory would be a second one in the same DRAM."""
        if self._runtime is None:
            raise EngineFault("The engine was closed: load the bundle again.")
        with (
            passport.opened_plan(folder, component, found) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as plan,
        ):
            engine: trt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(plan)
        if engine is None and "memory" in self.reason().lower():
            raise EngineFault(f"There is no memory for the plan of {component} ({self.reason()}): stop other programs.")
        if engine is None:
            raise RefusedPlan(
                f"The plan of {component} is refused by TensorRT ({self.reason()}): build the plans again."
            )
        return engine

    def reason(self) -> str:
        """What TensorRT said last, in one line."""
        return str(self.logger.last)[:200].rstrip(" .:") or "it gave no reason"

    def close(self) -> None:
        self.arena.free()
        self._runtime = None
        self.device.close()


class _Arena:
    """One block of GPU memory for everyone's activations, as large as the largest needs; had at the first run."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._needed = 0
        self._block: Buffer | None = None

    def reserve(self, size: int) -> None:
        """Somebody will need so many bytes."""
        self._needed = max(self._needed, size)

    def block(self) -> Buffer:
        """The block; another one than before when somebody has reserved more since."""
        if self._block is None or self._block.size < self._needed:
            self.free()
            self._block = self._device.allocate(self._needed)
        return self._block

    def free(self) -> None:
        if self._block is not None:
            self._device.synchronize()
            self._block.free()
            self._block = None


@dataclass
class _Prepared:
    """One (batch, size) of a network: its context, its buffers by tensor name, its graph once it has one."""

    context: trt.IExecutionContext
    arena: Buffer
    host: dict[str, NDArray[Any]] = field(default_factory=dict)
    device: dict[str, Buffer] = field(default_factory=dict)
    graph: Graph | None = None
    warm: bool = False
    plain: bool = False

    def close(self) -> None:
        if self.graph is not None:
            self.graph.close()
        for buffer in self.device.values():
            buffer.free()


class _Network:
    def __init__(self, component: str, engine: trt.ICudaEngine, hall: _Hall, leave: Callable[[], None]) -> None:
        self._component = component
        self._engine: trt.ICudaEngine | None = engine
        self._hall = hall
        self._leave = leave
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._inputs = [name for name in names if _is_input(engine, name)]
        self._outputs = [name for name in names if name not in self._inputs]
        self._prepared: dict[Shapes, _Prepared] = {}

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Outputs by tensor name, copies. Raises `EngineFault` with TensorRT's or CUDA's reason."""
        if self._engine is None:
            raise EngineFault(f"{self._component} was closed: load the bundle again.")
        if sorted(feeds) != sorted(self._inputs):
            raise EngineFault(f"{self._component} takes {', '.join(self._inputs)}, not {', '.join(sorted(feeds))}.")
        device = self._hall.device
        prepared = self._prepare(self._engine, feeds)
        for name in self._inputs:
            if feeds[name].dtype != prepared.host[name].dtype:
                raise EngineFault(f"{self._component}: {name} is {prepared.host[name].dtype}, not {feeds[name].dtype}.")
            np.copyto(prepared.host[name], feeds[name])
            device.upload(prepared.device[name], prepared.host[name])
        self._execute(prepared)
        for name in self._outputs:
            device.download(prepared.host[name], prepared.device[name])
        device.synchronize()
        return {name: prepared.host[name].copy() for name in self._outputs}

    def close(self) -> None:
        if self._engine is None:
            return
        self._forget(list(self._prepared))
        self._engine = None
        self._leave()

    def _prepare(self, engine: trt.ICudaEngine, feeds: Tensors) -> _Prepared:
        """What these shapes were given when they were first met, as long as the arena is still the same."""
        shapes = tuple(feeds[name].shape for name in self._inputs)
        known = self._prepared.get(shapes)
        if known is not None and known.arena is self._hall.arena.block():
            return known
        made = self._made(engine, feeds)
        self._forget([key for key, prepared in self._prepared.items() if prepared.arena is not made.arena])
        self._prepared[shapes] = made
        return made

    def _made(self, engine: trt.ICudaEngine, feeds: Tensors) -> _Prepared:
        """Its memory for activations is what these very shapes take, which may move the arena."""
        strategy: trt.ExecutionContextAllocationStrategy = (
            self._hall.library.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        context: trt.IExecutionContext | None = engine.create_execution_context(strategy)
        if context is None:
            raise EngineFault(f"TensorRT could not prepare {self._component} ({self._hall.reason()}).")
        for name in self._inputs:
            if not context.set_input_shape(name, feeds[name].shape):
                raise EngineFault(self._out_of_range(engine, name, feeds[name].shape))
        self._hall.arena.reserve(context.update_device_memory_size_for_shapes())
        arena = self._hall.arena.block()
        context.set_device_memory(arena.address, arena.size)
        made = _Prepared(context, arena)
        try:
            for name in (*self._inputs, *self._outputs):
                self._give_memory(engine, made, name)
        except BaseException:
            made.close()
            raise
        return made

    def _give_memory(self, engine: trt.ICudaEngine, made: _Prepared, name: str) -> None:
        host = self._hall.device.pinned(_shape(made.context.get_tensor_shape(name)), np.dtype(_dtype(engine, name)))
        made.host[name] = host
        made.device[name] = self._hall.device.allocate(host.nbytes)
        if not made.context.set_tensor_address(name, made.device[name].address):
            raise EngineFault(f"TensorRT takes no address for {name} of {self._component} ({self._hall.reason()}).")

    def _execute(self, prepared: _Prepared) -> None:
        """The first run of a shape is enqueued, which lets TensorRT settle; the second is captured, then repeated."""

        def enqueue() -> None:
            if not prepared.context.execute_async_v3(self._hall.device.stream):
                raise EngineFault(f"TensorRT could not run {self._component} ({self._hall.reason()}).")

        if prepared.graph is None and prepared.warm and not prepared.plain and self._hall.capture is not None:
            prepared.graph = self._hall.capture(self._hall.device.stream, enqueue)
            prepared.plain = prepared.graph is None
        if prepared.graph is not None:
            prepared.graph.launch()
        else:
            enqueue()
            prepared.warm = True

    def _out_of_range(self, engine: trt.ICudaEngine, name: str, shape: tuple[int, ...]) -> str:
        least, _, most = (_shape(limit) for limit in engine.get_tensor_profile_shape(name, 0))
        return (
            f"{self._component} was built for {name} of {_spell(least)} to {_spell(most)}, not {_spell(shape)}: "
            "ask for another size, or build the plans again with the bundle's sizes."
        )

    def _forget(self, shapes: Sequence[Shapes]) -> None:
        self._hall.device.synchronize()
        for key in shapes:
            self._prepared.pop(key).close()


def _logger(library: Any) -> Any:
    """Remembers TensorRT's last error, for the one sentence that says it."""

    class Logger(library.ILogger):  # type: ignore[misc, no-any-unimported]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.Severity.INTERNAL_ERROR, library.ILogger.Severity.ERROR):
                self.last = " ".join(message.split())

    return Logger()


def _check(where: str, declared: Component, engine: trt.ICudaEngine) -> None:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if _is_input(engine, name)]
    check_tensors(where % "inputs", declared.inputs, [_tensor(engine, name) for name in inputs])
    check_tensors(where % "outputs", declared.outputs, [_tensor(engine, name) for name in names if name not in inputs])


def _tensor(engine: trt.ICudaEngine, name: str) -> Tensor:
    shape = [size if size >= 0 else f"d{axis}" for axis, size in enumerate(_shape(engine.get_tensor_shape(name)))]
    return Tensor.model_validate({"name": name, "dtype": _dtype(engine, name), "shape": shape})


def _shape(dims: trt.Dims) -> tuple[int, ...]:
    return tuple(int(dims[axis]) for axis in range(len(dims)))


def _dtype(engine: trt.ICudaEngine, name: str) -> str:
    """Raises `EngineFault` for what no bundle has."""
    spelled = engine.get_tensor_dtype(name).name
    if spelled not in _DTYPES:
        raise EngineFault(f"The plan's tensor {name} is {spelled}, which no bundle has: build the plans again.")
    return _DTYPES[spelled]


def _is_input(engine: trt.ICudaEngine, name: str) -> bool:
    return engine.get_tensor_mode(name).name == "INPUT"


def _spell(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
