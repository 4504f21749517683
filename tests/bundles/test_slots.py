"""A bundle is activated in one step and on trial; whatever goes wrong with it, the one before comes back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from appliance import config
from appliance.bundles.install import install
from appliance.bundles.slots import BUNDLED, Pointer, Slots
from appliance.cli import main
from appliance.config import BUNDLED as ALONG
from appliance.errors import BadBundle, BadInput, EngineFault, NoRoom, Unavailable
from appliance.ladder.trial import judge, on_trial
from appliance.pipeline.text_to_image import TextToImage
from appliance.progress import Board, board_folder
from appliance.web import follow
from tests.served import running, until
from tests.tiny_bundles import make_tiny_bundle, save_network, write_manifest


@pytest.fixture
def slots(tmp_path: Path, tiny_folder: Path) -> Slots:
    """Two bundles installed, neither active."""
    slots = Slots(tmp_path / "data")
    install(tiny_folder, slots)
    install(make_tiny_bundle(tmp_path / "second", name="second"), slots)
    return slots


FIRST, SECOND = "tiny-0.0.1", "second-0.0.1"


def settings(slots: Slots) -> config.Settings:
    return config.load({"data_dir": slots.data_dir})


def active(slots: Slots) -> Path:
    return settings(slots).bundle


def test_without_slots_the_bundle_that_comes_along_is_drawn_with(tmp_path: Path) -> None:
    assert config.load({"data_dir": tmp_path}).bundle == ALONG


def test_the_active_slot_is_drawn_with_unless_a_bundle_is_named(slots: Slots, tiny_folder: Path) -> None:
    slots.activate(SECOND)
    assert active(slots) == slots.folder / SECOND
    assert config.load({"data_dir": slots.data_dir, "bundle": tiny_folder}).bundle == tiny_folder


def test_rollback_goes_back_and_again_forward(slots: Slots) -> None:
    for name in (FIRST, SECOND):
        slots.activate(name)
        slots.accept()
    assert slots.rollback() == FIRST
    assert slots.rollback() == SECOND
    assert not slots.pointer().trial


def test_a_bundle_that_never_passed_is_no_way_back(slots: Slots) -> None:
    slots.activate(FIRST)
    slots.accept()
    slots.activate(SECOND)
    slots.activate(BUNDLED)
    assert slots.pointer() == Pointer(active=None, previous=FIRST)


def test_the_bundle_that_was_proven_is_on_no_second_trial(slots: Slots) -> None:
    slots.activate(FIRST)
    slots.accept()
    slots.activate(SECOND)
    slots.activate(FIRST)
    assert slots.pointer() == Pointer(active=FIRST, previous=FIRST)


def test_a_trial_whose_way_back_is_gone_ends_with_the_bundle_that_comes_along(slots: Slots) -> None:
    slots.activate(FIRST)
    slots.accept()
    slots.activate(SECOND)
    shutil.rmtree(slots.folder / FIRST)
    assert slots.rollback() == BUNDLED
    assert slots.pointer() == Pointer()


def reachable(slots: Slots) -> set[Pointer]:
    """Every state that activating, accepting, trying and rolling back lead to, in whatever order."""
    moves: list[Callable[[], object]] = [
        *(partial(slots.activate, name) for name in (FIRST, SECOND, BUNDLED)),
        *(slots.accept, slots.rollback, partial(slots.try_once, "monday"), slots.untry),
    ]
    found, new = {Pointer()}, [Pointer()]
    while new:
        state = new.pop()
        for move in moves:
            stand(slots, state)
            with contextlib.suppress(BadInput):
                move()
            if slots.pointer() not in found:
                found.add(slots.pointer())
                new.append(slots.pointer())
    return found


def stand(slots: Slots, pointer: Pointer) -> None:
    slots.pointer_path.write_text(pointer.model_dump_json())


def test_whatever_was_done_a_trial_has_another_bundle_to_go_back_to(slots: Slots) -> None:
    for state in reachable(slots):
        if state.trial:
            stand(slots, state)
            slots.rollback()
            assert slots.pointer().active != state.active, state
            assert not slots.pointer().trial, state


def test_what_is_not_there_is_told(slots: Slots) -> None:
    with pytest.raises(BadInput, match=r"choose one of bundled, second-0\.0\.1, tiny-0\.0\.1"):
        slots.activate("third")
    with pytest.raises(BadInput, match="no bundle to go back to"):
        slots.rollback()


@pytest.mark.parametrize("text", [b"", b"{", b'{"active": 1}', b'{"colour": "red"}', b"\xff"])
def test_a_damaged_pointer_is_told(slots: Slots, text: bytes) -> None:
    slots.pointer_path.write_bytes(text)
    with pytest.raises(BadBundle, match=r"delete it, then `ensueno model activate`"):
        active(slots)


def test_a_slot_that_is_gone_is_told(slots: Slots) -> None:
    slots.activate(FIRST)
    (slots.folder / FIRST).rename(slots.data_dir / "elsewhere")
    with pytest.raises(BadBundle, match="rollback"):
        active(slots)
    assert main(["model", "rollback", "--data-dir", str(slots.data_dir)]) == 0


# --- the trial ---------------------------------------------------------------------------------------------------


def test_an_engine_that_draws_ends_the_trial(slots: Slots) -> None:
    slots.activate(SECOND)
    with on_trial(settings(slots)) as trial:
        assert trial
    assert slots.pointer() == Pointer(active=SECOND, previous=None)
    with on_trial(settings(slots)) as trial:
        assert not trial


@pytest.mark.parametrize("fault", [BadBundle("x"), EngineFault("x"), RuntimeError("x"), MemoryError()])
def test_a_fault_of_the_bundle_brings_the_one_before_back(slots: Slots, fault: Exception) -> None:
    slots.activate(FIRST)
    slots.accept()
    slots.activate(SECOND)
    told = r"second-0\.0\.1 did not pass its trial .*: back to tiny-0\.0\.1"
    with pytest.raises(EngineFault, match=told), on_trial(settings(slots)):
        raise fault
    assert slots.pointer() == Pointer(active=FIRST, previous=FIRST)


@pytest.mark.parametrize("reason", [Unavailable("no such engine"), NoRoom("x"), KeyboardInterrupt()])
def test_what_is_not_the_bundles_fault_leaves_it_on_trial(slots: Slots, reason: BaseException) -> None:
    slots.activate(SECOND)
    with pytest.raises(type(reason)), on_trial(settings(slots)):
        raise reason
    assert slots.pointer() == Pointer(active=SECOND, previous=None, trial=True)


def test_an_engine_that_died_with_it_brings_the_one_before_back(slots: Slots) -> None:
    slots.activate(SECOND)
    trial = on_trial(settings(slots))
    trial.__enter__()  # and never leaves: the process is gone
    with pytest.raises(EngineFault, match="an engine died with it"), on_trial(settings(slots)):
        pytest.fail("it must not be loaded again")
    assert active(slots) == ALONG


def test_a_power_cut_is_nobodys_fault(slots: Slots) -> None:
    slots.activate(SECOND)
    slots.try_once("the boot before")
    with on_trial(settings(slots)) as trial:
        assert trial


def test_a_named_bundle_is_never_on_trial(slots: Slots, tiny_folder: Path) -> None:
    slots.activate(SECOND)
    named = config.load({"data_dir": slots.data_dir, "bundle": tiny_folder})
    with pytest.raises(BadBundle), on_trial(named):
        raise BadBundle("x")
    assert slots.pointer().active == SECOND


def test_a_bundle_that_draws_is_judged_good(pipeline: TextToImage) -> None:
    judge(pipeline, "float32")


def test_a_process_notices_only_that_another_bundle_is_active(slots: Slots) -> None:
    watch = slots.watch()
    assert not watch.moved()
    slots.activate(FIRST)
    assert watch.moved()
    again = slots.watch()
    slots.accept()  # the pointer changes, the bundle does not
    assert not again.moved()
    slots.pointer_path.write_text("damaged")
    assert not again.moved()
    slots.pointer_path.unlink()
    assert again.moved()  # back to the bundle that comes along


def test_the_web_ends_when_another_bundle_is_active(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "EVERY", 0.001)
    ended = threading.Event()
    over = follow.begin(slots.data_dir, ended.set)
    slots.activate(SECOND)
    assert ended.wait(30)
    over.set()


# --- from outside ------------------------------------------------------------------------------------------------


def flat_bundle(folder: Path) -> Path:
    """Every hash is right, and every picture one colour."""
    make_tiny_bundle(folder, name="flat")
    fields = json.loads((folder / "manifest.json").read_text())
    component = fields["components"]["vae_decoder"]
    graph = onnx.load(folder / component["file"]).graph
    (folder / component["weights"]).unlink()
    for weight in graph.initializer:
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 0, weight.name))
    fields["components"]["vae_decoder"] = save_network(folder, "vae_decoder", graph)
    write_manifest(folder, fields)
    return folder


def test_a_bundle_whose_pictures_are_flat_is_not_activated(
    slots: Slots, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = install(flat_bundle(tmp_path / "flat"), slots)
    assert main(["model", "activate", name, "--data-dir", str(slots.data_dir), "--threads", "1"]) == 1
    assert "flat-0.0.1 is not activated: The golden pictures come out as one flat colour." in capsys.readouterr().err
    assert slots.pointer() == Pointer()


def test_every_name_that_is_listed_can_be_activated(slots: Slots, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data-dir", str(slots.data_dir)]
    assert main(["model", "list", *data]) == 0
    names = [line.lstrip("▶ ").split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [BUNDLED, SECOND, FIRST]
    for name in names:
        slots.activate(name)


def test_install_activate_list_and_rollback_by_hand(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data-dir", str(tmp_path / "data")]
    assert main(["model", "install", str(tiny_folder), *data]) == 0
    assert main(["model", "activate", FIRST, *data]) == 0
    capsys.readouterr()
    assert main(["model", "list", "--json", *data]) == 0
    rows = {row["slot"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows[FIRST]["active"], rows[FIRST]["trial"], rows[BUNDLED]["active"]) == (True, True, False)
    assert main(["model", "verify", *data]) == 0
    assert "tiny 0.0.1 is whole" in capsys.readouterr().out
    assert main(["model", "rollback", *data]) == 0
    assert capsys.readouterr().out == "Back to bundled.\n"
    assert main(["model", "rollback", *data]) == 2


def test_an_engine_killed_while_it_loads_a_bundle_on_trial_costs_the_bundle_its_place(slots: Slots) -> None:
    slots.activate(SECOND)
    command = [sys.executable, "-m", "appliance.worker", "--data-dir", str(slots.data_dir), "--threads", "1"]
    died = subprocess.run(command, env=os.environ | {"ENSUENO_FAILPOINT": "trial.tried"})
    assert died.returncode == -signal.SIGKILL
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1
    assert "second-0.0.1 did not pass its trial (an engine died with it): back to bundled." in again.stderr
    assert active(slots) == ALONG


def test_an_engine_stopped_while_it_loads_costs_the_bundle_nothing(slots: Slots) -> None:
    slots.activate(SECOND)
    command = [sys.executable, "-m", "appliance.worker", "--data-dir", str(slots.data_dir), "--threads", "1"]
    with subprocess.Popen(command) as engine:
        until(lambda: slots.pointer().tried or not slots.pointer().trial)  # a tiny bundle passes quickly
        engine.send_signal(signal.SIGTERM)
    assert engine.returncode == 0
    assert slots.pointer().active == SECOND
    assert slots.pointer().tried is None


def test_a_running_box_changes_to_the_activated_bundle_and_back_from_a_bad_one(slots: Slots, tmp_path: Path) -> None:
    bad = install(flat_bundle(tmp_path / "flat"), slots)
    slots.activate(FIRST)
    slots.accept()
    with running(None, slots.data_dir) as box:

        def drawing_with(name: str) -> bool:
            pulse = Board(board_folder(slots.data_dir)).pulse()
            return box.ready() and pulse is not None and pulse.bundle == f"{name} 0.0.1"

        assert drawing_with("tiny")
        assert main(["model", "activate", SECOND, "--data-dir", str(slots.data_dir)]) == 0
        until(lambda: drawing_with("second"))
        assert slots.pointer() == Pointer(active=SECOND, previous=FIRST)
        assert main(["model", "activate", bad, "--data-dir", str(slots.data_dir)]) == 0
        until(lambda: slots.pointer() == Pointer(active=SECOND, previous=SECOND))
        until(lambda: drawing_with("second"))
