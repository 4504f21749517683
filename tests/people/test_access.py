"""Who is let in, and what cannot let anybody in."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cli import main
from appliance.errors import BadInput, NoRoom, NotFound, NotLetIn, NotOurs, QueueFull
from appliance.people.access import MOST, PIN_SECONDS, PIN_TRIES, Access, Door, Role
from tests.conftest import Clock


@pytest.fixture
def now() -> Clock:
    return Clock(100.0)


@pytest.fixture
def access(tmp_path: Path, now: Clock) -> Access:
    return Access(tmp_path / "access.json", now=now, boot="boot-1")


def wrong(pin: str) -> str:
    return f"{(int(pin) + 1) % 10**8:08d}"


def test_a_pin_lets_one_in_and_is_good_once(access: Access) -> None:
    pin = access.invite(Role.OWNER)
    key, secret = access.pair(f"{pin[:4]} {pin[4:]}", " Ana  María ")
    assert (key.role, key.name) == (Role.OWNER, "Ana María")
    assert access.key(secret) == key
    assert len(secret) >= 43  # 256 bits in base64
    with pytest.raises(NotLetIn):
        access.pair(pin, "Luis")
    assert access.owned


def test_a_pin_is_good_for_five_minutes(access: Access, now: Clock) -> None:
    pin = access.invite(Role.GUEST)
    now.now += PIN_SECONDS - 0.1
    access.pair(pin, "Ana")
    pin = access.invite(Role.GUEST)
    now.now += PIN_SECONDS
    with pytest.raises(NotLetIn):
        access.pair(pin, "Ana")


def test_a_pin_is_good_for_five_tries_whoever_asks_and_whatever_restarts(access: Access, tmp_path: Path) -> None:
    pin = access.invite(Role.GUEST)
    for _ in range(PIN_TRIES):
        again = Access(tmp_path / "access.json", now=lambda: 100.0, boot="boot-1")  # as after a kill -9
        with pytest.raises(NotLetIn):
            again.pair(wrong(pin), "Eve")
    with pytest.raises(NotLetIn):
        access.pair(pin, "Ana")
    access.pair(access.invite(Role.GUEST), "Ana")


def test_the_last_try_may_be_the_right_one(access: Access) -> None:
    pin = access.invite(Role.GUEST)
    for _ in range(PIN_TRIES - 1):
        with pytest.raises(NotLetIn):
            access.pair(wrong(pin), "Eve")
    access.pair(pin, "Ana")


def test_no_clock_and_no_reboot_makes_a_pin_good_again(tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    pin = Access(path, now=lambda: 1e6, boot="boot-1", clock=lambda: 0.0).invite(Role.OWNER)
    with pytest.raises(NotLetIn):
        Access(path, now=lambda: 0.0, boot="boot-2").pair(pin, "Eve")  # another boot counts from nought


def test_a_new_pin_ends_the_one_before(access: Access) -> None:
    first, second = access.invite(Role.OWNER), access.invite(Role.GUEST)
    with pytest.raises(NotLetIn):
        access.pair(first, "Eve")
    assert access.pair(second, "Ana")[0].role is Role.GUEST


def test_what_is_no_pin_costs_no_try(access: Access) -> None:
    pin = access.invite(Role.GUEST)
    for nonsense in ("", "1", "abcdefgh", "1" * 9, "１２３４５６７８", "1234567\n8", "-1234567"):
        with pytest.raises(BadInput):
            access.pair(nonsense, "Ana")
    access.pair(pin, "Ana")


def test_tries_at_once_count_each(access: Access) -> None:
    pin = access.invite(Role.GUEST)
    refused: list[Exception] = []

    def try_once() -> None:
        try:
            access.pair(wrong(pin), "Eve")
        except NotLetIn as error:
            refused.append(error)

    threads = [threading.Thread(target=try_once) for _ in range(PIN_TRIES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == PIN_TRIES
    with pytest.raises(NotLetIn):
        access.pair(pin, "Ana")


def test_a_full_disk_lets_nobody_in_and_forgets_nobody(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    _, secret = access.issue(Role.OWNER, "Ana")
    pin = access.invite(Role.GUEST)

    def full(*_: object) -> None:
        raise NoRoom("full")

    monkeypatch.setattr("appliance.durable.write", full)
    for tried in (pin, wrong(pin)):
        with pytest.raises(NoRoom):
            access.pair(tried, "Eve")
    assert access.key(secret) is not None
    assert len(access.people()) == 1


def test_what_is_kept_tells_no_secret_and_only_its_owner_reads_it(access: Access, tmp_path: Path) -> None:
    pin = access.invite(Role.GUEST)
    _, secret = access.issue(Role.OWNER, "Ana")
    access.set_password("correct horse")
    kept = (tmp_path / "access.json").read_text()
    for hidden in (pin, secret, "correct horse"):
        assert hidden not in kept
    assert (tmp_path / "access.json").stat().st_mode & 0o077 == 0
    assert "hash" not in repr(access.people())


def test_who_is_revoked_is_let_in_no_more_by_any_process(access: Access, tmp_path: Path) -> None:
    key, secret = access.issue(Role.GUEST, "Eve")
    web = Access(tmp_path / "access.json")
    assert web.key(secret) == key
    access.revoke(key.id)
    assert web.key(secret) is None
    with pytest.raises(NotFound):
        access.revoke(key.id)


def test_an_owner_enters_by_password_once_there_is_one(access: Access) -> None:
    with pytest.raises(NotLetIn):
        access.enter("", "Eve")
    with pytest.raises(BadInput):
        access.set_password("short")
    access.set_password("correct horse")
    with pytest.raises(NotLetIn):
        access.enter("correct horsf", "Eve")
    key, secret = access.enter("correct horse", "Ana")
    assert access.key(secret) == key
    access.set_password("")
    with pytest.raises(NotLetIn):
        access.enter("correct horse", "Ana")


def test_a_damaged_file_lets_nobody_in_and_is_set_aside_when_somebody_pairs(access: Access, tmp_path: Path) -> None:
    _, secret = access.issue(Role.OWNER, "Ana")
    (tmp_path / "access.json").write_bytes(b'{"keys": [')
    assert access.key(secret) is None
    assert not access.owned
    key, secret = access.pair(access.invite(Role.OWNER), "Ana")
    assert access.key(secret) == key
    assert (tmp_path / "access.damaged").read_bytes() == b'{"keys": ['


def test_there_is_a_bound(access: Access, tmp_path: Path) -> None:
    access.issue(Role.GUEST, "Ana")
    kept = json.loads((tmp_path / "access.json").read_text())
    kept["keys"] *= MOST
    (tmp_path / "access.json").write_text(json.dumps(kept))
    with pytest.raises(QueueFull):
        access.issue(Role.GUEST, "one more")


def test_the_door_is_remembered(access: Access, tmp_path: Path) -> None:
    door = Door(address="http://192.168.1.23:8080", fingerprint=None)
    access.set_door(door)
    assert Access(tmp_path / "access.json").door() == door
    access.set_door(None)
    assert access.door() is None


# --- of several users of one machine -------------------------------------------------------------------------------

BOXES_OWN, ANOTHER = 65534, 65533
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes other users")


@contextmanager
def user(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def theirs() -> Iterator[Path]:
    """The data dir of a box that is open and has an owner; it belongs to a user of its own, as on the device."""
    folder = Path(tempfile.mkdtemp())  # pytest's own is closed to others
    os.chown(folder, BOXES_OWN, BOXES_OWN)
    with user(BOXES_OWN):
        access = Access(folder / "access.json")
        access.set_door(Door(address="http://192.168.1.23:8080", fingerprint=None))
        access.issue(Role.OWNER, "Ana")
    yield folder
    shutil.rmtree(folder)


@as_root
@pytest.mark.parametrize("command", [["pair"], ["pair", "--program", "a program"], ["access", "revoke", "x"]])
@pytest.mark.parametrize("uid", [0, ANOTHER], ids=["root", "another"])
def test_who_is_not_the_boxs_user_changes_nothing_and_is_told_whom_to_ask_as(
    theirs: Path, uid: int, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (theirs / "access.json").read_bytes()
    with user(uid):
        assert main([*command, "--data-dir", str(theirs)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "belongs to another user: run it as that user (sudo -u " in told.err
    assert (theirs / "access.json").read_bytes() == before
    assert (theirs / "access.json").stat().st_uid == BOXES_OWN


@as_root
def test_another_user_is_not_told_that_nobody_is_there(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with user(ANOTHER):
        assert main(["access", "list", "--data-dir", str(theirs)]) == 2
    assert capsys.readouterr().out == ""


@as_root
@pytest.mark.parametrize("name", ["access.json", "access.lock"])
def test_what_root_left_behind_locks_the_box_and_is_not_thrown_away(theirs: Path, name: str) -> None:
    """As `sudo ensueno pair` of an earlier release did."""
    os.chown(theirs / name, 0, 0)
    (theirs / name).chmod(0o600)
    before = (theirs / "access.json").read_bytes()
    with user(BOXES_OWN), pytest.raises(NotOurs, match=rf"sudo chown {BOXES_OWN} \S+/{name}"):
        Access(theirs / "access.json").invite(Role.OWNER)
    assert (theirs / "access.json").read_bytes() == before
    os.chown(theirs / name, BOXES_OWN, BOXES_OWN)
    with user(BOXES_OWN):
        assert Access(theirs / "access.json").invite(Role.OWNER)


def test_a_folder_of_another_user_is_left_alone(
    access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)
    with pytest.raises(NotOurs, match="belongs to another user"):
        access.issue(Role.OWNER, "Eve")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_lets_nobody_in_and_stays(access: Access, tmp_path: Path) -> None:
    pin = access.invite(Role.GUEST)
    _, secret = access.issue(Role.OWNER, "Ana")
    kept, unreadable = tmp_path / "kept", tmp_path / "access.json"
    unreadable.rename(kept)
    unreadable.mkdir()
    assert access.key(secret) is None
    for asked in (access.people, access.door, lambda: access.pair(pin, "Eve")):
        with pytest.raises(NotOurs, match="cannot be used"):
            asked()
    assert not (tmp_path / "access.damaged").exists()
    unreadable.rmdir()
    kept.rename(unreadable)
    assert access.key(secret) is not None
    assert access.pair(pin, "Luis")


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["invite", "right", "wrong", "wait", "reboot", "revoke"]), max_size=14))
def test_nobody_is_ever_let_in_but_by_the_newest_pin_in_time(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """A model: what the PIN is, how many tries it has left, and whether it is late."""
    now, boot, pin, tries, until, people = 0.0, 0, None, 0, 0.0, 0
    path = tmp_path_factory.mktemp("access") / "access.json"
    for step in steps:
        access = Access(path, now=lambda now=now: now, boot=str(boot))  # type: ignore[misc]
        if step == "invite":
            pin, tries, until = access.invite(Role.GUEST), PIN_TRIES, now + PIN_SECONDS
        elif step == "wait":
            now += PIN_SECONDS / 2
        elif step == "reboot":
            now, boot, pin = 0.0, boot + 1, None
        elif step == "revoke" and people:
            access.revoke(access.people()[0].id)
            people -= 1
        elif step in ("right", "wrong"):
            tried = pin or "00000000"
            good = pin is not None and tries > 0 and now < until
            try:
                access.pair(tried if step == "right" else wrong(tried), "x")
                assert good
                assert step == "right"
                pin, people = None, people + 1
            except NotLetIn:
                assert not (good and step == "right")
                tries -= good
        assert len(access.people()) == people
