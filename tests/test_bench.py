"""`ensueno bench` measures every stage; how long anything takes is no test's business."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from appliance import cli
from appliance.bench import as_text, bench
from appliance.bench.box import Asked
from appliance.bench.figures import Figure, Goal
from appliance.bench.service import _costs, _engine_memory
from appliance.bench.stopwatch import Call, heard
from appliance.config import Settings
from appliance.errors import BadInput
from appliance.pipeline.manifest import Bundle

STAGES = [
    "tokenizer",
    "text encoder",
    "arithmetic of a step",
    "UNet call, one picture (2 rows)",
    "UNet call, 4 pictures",
    "a step",
    "decode",
    "PNG",
    "preview",
    "a step within a picture",
    "onnxruntime: UNet call, one picture",
    "openvino: one picture, its text met before",
    "until /readyz says yes",
    "until the first picture is drawn",
    "submit to end over HTTP",
    "the networks' time",
    "everything else but the PNG",
    "at once over one after another",
    "web",
    "supervisor",
    "engine: weights",
    "engine beyond weights and activations",
]


@pytest.fixture(scope="module")
def figures(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One round of everything, real processes included; left are the box's golden latents and marks."""
    folder = tmp_path_factory.mktemp("bench")
    told = bench(Settings(bundle=tiny_folder, threads=1, data_dir=folder / "data"), repeat=1)
    assert {path.name for path in (folder / "data").iterdir()} == {"golden", "attempts"}
    assert [path.name for path in folder.iterdir()] == ["data"]
    return told


def test_every_stage_has_its_figure(figures: dict[str, Any]) -> None:
    names = [figure["name"] for figure in figures["figures"]]
    assert not set(STAGES) - set(names)
    assert len(names) == len(set(names))


def test_figures_are_finite_and_positive(figures: dict[str, Any]) -> None:
    for figure in figures["figures"]:
        if figure["name"].strip() not in ("between networks", "after the last network"):  # a median PNG is taken off
            assert 0 < figure["low"] <= figure["median"] <= figure["high"] < math.inf, figure["name"]


def test_goals_of_the_design_are_judged(figures: dict[str, Any]) -> None:
    judged = {figure["name"]: figure["goal"] for figure in figures["figures"] if figure["goal"]}
    assert judged["at once over one after another"] == "≥ 1.5 x"
    assert judged["web"] == "≤ 80 MiB"
    assert judged["until the first picture is drawn"] == "≤ 5 s"
    assert all(isinstance(figure["met"], bool) for figure in figures["figures"] if figure["goal"])


def test_the_machine_is_named(figures: dict[str, Any]) -> None:
    assert figures["bundle"] == "tiny 0.0.1"
    assert figures["machine"]["threads"] == 1
    assert figures["engine"] == "onnxruntime"
    assert [why.partition(":")[0] for why in figures["passed_over"]][-2:] == ["tensorrt-rtx", "tensorrt"]
    assert "Python" in figures["machine"]["line"]


def test_the_figures_are_json_and_a_table(figures: dict[str, Any]) -> None:
    assert json.loads(json.dumps(figures)) == figures
    text = as_text(figures)
    assert all(name in text for name in STAGES)


def test_a_repeat_out_of_range_is_one_sentence(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--bundle", str(tiny_folder), "--repeat", "0"]) == 2
    assert capsys.readouterr().err == "repeat must be 1 to 1000, not 0.\n"
    with pytest.raises(BadInput):
        bench(Settings(bundle=tiny_folder), repeat=1001)


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal("≤", 5), 5.0, True),
        (Goal("<", 5), 5.0, False),
        (Goal("≥", 1.5), 1.5, True),
        (Goal("≥", 1.5), 1.4, False),
        (Goal("<", 2), math.nan, False),
    ],
)
def test_a_goal_is_met_by_the_median(goal: Goal, value: float, met: bool) -> None:
    assert Figure("group", "name", "s", [value]).as_json()["met"] is None
    assert Figure("group", "name", "s", [value, value, value], goal).as_json()["met"] is met


def test_the_own_cost_is_the_whole_less_networks_and_png() -> None:
    asked = Asked(began=10.0, accepted=10.004, ended=10.200, images=["one"])
    calls = [
        called("text_encoder", 10.010, 10.020),
        called("unet", 10.021, 10.180),
        called("vae_decoder", 10.181, 10.190),
    ]
    costs = {figure.name.strip(): figure.median for figure in _costs([(asked, calls)], png_ms=3.0)}
    assert costs["the networks' time"] == pytest.approx(178.0)
    assert costs["everything else but the PNG"] == pytest.approx(19.0)
    assert costs["before the first network"] == pytest.approx(10.0)
    assert costs["between networks"] == pytest.approx(2.0)
    assert costs["after the last network"] == pytest.approx(7.0)
    assert costs["share of the networks' time"] == pytest.approx(100 * 19 / 178)


def called(network: str, began: float, ended: float) -> Call:
    return Call(network=network, loading=False, began=began, ended=ended, grown=0.0)


def test_calls_are_heard_as_they_were_told(tmp_path: Path) -> None:
    told = [called("unet", 1.0, 2.5), Call(network="unet", loading=True, began=0.0, ended=1.0, grown=12.0)]
    (tmp_path / "calls").write_text("".join(call.model_dump_json() + "\n" for call in told))
    assert heard(tmp_path / "calls") == told
    assert told[0].seconds == 1.5


def test_memory_of_a_process_that_is_gone_is_no_figure(tiny: Bundle) -> None:
    class Gone:
        pid = 2**22 + 1

    class Box:
        processes = (Gone(),)

    assert _engine_memory(tiny, Box(), []) == []  # type: ignore[arg-type]
