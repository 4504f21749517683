"""Stand-ins for a GPU and for NVIDIA's library, strict about the rules that the real ones punish by wrong pictures.

The GPU's memory is host memory known by address; a "plan" is a word, and a network's numbers come from ONNX Runtime.
They prove the order of calls, who owns which memory, and what is freed. They prove nothing of CUDA, of TensorRT's own
checks, of speed, or that a real plan gives these numbers: `scripts/gpu-check` does, where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import EngineFault
from appliance.pipeline.manifest import Bundle, Component

ALIGNED = 256


class Memory:
    """A block on the fake GPU."""

    def __init__(self, device: FakeDevice, size: int) -> None:
        self.address = ALIGNED * next(device.addresses)
        self.size = size
        self.bytes = np.zeros(size, np.uint8)
        self._device = device
        device.memory[self.address] = self

    def free(self) -> None:
        assert not self._device.pending, "memory was freed while the stream was at work"
        del self._device.memory[self.address]  # a second time: KeyError


class FakeDevice:
    """One stream whose work happens at `synchronize`, as late as it may on a GPU."""

    stream = 77

    def __init__(self, free_bytes: int = 1 << 30) -> None:
        self.addresses = count(1)
        self.memory: dict[int, Memory] = {}
        self.pending: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self.free_bytes = free_bytes
        self.launches = self.captures = 0
        self.closed = False

    def allocate(self, size: int) -> Memory:
        return Memory(self, size)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def upload(self, target: Any, source: NDArray[Any]) -> None:
        assert self.recording is None
        self.pending.append(lambda: np.copyto(target.bytes, source.reshape(-1).view(np.uint8)))

    def download(self, target: NDArray[Any], source: Any) -> None:
        self.pending.append(lambda: np.copyto(target.reshape(-1).view(np.uint8), source.bytes))

    def put(self, work: Callable[[], None]) -> None:
        (self.pending if self.recording is None else self.recording).append(work)

    def synchronize(self) -> None:
        pending, self.pending = self.pending, []
        for work in pending:
            work()

    def close(self) -> None:
        assert not self.pending
        assert not self.memory, f"{len(self.memory)} blocks were never freed"
        self.closed = True

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        """What cuda-bindings does."""
        assert stream == self.stream
        self.recording = []
        try:
            work()
        except EngineFault:
            return None
        finally:
            recorded, self.recording = self.recording, None
        self.captures += 1
        return SimpleNamespace(launch=lambda: self._launch(recorded), close=lambda: None)

    def _launch(self, recorded: list[Callable[[], None]]) -> None:
        self.launches += 1
        self.pending += recorded


class Strategy(Enum):
    STATIC = 0
    USER_MANAGED = 2


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.arena: tuple[int, int] | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.places: dict[str, int] = {}

    def update_device_memory_size_for_shapes(self) -> int:
        """In this fake, activations grow with the rows of the first input: the largest shape takes all."""
        name, shape = next(iter(self.shapes.items()))
        _, _, most = self.engine.get_tensor_profile_shape(name, 0)
        return self.engine.device_memory_size_v2 * int(np.prod(shape)) // int(np.prod(most))

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self.update_device_memory_size_for_shapes()
        self.arena = (memory, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.get_tensor_profile_shape(name, 0)
        self.shapes[name] = shape
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes.get(name) or self.engine.answered(self.shapes)[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.places[name] = memory
        return memory in self.engine.device.memory

    def execute_async_v3(self, stream_handle: int) -> bool:
        """What runs later looks at the memory as it is then, as a GPU does."""
        assert stream_handle == self.engine.device.stream
        assert self.arena is not None, "no memory for activations"
        if self.engine.broken:
            self.engine.logger.log(FakeTensorRt.ILogger.Severity.ERROR, "[executor.cpp::run::1] Cask\n  error")
            return False
        arena, shapes, places = self.arena[0], dict(self.shapes), dict(self.places)
        self.engine.device.put(lambda: self.engine.execute(arena, shapes, places))
        return True


class FakeEngine:
    def __init__(self, bundle: Bundle, component: str, device: FakeDevice, logger: Any, arena: int) -> None:
        self.declared: Component = bundle.manifest.components[component]
        self.device = device
        self.logger = logger
        self.device_memory_size_v2 = arena
        self.broken = False
        self.contexts = 0
        self._network = OnnxRuntime(threads=1).load(bundle, component)
        self._tensors = {tensor.name: tensor for tensor in (*self.declared.inputs, *self.declared.outputs)}
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        given = name in {tensor.name for tensor in self.declared.inputs}
        return SimpleNamespace(name="INPUT" if given else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name={"float32": "FLOAT", "int32": "INT32"}[self._tensors[name].dtype])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self._tensors[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        shape = self.get_tensor_shape(name)
        return [tuple(bound if size < 0 else size for size in shape) for bound in (1, 2, 16)]

    def create_execution_context(self, strategy: Strategy) -> FakeContext:
        assert strategy is Strategy.USER_MANAGED
        self.contexts += 1
        return FakeContext(self)

    def answered(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        feeds = {name: np.zeros(shape, self._tensors[name].dtype) for name, shape in shapes.items()}
        return {name: values.shape for name, values in self._network.run(feeds).items()}

    def execute(self, arena: int, shapes: dict[str, tuple[int, ...]], places: dict[str, int]) -> None:
        memory = self.device.memory
        assert arena in memory, "the arena was freed under a network"
        memory[arena].bytes[:] = 0xFF  # activations of whoever ran before are gone
        feeds = {
            name: memory[places[name]].bytes.view(self._tensors[name].dtype).reshape(shape)
            for name, shape in shapes.items()
        }
        for name, values in self._network.run(feeds).items():
            memory[places[name]].bytes[:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)


class FakeTensorRt:
    """The module. `arenas` says how many bytes of activations each component's plan needs."""

    __version__ = "10.3.0"
    ExecutionContextAllocationStrategy = Strategy

    class ILogger:
        class Severity(Enum):
            INTERNAL_ERROR = 0
            ERROR = 1
            WARNING = 2

    def __init__(self, bundle: Bundle, device: FakeDevice, arenas: dict[str, int]) -> None:
        self.engines: dict[str, FakeEngine] = {}
        self.refuses = ""  # the reason, where it does
        self._bundle = bundle
        self._device = device
        self._arenas = arenas

    def Runtime(self, logger: Any) -> Any:  # noqa: N802  NVIDIA's name
        def deserialize(plan: Any) -> FakeEngine | None:
            if self.refuses:
                logger.log(self.ILogger.Severity.ERROR, self.refuses)
                return None
            component = bytes(plan).decode().removeprefix("plan of ")
            arena = self._arenas[component]
            self.engines[component] = FakeEngine(self._bundle, component, self._device, logger, arena)
            return self.engines[component]

        return SimpleNamespace(deserialize_cuda_engine=deserialize)
