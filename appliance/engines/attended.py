"""An engine that gives a sign of life after each call, so that a long start is not taken for a stuck one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from appliance.engines import Engine, Network, Precision, Tensors
from appliance.pipeline.manifest import Bundle


class AttendedEngine:
    """The engine, and `alive()` after each network's loading and each of its calls."""

    def __init__(self, engine: Engine, alive: Callable[[], None]) -> None:
        self.name = engine.name
        self._engine = engine
        self._alive = alive

    @property
    def precision(self) -> Precision:
        return self._engine.precision

    def load(self, bundle: Bundle, component: str) -> Network:
        """Load as the engine does."""
        network = self._engine.load(bundle, component)
        self._alive()
        return _AttendedNetwork(network, self._alive)


class _AttendedNetwork:
    def __init__(self, network: Network, alive: Callable[[], None]) -> None:
        self._network = network
        self._alive = alive

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run as the network does."""
        outputs = self._network.run(feeds)
        self._alive()
        return outputs

    def close(self) -> None:
        self._network.close()
