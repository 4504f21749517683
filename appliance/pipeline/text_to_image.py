"""The whole way from a sentence to pixels, one method for each stage; the denoise loop is the caller's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from appliance.engines import Engine, Network
from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadBundle, EngineFault
from appliance.job import picture_seed
from appliance.pipeline import preview, text_encoder, vae_decoder
from appliance.pipeline.caption import Caption, caption
from appliance.pipeline.denoise import DenoiseState, Feeds, advance, begin, feeds
from appliance.pipeline.manifest import Bundle, Component
from appliance.pipeline.schedulers import make_schedule
from appliance.pipeline.text_encoder import TextEncoder
from appliance.pipeline.tokenizer import Tokenizer
from appliance.pipeline.vae_decoder import VaeDecoder
from appliance.request import GenerationRequest

UNET = "unet"
SAMPLE = "sample"
TIMESTEP = "timestep"
ENCODER_HIDDEN_STATES = "encoder_hidden_states"
NOISE_PRED = "noise_pred"

# component → (inputs, outputs) that the `sd` family needs
FAMILY_SD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    text_encoder.NAME: ((text_encoder.INPUT_IDS,), (text_encoder.PROMPT_EMBEDS,)),
    UNET: ((SAMPLE, TIMESTEP, ENCODER_HIDDEN_STATES), (NOISE_PRED,)),
    vae_decoder.NAME: ((vae_decoder.LATENTS,), (vae_decoder.IMAGE,)),
}


class TextToImage:
    """A loaded bundle. Made by `TextToImage.load`; one thread uses it."""

    def __init__(self, bundle: Bundle, engine_name: str, networks: Mapping[str, Network]) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.engine_name = engine_name
        self._networks = networks
        self._unet = manifest.components[UNET]
        self._tokenizer = Tokenizer(bundle)
        self._text_encoder = TextEncoder(
            self._tokenizer, networks[text_encoder.NAME], manifest.components[text_encoder.NAME]
        )
        self._vae_decoder = VaeDecoder(
            networks[vae_decoder.NAME], manifest.components[vae_decoder.NAME], manifest.latents
        )

    @classmethod
    def load(cls, bundle: Bundle, engine: Engine | None = None, threads: int | None = None) -> TextToImage:
        """Load every network of the bundle on `engine` (ONNX Runtime when None). Raises `BadBundle`.

        `threads` is for the default engine: None takes every core.
        """
        check_family(bundle)
        engine = engine or OnnxRuntime(threads)
        return cls(bundle, engine.name, {name: engine.load(bundle, name) for name in FAMILY_SD})

    def start(self, request: GenerationRequest, index: int = 0) -> DenoiseState:
        """Picture `index` of the request, before its first step. The request's seed must be set."""
        if request.seed is None:
            raise ValueError("the request's seed must be fixed before it is drawn")
        manifest = self.bundle.manifest
        scale = manifest.latents.scale
        return begin(
            schedule=make_schedule(request.scheduler, manifest.scheduler, request.steps),
            prompt_embeds=self._embeds(request),
            guidance_scale=request.guidance,
            seed=picture_seed(request.seed, index),
            shape=(manifest.latents.channels, request.height // scale, request.width // scale),
            label=f"{manifest.title} {request.to_json()}",
        )

    def truncated(self, request: GenerationRequest) -> str | None:
        """The end of the prompt that the tokenizer must cut off, or None; a locale's template takes room too."""
        read = self._caption(request.prompt, request)
        return read.unread(self._tokenizer(read.text).cut)

    def predict(self, batch: Sequence[Feeds]) -> list[NDArray[np.float32]]:
        """One UNet call for all of them (latents of one shape); for each its rows of noise_pred, float32.

        Raises `EngineFault` when the engine cannot.
        """
        outputs = self._networks[UNET].run(
            {
                SAMPLE: self._joined(SAMPLE, [item.sample for item in batch]),
                TIMESTEP: self._joined(TIMESTEP, [item.timestep for item in batch]),
                ENCODER_HIDDEN_STATES: self._joined(ENCODER_HIDDEN_STATES, [item.prompt_embeds for item in batch]),
            }
        )
        noise_pred = outputs[NOISE_PRED].astype(np.float32, copy=False)
        ends = list(accumulate(len(item.sample) for item in batch))
        if len(noise_pred) != ends[-1]:
            raise EngineFault(f"{UNET} answered {len(noise_pred)} rows to {ends[-1]}: export the bundle again.")
        return [noise_pred[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    def preview(self, state: DenoiseState) -> NDArray[np.uint8]:
        """A small picture of where the denoising stands, (h, w, 3) uint8; costs microseconds."""
        return preview.preview(state, self.bundle.manifest.preview)

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Latents (channels, h, w) → pixels (H, W, 3) uint8. Raises `EngineFault` when they are no numbers."""
        return self._vae_decoder.decode(latents)

    def denoise(self, request: GenerationRequest, index: int = 0) -> Iterator[DenoiseState]:
        """One picture alone: the state after every step, the last of them `done`."""
        state = self.start(request, index)
        while not state.done:
            state = advance(state, self.predict([feeds(state)])[0])
            yield state

    def close(self) -> None:
        """Give the networks' memory back."""
        for network in self._networks.values():
            network.close()

    def _embeds(self, request: GenerationRequest) -> NDArray[np.float32]:
        """(1, length, width), or with guidance (2, length, width), the negative prompt first."""
        text = self._text_encoder.encode(self._caption(request.prompt, request).text)
        if request.guidance <= 1.0:
            return text
        negative = self._text_encoder.encode(self._caption(request.negative_prompt, request).text)
        return np.concatenate([negative, text])

    def _caption(self, words: str, request: GenerationRequest) -> Caption:
        return caption(words, request.locale, self.bundle.manifest)

    def _joined(self, name: str, parts: Sequence[NDArray[np.float32]]) -> NDArray[np.floating]:
        """The rows of all parts under one another, in the dtype that the UNet's tensor has."""
        rows = np.concatenate(parts) if len(parts) > 1 else np.ascontiguousarray(parts[0])
        return rows.astype(self._unet.input(name).dtype, copy=False)


def check_family(bundle: Bundle) -> None:
    """Hold the manifest to what this pipeline feeds and reads. Raises `BadBundle`."""
    components = bundle.manifest.components
    for name, (inputs, outputs) in FAMILY_SD.items():
        if name not in components:
            raise BadBundle(f"{bundle.folder.name} has no {name}: export the bundle again.")
        _check_names(bundle, name, inputs, components[name])
        if set(outputs) - {tensor.name for tensor in components[name].outputs}:
            raise BadBundle(f"{bundle.folder.name}: {name} must give {', '.join(outputs)}: export the bundle again.")


def _check_names(bundle: Bundle, name: str, inputs: tuple[str, ...], component: Component) -> None:
    foreign = set(inputs) ^ {tensor.name for tensor in component.inputs}
    if foreign:
        raise BadBundle(
            f"{bundle.folder.name}: {name} must take {', '.join(inputs)} and nothing else "
            f"(see {', '.join(sorted(foreign))}): export the bundle again."
        )
