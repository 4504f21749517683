"""LCM, with a small VAE in the place of its own: the latents are those of diffusers' own pipeline (exported.py)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BadInput
from appliance.pipeline.denoise import DenoiseState, advance, feeds
from appliance.pipeline.text_to_image import TextToImage
from engine_build import bundle as builder
from engine_build import families, onnx_export
from engine_build.bundle import Choices
from engine_build.parity import relative_error
from engine_build.source import Source
from tests.engine_build import family_folders
from tests.engine_build.conftest import library
from tests.engine_build.exported import GATE, Exported, export, needs_rtx, ours, request, taken_by_rtx, theirs

pytestmark = pytest.mark.timeout(900)  # an export is half a minute of work, longer beside other work


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published, with an AutoencoderKL."""
    with onnx_export.quiet():
        return family_folders.make_lcm_folder(tmp_path_factory.mktemp("lcm") / "tiny lcm")


@pytest.fixture(scope="module")
def lcm(folder: Path) -> Exported:
    with onnx_export.quiet():
        family_folders.make_small_vae().save_pretrained(str(folder.parent / "taesd"))
    source = families.with_vae(Source.open(folder), folder.parent / "taesd")
    return export(source, folder.parent / "lcm", Choices("float32", "f16", preview=False))


@pytest.fixture
def our_noise(monkeypatch: pytest.MonkeyPatch) -> list[DenoiseState]:
    """diffusers draws fresh noise at each step: it gets ours. The one state put into the list says which."""
    import torch
    from diffusers.schedulers import scheduling_lcm

    started: list[DenoiseState] = []
    step = iter(range(1, 100))

    def noise(shape: tuple[int, ...], **ignored: Any) -> Any:
        return torch.from_numpy(started[0].noise.at(next(step), tuple(shape[1:]))[None])

    monkeypatch.setattr(scheduling_lcm, "randn_tensor", noise)
    return started


def test_lcm_tells_its_unet_the_guidance_and_needs_no_second_row(lcm: Exported) -> None:
    manifest = lcm.bundle.manifest
    assert (manifest.family, manifest.scheduler.allowed[0]) == ("lcm", "lcm")
    assert (manifest.defaults.steps, manifest.defaults.guidance) == (4, 8.5)
    pipeline = TextToImage.load(lcm.bundle, threads=1)
    state = pipeline.start(request(lcm.bundle))
    assert state.rows == 1
    assert state.added["timestep_cond"].shape == (1, 16)
    pipeline.close()


@pytest.mark.parametrize("guidance", [8.5, 8.4])
def test_lcm_draws_what_diffusers_draws(lcm: Exported, our_noise: list[DenoiseState], guidance: float) -> None:
    wish = request(lcm.bundle, guidance=8.5)
    first, last = ours(lcm.bundle, wish)
    our_noise.append(first)
    want = theirs(lcm.bundle, library().LCMScheduler, first, prompt=wish.prompt, guidance_scale=guidance)
    error = relative_error(last.latents[None], want)
    assert error < GATE if guidance == wish.guidance else error > GATE


def test_advance_keeps_what_the_family_added(lcm: Exported) -> None:
    pipeline = TextToImage.load(lcm.bundle, threads=1)
    state = pipeline.start(request(lcm.bundle))
    after = advance(state, pipeline.predict([feeds(state)])[0])
    assert after.added is state.added
    pipeline.close()


# --- another VAE, and what float16 cannot hold ------------------------------------------------------------------------


def test_a_small_vae_takes_the_place_of_the_models_own(lcm: Exported) -> None:
    networks = {network.name: network for network in families.declared("lcm", lcm.source)}
    assert networks["vae_decoder"].class_name == networks["vae_encoder"].class_name == "AutoencoderTiny"
    manifest = lcm.bundle.manifest
    assert (manifest.latents.scaling_factor, manifest.latents.scale) == (1.0, 2)
    index = json.loads((lcm.bundle.folder / "source" / "model_index.json").read_text())
    assert index["vae"] == ["diffusers", "AutoencoderTiny"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"latent_channels": 16}, "16 channels"), ({"_class_name": "VQModel"}, "holds a VQModel")],
)
def test_a_vae_for_another_model_is_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    other = Path(shutil.copytree(folder / "vae", tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(BadInput, match=sentence):
        families.with_vae(Source.open(folder), other)


def test_a_network_that_overflows_in_float16_stays_in_float32(folder: Path, tmp_path: Path) -> None:
    source = Source.open(folder)
    (network,) = (one for one in families.declared("lcm", source) if one.name == "vae_decoder")
    said: list[str] = []
    with onnx_export.quiet():
        model = onnx_export.load(source, network)
        for parameter in model.decoder.conv_in.parameters():
            parameter.data *= 1e5
    assert not builder._add_float16(model, network, tmp_path, said.append)
    assert said == ["vae_decoder: stays in float32, for in float16 its numbers are not finite"]
    assert not list(tmp_path.iterdir())


@needs_rtx
def test_every_network_of_lcm_is_taken_by_tensorrt_for_rtx(lcm: Exported, tmp_path: Path) -> None:
    taken_by_rtx(lcm.bundle, tmp_path)
