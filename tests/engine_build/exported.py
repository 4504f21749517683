"""What the families' tests share: an export, our latents and diffusers' own from the same noise, NVIDIA's builder.

The gate of 1e-5 is relative L2 of the final latents; a slightly wrong input must fail it.
"""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.pipeline.denoise import DenoiseState
from appliance.pipeline.manifest import Bundle, SchedulerSettings
from appliance.pipeline.text_to_image import TextToImage
from appliance.request import GenerationRequest
from engine_build import onnx_export, plans
from engine_build.bundle import Choices, export_with
from engine_build.source import Source
from engine_build.source_folder import as_diffusers
from engine_build.targets import Target, tensorrt_rtx
from tests.engine_build.conftest import library

GATE = 1e-5
needs_rtx = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="TensorRT for RTX has no build for this processor"
)


@dataclasses.dataclass(frozen=True)
class Exported:
    """`source` is what was exported, `report` what the export told."""

    source: Source
    bundle: Bundle
    said: list[str]
    report: dict[str, Any]


def export(source: Source, out: Path, choices: Choices) -> Exported:
    said: list[str] = []
    report = export_with(source, out, choices, said.append)
    return Exported(source, Bundle.open(out), said, report)


def request(bundle: Bundle, **fields: Any) -> GenerationRequest:
    return GenerationRequest.of({"prompt": "a red dog", "seed": 5, "steps": 4, **fields}, bundle.manifest.offer())


def ours(bundle: Bundle, wish: GenerationRequest) -> tuple[DenoiseState, DenoiseState]:
    """The first state and the last."""
    pipeline = TextToImage.load(bundle, threads=2)
    first = pipeline.start(wish)
    *_, last = pipeline.denoise(wish)
    pipeline.close()
    return first, last


def theirs(bundle: Bundle, scheduler: Any, first: DenoiseState, **arguments: Any) -> Any:
    """diffusers' final latents (1, C, h, w) from the same noise, with the bundle's own diffusers folder."""
    import torch

    with onnx_export.quiet():
        with as_diffusers(bundle.folder) as source:
            pipeline = library().DiffusionPipeline.from_pretrained(str(source), local_files_only=True)
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **arguments.pop("config", {}))
        pipeline.set_progress_bar_config(disable=True)
        noise = first.latents[None] / np.float32(first.schedule.init_noise_sigma)
        answer = pipeline(
            latents=torch.from_numpy(np.ascontiguousarray(noise)),
            num_inference_steps=first.schedule.num_inference_steps,
            height=bundle.manifest.sizes[0][1],
            width=bundle.manifest.sizes[0][0],
            output_type="latent",
            **arguments,
        )
    return answer.images.numpy()


def with_scheduler(bundle: Bundle, **settings: Any) -> Bundle:
    """The same networks under another noise schedule."""
    scheduler = SchedulerSettings.model_validate(bundle.manifest.scheduler.model_dump() | settings)
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"scheduler": scheduler}))


def taken_by_rtx(bundle: Bundle, place: Path) -> None:
    """Every network for all three generations in one plan, with the float16 graphs where there are some."""
    target = all_generations()
    report = plans.build(bundle, target, place, None, lambda line: None)
    assert set(report["plans"]) == set(report["built"]) == set(bundle.manifest.components)
    built = plans.inputs_for(bundle.of_float16(), target).components
    assert {name: part.precision for name, part in built.items()} == {
        name: "float16" if part.f16 else "float32" for name, part in bundle.manifest.components.items()
    }


def all_generations() -> Target:
    target = tensorrt_rtx.open_target("8.6")
    known = target.trt.ComputeCapability

    def aim(config: Any) -> None:
        config.num_compute_capabilities = 3
        for index, sm in enumerate((known.SM86, known.SM89, known.SM120)):
            config.set_compute_capability(sm, index)

    return dataclasses.replace(target, aim=aim)
