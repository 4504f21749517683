"""A box without an engine: a real journal, image store and board, and an engine's side driven by hand.

What it does not prove: that a real engine rings, publishes previews and ends jobs as `Hand` does here. The end-to-end
tests hold that.
"""

from __future__ import annotations

import base64
import math
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from appliance.images import ImageStore
from appliance.journal import Claimed, Journal
from appliance.pipeline.manifest import Manifest
from appliance.progress import Board, Progress, Pulse, boottime
from appliance.request import GenerationRequest
from appliance.web import Limits, create_app

ENGINE = "onnxruntime"


def manifest() -> Manifest:
    """A small bundle's manifest, as `engine_build` would write it."""
    digest = {"sha256": "0" * 64, "bytes": 1}
    return Manifest.model_validate(
        {
            "name": "little-dream",
            "version": "1.2",
            "licence": "Apache-2.0",
            "components": {},
            "tokenizer": {
                "file": "tokenizer/tokenizer.json", "max_length": 77, "bos_token_id": 1, "eos_token_id": 2,
                "pad_token_id": 0,
            },
            "scheduler": {"prediction_type": "epsilon", "allowed": ["euler", "dpm++"]},
            "latents": {"channels": 4, "scale": 8},
            "sizes": [[128, 128], [192, 128], [128, 192]],
            "limits": {"steps": [1, 50], "guidance": [0.0, 12.0], "count": 4},
            "defaults": {"steps": 20, "guidance": 4.0, "locale": "en"},
            "locales": ["en", "en-GB", "es", "es-419"],
            "examples": {
                "en": ["two people on the mountain", "a red apple under the moon", "a cat in the rain"],
                "es": ["dos personas en la montaña", "un coche rojo bajo la luna", "un gato bajo la lluvia"],
                "es-419": ["dos personas en la montaña", "un carro rojo bajo la luna"],
            },
            "files": {"tokenizer/tokenizer.json": digest},
        }
    )  # fmt: skip


def starting_manifest(steps: int = 20) -> Manifest:
    """The same bundle with its VAE's encoder: it can start from a picture. `steps` are its usual ones."""
    file = "onnx/vae_encoder.onnx"
    fields = manifest().model_dump()
    fields["defaults"]["steps"] = steps
    fields["components"] = {"vae_encoder": {"file": file, "inputs": [], "outputs": []}}
    fields["files"][file] = {"sha256": "0" * 64, "bytes": 1}
    return Manifest.model_validate(fields)


def png(width: int = 16, height: int = 16, seed: int = 1, haze: float = 0.0) -> bytes:
    """A dusk over hills, without a picture library; `haze` from 0 (clear) to 1 (nothing yet)."""
    return _dusk(width, height, seed % 7, haze)


@cache
def _dusk(width: int, height: int, seed: int, haze: float) -> bytes:
    hue = seed / 7
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            rows += bytes(_pixel(x / width, y / height, hue, haze, x * 7919 + y * 104729 + seed))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(rows), 1)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _pixel(x: float, y: float, hue: float, haze: float, noise: int) -> tuple[int, int, int]:
    sky = (0.95 - 0.5 * (1 - y) + 0.1 * hue, 0.55 - 0.1 * (1 - y) + 0.2 * hue, 0.5 + 0.25 * (1 - y))
    ridge = 0.62 + 0.1 * math.sin(5 * x + 6 * hue) + 0.04 * math.sin(17 * x)
    near = 0.8 + 0.06 * math.sin(4 * x + 9 * hue)
    moon = (x - 0.3 - 0.4 * hue) ** 2 + (y - 0.3) ** 2 < 0.011
    colour = (0.2, 0.14, 0.3) if y > near else (0.42, 0.28, 0.45) if y > ridge else (1.0, 0.95, 0.85) if moon else sky
    grain = (noise * 2654435761 % 997) / 997
    r, g, b = (min(1.0, max(0.0, part * (1 - haze) + grain * haze)) for part in colour)
    return int(r * 255), int(g * 255), int(b * 255)


def preview(seed: int, haze: float, width: int = 16, height: int = 16) -> str:
    """A preview as the engine publishes it."""
    return base64.b64encode(png(width, height, seed, haze)).decode()


