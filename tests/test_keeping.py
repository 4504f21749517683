"""What is too old or too much goes, oldest first; favourites stay; files of nobody are swept, and no others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.ballast import NAME, Ballast
from appliance.errors import NoRoom, NotFound
from appliance.images import ImageStore
from appliance.journal import Journal
from appliance.keeping import DAY, LOOK_EVERY, SWEEP_EVERY, Keeper, Rules
from appliance.request import GenerationRequest, Offer

OFFER = Offer(
    sizes=((64, 64),), steps=(1, 9), default_steps=4, guidance=(0, 9), default_guidance=3, schedulers=("ddim",)
)
SIZE = 1000  # bytes of each picture here


@dataclass
class Home:
    """A box's journal and pictures, and the time that it is."""

    folder: Path
    now: float = 1000.0
    wall: float = 1e9
    boot: str = "one"

    def __post_init__(self) -> None:
        self.store = ImageStore(self.folder / "images")
        self.start("one")

    def start(self, boot: str) -> None:
        self.journal = Journal(
            self.folder / "journal.db", reserve=0, clock=lambda: self.wall, uptime=lambda: self.now, boot=boot
        )

    def draw(self, count: int = 1) -> list[str]:
        request = GenerationRequest.of({"prompt": "a red apple", "count": count}, OFFER)
        job, _ = self.journal.submit(request)
        session = self.journal.open_session()
        claimed = self.journal.claim(session)
        assert claimed is not None
        for image in claimed.images:
            self.store.save(image, bytes(SIZE))
        self.journal.finish(session, job.id, engine="fake")
        return list(claimed.images)

    def keeper(self, most_bytes: int | None = None, most_days: float | None = None) -> Keeper:
        return Keeper(
            self.journal,
            self.store,
            Ballast(self.folder, size=4096),
            Rules(most_bytes, most_days),
            clock=lambda: self.now,
        )

    def shown(self) -> set[str]:
        return {image.id for image in self.journal.gallery.images()}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.journal.close()


def test_without_rules_nothing_goes(home: Home) -> None:
    made = home.draw(3)
    home.now += 1000 * DAY
    home.keeper().turn()
    assert home.shown() == set(made) == home.store.names()


def test_above_the_bytes_the_oldest_go_and_favourites_stay(home: Home) -> None:
    first, second, third, fourth = (home.draw()[0] for _ in range(4))
    home.journal.gallery.favourite(first, True)
    home.keeper(most_bytes=SIZE).turn()
    assert home.shown() == {first, fourth} == home.store.names()
    with pytest.raises(NotFound):
        home.journal.gallery.image(second)
    home.journal.gallery.favourite(first, False)
    home.keeper(most_bytes=SIZE).turn()
    assert home.shown() == {fourth}
    assert third not in home.store.names()


def test_favourites_stay_however_many_bytes_they_are(home: Home) -> None:
    made = home.draw(3)
    for image in made:
        assert home.journal.gallery.favourite(image, True).favourite
    home.keeper(most_bytes=1).turn()
    assert home.shown() == set(made)


def test_favourites_cost_no_other_picture_its_place(home: Home) -> None:
    for image in home.draw(3):
        home.journal.gallery.favourite(image, True)
    older, newest = (home.draw()[0] for _ in range(2))
    home.keeper(most_bytes=2 * SIZE).turn()
    assert {older, newest} < home.shown()
    home.keeper(most_bytes=SIZE).turn()
    assert newest in home.shown()
    assert older not in home.shown()


def test_age_is_time_that_the_box_was_on(home: Home) -> None:
    keeper = home.keeper(most_days=2)
    keeper.turn()
    (old,) = home.draw()
    home.now += DAY
    keeper.turn()
    (young,) = home.draw()
    home.now += 1.5 * DAY
    keeper.turn()
    assert home.shown() == {young}
    assert old not in home.store.names()


@pytest.mark.parametrize("jump", [-1e9, 365 * DAY, -365 * DAY], ids=["1970", "a year on", "a year back"])
def test_no_clock_makes_a_picture_old_nor_keeps_it_young(home: Home, jump: float) -> None:
    keeper = home.keeper(most_days=2)
    keeper.turn()
    (image,) = home.draw()
    home.wall += jump
    home.now += 1.9 * DAY
    keeper.turn()
    assert home.shown() == {image}
    home.now += 0.2 * DAY
    keeper.turn()
    assert home.shown() == set()


def test_age_goes_on_over_a_reboot(home: Home) -> None:
    home.keeper(most_days=2).turn()
    home.draw()
    home.now += DAY
    home.keeper(most_days=2).turn()
    home.journal.close()
    home.now = 10.0  # since the new boot
    home.start("two")
    keeper = home.keeper(most_days=2)
    keeper.turn()
    assert len(home.shown()) == 1
    home.now += 1.1 * DAY
    keeper.turn()
    assert home.shown() == set()


def test_a_deleted_picture_is_gone_from_everywhere_and_its_job_says_so(home: Home) -> None:
    first, second = home.draw(2)
    job = home.journal.gallery.image(first).job
    assert home.keeper().remove(first).id == first
    assert home.journal.job(job).images == [second]
    assert home.store.names() == {second}
    with pytest.raises(NotFound):
        home.keeper().remove(first)


def test_a_picture_can_be_deleted_on_a_full_disk(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (image,) = home.draw()
    keeper = home.keeper()
    keeper.turn()
    assert (home.folder / NAME).exists()
    forget = home.journal.gallery.forget

    def on_a_full_disk(image_id: str) -> object:
        if (home.folder / NAME).exists():
            raise NoRoom("The disk is full.")
        return forget(image_id)

    monkeypatch.setattr(home.journal.gallery, "forget", on_a_full_disk)
    keeper.remove(image)
    assert home.shown() == set()
    keeper.turn()
    assert (home.folder / NAME).exists()  # laid by again


def test_files_of_nobody_are_swept_and_those_of_open_jobs_are_not(home: Home) -> None:
    (shown,), (nobodys, half) = home.draw(), home.draw(2)
    home.journal.submit(GenerationRequest.of({"prompt": "a pear"}, OFFER))
    claimed = home.journal.claim(home.journal.open_session())
    assert claimed is not None
    (drawn,) = claimed.images
    home.store.save(drawn, bytes(SIZE))
    for image in (nobodys, half):
        home.journal.gallery.forget(image)  # and the power goes
    path = home.store.path(half)
    os.rename(path, path.with_name(f"{half}.png.partial"))
    anothers = "0" * 24 + "AB"  # as of a journal that was damaged and set aside
    foreign = home.store.save(anothers, bytes(SIZE)).with_name("notes.txt")
    foreign.write_text("not ours")
    keeper = home.keeper()
    keeper.turn()
    assert home.store.names() == {shown, drawn, anothers}
    assert foreign.exists()
    home.store.save(nobodys, bytes(SIZE))
    home.now += LOOK_EVERY
    keeper.turn()
    assert nobodys in home.store.names()  # a sweep costs a look at every file: once a day
    home.now += SWEEP_EVERY
    keeper.turn()
    assert nobodys not in home.store.names()
