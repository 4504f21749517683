"""One process that is a whole box: a door, an engine, people who ask; it tells each promise right after it was given.

`python -m torture.life DATA_DIR BUNDLE SEED JOBS MARKERS [careless]` writes what it tells into the file MARKERS, where
a recorder of system calls finds it between the writes and the fsyncs that it must hold.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

from appliance.engines.faulty import Faulty
from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.text_to_image import TextToImage
from appliance.progress import Board
from appliance.request import GenerationRequest
from appliance.worker.checkpoint import Checkpoints
from appliance.worker.drive import Driver
from appliance.worker.measure import Measure
from torture import careless
from torture.requesters import wish

Tell = Callable[[str], None]
ACCEPTED, ENDED = "ACK", "END"
_JOBS_OF_A_LIFE = 12


def live(data_dir: Path, bundle: Bundle, seed: int, jobs: int, tell: Tell, reckless: bool = False) -> None:
    """Jobs in several lives: after each the journal is closed, which folds its write-ahead log, and opened again."""
    pipeline = TextToImage.load(bundle, Faulty(data_dir / "orders", seconds=0), threads=1)
    for first in range(0, jobs, _JOBS_OF_A_LIFE):
        _Life(data_dir, pipeline, tell, reckless).spend(seed, range(first, min(jobs, first + _JOBS_OF_A_LIFE)))


def driver_of(data_dir: Path, pipeline: TextToImage, journal: Journal) -> Driver:
    """An engine's driver over a data dir, with a session of its own."""
    return Driver(
        journal,
        journal.open_session(),
        ImageStore(data_dir / "images"),
        Board(data_dir.parent / "board"),
        Checkpoints(data_dir / "checkpoints"),
        pipeline,
        offer=pipeline.bundle.manifest.offer(),
        bundle=pipeline.bundle.manifest.title,
        batch_limit=pipeline.bundle.manifest.limits.batch,
        measure=Measure(pipeline.engine_name),
    )


class _Life:
    def __init__(self, data_dir: Path, pipeline: TextToImage, tell: Tell, reckless: bool) -> None:
        self._tell = tell
        self._offer = pipeline.bundle.manifest.offer()
        self._door = Journal(data_dir / "journal.db", reserve=0)
        self._hand = Journal(data_dir / "journal.db", reserve=0)
        if reckless:
            careless.sync_nothing(self._door, self._hand)
        self._open: set[str] = set()
        self._driver = driver_of(data_dir, pipeline, self._hand)

    def spend(self, seed: int, numbers: range) -> None:
        """Ask, draw a little, ask again; then draw until nobody waits."""
        chance = random.Random(f"{seed} life {numbers.start}")
        for number in numbers:
            asked = wish(seed, number)
            job_id = asked.pop("id")
            self._door.submit(GenerationRequest.of(asked, self._offer), job_id=job_id)
            self._tell(f"{ACCEPTED} {job_id}")
            self._open.add(job_id)
            if chance.random() < 0.1:
                self._door.cancel(job_id)
            for _ in range(chance.randint(0, 4)):
                self._turn()
        while self._open:
            self._turn()
        self._driver.stop()
        self._door.close()
        self._hand.close()

    def _turn(self) -> None:
        self._driver.turn()
        for job_id in sorted(self._open):
            state = self._door.job(job_id).state
            if state.ended:
                self._tell(f"{ENDED} {job_id} {state.value}")
                self._open.remove(job_id)


def main(arguments: list[str]) -> None:
    """As the recorder starts it."""
    data_dir, bundle, seed, jobs, markers = arguments[:5]
    file = os.open(markers, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    live(
        Path(data_dir),
        Bundle.open(Path(bundle)),
        int(seed),
        int(jobs),
        lambda line: _write(file, line),
        reckless="careless" in arguments[5:],
    )


def _write(file: int, line: str) -> None:
    os.write(file, f"{line}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
