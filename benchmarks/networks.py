"""The two heavy networks alone, by everyone, turn by turn: a UNet call of one picture with guidance, and a decode.

For models whose whole picture takes minutes on a CPU, and whose loop not every peer has: SD 1.5 at its true size is
2 x 4 x 64 x 64 latents for the UNet and 1 x 4 x 64 x 64 for the decoder. Each player is a process of its own:
`python -m benchmarks.networks NAME BUNDLE THREADS`.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.bench import machine
from appliance.engines import Engine
from appliance.errors import BadInput
from appliance.pipeline import families, vae_decoder
from appliance.pipeline.manifest import Bundle
from benchmarks import gemm
from benchmarks.peers import Seat, versions
from benchmarks.player import seconds
from engine_build.source_folder import as_diffusers

Feeds = dict[str, NDArray[Any]]
Call = Callable[[Feeds], NDArray[Any]]
Loaded = Mapping[str, Call]

NETWORKS = (families.UNET, vae_decoder.NAME)
_OUTPUTS = {families.UNET: families.NOISE_PRED, vae_decoder.NAME: vae_decoder.IMAGE}


def feeds(bundle: Bundle, network: str) -> Feeds:
    """Fixed random feeds: two rows for the UNet, one for the decoder, at the bundle's default size."""
    width, height = (side // bundle.manifest.latents.scale for side in bundle.manifest.sizes[0])
    rows = 2 if network == families.UNET else 1
    rng = np.random.default_rng(0)
    made = {}
    for tensor in bundle.manifest.components[network].inputs:
        free = iter((rows, height, width))
        shape = [size if isinstance(size, int) else next(free) for size in tensor.shape]
        values = np.full(shape, 500.0) if len(shape) == 1 else rng.standard_normal(shape)
        made[tensor.name] = values.astype(tensor.dtype)
    return made


def ours(engine: Engine, bundle: Bundle) -> Loaded:
    """Through the engine protocol."""

    def loaded(name: str) -> Call:
        network = engine.load(bundle, name)
        return lambda fed: network.run(fed)[_OUTPUTS[name]]

    return {name: loaded(name) for name in NETWORKS}


def ours_onnxruntime(bundle: Bundle, threads: int) -> Loaded:
    """Ensueño's engine that is everywhere."""
    from appliance.engines.onnxruntime import OnnxRuntime

    return ours(OnnxRuntime(threads), bundle)


def ours_openvino(bundle: Bundle, threads: int) -> Loaded:
    """Ensueño's engine for x86."""
    from appliance.engines.openvino import OpenVino

    return ours(OpenVino(threads), bundle)


def plain_onnxruntime(bundle: Bundle, threads: int) -> Loaded:
    """A session with default options."""
    import onnxruntime as ort

    def loaded(name: str) -> Call:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(str(bundle.folder / bundle.manifest.components[name].file), options)
        return lambda fed: np.asarray(session.run([_OUTPUTS[name]], fed)[0])

    return {name: loaded(name) for name in NETWORKS}


def torch_eager(bundle: Bundle, threads: int) -> Loaded:
    """diffusers' modules as they are loaded."""
    return _torch(bundle, threads, lambda module: module)


def torch_compiled(bundle: Bundle, threads: int) -> Loaded:
    """The same by torch.compile, which needs a C++ compiler."""
    import torch

    return _torch(bundle, threads, torch.compile)


def _torch(bundle: Bundle, threads: int, made: Callable[[Any], Any]) -> Loaded:
    import diffusers
    import torch

    torch.set_num_threads(threads)

    def module(source: Path, folder: str) -> Any:
        kind = json.loads((source / folder / "config.json").read_text())["_class_name"]
        found = getattr(diffusers, kind).from_pretrained(
            source / folder, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        return found.eval()

    with as_diffusers(bundle.folder) as source:
        unet, vae = module(source, "unet"), module(source, "vae")
    call_unet = made(lambda *given: unet(*given, return_dict=False)[0])
    call_vae = made(lambda latents: vae.decode(latents, return_dict=False)[0])

    def run_unet(fed: Feeds) -> NDArray[Any]:
        names = (families.SAMPLE, families.TIMESTEP, families.ENCODER_HIDDEN_STATES)
        with torch.inference_mode():
            return np.asarray(call_unet(*(torch.from_numpy(fed[name]) for name in names)))

    def run_vae(fed: Feeds) -> NDArray[Any]:
        with torch.inference_mode():
            return np.asarray(call_vae(torch.from_numpy(fed[vae_decoder.LATENTS])))

    return {families.UNET: run_unet, vae_decoder.NAME: run_vae}


PLAYERS: dict[str, Callable[[Bundle, int], Loaded]] = {
    "ensueno": ours_onnxruntime,
    "ensueno-openvino": ours_openvino,
    "onnxruntime": plain_onnxruntime,
    "diffusers": torch_eager,
    "diffusers-compiled": torch_compiled,
}


def compare(folder: Path, threads: int, repeat: int, only: Sequence[str]) -> dict[str, Any]:
    """Seconds of each network by each player, and how far its numbers are from the first's. Raises `BadInput`."""
    unknown = set(only) - PLAYERS.keys()
    if unknown:
        raise BadInput(f"There is no player {sorted(unknown)[0][:40]}: choose among {', '.join(PLAYERS)}.")
    if repeat < 1:
        raise BadInput(f"repeat must be 1 or more, not {repeat}.")
    bundle = Bundle.open(folder)
    where = machine.describe(threads) | {"libraries": versions(), "gemm_gflops": gemm.peak(threads)}
    names = [name for name in PLAYERS if not only or name in only]
    with ExitStack() as room:
        seats = [room.enter_context(Seat(name, folder.resolve(), threads, "benchmarks.networks")) for name in names]
        playing = [seat for seat in seats if seat.refused is None]
        runs: dict[str, dict[str, list[float]]] = {network: {} for network in NETWORKS}
        for turn in range(repeat):
            for seat in [*playing[turn % len(playing) :], *playing[: turn % len(playing)]]:
                for network in NETWORKS:
                    runs[network].setdefault(seat.name, []).append(seat.order("time", network=network)["seconds"])
        sums = {
            seat.name: {network: seat.order("sum", network=network)["sum"] for network in NETWORKS} for seat in playing
        }
    return {
        "machine": where,
        "bundle": bundle.manifest.title,
        "repeat": repeat,
        "networks": {network: _rows(found, sums, network) for network, found in runs.items()},
        "refused": {seat.name: seat.refused for seat in seats if seat.refused is not None},
    }


def _rows(runs: dict[str, list[float]], sums: dict[str, dict[str, float]], network: str) -> dict[str, Any]:
    """`sum_of_squares` tells whether everyone computed the same."""
    return {
        name: {
            "median": statistics.median(found),
            "low": min(found),
            "high": max(found),
            "runs": found,
            "sum_of_squares": sums[name][network],
        }
        for name, found in runs.items()
    }


def as_text(told: dict[str, Any]) -> str:
    """Tables for people."""
    where = told["machine"]
    lines = [
        f"{told['bundle']} on {where['line']}, {where['date']}; float32 GEMM peak {where['gemm_gflops']:.0f} GFLOP/s",
    ]
    for network, rows in told["networks"].items():
        lines += ["", f"{network:<24} median      spread                 sum of squares"]
        lines += [
            f"  {name:<20} {row['median']:8.3f} s  {row['low']:8.3f} … {row['high']:<8.3f} {row['sum_of_squares']:.5g}"
            for name, row in rows.items()
        ]
    return "\n".join([*lines, *(f"  {name} did not play: {why}" for name, why in told["refused"].items())])


class Player:
    """Does what it is told. An order is `{"do": method, "network": name}`."""

    def __init__(self, bundle: Bundle, loaded: Loaded) -> None:
        self._loaded = loaded
        self._feeds = {network: feeds(bundle, network) for network in NETWORKS}
        for network in NETWORKS:
            self._call(network)

    def time(self, network: str) -> dict[str, float]:
        """Seconds of one call."""
        return {"seconds": seconds(lambda: self._call(network))}

    def sum(self, network: str) -> dict[str, float]:
        """The sum of the squares of its answer."""
        return {"sum": float(np.square(self._call(network), dtype=np.float64).sum())}

    def _call(self, network: str) -> NDArray[Any]:
        return self._loaded[network](self._feeds[network])


def main() -> int:
    """Load, say so, play until standard input ends. A player that cannot says why."""
    name, folder, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        bundle = Bundle.open(Path(folder))
        player = Player(bundle, PLAYERS[name](bundle, int(threads)))
    except Exception as error:  # whatever another library raises is the finding
        line = (str(error).strip().splitlines() or [""])[0]
        print(json.dumps({"refused": f"{type(error).__name__}: {line}"[:400]}), file=answers, flush=True)
        return 1
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(player, order.pop("do"))(**order)), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
