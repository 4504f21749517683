"""The pictures that jobs start from: on the disk before the job is accepted, gone when no open job needs them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from appliance.errors import BadInput, Conflict, NoRoom
from appliance.inputs import InputStore
from appliance.journal import Journal
from appliance.picture import Picture
from appliance.request import GenerationRequest, Offer

OFFER = Offer(
    sizes=((8, 8),), steps=(1, 9), default_steps=2, guidance=(0.0, 9.0), default_guidance=1.0, schedulers=("ddim",),
    pictures=True,
)  # fmt: skip


def wish(colour: str = "red", **fields: object) -> GenerationRequest:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return GenerationRequest.of({"prompt": "a", "seed": 1, "image": file.getvalue(), **fields}, OFFER)


def named(request: GenerationRequest) -> str:
    assert request.image is not None
    return request.image.sha256


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.db", reserve=0, boot="boot-1")


@pytest.fixture
def inputs(tmp_path: Path) -> InputStore:
    """The journal's folder, looked at from outside."""
    return InputStore(tmp_path / "inputs")


def test_an_accepted_job_has_its_picture(journal: Journal, inputs: InputStore) -> None:
    job, _ = journal.submit(wish())
    assert inputs.names() == {named(wish())}
    claimed = journal.claim(journal.open_session())
    assert claimed is not None
    again = GenerationRequest.from_json(claimed.request, OFFER, journal.input)
    assert again == wish()
    assert again.pictures[0].file == wish().pictures[0].file
    assert job.request.image == Picture(named(wish()))


def test_the_same_id_and_picture_is_the_same_job_and_another_picture_a_conflict(journal: Journal) -> None:
    journal.submit(wish(), job_id="mine")
    assert not journal.submit(wish(), job_id="mine")[1]
    for other in (wish("blue"), wish(strength=0.9)):
        with pytest.raises(Conflict):
            journal.submit(other, job_id="mine")


def test_a_refused_job_leaves_no_picture(tmp_path: Path, inputs: InputStore) -> None:
    journal = Journal(tmp_path / "journal.db", reserve=1 << 62)
    with pytest.raises(NoRoom):
        journal.submit(wish())
    assert inputs.names() == set()


def test_a_picture_goes_with_the_last_job_that_needs_it(journal: Journal, inputs: InputStore) -> None:
    journal.submit(wish(), job_id="one")
    journal.submit(wish(prompt="b"), job_id="two")
    journal.submit(wish("blue"), job_id="three")
    session = journal.open_session()
    for job_id in ("one", "two"):
        claimed = journal.claim(session)
        assert claimed is not None
        journal.sweep_inputs()
        assert inputs.names() == {named(wish()), named(wish("blue"))}
        journal.finish(session, job_id, engine="x")
    journal.sweep_inputs()
    assert inputs.names() == {named(wish("blue"))}
    journal.cancel("three")
    journal.sweep_inputs()
    assert inputs.names() == set()


def test_what_a_crash_leaves_is_swept_and_the_rest_is_kept(
    journal: Journal, inputs: InputStore, tmp_path: Path
) -> None:
    """A draft that was being written, and a file whose job was never committed."""
    journal.submit(wish())
    inputs.save(Picture.of(b"P6\n1 1\n255\nabc"))
    (tmp_path / "inputs" / "half.partial").write_bytes(b"P6")
    journal.sweep_inputs()
    assert inputs.names() == {named(wish())}
    journal.input(named(wish()))


def test_a_picture_that_is_sent_while_the_sweep_looks_is_not_taken(journal: Journal, inputs: InputStore) -> None:
    """The sweep decides under the write lock, so a job accepted after its first look counts."""
    stray = Picture.of(b"P6\n1 1\n255\nabc")
    inputs.save(stray)

    class Late(InputStore):
        calls = 0

        def names(self) -> set[str]:
            self.calls += 1
            if self.calls == 1:  # between the sweep's look and its lock
                found = super().names()
                self.other.submit(wish())
                return found
            return super().names()

        other: Journal

    late = Late(inputs._folder)
    late.other = Journal(journal.path, reserve=0, boot="boot-1")
    journal._inputs = late
    journal.sweep_inputs()
    assert inputs.names() == {named(wish())}


def test_a_damaged_or_missing_picture_is_said_and_sending_again_mends_it(journal: Journal, tmp_path: Path) -> None:
    journal.submit(wish())
    path = tmp_path / "inputs" / named(wish())
    path.write_bytes(b"P6\n8 8\n255\n")
    with pytest.raises(BadInput, match="damaged"):
        journal.input(named(wish()))
    journal.submit(wish(prompt="b"))
    assert journal.input(named(wish())) == wish().pictures[0].file
    path.unlink()
    with pytest.raises(BadInput, match="no longer here"):
        journal.input(named(wish()))
    with pytest.raises(BadInput, match="names no picture"):
        journal.input("../journal.db")


def test_a_full_disk_accepts_nothing(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "inputs").write_bytes(b"a file where the folder should be")
    with pytest.raises(NoRoom):
        journal.submit(wish(), job_id="mine")
    assert sum(journal.counts().values()) == 0
