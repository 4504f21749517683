"""The script one would write by hand: three sessions and a loop of Euler steps, without a service in mind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from appliance.pipeline.manifest import Bundle
from benchmarks.player import Array, Wish, wish_for


def tokenize(tokenizer: Tokenizer, bundle: Bundle, texts: list[str]) -> NDArray[np.int32]:
    """Begin, words, end, padding."""
    settings = bundle.manifest.tokenizer
    rows = []
    for text in texts:
        words = tokenizer.encode(text, add_special_tokens=False).ids[: settings.max_length - 2]
        ids = [settings.bos_token_id, *words, settings.eos_token_id]
        rows.append(ids + [settings.pad_token_id] * (settings.max_length - len(ids)))
    return np.array(rows, dtype=np.int32)


def sigmas_of(bundle: Bundle, steps: int) -> Array:
    """FlowMatchEuler's: from 1 down to the smallest trained one, which it shifts twice, then 0."""
    shift = bundle.manifest.scheduler.shift
    smallest = shift * 0.001 / (1 + (shift - 1) * 0.001)
    sigmas = np.linspace(1.0, smallest, steps)
    return np.append(shift * sigmas / (1 + (shift - 1) * sigmas), 0.0).astype(np.float32)


def denoise(unet: Callable[[Array, Array, Array], Array], bundle: Bundle, wish: Wish, embeds: Array) -> Array:
    """Euler steps with guidance, from the wish's noise to final latents (1, channels, h, w)."""
    latents = wish.noise[None]
    for sigma, following in pairwise(sigmas_of(bundle, wish.steps)):
        timestep = np.full(2, sigma * 1000, dtype=np.float32)
        uncond, text = unet(np.concatenate([latents, latents]), timestep, embeds)
        latents = latents + (following - sigma) * (uncond + wish.guidance * (text - uncond))
    return latents


def to_pixels(image: Array) -> NDArray[np.uint8]:
    """[-1, 1], channels first, to 0 … 255, channels last."""
    pixels: NDArray[np.uint8] = (image.transpose(1, 2, 0) * 127.5 + 127.5).clip(0, 255).round().astype(np.uint8)
    return pixels


class PlainOnnxRuntime:
    """Default options but for the number of threads, `settings` by their keys and `switches` by their attributes;
    `fixed` dimensions draw one size of one picture."""

    def __init__(
        self, bundle: Bundle, threads: int, settings: dict[str, str], switches: dict[str, bool], fixed: bool
    ) -> None:
        self._threads = threads
        self._settings = settings
        self._switches = switches
        self._onnx = bundle.folder / "onnx"
        _, height, width = wish_for(bundle, 0).noise.shape
        _, _, *sides = bundle.manifest.components["unet"].input("sample").shape
        shapes = {"batch": 2, str(sides[0]): height, str(sides[1]): width} if fixed else {}
        self._text_encoder = self._session("text_encoder", {})
        self._unet = self._session("unet", shapes)
        self._vae = self._session("vae_decoder", {})
        self._tokenizer = Tokenizer.from_file(str(bundle.folder / "tokenizer" / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._bundle = bundle

    def _session(self, name: str, shapes: dict[str, int]) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        for key, setting in self._settings.items():
            options.add_session_config_entry(key, setting)
        for switch, value in self._switches.items():
            setattr(options, switch, value)
        for dimension, size in shapes.items():
            options.add_free_dimension_override_by_name(dimension, size)
        return ort.InferenceSession(str(self._onnx / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])

    def unet(self, sample: Array, timestep: Array, embeds: Array) -> Array:
        """One call, the rows of one picture."""
        feeds = {"sample": sample, "timestep": timestep, "encoder_hidden_states": embeds}
        noise_pred: Array = self._unet.run(None, feeds)[0]
        return noise_pred

    def picture(self, wish: Wish) -> tuple[Array, NDArray[np.uint8]]:
        """Both texts in one call, then the loop."""
        ids = tokenize(self._tokenizer, self._bundle, ["", wish.read])
        embeds = self._text_encoder.run(None, {"input_ids": ids})[0]
        latents = denoise(self.unet, self._bundle, wish, embeds)
        settings = self._bundle.manifest.latents
        unscaled = latents / settings.scaling_factor + settings.shift_factor
        image = self._vae.run(None, {"latents": unscaled.astype(np.float32)})[0]
        return latents[0], to_pixels(image[0])


def load(
    bundle: Bundle,
    threads: int,
    settings: dict[str, str] | None = None,
    switches: dict[str, bool] | None = None,
    one_thread: bool = False,
    fixed: bool = False,
) -> PlainOnnxRuntime:
    """Three sessions."""
    return PlainOnnxRuntime(bundle, 1 if one_thread else threads, settings or {}, switches or {}, fixed)
