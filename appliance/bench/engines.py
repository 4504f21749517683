"""Every engine that can be had here, on the same bundle, turn by turn, so that a slow minute meets them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

from appliance.bench.figures import Figure, timed
from appliance.config import Settings
from appliance.errors import EnsuenoError
from appliance.ladder import ladder
from appliance.pipeline.denoise import feeds
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.request import GenerationRequest

GROUP = "engines, beside each other"


def measure(bundle: Bundle, settings: Settings, repeat: int) -> tuple[list[Figure], list[str]]:
    """A UNet call, a decode and a whole picture on each engine; and one sentence for each that cannot be used."""
    with _loaded(bundle, settings) as (pipelines, passed_over):
        works = {
            (name, what, unit): work for name, pipeline in pipelines.items() for what, unit, work in _works(pipeline)
        }
        runs: dict[tuple[str, str, str], list[float]] = {key: [] for key in works}
        for _ in range(repeat):
            for key, work in works.items():
                runs[key] += timed(work, 1, key[2])
    return [Figure(GROUP, f"{name}: {what}", unit, found) for (name, what, unit), found in runs.items()], passed_over


@contextmanager
def _loaded(bundle: Bundle, settings: Settings) -> Iterator[tuple[dict[str, TextToImage], list[str]]]:
    pipelines: dict[str, TextToImage] = {}
    passed_over: list[str] = []
    with ExitStack() as opened:
        for rung in reversed(ladder.RUNGS):
            try:
                climbed = ladder.climb(bundle, settings.model_copy(update={"engine": rung.name}))
            except EnsuenoError as error:
                passed_over.append(str(error).removeprefix(ladder.ASKED_FOR))
                continue
            pipelines[rung.name] = opened.enter_context(closing(climbed.pipeline))
        yield pipelines, passed_over


def _works(pipeline: TextToImage) -> list[tuple[str, str, Callable[[], object]]]:
    """Name, unit, work."""
    manifest = pipeline.bundle.manifest
    request = GenerationRequest.of({"prompt": manifest.example, "seed": 1}, manifest.offer())
    start = pipeline.start(request)
    fed = feeds(start)

    def picture() -> None:
        *_, state = pipeline.denoise(request)
        pipeline.decode(state.latents)

    return [
        ("UNet call, one picture", "ms", lambda: pipeline.predict([fed])),
        ("decode", "ms", lambda: pipeline.decode(start.latents)),
        ("one picture, its text met before", "s", picture),
    ]
