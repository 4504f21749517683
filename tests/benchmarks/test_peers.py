"""The peers draw the very picture that Ensueño draws, and the table says who is faster; no time is asserted."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.config import BUNDLED
from appliance.errors import BadInput
from appliance.pipeline.manifest import MANIFEST, Bundle
from benchmarks import networks, ours, peers, plain_onnxruntime
from benchmarks.__main__ import main
from benchmarks.player import OPTIONS, OURS, PEERS, Peer, Player, unet_feeds, wish_for
from tests.tiny_bundles import make_tiny_bundle

GATE = 1e-5


def relative(have: NDArray[np.float32] | None, want: NDArray[np.float32] | None) -> float:
    assert have is not None
    assert want is not None
    return float(np.linalg.norm(have - want) / np.linalg.norm(want))


def agree(one: Peer, other: Peer, bundle: Bundle) -> None:
    feeds = unet_feeds(bundle)
    assert relative(one.unet(*feeds), other.unet(*feeds)) < GATE
    latents, pixels = one.picture(wish_for(bundle, 3))
    other_latents, other_pixels = other.picture(wish_for(bundle, 3))
    assert relative(latents, other_latents) < GATE
    assert np.abs(pixels.astype(int) - other_pixels.astype(int)).max() <= 1


def test_the_script_written_by_hand_draws_the_same(tiny: Bundle) -> None:
    agree(plain_onnxruntime.load(tiny, 1), ours.load(tiny, 1), tiny)


@pytest.mark.skipif(not (BUNDLED / MANIFEST).is_file(), reason="the bundled model is not here")
def test_diffusers_draws_the_same_with_the_bundled_model() -> None:
    from benchmarks import torch_diffusers

    bundle = Bundle.open(BUNDLED)
    agree(ours.load(bundle, 1), torch_diffusers.load(bundle, 1), bundle)


def test_a_player_does_what_it_is_told(tiny: Bundle, tmp_path: Path) -> None:
    player = Player(ours.load(tiny, 1), tiny)
    assert len(player.unet(calls=3)["seconds"]) == 3
    assert player.picture(seed=1)["seconds"] > 0
    assert player.show(seed=1, folder=str(tmp_path))["kept"] == ["latents", "pixels", "noise_pred"]
    assert np.load(tmp_path / "pixels.npy", allow_pickle=False).shape == (64, 64, 3)


def test_everyone_has_a_turn_and_who_cannot_play_says_why(tiny_folder: Path) -> None:
    told = peers.compare(tiny_folder, 1, 1, PEERS, only=["onnxruntime", "diffusers"], busy=True)
    assert list(told["picture"]["rows"]) == list(told["unet"]["rows"]) == [OURS, "onnxruntime"]
    assert told["picture"]["against_fastest"]["peer"] == "onnxruntime"
    assert told["picture"]["against_diffusers"] is None
    assert list(told["refused"]) == ["diffusers"]  # the tiny bundle has no source/ folder
    assert all(peak > 20 << 20 for peak in told["peaks"].values())
    assert list(told["peaks"]) == [OURS, "onnxruntime"]
    text = peers.as_text(told)
    assert "MiB" in text
    assert "every core was kept busy" in text
    assert "diffusers (torch eager) did not play" in text
    assert "plain ONNX Runtime" in text


def test_settings_change_no_picture(tiny: Bundle) -> None:
    usual = plain_onnxruntime.load(tiny, 1)
    for entry in OPTIONS.values():
        agree(usual, importlib.import_module(entry.module).load(tiny, 1, **entry.options), tiny)


def test_the_table_takes_ratios_round_by_round() -> None:
    table = peers._table({OURS: [1.0, 2.0, 4.0], "onnxruntime": [2.0, 2.0, 6.0], "diffusers": [3.0, 6.0, 12.0]})
    assert table["ours_is_faster_by"]["onnxruntime"] == {"median": 1.5, "low": 1.0, "high": 2.0}
    assert table["against_fastest"] == {"peer": "onnxruntime", "ratio": 1.5, "goal": 0.97, "met": True}
    assert table["against_diffusers"]["ratio"] == 3.0


def test_another_precision_is_shown_but_no_peer() -> None:
    assert not PEERS["openvino-bf16"].same_precision
    table = peers._table({OURS: [1.0], "openvino-bf16": [0.5], "openvino": [1.0]})
    assert table["against_fastest"]["peer"] == "openvino"


@pytest.mark.parametrize(
    ("changes", "repeat", "only", "said"),
    [
        ({}, 0, [], "repeat must be 1 or more"),
        ({}, 1, ["coreml"], "There is no peer coreml"),
        ({"prediction_type": "epsilon"}, 1, [], "written for flow matching"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    tmp_path: Path, changes: dict[str, str], repeat: int, only: list[str], said: str
) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path / "tiny", **changes))
    with pytest.raises(BadInput, match=said):
        peers._chosen(bundle, repeat, PEERS, only)


def test_the_command_line_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--repeat", "0", "--bundle", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("nowhere holds no readable manifest.json")


@pytest.mark.skipif(not (BUNDLED / MANIFEST).is_file(), reason="the bundled model is not here")
def test_the_networks_alone_give_everyone_the_same_numbers() -> None:
    told = networks.compare(BUNDLED, 1, 1, ["ensueno", "ensueno-openvino", "onnxruntime", "diffusers"])
    assert told["refused"] == {}
    for rows in told["networks"].values():
        assert list(rows) == ["ensueno", "ensueno-openvino", "onnxruntime", "diffusers"]
        reference = rows["onnxruntime"]["sum_of_squares"]
        assert all(row["sum_of_squares"] == pytest.approx(reference, rel=1e-4) for row in rows.values())
    assert told["machine"]["gemm_gflops"] > 0
    assert "GEMM peak" in networks.as_text(told)


def test_ours_on_another_engine_is_no_peer() -> None:
    table = peers._table({OURS: [1.0], "ensueno-openvino": [0.5], "onnxruntime": [1.0]})
    assert table["against_fastest"]["peer"] == "onnxruntime"


def test_an_unknown_player_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="There is no player coreml"):
        networks.compare(BUNDLED, 1, 1, ["coreml"])
