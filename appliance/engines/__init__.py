"""Engines run the networks of a bundle; each vendor's library is imported in exactly one file here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from appliance.errors import BadBundle
from appliance.pipeline.manifest import Bundle, Tensor
from appliance.plans.passport import GoldenResult, Precision

Tensors = Mapping[str, NDArray[Any]]


class Network(Protocol):
    """One loaded network."""

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Outputs by tensor name, the caller's to keep. Raises `EngineFault` when the engine cannot."""
        ...

    def close(self) -> None:
        """Give its memory back. Calling `run` afterwards is a mistake."""
        ...


class Engine(Protocol):
    """Loads networks; `name` is what API, PNG and telemetry show.

    `precision` is its coarsest arithmetic, which says how near golden pictures must come to the reference.
    """

    name: str

    @property
    def precision(self) -> Precision: ...

    def load(self, bundle: Bundle, component: str) -> Network:
        """Load one component and hold it to the manifest. Raises `BadBundle`."""
        ...


@runtime_checkable
class KeepsPassports(Protocol):
    """An engine whose plans have passports."""

    def judged(self, bundle: Bundle, result: GoldenResult) -> None:
        """Keep in the passport what the golden pictures came to."""
        ...


def check_tensors(where: str, declared: Iterable[Tensor], found: Iterable[Tensor]) -> None:
    """Hold a network's tensors to the manifest's: names, dtypes, ranks and fixed dimensions.

    `where` begins the sentence ("emoji-128: the inputs of unet"). Raises `BadBundle` naming the first foreign tensor.
    """
    promised = {tensor.name: tensor for tensor in declared}
    actual = {tensor.name: tensor for tensor in found}
    for name in promised.keys() - actual.keys():
        raise BadBundle(f"{where} lack {name}, which the manifest names: export the bundle again.")
    for name, tensor in actual.items():
        if name not in promised:
            raise BadBundle(f"{where} hold {name}, which the manifest does not name: export the bundle again.")
        if tensor.dtype != promised[name].dtype or not _same_shape(tensor, promised[name]):
            raise BadBundle(
                f"{where}: {name} is {_spell(tensor)}, but the manifest says {_spell(promised[name])}: "
                "export the bundle again."
            )


def _same_shape(one: Tensor, other: Tensor) -> bool:
    """Named dimensions fit each other, whatever their names; numbers must be equal."""
    if len(one.shape) != len(other.shape):
        return False
    pairs = zip(one.shape, other.shape, strict=True)
    return all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def _spell(tensor: Tensor) -> str:
    return f"{tensor.dtype} [{', '.join(str(dimension) for dimension in tensor.shape)}]"


__all__ = ["Engine", "KeepsPassports", "Network", "Precision", "Tensors", "check_tensors"]
