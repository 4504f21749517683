"""OpenVINO's runtime on the bundle's ONNX files, the loop written by hand.

Fixed shapes are its way to be fastest, and draw one size of one picture only. In bfloat16, where the CPU multiplies in
it, it computes other numbers than everyone else here: shown, but no peer in precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from tokenizers import Tokenizer

from appliance.pipeline.manifest import Bundle
from benchmarks.plain_onnxruntime import denoise, to_pixels, tokenize
from benchmarks.player import Array, Wish, wish_for


class OpenVino:
    """Compiled for latency; `precision` is the inference precision hint, `fixed` whether shapes are."""

    def __init__(self, bundle: Bundle, threads: int, precision: str, fixed: bool) -> None:
        self._fixed = fixed
        self._bundle = bundle
        self._settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        shape = wish_for(bundle, 0).noise.shape
        length, width = bundle.manifest.components["unet"].input("encoder_hidden_states").shape[1:]
        self._text_encoder = self._compiled("text_encoder", {"input_ids": [2, int(length)]})
        self._unet = self._compiled(
            "unet",
            {"sample": [2, *shape], "timestep": [2], "encoder_hidden_states": [2, int(length), int(width)]},
        )
        self._vae = self._compiled("vae_decoder", {"latents": [1, *shape]})
        self._tokenizer = Tokenizer.from_file(str(bundle.folder / "tokenizer" / "tokenizer.json"))
        self._tokenizer.no_padding()

    def _compiled(self, name: str, shapes: dict[str, list[int]]) -> Any:
        core: Any = ov.Core()
        model = core.read_model(str(self._bundle.folder / "onnx" / f"{name}.onnx"))
        if self._fixed:
            model.reshape(shapes)
        return core.compile_model(model, "CPU", self._settings).create_infer_request()

    def unet(self, sample: Array, timestep: Array, embeds: Array) -> Array:
        """One call, the rows of one picture."""
        feeds = {"sample": sample, "timestep": timestep, "encoder_hidden_states": embeds}
        noise_pred = self._unet.infer(feeds, share_inputs=True)[0]
        return np.array(noise_pred, dtype=np.float32)

    def picture(self, wish: Wish) -> tuple[Array, NDArray[np.uint8]]:
        """Both texts in one call, then the loop."""
        ids = tokenize(self._tokenizer, self._bundle, ["", wish.read])
        embeds = self._text_encoder.infer({"input_ids": ids})[0].copy()
        latents = denoise(self.unet, self._bundle, wish, embeds)
        settings = self._bundle.manifest.latents
        unscaled = (latents / settings.scaling_factor + settings.shift_factor).astype(np.float32)
        image = self._vae.infer({"latents": unscaled})[0]
        return latents[0], to_pixels(image[0])


def load(bundle: Bundle, threads: int, precision: str = "f32", fixed: bool = False) -> OpenVino:
    """In the others' precision and with the files' own shapes, unless told otherwise."""
    return OpenVino(bundle, threads, precision, fixed)
