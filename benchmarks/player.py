"""`python -m benchmarks.player PEER BUNDLE THREADS`: one peer in a process of its own, doing what it is told by lines.

A process each, because thread pools that live together in one process slow each other down; only one plays at a time.
Orders come on standard input and answers go to standard output, one line of json each.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from appliance.pipeline.caption import caption
from appliance.pipeline.denoise import Noise
from appliance.pipeline.manifest import Bundle
from appliance.request import GenerationRequest

Array = NDArray[np.float32]

OURS = "ensueno"


@dataclass(frozen=True)
class Entry:
    """A peer: its name for people, the module whose `load(bundle, threads, **options)` gives a `Peer`."""

    words: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    same_precision: bool = True


PEERS = {
    OURS: Entry("Ensueño", "benchmarks.ours"),
    "ensueno-openvino": Entry("Ensueño on OpenVINO", "benchmarks.ours", {"engine": "openvino"}),
    "onnxruntime": Entry("plain ONNX Runtime", "benchmarks.plain_onnxruntime"),
    "diffusers": Entry("diffusers (torch eager)", "benchmarks.torch_diffusers"),
    "diffusers-compiled": Entry("diffusers (torch.compile)", "benchmarks.torch_diffusers", {"compiled": True}),
    "openvino": Entry("OpenVINO", "benchmarks.openvino_runtime"),
    "openvino-fixed": Entry("OpenVINO, shapes fixed", "benchmarks.openvino_runtime", {"fixed": True}),
    "openvino-genai": Entry("OpenVINO GenAI", "benchmarks.openvino_genai"),
    "openvino-bf16": Entry(
        "OpenVINO, shapes fixed, bfloat16", "benchmarks.openvino_runtime", {"fixed": True, "precision": "bf16"}, False
    ),
}


# the same script with other settings of ONNX Runtime: why the engine has the settings it has
_SCRIPT = "benchmarks.plain_onnxruntime"
OPTIONS = {
    OURS: PEERS[OURS],
    "defaults": Entry("ONNX Runtime's defaults", _SCRIPT),
    "spin-20": Entry("threads spin for 20 µs", _SCRIPT, {"settings": {"session.intra_op.spin_duration_us": "20"}}),
    "spin-100": Entry("threads spin for 100 µs", _SCRIPT, {"settings": {"session.intra_op.spin_duration_us": "100"}}),
    "no-spin": Entry("threads never spin", _SCRIPT, {"settings": {"session.intra_op.allow_spinning": "0"}}),
    "one-thread": Entry("one thread", _SCRIPT, {"one_thread": True}),
    "fixed": Entry("height, width and batch fixed", _SCRIPT, {"fixed": True}),
    "no-arena": Entry("no arena", _SCRIPT, {"switches": {"enable_cpu_mem_arena": False}}),
    "no-pattern": Entry("no memory pattern", _SCRIPT, {"switches": {"enable_mem_pattern": False}}),
    "no-arena-nor-pattern": Entry(
        "neither of them", _SCRIPT, {"switches": {"enable_cpu_mem_arena": False, "enable_mem_pattern": False}}
    ),
}
ENTRIES = PEERS | OPTIONS


@dataclass(frozen=True)
class Wish:
    """One picture to draw, the same for every peer. `noise` is (channels, h, w), the first latents."""

    prompt: str
    read: str  # the prompt in its locale's template, as the model reads it
    steps: int
    guidance: float
    width: int
    height: int
    noise: Array


class Peer(Protocol):
    """Something that draws. Nothing is remembered from one picture to the next."""

    def unet(self, sample: Array, timestep: Array, embeds: Array) -> Array:
        """One call, the rows of one picture; raises `NotImplementedError` where the peer has no such door."""
        ...

    def picture(self, wish: Wish) -> tuple[Array | None, NDArray[np.uint8]]:
        """Final latents (channels, h, w), None where the peer does not show them, and pixels (H, W, 3)."""
        ...


def wish_for(bundle: Bundle, seed: int) -> Wish:
    """A picture at the bundle's defaults; another seed is another sentence too."""
    manifest = bundle.manifest
    request = GenerationRequest.of({"prompt": f"{manifest.example} {seed}", "seed": seed}, manifest.offer())
    scale = manifest.latents.scale
    shape = (manifest.latents.channels, request.height // scale, request.width // scale)
    noise = Noise(seed).at(0, shape)
    read = caption(request.prompt, request.locale, manifest).text
    return Wish(request.prompt, read, request.steps, request.guidance, request.width, request.height, noise)


def unet_feeds(bundle: Bundle) -> tuple[Array, Array, Array]:
    """Fixed random feeds of one picture with guidance: two rows."""
    shape = wish_for(bundle, 0).noise.shape
    length, width = bundle.manifest.components["unet"].input("encoder_hidden_states").shape[1:]
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((2, *shape), dtype=np.float32)
    embeds = rng.standard_normal((2, int(length), int(width)), dtype=np.float32)
    return sample, np.full(2, 500.0, dtype=np.float32), embeds


class Player:
    """Plays the orders for one peer. An order is `{"do": method, …}`."""

    def __init__(self, peer: Peer, bundle: Bundle) -> None:
        self._peer = peer
        self._bundle = bundle
        self._feeds = unet_feeds(bundle)

    def unet(self, calls: int) -> dict[str, Any]:
        """Seconds of each of `calls` UNet calls, after one that warms up; None without such a door."""
        try:
            self._peer.unet(*self._feeds)
        except NotImplementedError:
            return {"seconds": None}
        return {"seconds": [seconds(lambda: self._peer.unet(*self._feeds)) for _ in range(calls)]}

    def picture(self, seed: int) -> dict[str, Any]:
        """Seconds of one whole picture, words to pixels."""
        wish = wish_for(self._bundle, seed)
        return {"seconds": seconds(lambda: self._peer.picture(wish))}

    def memory(self) -> dict[str, Any]:
        """The most memory that this process held so far, in bytes (VmHWM, proc(5)); None where Linux does not say."""
        try:
            peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        except OSError:
            peak = None
        return {"peak": int(peak[1]) << 10 if peak else None}

    def show(self, seed: int, folder: str) -> dict[str, Any]:
        """Write latents.npy, pixels.npy and noise_pred.npy, as far as the peer shows them."""
        latents, pixels = self._peer.picture(wish_for(self._bundle, seed))
        kept: dict[str, NDArray[Any] | None] = {"latents": latents, "pixels": pixels}
        try:
            kept["noise_pred"] = self._peer.unet(*self._feeds)
        except NotImplementedError:
            kept["noise_pred"] = None
        for name, array in kept.items():
            if array is not None:
                np.save(Path(folder) / f"{name}.npy", array, allow_pickle=False)
        return {"kept": [name for name, array in kept.items() if array is not None]}


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> int:
    """Load the peer, say so, then play until standard input ends. A peer that cannot says why."""
    name, folder, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print; the answers must stay clean

    def answer(told: dict[str, Any]) -> None:
        print(json.dumps(told), file=answers, flush=True)

    try:
        bundle = Bundle.open(Path(folder))
        entry = ENTRIES[name]
        peer = importlib.import_module(entry.module).load(bundle, int(threads), **entry.options)
        player = Player(peer, bundle)
        player.picture(0)
    except Exception as error:  # whatever another library raises is the finding
        answer({"refused": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[:400]})
        return 1
    answer({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        answer(getattr(player, order.pop("do"))(**order))
    return 0


if __name__ == "__main__":
    sys.exit(main())
