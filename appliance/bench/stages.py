"""Every stage from the words to the file, alone and in this process."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np

from appliance import png
from appliance.bench.figures import UNITS, Figure, Goal, timed
from appliance.config import Settings
from appliance.engines import Engine
from appliance.engines.cpu import cores
from appliance.ladder import ladder
from appliance.pipeline.caption import caption
from appliance.pipeline.denoise import DenoiseState, Feeds, advance, feeds
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_encoder import INPUT_IDS, NAME, TextEncoder, TextNetwork
from appliance.pipeline.text_to_image import TextToImage
from appliance.pipeline.tokenizer import Tokenizer
from appliance.request import GenerationRequest

GROUP = "stages, in this process"
PICTURE = Goal("≤", 3.0)
_MANY = 200  # calls in a run of what takes microseconds


@dataclass(frozen=True)
class Measured:
    """The stages' figures; `png_ms` is taken from the service's own cost, where it has a row of its own."""

    figures: list[Figure]
    engine: str
    png_ms: float


def threads(settings: Settings) -> int:
    """The engine's threads: as told, else every physical core."""
    return settings.threads or cores()


def measure(bundle: Bundle, settings: Settings, repeat: int) -> Measured:
    """Load the bundle here on the best engine and measure each stage at the bundle's defaults."""
    began = time.perf_counter()
    climbed = ladder.climb(bundle, settings)
    pipeline = climbed.pipeline
    loaded = time.perf_counter() - began
    request = GenerationRequest.of({"prompt": bundle.manifest.example, "seed": 1}, bundle.manifest.offer())
    start = pipeline.start(request)
    try:
        text = _text(bundle, climbed.engine, request, repeat)
        denoise = _denoise(pipeline, start, repeat)
        pixels, pngs = _pixels(pipeline, request, repeat)
        whole = _whole(pipeline, request, repeat)
    finally:
        pipeline.close()
    load = Figure(GROUP, "loading the bundle", "ms", [loaded * 1e3], note="once, golden pictures included")
    return Measured([load, *text, *denoise, *pixels, *whole], pipeline.engine_name, statistics.median(pngs))


def _text(bundle: Bundle, engine: Engine, request: GenerationRequest, repeat: int) -> list[Figure]:
    tokenizer = Tokenizer(bundle)
    component = bundle.manifest.components[NAME]
    network = engine.load(bundle, NAME)
    text = caption(request.prompt, request.locale, bundle.manifest).text
    ids = tokenizer(text).token_ids.astype(component.input(INPUT_IDS).dtype)
    encoder = TextEncoder([TextNetwork(tokenizer, network, component)])
    encoder.encode(text)
    try:
        return [
            Figure(GROUP, "tokenizer", "µs", timed(lambda: tokenizer(text), repeat, "µs", _MANY)),
            Figure(GROUP, "text encoder", "ms", timed(lambda: network.run({INPUT_IDS: ids}), repeat, "ms")),
            Figure(GROUP, "text met before", "µs", timed(lambda: encoder.encode(text), repeat, "µs", _MANY)),
        ]
    finally:
        network.close()


def _denoise(pipeline: TextToImage, start: DenoiseState, repeat: int) -> list[Figure]:
    """One step, and what it is made of, on the second step: there is a history, and more than one step follows."""
    fed = feeds(start)
    state = advance(start, pipeline.predict([fed])[0])
    if state.done:
        state = start
    noise_pred = pipeline.predict([feeds(state)])[0]
    limit = max(1, pipeline.bundle.manifest.limits.batch // start.rows)
    rows = f"{start.rows} rows" if start.rows > 1 else "1 row"
    return [
        Figure(
            GROUP, "arithmetic of a step", "µs",
            timed(lambda: (feeds(state), advance(state, noise_pred)), repeat, "µs", _MANY), note="feeds and advance",
        ),
        Figure(GROUP, f"UNet call, one picture ({rows})", "ms", timed(lambda: pipeline.predict([fed]), repeat, "ms")),
        Figure(
            GROUP, f"UNet call, {limit} pictures", "ms", timed(partial(_predict, pipeline, [fed] * limit), repeat, "ms")
        ),
        Figure(
            GROUP, "a step", "ms", timed(lambda: advance(state, pipeline.predict([feeds(state)])[0]), repeat, "ms")
        ),
    ]  # fmt: skip


def _predict(pipeline: TextToImage, batch: list[Feeds]) -> None:
    pipeline.predict(batch)


def _pixels(pipeline: TextToImage, request: GenerationRequest, repeat: int) -> tuple[list[Figure], list[float]]:
    """Decode, PNG and preview of a finished picture, and the PNG's runs."""
    *_, state = pipeline.denoise(request)
    pixels = pipeline.decode(state.latents)
    name = pipeline.bundle.manifest.title
    encode = partial(png.encode_with_request, pixels, request, 0, engine=pipeline.engine_name, bundle=name)
    pngs = timed(encode, repeat, "ms", calls=5)
    return [
        Figure(GROUP, "decode", "ms", timed(lambda: pipeline.decode(state.latents), repeat, "ms")),
        Figure(GROUP, "PNG", "ms", pngs),
        Figure(
            GROUP, "preview", "ms", timed(lambda: png.encode(pipeline.preview(state)), repeat, "ms", calls=5),
            note="the linear map and its PNG; at most five in a second",
        ),
    ], pngs  # fmt: skip


def _whole(pipeline: TextToImage, request: GenerationRequest, repeat: int) -> list[Figure]:
    """Whole pictures at the defaults, each of a sentence not met before; the median step of each."""
    numbers = count(1)
    steps: list[float] = []
    wholes: list[float] = []

    def draw() -> None:
        asked = request.model_copy(update={"prompt": f"{request.prompt} {next(numbers)}", "seed": next(numbers)})
        began = before = time.perf_counter()
        taken = []
        for drawn in pipeline.denoise(asked):
            state = drawn
            now = time.perf_counter()
            taken.append(now - before)
            before = now
        png.encode_with_request(pipeline.decode(state.latents), asked, 0, engine="bench", bundle="bench")
        wholes.append(time.perf_counter() - began)
        steps.append(float(np.median(taken[1:] or taken)) * UNITS["ms"])

    for _ in range(repeat + 1):
        draw()
    size = f"{request.width}x{request.height}, {request.steps} steps, guidance {request.guidance:g}"
    return [
        Figure(GROUP, "a step within a picture", "ms", steps[1:]),
        Figure(GROUP, f"one picture ({size})", "s", wholes[1:], PICTURE, "words to PNG, no queue"),
    ]
