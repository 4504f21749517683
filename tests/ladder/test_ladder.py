"""The ladder: the best rung that draws the golden pictures serves, and each passed over says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance import cli, config
from appliance.config import EngineName, Settings
from appliance.engines import Engine, Network, Precision, Tensors
from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadBundle, BadPassport, EngineFault, NoEngine, NoPlans
from appliance.ladder import ladder
from appliance.ladder.ladder import RUNGS, Rung, climb
from appliance.pipeline.manifest import Bundle
from appliance.request import GenerationRequest
from tests.tiny_bundles import make_tiny_bundle


class Spoilt:
    """ONNX Runtime, but what its networks answer goes through `spoil`; what a wrong plan may do. It proves no GPU."""

    precision: Precision = "float32"

    def __init__(self, name: str, spoil: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self.name = name
        self._spoil = spoil

    def load(self, bundle: Bundle, component: str) -> Network:
        network, spoil = OnnxRuntime(threads=1).load(bundle, component), self._spoil

        class SpoiltNetwork:
            def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
                return {name: spoil(values) for name, values in network.run(feeds).items()}

            def close(self) -> None:
                network.close()

        return SpoiltNetwork()


def rung(name: str, spoil: Callable[[NDArray[Any]], NDArray[Any]]) -> Rung:
    return Rung(name, lambda settings: Spoilt(name, spoil))


def absent(name: str, error: Exception) -> Rung:
    def make(settings: Settings) -> Engine:
        raise error

    return Rung(name, make)


@pytest.fixture(autouse=True)
def _free_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tests ask for the reference."""
    monkeypatch.delenv("ENSUENO_ENGINE", raising=False)


