"""`ensueno generate`: one wish, drawn in this process, and its pictures as files."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.config import Settings
from appliance.errors import BadInput
from appliance.ids import slug
from appliance.job import picture_seed
from appliance.picture import MAX_BYTES
from appliance.pipeline.manifest import Bundle
from appliance.request import GenerationRequest

Told = Callable[[int, int], None]
_NAME = 40  # letters of a prompt in a file's name


@dataclass(frozen=True)
class Drawn:
    """What came of it: PNG files in memory, and what to tell."""

    pngs: list[bytes]
    seeds: list[int]
    engine: str
    truncated: str | None


def pictures(paths: Mapping[str, Path | None]) -> dict[str, Any]:
    """The files to start from, as fields of a request. Raises `BadInput`."""
    found = {}
    for name, path in paths.items():
        if path is None:
            continue
        try:
            with path.open("rb") as file:
                found[name] = file.read(MAX_BYTES + 1)  # one more is enough to be refused
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror}): name another --{name}.") from None
    return found


def here(fields: dict[str, Any], settings: Settings, told: Told) -> Drawn:
    """Draw in this process on the best engine; `told(step, steps)` hears of it. Raises `BadInput`, `BadBundle`."""
    bundle = Bundle.open(settings.bundle)
    request = GenerationRequest.of(fields, bundle.manifest.offer())
    bundle.verify()
    from appliance import png  # numpy and the engine only when there is something to draw
    from appliance.draw import draw_together
    from appliance.ladder import ladder

    request = request.with_seed()
    pipeline = ladder.climb(bundle, settings).pipeline
    try:
        pictures = draw_together(pipeline, request, told)
        pngs = [
            png.encode_with_request(pixels, request, index, engine=pipeline.engine_name, bundle=bundle.manifest.title)
            for index, pixels in enumerate(pictures)
        ]
        return Drawn(pngs, seeds(request.model_dump()), pipeline.engine_name, pipeline.truncated(request))
    finally:
        pipeline.close()


def check_out(out: Path | None) -> None:
    """Before anything is drawn. Raises `BadInput` where no picture could be written."""
    if out is None:
        return
    if not out.name or out.is_dir():
        raise BadInput(f"{out} is a folder: name a file in it as --out.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise BadInput(f"{out} cannot be written (there is no such folder, or not for you): choose another --out.")


def save(drawn: Drawn, prompt: str, out: Path | None) -> list[Path]:
    """Write the files; with several, a number is added before the suffix. Raises `BadInput`."""
    paths = []
    for index, (png, seed) in enumerate(zip(drawn.pngs, drawn.seeds, strict=True)):
        if out is None:
            path = _unused(Path(f"{slug(prompt, _NAME) or 'picture'}-{seed}.png"))
        else:
            path = out.with_stem(f"{out.stem}-{index + 1}") if len(drawn.pngs) > 1 else out
        try:
            path.write_bytes(png)
        except OSError as error:
            raise BadInput(f"{path} cannot be written ({error.strerror}): choose another --out.") from None
        paths.append(path.resolve())
    return paths


def report(drawn: Drawn, prompt: str, out: Path | None, as_json: bool) -> None:
    """Write the files and say on standard output where they are."""
    paths = save(drawn, prompt, out)
    if as_json:
        pictures = [{"path": str(path), "seed": seed} for path, seed in zip(paths, drawn.seeds, strict=True)]
        told = {"images": pictures, "engine": drawn.engine, "truncated": drawn.truncated}
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return
    if drawn.truncated:
        print(f"The model read only the beginning; truncated: {drawn.truncated}", file=sys.stderr)
    print(*paths, sep="\n")


def _unused(path: Path) -> Path:
    """The path, with a number when a picture of that name is there already: none is ever overwritten."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([path], numbered) if not candidate.exists())


def seeds(request: Mapping[str, Any]) -> list[int]:
    """The seed of each picture of a request."""
    return [picture_seed(request["seed"], index) for index in range(request["count"])]


def progress_bar(step: int, steps: int) -> None:
    """A line on a terminal's standard error that overwrites itself."""
    if sys.stderr.isatty() and steps:
        end = "\n" if step == steps else ""
        print(f"\r{'█' * (24 * step // steps):<24} {step}/{steps}", end=end, file=sys.stderr, flush=True)
