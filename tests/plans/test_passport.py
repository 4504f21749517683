"""No plan is opened that this box did not build, for this bundle and this machine."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BadPassport
from appliance.plans.passport import (
    KEY,
    PASSPORT,
    GoldenResult,
    Inputs,
    Passport,
    Plan,
    Range,
    Source,
    check_inputs,
    opened_plan,
    read_key,
    read_passport,
    write_passport,
)

PLAN = b"a plan" * 100


def made_for(**changes: Any) -> Inputs:
    latents = Range(min=(1, 4, 8, 8), opt=(2, 4, 8, 8), max=(8, 4, 8, 12))
    unet = Source(onnx="1" * 64, weights="2" * 64, precision="float16", profile={"sample": latents})
    fields: dict[str, Any] = {
        "bundle": "tiny 0.0.1",
        "target": "tensorrt",
        "version": "10.3.0",
        "sm": "8.7",
        "gpu": "Orin",
        "l4t": "36.4.0",
        "components": {"unet": unet},
    }
    return Inputs(**(fields | changes))


@pytest.fixture
def key(tmp_path: Path) -> bytes:
    return read_key(tmp_path / "data")


@pytest.fixture
def folder(tmp_path: Path, key: bytes) -> Path:
    folder = tmp_path / "engines" / made_for().id
    folder.mkdir(parents=True)
    (folder / "unet.plan").write_bytes(PLAN)
    plan = Plan(sha256=hashlib.sha256(PLAN).hexdigest(), bytes=len(PLAN))
    golden = GoldenResult(passed=True, cosine=0.999)
    write_passport(folder, Passport(inputs=made_for(), plans={"unet": plan}, golden=golden), key)
    return folder


def test_a_plan_with_its_passport_is_opened(folder: Path, key: bytes) -> None:
    passport = read_passport(folder, key)
    check_inputs(passport, made_for())
    with opened_plan(folder, "unet", passport) as file:
        assert file.read() == PLAN


def leaves(value: Any, way: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*way, name))
    else:
        yield way


FIELDS = list(
    leaves(
        Passport(
            inputs=made_for(), plans={"unet": Plan(sha256="0" * 64, bytes=1)}, golden=GoldenResult(passed=True)
        ).model_dump(mode="json")
    )
)


@pytest.mark.parametrize("way", FIELDS, ids=".".join)
def test_whatever_field_is_altered_the_seal_no_longer_holds(folder: Path, key: bytes, way: tuple[str, ...]) -> None:
    outer = json.loads((folder / PASSPORT).read_text())
    place = outer["passport"]
    for name in way[:-1]:
        place = place[name]
    place[way[-1]] = _another(place[way[-1]])
    (folder / PASSPORT).write_text(json.dumps(outer))
    with pytest.raises(BadPassport, match="does not carry the seal of this box"):
        read_passport(folder, key)


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return [9, *value] if isinstance(value, list) else f"{value}x"


def test_a_field_that_was_added_breaks_the_seal_too(folder: Path, key: bytes) -> None:
    outer = json.loads((folder / PASSPORT).read_text())
    outer["passport"]["more"] = 1
    (folder / PASSPORT).write_text(json.dumps(outer))
    with pytest.raises(BadPassport, match="seal"):
        read_passport(folder, key)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"passport": {}, "seal": 1}', b" " * ((1 << 20) + 1)]
)
def test_what_is_no_passport_is_told(folder: Path, key: bytes, text: bytes) -> None:
    (folder / PASSPORT).write_bytes(text)
    with pytest.raises(BadPassport, match="is no passport: build the plans again"):
        read_passport(folder, key)


def test_a_folder_without_a_passport_is_told(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(BadPassport, match="cannot be read"):
        read_passport(tmp_path, key)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": "10.13.3"}, "version 10.3.0 (here: 10.13.3)"),
        ({"sm": "11.0"}, "sm 8.7 (here: 11.0)"),
        ({"gpu": "Thor"}, "gpu Orin (here: Thor)"),
        ({"gpu": None}, "gpu Orin (here: none)"),
        ({"l4t": "38.2.0"}, "l4t 36.4.0 (here: 38.2.0)"),
        ({"target": "tensorrt-rtx"}, "target tensorrt (here: tensorrt-rtx)"),
        ({"bundle": "tiny 2"}, "bundle tiny 0.0.1 (here: tiny 2)"),
    ],
)
def test_a_plan_of_another_machine_or_bundle_says_what_differs(
    folder: Path, key: bytes, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadPassport) as caught:
        check_inputs(read_passport(folder, key), made_for(**change))
    assert told in str(caught.value)
    assert made_for(**change).id != made_for().id


@pytest.mark.parametrize("field", ["onnx", "weights", "precision", "profile"])
def test_a_plan_of_another_network_says_which_and_what(folder: Path, key: bytes, field: str) -> None:
    other: Any = {"onnx": "3" * 64, "weights": None, "precision": "int8", "profile": {}}[field]
    unet = made_for().components["unet"].model_copy(update={field: other})
    with pytest.raises(BadPassport, match=rf"components\.unet\.{field}"):
        check_inputs(read_passport(folder, key), made_for(components={"unet": unet}))


def test_a_build_that_is_half_way_is_not_served(folder: Path, key: bytes) -> None:
    write_passport(folder, Passport(inputs=made_for()), key)
    with pytest.raises(BadPassport, match="The plan of unet is not built yet"):
        check_inputs(read_passport(folder, key), made_for())


@pytest.mark.parametrize("damage", [PLAN[:-1], PLAN + b"x", b"A" + PLAN[1:], b""])
def test_a_plan_that_differs_in_any_way_is_not_opened(folder: Path, key: bytes, damage: bytes) -> None:
    (folder / "unet.plan").write_bytes(damage)
    with (
        pytest.raises(BadPassport, match="is not the plan that was built"),
        opened_plan(folder, "unet", read_passport(folder, key)),
    ):
        pass


def test_a_plan_that_the_passport_does_not_know_is_not_opened(folder: Path, key: bytes) -> None:
    shutil.copy(folder / "unet.plan", folder / "vae_decoder.plan")
    with pytest.raises(BadPassport), opened_plan(folder, "vae_decoder", read_passport(folder, key)):
        pass


# --- the key -----------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    assert read_key(tmp_path) == read_key(tmp_path)
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_each_box_has_a_key_of_its_own_and_does_not_trust_anothers_plans(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadPassport, match="comes from another"):
        read_passport(folder, read_key(tmp_path / "another box"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    read_key(tmp_path)
    (tmp_path / KEY).chmod(mode)
    with pytest.raises(BadPassport, match="Others can read"):
        read_key(tmp_path)


@pytest.mark.parametrize("key", [b"", b"short", bytes(range(33))])
def test_a_damaged_key_is_refused(tmp_path: Path, key: bytes) -> None:
    (tmp_path / KEY).write_bytes(key)
    (tmp_path / KEY).chmod(0o600)
    with pytest.raises(BadPassport, match="is damaged"):
        read_key(tmp_path)