@pytest.fixture
def settings(tiny_folder: Path, tmp_path: Path) -> Settings:
    return Settings(bundle=tiny_folder, data_dir=tmp_path / "data", threads=1)


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A ladder of these rungs above the reference."""

    def stand(*rungs: Rung) -> None:
        monkeypatch.setattr(ladder, "RUNGS", (*rungs, RUNGS[-1]))

    return stand


def exact(values: NDArray[Any]) -> NDArray[Any]:
    return values


def test_every_rung_can_be_asked_for_by_its_name() -> None:
    assert tuple(rung.name for rung in RUNGS) == get_args(EngineName)


def test_the_best_that_passes_is_used(tiny: Bundle, settings: Settings, standing: Callable[..., None]) -> None:
    standing(absent("first", NoEngine("It is not here: fetch it.")), rung("second", exact), rung("third", exact))
    climbed = climb(tiny, settings)
    assert climbed.pipeline.engine_name == "second"
    assert climbed.passed_over == ["first: It is not here: fetch it."]


@pytest.mark.parametrize(
    ("rungs", "state"),
    [
        ([absent("a", NoEngine("No GPU: get one."))], "none"),
        ([absent("a", NoPlans("No plans: build them."))], "missing"),
        ([absent("a", BadPassport("For another GPU: build them again."))], "mismatch"),
        ([replace(rung("a", exact), plans=True)], "ok"),
        ([rung("a", exact)], "none"),
        ([absent("a", BadPassport("Of before: build.")), replace(rung("b", exact), plans=True)], "mismatch"),
    ],
)
def test_it_says_what_became_of_the_plans(
    tiny: Bundle, settings: Settings, standing: Callable[..., None], rungs: list[Rung], state: str
) -> None:
    standing(*rungs)
    assert climb(tiny, settings).passport == state


def test_it_names_the_plans_that_a_better_rung_would_serve_with(
    tiny: Bundle, settings: Settings, standing: Callable[..., None]
) -> None:
    broken = absent("openvino", EngineFault("It broke."))
    first = replace(absent("tensorrt", BadPassport("Of before: build.")), libraries=("numpy",), plans=True)
    standing(broken, first, replace(absent("tensorrt-rtx", NoPlans("None: build.")), plans=True))
    lacking = climb(tiny, settings).lacking
    assert lacking is not None
    assert (lacking.target, lacking.bundle) == ("tensorrt", tiny.folder)
    assert lacking.made_of["numpy"] == np.__version__
    standing(broken)
    assert climb(tiny, settings).lacking is None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda values: values * np.nan, "no numbers"),
        (lambda values: values[..., ::-1].copy() if values.ndim == 4 else values, "cosine"),
        (lambda values: values * np.float32(1.01), "cosine"),
    ],
    ids=["NaN", "mirrored", "one percent too strong"],
)
def test_a_rung_that_draws_otherwise_is_passed_over(
    tiny: Bundle, settings: Settings, standing: Callable[..., None], spoil: Any, said: str
) -> None:
    standing(rung("wrong", spoil))
    climbed = climb(tiny, settings)
    assert climbed.pipeline.engine_name == "onnxruntime"
    (sentence,) = climbed.passed_over
    assert sentence.startswith("wrong: ")
    assert said in sentence


def test_a_surprise_of_a_library_costs_a_rung_and_not_the_box(
    tiny: Bundle, settings: Settings, standing: Callable[..., None]
) -> None:
    standing(absent("odd", AttributeError("module has no attribute Runtime\nand more")))
    climbed = climb(tiny, settings)
    assert climbed.passed_over == ["odd: AttributeError: module has no attribute Runtime"]


def test_a_library_that_cannot_be_loaded_is_one_sentence() -> None:
    said = r"^X cannot be loaded here \(.*\): get it\.$"
    for error in (ImportError("No module named x"), OSError("libopenvino.so: cannot open shared object file")):
        with pytest.raises(NoEngine, match=said), ladder._library("X", "get it"):
            raise error


def test_an_engine_that_was_asked_for_is_used_or_nothing_is(
    tiny: Bundle, settings: Settings, standing: Callable[..., None]
) -> None:
    standing(rung("tensorrt", exact), absent("openvino", EngineFault("It broke.")))
    assert climb(tiny, settings.model_copy(update={"engine": "onnxruntime"})).pipeline.engine_name == "onnxruntime"
    assert climb(tiny, settings.model_copy(update={"engine": "tensorrt"})).pipeline.engine_name == "tensorrt"
    with pytest.raises(NoEngine, match="openvino: It broke"):
        climb(tiny, settings.model_copy(update={"engine": "openvino"}))


def test_an_engine_that_was_asked_for_and_fails_says_nothing_against_the_bundle(
    tmp_path: Path, settings: Settings, standing: Callable[..., None]
) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path / "new"))
    (bundle.folder / "onnx" / "unet.onnx").write_bytes(b"nothing of the kind")
    standing(rung("tensorrt", exact))
    with pytest.raises(NoEngine) as caught:
        climb(bundle, settings.model_copy(update={"engine": "tensorrt"}))
    assert not isinstance(caught.value, BadBundle)


def test_what_the_reference_says_of_the_bundle_is_raised(tmp_path: Path, settings: Settings) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path / "broken"))
    (bundle.folder / "onnx" / "unet.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(BadBundle, match="ONNX Runtime cannot load"):
        climb(bundle, settings)


def test_the_reference_draws_its_golden_pictures_once(
    tiny: Bundle, settings: Settings, standing: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    standing(rung("second", exact))
    climb(tiny, settings)
    assert len(list(settings.golden_dir.iterdir())) == 1
    monkeypatch.setattr(ladder, "OnnxRuntime", None)
    assert climb(tiny, settings).passed_over == []


def test_openvino_stands_on_this_machine(tiny: Bundle, settings: Settings) -> None:
    """The real ladder: no TensorRT plan here, and bfloat16 only where the CPU has it and the pictures hold."""
    climbed = climb(tiny, settings)
    assert climbed.pipeline.engine_name in ("openvino-bf16", "openvino")
    above = [sentence.partition(":")[0] for sentence in climbed.passed_over]
    assert above == [rung.name for rung in RUNGS[: len(above)]]
    request = GenerationRequest.of({"prompt": "a red apple", "seed": 3}, tiny.manifest.offer())
    *_, state = climbed.pipeline.denoise(request)
    assert climbed.pipeline.decode(state.latents).shape == (64, 64, 3)


def test_generate_names_the_engine_that_was_asked_for(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENSUENO_DATA_DIR", str(tmp_path / "data"))
    out = ["--bundle", str(tiny_folder), "--out", str(tmp_path / "apple.png"), "--json"]
    assert cli.main(["generate", "an apple", "--engine", "openvino", *out]) == 0
    assert '"engine": "openvino"' in capsys.readouterr().out
    assert cli.main(["generate", "an apple", "--engine", "coreml", *out]) == 2
    assert "The setting engine" in capsys.readouterr().err


def test_the_setting_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSUENO_ENGINE", "openvino")
    assert config.load({}).engine == "openvino"
