"""TensorRT behind the engine protocol, on stand-ins for the GPU and the library: `nvidia.py` says what they prove."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.config import Settings
from appliance.engines.onnxruntime import OnnxRuntime
from appliance.engines.tensorrt import TensorRt
from appliance.errors import BadBundle, BadPassport, EngineFault, NoEngine
from appliance.ladder import ladder
from appliance.pipeline.manifest import Bundle, sha256
from appliance.pipeline.text_to_image import TextToImage
from appliance.pipeline.tiles import SMALLEST
from appliance.plans import blueprint, gpu, passport
from appliance.plans.passport import GoldenResult, Passport, Plan
from appliance.request import GenerationRequest
from engine_build.plans import inputs_for
from engine_build.targets import Target
from tests.engines.nvidia import FakeDevice, FakeTensorRt
from tests.engines.test_openvino import FEEDS, unet_feeds
from tests.tiny_bundles import make_tiny_bundle

ORIN = gpu.Gpu("Orin", "8.7")
ARENAS = {"text_encoder": 1001, "unet": 65537, "vae_decoder": 16385}  # sizes that no tensor has


class Jetson:
    """A data dir with plans, a fake GPU, and the engine over both."""

    def __init__(self, bundle: Bundle, data_dir: Path, graphs: bool = True, **altered: Any) -> None:
        self.bundle = bundle
        self.device = FakeDevice()
        self.library = FakeTensorRt(bundle, self.device, ARENAS)
        self.said: list[str] = []
        built_for = Target("tensorrt", self.library, ORIN.sm, ORIN.name, lambda config: None, keeps_timings=True)
        self.inputs = inputs_for(bundle, built_for)
        self.folder = passport.engines_folder(data_dir) / self.inputs.id
        self._build(data_dir, altered)
        self.engine = TensorRt(
            "tensorrt",
            self.library,
            ORIN,
            data_dir,
            lambda: self.device,
            self.device.capture if graphs else None,
            self.said.append,
        )

    def _build(self, data_dir: Path, altered: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True)
        plans = {}
        for component in self.bundle.manifest.components:
            path = passport.plan_path(self.folder, component)
            path.write_bytes(f"plan of {component}".encode())
            plans[component] = Plan(sha256=sha256(path), bytes=path.stat().st_size)
        made = Passport(inputs=self.inputs.model_copy(update=altered), plans=plans)
        passport.write_passport(self.folder, made, passport.read_key(data_dir))


@pytest.fixture
def jetson(tiny: Bundle, tmp_path: Path) -> Jetson:
    return Jetson(tiny, tmp_path)


def relative(have: Any, want: Any) -> float:
    return float(np.linalg.norm(have - want) / np.linalg.norm(want))


@pytest.mark.parametrize("component", FEEDS)
def test_feeds_and_outputs_find_their_way(jetson: Jetson, component: str) -> None:
    network = jetson.engine.load(jetson.bundle, component)
    want = OnnxRuntime(threads=1).load(jetson.bundle, component).run(FEEDS[component])
    for _ in range(4):  # enqueued, captured, repeated
        have = network.run(FEEDS[component])
        assert list(have) == list(want)
        assert all(np.array_equal(have[name], want[name]) for name in want)


def test_a_whole_picture_is_drawn_and_everything_is_freed(jetson: Jetson) -> None:
    request = GenerationRequest.of({"prompt": "a red apple", "seed": 1}, jetson.bundle.manifest.offer())
    pipeline = TextToImage.load(jetson.bundle, jetson.engine)
    *_, state = pipeline.denoise(request)
    *_, want = TextToImage.load(jetson.bundle, threads=1).denoise(request)
    assert relative(state.latents, want.latents) < 1e-6
    assert pipeline.engine_name == "tensorrt"
    pipeline.close()
    assert jetson.device.closed
    assert jetson.device.memory == {}


@pytest.mark.parametrize(
    "result", [GoldenResult(passed=True, cosine=0.9999), GoldenResult(passed=False, reason="Black.")]
)
def test_what_the_golden_pictures_came_to_is_kept_in_the_passport(
    jetson: Jetson, tmp_path: Path, result: GoldenResult
) -> None:
    for _ in range(2):
        jetson.engine.judged(jetson.bundle, result)
        found = passport.read_passport(jetson.folder, passport.read_key(tmp_path))
        assert found.golden == result
        jetson.engine.load(jetson.bundle, "text_encoder").close()


def test_the_ladder_keeps_it_after_the_proof(jetson: Jetson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENSUENO_ENGINE", raising=False)
    rung = ladder.Rung("tensorrt", lambda settings: jetson.engine, plans=True)
    monkeypatch.setattr(ladder, "RUNGS", (rung, ladder.RUNGS[-1]))
    ladder.climb(jetson.bundle, Settings(bundle=jetson.bundle.folder, data_dir=tmp_path, threads=1)).pipeline.close()
    golden = passport.read_passport(jetson.folder, passport.read_key(tmp_path)).golden
    assert golden is not None
    assert golden.passed
    assert golden.cosine is not None
    assert golden.cosine > 0.9999


def test_every_shape_has_a_context_and_a_graph_of_its_own(jetson: Jetson) -> None:
    network = jetson.engine.load(jetson.bundle, "unet")
    reference = OnnxRuntime(threads=1).load(jetson.bundle, "unet")
    for rows, height in ((1, 8), (2, 8), (2, 12), (1, 8), (2, 8), (1, 8), (2, 12)):
        fed = unet_feeds(rows, height)
        assert relative(network.run(fed)["noise_pred"], reference.run(fed)["noise_pred"]) < 1e-6
    assert jetson.library.engines["unet"].contexts == 3
    assert jetson.device.captures == 3
    assert jetson.device.launches == 4  # a shape's first run is enqueued


def test_all_contexts_share_one_arena_as_large_as_the_largest_needs(jetson: Jetson) -> None:
    networks = {name: jetson.engine.load(jetson.bundle, name) for name in ARENAS}
    for _ in range(3):
        for name, network in networks.items():
            network.run(FEEDS[name])
    assert [block.size for block in jetson.device.memory.values() if block.size == max(ARENAS.values())] == [65537]
    assert sum(block.size in ARENAS.values() for block in jetson.device.memory.values()) == 1


def test_a_larger_network_that_comes_late_moves_the_arena_under_the_others(jetson: Jetson) -> None:
    small = jetson.engine.load(jetson.bundle, "text_encoder")
    want = small.run(FEEDS["text_encoder"])["prompt_embeds"]
    small.run(FEEDS["text_encoder"])
    jetson.engine.load(jetson.bundle, "unet").run(FEEDS["unet"])
    for _ in range(3):
        assert np.array_equal(small.run(FEEDS["text_encoder"])["prompt_embeds"], want)


def test_without_cuda_bindings_every_run_is_enqueued(tiny: Bundle, tmp_path: Path) -> None:
    jetson = Jetson(tiny, tmp_path, graphs=False)
    network = jetson.engine.load(tiny, "unet")
    want = OnnxRuntime(threads=1).load(tiny, "unet").run(FEEDS["unet"])["noise_pred"]
    for _ in range(3):
        assert np.array_equal(network.run(FEEDS["unet"])["noise_pred"], want)
    assert jetson.device.launches == 0


def test_a_network_that_cannot_be_captured_is_enqueued(tiny: Bundle, tmp_path: Path) -> None:
    jetson = Jetson(tiny, tmp_path)
    jetson.engine._capture = lambda stream, work: None
    network = jetson.engine.load(tiny, "unet")
    for _ in range(3):
        network.run(FEEDS["unet"])
    assert jetson.device.launches == 0


def test_memory_for_activations_is_reported_before_there_is_a_context(jetson: Jetson) -> None:
    jetson.engine.load(jetson.bundle, "unet")
    assert jetson.said == ["tensorrt: unet takes 0 MiB for activations; 1024 MiB are free."]
    assert jetson.library.engines["unet"].contexts == 0


def test_too_little_memory_is_said_and_nothing_is_left_open(jetson: Jetson) -> None:
    jetson.device.free_bytes = 1 << 12
    with pytest.raises(EngineFault, match="unet needs 0 MiB for activations and 0 MiB are free"):
        jetson.engine.load(jetson.bundle, "unet")
    assert jetson.device.closed


def test_a_decoder_short_of_memory_takes_what_its_tiles_need(jetson: Jetson) -> None:
    """Its largest shape would not fit; a tile does, and the arena is no larger than that."""
    jetson.device.free_bytes = 1 << 12
    network = jetson.engine.load(jetson.bundle, "vae_decoder")
    for _ in range(3):
        network.run(FEEDS["vae_decoder"])
    assert not [block for block in jetson.device.memory.values() if block.size == ARENAS["vae_decoder"]]


def test_a_decoders_shapes_begin_at_the_smallest_tile(tiny: Bundle) -> None:
    large = Bundle(tiny.folder, tiny.manifest.model_copy(update={"sizes": [[512, 512], [1024, 768]]}))
    profiles = {name: part.profile for name, part in blueprint.sources(large).items()}
    assert (profiles["vae_decoder"]["latents"].min, profiles["vae_decoder"]["latents"].max) == (
        (1, 4, SMALLEST, SMALLEST),
        (1, 4, 96, 128),
    )
    assert profiles["unet"]["sample"].min == (1, 4, 64, 64)


def test_a_shape_outside_the_profile_names_what_was_built(jetson: Jetson) -> None:
    network = jetson.engine.load(jetson.bundle, "unet")
    with pytest.raises(EngineFault, match="built for sample of 1x4x1x1 to 16x4x16x16, not 1x4x99x8"):
        network.run(unet_feeds(1, 99, 8))
    network.close()
    assert jetson.device.closed, "what was begun for the shape is freed"


def test_a_fault_says_what_tensorrt_said(jetson: Jetson) -> None:
    network = jetson.engine.load(jetson.bundle, "unet")
    jetson.library.engines["unet"].broken = True
    with pytest.raises(EngineFault, match=r"could not run unet \(\[executor\.cpp::run::1\] Cask error\)"):
        network.run(FEEDS["unet"])


@pytest.mark.parametrize(
    "change",
    [{"foreign": np.ones(1, np.float32)}, {"sample": np.ones((2, 4, 8, 8), np.float64)}],
    ids=["name", "dtype"],
)
def test_wrong_feeds_are_a_fault(jetson: Jetson, change: dict[str, Any]) -> None:
    with pytest.raises(EngineFault, match="unet"):
        jetson.engine.load(jetson.bundle, "unet").run(FEEDS["unet"] | change)


def test_a_closed_network_says_so(jetson: Jetson) -> None:
    network = jetson.engine.load(jetson.bundle, "unet")
    network.close()
    network.close()
    with pytest.raises(EngineFault, match="closed"):
        network.run(FEEDS["unet"])


def test_without_plans_the_command_that_builds_them_is_named(jetson: Jetson, tmp_path: Path) -> None:
    other = Bundle.open(make_tiny_bundle(tmp_path / "other", name="other"))
    with pytest.raises(NoEngine, match=r"no plans of other 0\.0\.1 for Orin and tensorrt 10\.3\.0: build them with"):
        jetson.engine.load(other, "unet")


def test_a_plan_that_was_changed_is_never_opened(jetson: Jetson) -> None:
    passport.plan_path(jetson.folder, "unet").write_bytes(b"plan of unwt")
    with pytest.raises(BadPassport, match="sha256 differs"):
        jetson.engine.load(jetson.bundle, "unet")
    assert jetson.library.engines == {}
    assert jetson.device.closed


def test_a_plan_of_another_gpu_is_never_opened(tiny: Bundle, tmp_path: Path) -> None:
    jetson = Jetson(tiny, tmp_path, gpu="Thor", sm="11.0")
    with pytest.raises(BadPassport, match=r"sm 11\.0 \(here: 8\.7\)"):
        jetson.engine.load(tiny, "unet")
    assert jetson.library.engines == {}


def test_a_plan_that_tensorrt_refuses_says_why(jetson: Jetson) -> None:
    jetson.library.refuses = "Version tag does not match. Note: Current Version: 239"
    with pytest.raises(BadPassport, match=r"plan of unet is refused by TensorRT \(Version tag does not match"):
        jetson.engine.load(jetson.bundle, "unet")
    found = passport.read_passport(jetson.folder, passport.read_key(jetson.folder.parents[1]))
    assert set(found.inputs.components) - set(found.plans) == {"unet"}  # the next build makes it again
    with pytest.raises(BadPassport, match="The plan of unet is not built yet"):
        jetson.engine.load(jetson.bundle, "unet")


def test_a_plan_that_finds_no_memory_is_not_to_be_built_again(jetson: Jetson) -> None:
    jetson.library.refuses = "[defaultAllocator.cpp] Out of memory while allocating 512 bytes"
    with pytest.raises(EngineFault, match="no memory for the plan of unet"):
        jetson.engine.load(jetson.bundle, "unet")
    assert passport.read_passport(jetson.folder, passport.read_key(jetson.folder.parents[1])).complete


def test_a_plan_with_foreign_tensors_is_a_bad_bundle(jetson: Jetson) -> None:
    path = passport.plan_path(jetson.folder, "unet")
    path.write_bytes(b"plan of vae_decoder")
    found = passport.read_passport(jetson.folder, passport.read_key(jetson.folder.parents[1]))
    plans = {**found.plans, "unet": Plan(sha256=sha256(path), bytes=path.stat().st_size)}
    passport.write_passport(
        jetson.folder, found.model_copy(update={"plans": plans}), passport.read_key(jetson.folder.parents[1])
    )
    with pytest.raises(BadBundle, match="inputs of unet lack"):
        jetson.engine.load(jetson.bundle, "unet")


def test_nothing_of_nvidias_is_imported_until_asked() -> None:
    found = "[n for n in sys.modules if n.split('.')[0] in {'tensorrt', 'pycuda'}]"
    code = f"import sys, appliance.ladder.ladder; print({found})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.skipif(gpu.gpu() is not None, reason="for machines without a GPU")
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_without_a_gpu_the_rung_costs_one_sentence(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    rung = next(rung for rung in ladder.RUNGS if rung.name == name)
    with pytest.raises(NoEngine, match="No NVIDIA GPU is seen here"):
        rung.make(Settings(bundle=tiny_folder, data_dir=tmp_path))


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ImportError("No module named 'tensorrt'"), "install JetPack's python3-libnvinfer"),
        (OSError("libnvdla_compiler.so: cannot open"), "this system has no DLA library; on the device install"),
    ],
)
def test_a_library_that_does_not_load_costs_one_sentence(
    error: Exception, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> Any:
        raise error

    monkeypatch.setattr(gpu, "gpu", lambda: ORIN)
    monkeypatch.setattr(importlib, "import_module", broken)
    rung = next(rung for rung in ladder.RUNGS if rung.name == "tensorrt")
    with pytest.raises(NoEngine, match=rf"TensorRT cannot be loaded here \(.*\): {remedy}"):
        rung.make(Settings(data_dir=tmp_path))
