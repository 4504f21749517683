"""OpenVINO GenAI's Text2ImagePipeline, made to take the bundle for its times alone; what it draws is not our picture.

As it is, it refuses: it knows no AutoencoderTiny, and its flow-matching scheduler serves only Stable Diffusion 3 and
FLUX («Scheduler doesn't support int timesteps»). So its copy of the folder calls the decoder an AutoencoderKL (the
graph is the same) and names EulerDiscrete, which calls the UNet just as often: same networks, steps, guidance.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai
from numpy.typing import NDArray
from openvino_tokenizers import convert_tokenizer
from transformers import AutoTokenizer

from appliance.pipeline.manifest import Bundle
from benchmarks.player import Array, Wish
from engine_build.source_folder import as_diffusers

_NETWORKS = {"text_encoder": "text_encoder", "unet": "unet", "vae_decoder": "vae"}  # ours: its folder of diffusers
_SCHEDULER = {"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1000, "prediction_type": "epsilon"}


class GenAi:
    """As its samples use it, but for the threads and the others' precision."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        with tempfile.TemporaryDirectory() as folder, as_diffusers(bundle.folder) as source:
            convert(bundle, source, Path(folder))
            settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
            self._pipeline: Any = openvino_genai.Text2ImagePipeline(folder, "CPU", **settings)

    def unet(self, sample: Array, timestep: Array, embeds: Array) -> Array:
        """It has no door to its UNet alone."""
        raise NotImplementedError

    def picture(self, wish: Wish) -> tuple[None, NDArray[np.uint8]]:
        """Words to pixels."""
        drawn = self._pipeline.generate(
            wish.read,
            negative_prompt="",
            num_inference_steps=wish.steps,
            guidance_scale=wish.guidance,
            width=wish.width,
            height=wish.height,
        )
        return None, np.array(drawn.data)[0]


def convert(bundle: Bundle, source: Path, out: Path) -> None:
    """Write the bundle as GenAI reads it, OpenVINO's files in float32; `source` is its diffusers folder."""
    core: Any = ov.Core()
    for ours, theirs in _NETWORKS.items():
        (out / ours).mkdir()
        model = core.read_model(str(bundle.folder / "onnx" / f"{ours}.onnx"))
        if ours == "unet":
            model = _with_whole_timesteps(model)
        ov.save_model(model, str(out / ours / "openvino_model.xml"), compress_to_fp16=False)
        shutil.copy(source / theirs / "config.json", out / ours / "config.json")
    shutil.copytree(source / "tokenizer", out / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(source / "tokenizer", local_files_only=True)
    words = convert_tokenizer(tokenizer, tokenizer_output_type=ov.Type.i32)
    ov.save_model(words, str(out / "tokenizer" / "openvino_tokenizer.xml"))
    (out / "scheduler").mkdir()
    (out / "scheduler" / "scheduler_config.json").write_text(json.dumps(_SCHEDULER))
    index = json.loads((source / "model_index.json").read_text())
    index |= {"vae": ["diffusers", "AutoencoderKL"], "scheduler": ["diffusers", _SCHEDULER["_class_name"]]}
    (out / "model_index.json").write_text(json.dumps(index))


def _with_whole_timesteps(model: Any) -> Any:
    """It feeds the timestep as int64."""
    prepared = ov.preprocess.PrePostProcessor(model)
    prepared.input("timestep").tensor().set_element_type(ov.Type.i64)
    return prepared.build()


def load(bundle: Bundle, threads: int) -> GenAi:
    """Convert and load."""
    return GenAi(bundle, threads)
