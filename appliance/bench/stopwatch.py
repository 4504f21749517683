"""`python -m appliance.bench.stopwatch FILE [options of serve]`: the engine process with a stopwatch on its networks.

It is the real engine but for one thing: each call of a network adds a line of json to FILE. So the networks' own time
is known for the very picture whose whole time a client measured, however busy the machine is.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from appliance import config
from appliance.bench import memory
from appliance.engines import Engine, Network, Precision, Tensors
from appliance.pipeline import vae_decoder
from appliance.pipeline.manifest import Bundle
from appliance.worker.__main__ import main
from appliance.worker.process import run


class Call(BaseModel):
    """One call of a network, or its loading: CLOCK_MONOTONIC seconds, and by how many MiB the process grew."""

    model_config = ConfigDict(frozen=True)

    network: str
    loading: bool
    began: float
    ended: float
    grown: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class StopwatchEngine:
    """An engine whose networks tell a file of every call."""

    def __init__(self, engine: Engine, file: IO[str]) -> None:
        self.name = engine.name
        self._engine = engine
        self._teller = Teller(file)

    @property
    def precision(self) -> Precision:
        return self._engine.precision

    def load(self, bundle: Bundle, component: str) -> Network:
        """Load as the engine does, and tell how long it took."""
        before, began = self._teller.resident(), time.monotonic()
        network = self._engine.load(bundle, component)
        self._teller.tell(component, True, began, before)
        return StopwatchNetwork(network, component, self._teller)


class StopwatchNetwork:
    """A network that tells of every call."""

    def __init__(self, network: Network, name: str, teller: Teller) -> None:
        self._network = network
        self._name = name
        self._teller = teller

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run as the network does, and tell how long it took."""
        before, began = self._teller.resident(), time.monotonic()
        outputs = self._network.run(feeds)
        self._teller.tell(self._name, False, began, before)
        return outputs

    def close(self) -> None:
        self._network.close()


class Teller:
    """Writes the lines, those of a picture when it is decoded; what telling costs counts as the service's own."""

    def __init__(self, file: IO[str]) -> None:
        self.resident = memory.Resident()
        self._file = file
        self._calls: list[dict[str, Any]] = []

    def tell(self, network: str, loading: bool, began: float, before: float) -> None:
        """A call that ends now."""
        ended = time.monotonic()
        grown = self.resident() - before
        self._calls.append({"network": network, "loading": loading, "began": began, "ended": ended, "grown": grown})
        if network == vae_decoder.NAME:
            self._file.writelines(json.dumps(call) + "\n" for call in self._calls)
            self._file.flush()
            self._calls.clear()


def heard(path: Path) -> list[Call]:
    """All calls so far."""
    return [Call.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def watched(settings: config.Settings) -> None:
    """The engine's whole life, as `python -m appliance.worker`, telling the file named first on the command line."""
    with Path(sys.argv[1]).open("a", encoding="utf-8") as told:
        run(settings, lambda engine: StopwatchEngine(engine, told))


if __name__ == "__main__":
    sys.exit(main("python -m appliance.bench.stopwatch", sys.argv[2:], watched))