@dataclass
class Hand:
    """The engine's side of the journal, turned by hand."""

    journal: Journal
    store: ImageStore
    board: Board
    session: str = ""
    pictures: int = 0
    blurs: bool = False  # says so of every picture

    def wake(self, *, pictures: int = 0, seconds_per_picture: float | None = 2.0) -> None:
        """Open a session and give a pulse."""
        self.session = self.journal.open_session()
        self.pictures = pictures
        self.beat(seconds_per_picture)

    def beat(self, seconds_per_picture: float | None = 2.0, beat: float | None = None) -> None:
        self.board.beat(
            Pulse(
                pid=os.getpid(), session=self.session, engine=ENGINE, bundle="little-dream 1.2",
                pictures=self.pictures, beat=boottime() if beat is None else beat,
                seconds_per_picture=seconds_per_picture,
            )
        )  # fmt: skip

    def claim(self) -> Claimed:
        claimed = self.journal.claim(self.session)
        assert claimed is not None
        return claimed

    def show(self, claimed: Claimed, step: int, steps: int = 20, left: float | None = None) -> None:
        """Publish a step with previews."""
        request = GenerationRequest.model_validate_json(claimed.request)
        scale = max(1, max(request.width, request.height) // 32)
        previews = [
            preview((request.seed or 0) + index, 1 - step / steps, request.width // scale, request.height // scale)
            for index in range(request.count)
        ]
        self.board.show(claimed.id, Progress(step=step, steps=steps, seconds_left=left, previews=previews))

    def finish(self, claimed: Claimed) -> None:
        """Store the pictures and end the job, as the real engine does: file first, then the end, then the bell."""
        request = GenerationRequest.model_validate_json(claimed.request)
        for index, image_id in enumerate(claimed.images):
            self.store.save(image_id, png(request.width, request.height, (request.seed or 0) + index))
        self.journal.finish(self.session, claimed.id, engine=ENGINE, blurred=claimed.images if self.blurs else ())
        self.pictures += len(claimed.images)
        self.board.clear(claimed.id)

    def fail(self, claimed: Claimed, error: str) -> None:
        self.journal.fail(self.session, claimed.id, error)
        self.board.clear(claimed.id)

    def draw(self) -> Claimed:
        """Claim the next job and finish it at once."""
        claimed = self.claim()
        self.finish(claimed)
        return claimed


@dataclass
class Box:
    """Everything a test of the web needs."""

    app: Flask
    client: FlaskClient
    journal: Journal
    store: ImageStore
    board: Board
    engine: Hand
    limits: Limits = field(default_factory=Limits)


def make_box(
    folder: Path,
    limits: Limits | None = None,
    queue_limit: int = 100,
    bundle: Manifest | None = None,
    **more: Any,
) -> Box:
    """A box in a folder with that bundle, or the small one; its board lies in a path short enough for a socket."""
    limits = limits or Limits(heartbeat=0.2)
    journal = Journal(folder / "journal.db", queue_limit=queue_limit)
    store = ImageStore(folder / "images")
    board = Board(folder / "run")
    app = create_app(journal=journal, store=store, board=board, manifest=bundle or manifest(), limits=limits, **more)
    return Box(app, app.test_client(), journal, store, board, Hand(journal, store, board), limits)


class Painter:
    """A thread that plays the engine: draws what is queued, `pace` seconds a step, until told to stop.

    `hold` stops it between two steps, so that a test can look at a picture half made without racing it.
    """

    def __init__(self, engine: Hand, steps: int = 4, pace: float = 0.02) -> None:
        self.engine = engine
        self.steps = steps
        self.pace = pace
        self.gate = threading.Event()
        self.gate.set()
        self.idle = threading.Event()
        self.idle.set()
        self.stop_at: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="painter", daemon=True)

    def hold(self, at: int = 2) -> None:
        """Stop before the step `at` of the next picture, until `go`."""
        self.stop_at = at
        self.gate.clear()

    def rest(self) -> None:
        """Claim nothing until `go`."""
        self.hold(at=-1)

    def go(self) -> None:
        self.stop_at = None
        self.gate.set()

    def drained(self, seconds: float = 20.0) -> None:
        """Wait until no job is open."""
        last = time.monotonic() + seconds
        with self.engine.board.bell() as bell:
            while any(count for state, count in self.engine.journal.counts().items() if not state.ended):
                assert time.monotonic() < last, "a job did not end"
                bell.wait(0.2)

    @contextmanager
    def at_work(self) -> Iterator[Painter]:
        self.engine.wake(pictures=1)
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self.gate.set()
            self._thread.join(10)

    def _run(self) -> None:
        with self.engine.board.bell() as bell:
            while not self._stop.is_set():
                self.engine.beat()
                if self.stop_at == -1 or not self._turn():
                    bell.wait(0.05)

    def _turn(self) -> bool:
        claimed = self.engine.journal.claim(self.engine.session)
        if claimed is None:
            return False
        for step in range(self.steps):
            if self.stop_at is not None and step >= self.stop_at >= 0:
                self._held(claimed, step)
            if self._stop.is_set():
                return False
            if claimed.id in self.engine.journal.cancelled(self.engine.session):
                self.engine.journal.stop(self.engine.session, claimed.id)
                self.engine.board.clear(claimed.id)
                return True
            self.engine.show(claimed, step + 1, self.steps, (self.steps - step) * self.pace)
            self._stop.wait(self.pace)
        if "fail" in claimed.request:
            self.engine.fail(claimed, "This engine was told to fail: ask for something else.")
        else:
            self.engine.finish(claimed)
        return True

    def _held(self, claimed: Claimed, step: int) -> None:
        self.engine.show(claimed, step, self.steps, 3.0)
        while not self.gate.wait(0.1):
            self.engine.beat()
            if claimed.id in self.engine.journal.cancelled(self.engine.session):
                return
