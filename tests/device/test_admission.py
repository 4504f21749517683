"""A job that the box cannot bear is refused at the door, with what would fit; what was accepted stays accepted."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest

from appliance import config
from appliance.device.admission import Admission, need
from appliance.device.footprint import Footprint
from appliance.device.health import LOW_MEMORY
from appliance.device.sensors import Memory
from appliance.errors import Unavailable
from appliance.job import JobState
from appliance.journal import Journal
from appliance.progress import Board, Pulse, board_folder, boottime
from appliance.request import GenerationRequest, Offer
from appliance.worker.process import EngineProcess

OFFER = Offer(
    sizes=((128, 128), (256, 256), (512, 512)),
    steps=(1, 50),
    default_steps=20,
    guidance=(0.0, 12.0),
    default_guidance=4.0,
    schedulers=("euler",),
)
PULSE = Pulse(
    pid=os.getpid(), session="s", engine="e", bundle="b", beat=0.0, seconds_per_picture=20.0, bytes_per_pixel=1024.0,
    proven_pixels=128 * 128,
)  # fmt: skip


class Door:
    """A journal behind an admission; `spare` is the memory that can be spared, in MiB."""

    def __init__(self, folder: Path) -> None:
        self.spare = 0
        self.board = Board(folder / "board")
        self.beat()
        admission = Admission(self.board, OFFER, lambda: Memory(8 << 30, LOW_MEMORY + (self.spare << 20)))
        self.journal = Journal(folder / "journal.db", reserve=0, admit=admission)

    def beat(self, **changes: Any) -> None:
        self.board.beat(PULSE.model_copy(update={"beat": boottime(), **changes}))

    def ask(self, size: str, count: int = 1, job_id: str | None = None) -> str:
        request = GenerationRequest.of({"prompt": "a", "size": size, "count": count, "seed": 1}, OFFER)
        return self.journal.submit(request, job_id=job_id)[0].id

    def refusal(self, size: str, count: int = 1) -> Unavailable:
        with pytest.raises(Unavailable) as refused:
            self.ask(size, count)
        return refused.value


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_a_job_needs_memory_for_the_pixels_beyond_the_largest_that_was_drawn() -> None:
    def of(size: str, count: int) -> tuple[int, float | None]:
        found = need(GenerationRequest.of({"prompt": "a", "size": size, "count": count}, OFFER), PULSE)
        return found.memory >> 20, found.seconds

    assert of("128x128", 1) == (0, 20.0)
    assert of("128x128", 2) == (16, 40.0)
    assert of("512x512", 1) == (240, 20.0)


def test_what_was_drawn_before_is_taken_even_when_memory_is_short(door: Door) -> None:
    door.ask("128x128")


def test_a_job_too_large_for_now_is_refused_with_what_fits_and_when_to_ask_again(door: Door) -> None:
    door.spare = 60
    refusal = door.refusal("512x512")
    assert "240 MiB" in str(refusal)
    assert "choose one picture of 256x256" in str(refusal)
    assert (refusal.status, refusal.retry_after) == (503, 20.0)
    assert sum(door.journal.counts().values()) == 0  # nothing was half accepted


def test_fewer_pictures_are_offered_before_a_smaller_one(door: Door) -> None:
    door.spare = 40
    assert "choose 3 pictures of 128x128" in str(door.refusal("128x128", 4))


def test_when_nothing_fits_it_says_what_else_to_do(door: Door) -> None:
    door.beat(proven_pixels=0)
    assert "close other programs" in str(door.refusal("512x512"))


def test_asking_again_for_an_accepted_job_is_never_refused(door: Door) -> None:
    door.spare = 1000
    job = door.ask("512x512", job_id="mine")
    door.spare = 0
    assert door.ask("512x512", job_id="mine") == job


def test_an_engine_that_finished_a_larger_job_can_do_it_again(door: Door) -> None:
    door.beat(proven_pixels=512 * 512)
    door.ask("512x512")


def test_without_an_engine_nothing_is_known_and_the_job_waits_for_one(door: Door) -> None:
    door.beat(beat=boottime() - 1000)
    job = door.ask("512x512", 4)
    assert door.journal.job(job).state is JobState.QUEUED


def test_a_real_engine_measures_what_a_pixel_takes(tmp_path: Path, tiny_folder: Path) -> None:
    settings = config.load({"data_dir": tmp_path / "data", "bundle": tiny_folder, "threads": 1, "reserve_mib": 0})
    EngineProcess(settings)
    pulse = Board(board_folder(settings.data_dir)).pulse()
    assert pulse is not None
    assert pulse.proven_pixels == 64 * 64
    assert pulse.bytes_per_pixel is not None
    assert 0 <= pulse.bytes_per_pixel < 1e6


def test_growth_is_seen(tmp_path: Path) -> None:
    gc.collect()  # what earlier tests left would be given back meanwhile and hide the growth
    footprint = Footprint()
    with footprint.growth():
        block = b"x" * (64 << 20)
    assert 40 << 20 <= footprint.bytes < 200 << 20
    assert len(block) == 64 << 20


def test_on_a_jetson_the_whole_boxs_memory_is_watched(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3")
    (tmp_path / "proc").mkdir()
    meminfo = tmp_path / "proc/meminfo"
    meminfo.write_text("MemTotal: 8000 kB\nMemAvailable: 6000 kB\n")
    footprint = Footprint(tmp_path)
    with footprint.growth():
        meminfo.write_text("MemTotal: 8000 kB\nMemAvailable: 5000 kB\n")
    assert footprint.bytes == 1000 << 10
