"""`ensueno generate`: one wish, here in this process or on a running box, and its pictures as files."""

from __future__ import annotations

import json
import re
import sys
import time
import unicodedata
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from appliance.errors import BadInput, EnsuenoError, NotFound, Unavailable
from appliance.job import picture_seed
from appliance.pipeline.manifest import Bundle
from appliance.request import GenerationRequest

_TIMEOUT = 30.0
_POLL = 0.2
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Drawn:
    """What came of it: PNG files in memory, and what to tell."""

    pngs: list[bytes]
    seeds: list[int]
    engine: str
    truncated: str | None


def here(fields: dict[str, Any], folder: Path, threads: int | None, told: Told) -> Drawn:
    """Draw in this process. `told(step, steps)` hears of progress. Raises `BadInput`, `BadBundle`."""
    bundle = Bundle.open(folder)
    request = GenerationRequest.of(fields, bundle.manifest.offer())
    bundle.verify()
    from appliance import png  # numpy and the engine only when there is something to draw
    from appliance.draw import draw_together
    from appliance.pipeline.text_to_image import TextToImage

    request = request.with_seed()
    pipeline = TextToImage.load(bundle, threads=threads)
    try:
        pictures = draw_together(pipeline, request, told)
        name = f"{bundle.manifest.name} {bundle.manifest.version}"
        pngs = [
            png.encode_with_request(pixels, request, index, engine=pipeline.engine_name, bundle=name)
            for index, pixels in enumerate(pictures)
        ]
        return Drawn(pngs, _seeds(request.model_dump()), pipeline.engine_name, pipeline.truncated(request))
    finally:
        pipeline.close()


def on_server(fields: dict[str, Any], url: str) -> Drawn:
    """Ask a running box and wait for the job's end. Raises what the box answered."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadInput("The server must look like http://box.local:8080.")
    base = url.rstrip("/")
    job = json.loads(_call(f"{base}/v1/jobs", fields))
    while job["state"] in ("queued", "running"):
        time.sleep(_POLL)
        job = json.loads(_call(f"{base}/v1/jobs/{job['id']}"))
    if job["state"] != "finished":
        raise EnsuenoError(job["error"] or f"The job was {job['state']}.")
    pngs = [_call(f"{base}/v1/images/{image}.png") for image in job["images"]]
    return Drawn(pngs, _seeds(job["request"]), job["engine"], job.get("truncated"))


def save(drawn: Drawn, prompt: str, out: Path | None) -> list[Path]:
    """Write the files; with several, a number is added before the suffix. Raises `BadInput`."""
    paths = []
    for index, (png, seed) in enumerate(zip(drawn.pngs, drawn.seeds, strict=True)):
        path = out or Path(f"{slug(prompt)}-{seed}.png")
        if out is not None and len(drawn.pngs) > 1:
            path = out.with_stem(f"{out.stem}-{index + 1}")
        try:
            path.write_bytes(png)
        except OSError as error:
            raise BadInput(f"{path} cannot be written ({error.strerror}): choose another --out.") from None
        paths.append(path.resolve())
    return paths


def slug(prompt: str) -> str:
    """A file name from a prompt: 'Una niña!' → 'una-nina'."""
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "picture"


def _seeds(request: dict[str, Any]) -> list[int]:
    return [picture_seed(request["seed"], index) for index in range(request["count"])]


def _call(url: str, body: dict[str, Any] | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise _refusal(error) from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"{url} does not answer ({error}): is `ensueno serve` running there?") from None


def _refusal(error: urllib.error.HTTPError) -> EnsuenoError:
    """The box's own sentence, as the error class that gives the right exit status."""
    try:
        detail = str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"The box answered {error.code}."
    kind = {400: BadInput, 413: BadInput, 404: NotFound}.get(error.code, Unavailable)
    return kind(detail)


def progress_bar(step: int, steps: int) -> None:
    """A line on a terminal's standard error that overwrites itself."""
    if sys.stderr.isatty() and steps:
        end = "\n" if step == steps else ""
        print(f"\r{'█' * (24 * step // steps):<24} {step}/{steps}", end=end, file=sys.stderr, flush=True)
