"""The whole way from a sentence to pixels, one method for each stage; the denoise loop is the caller's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from appliance.engines import Engine, Network
from appliance.engines.cpu import available_memory
from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import EngineFault
from appliance.job import picture_seed
from appliance.picture import Picture
from appliance.pipeline import preview, text_encoder, vae_decoder, vae_encoder
from appliance.pipeline.caption import Caption, caption
from appliance.pipeline.conditioning import Conditioning, condition
from appliance.pipeline.denoise import DenoiseState, Feeds, Original, advance, begin, begin_from, feeds
from appliance.pipeline.families import (
    ENCODER_HIDDEN_STATES,
    NOISE_PRED,
    SAMPLE,
    TIMESTEP,
    TIMESTEP_COND,
    UNET,
    check_family,
    wanted,
)
from appliance.pipeline.inpaint import latent_mask
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.schedulers import make_schedule
from appliance.pipeline.text_encoder import Encoded, TextEncoder, TextNetwork
from appliance.pipeline.tiles import side_within
from appliance.pipeline.tokenizer import Tokenizer
from appliance.pipeline.vae_decoder import VaeDecoder
from appliance.pipeline.vae_encoder import VaeEncoder
from appliance.request import GenerationRequest


class TextToImage:
    """A loaded bundle. Made by `TextToImage.load`; one thread uses it."""

    def __init__(self, bundle: Bundle, engine_name: str, networks: Mapping[str, Network], decode_budget: int) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.engine_name = engine_name
        self._networks = networks
        self._unet = manifest.components[UNET]
        self._tokenizer = Tokenizer(bundle)
        self._text_encoder = TextEncoder(_text_networks(bundle, networks, self._tokenizer))
        self._vae_decoder = VaeDecoder(
            networks[vae_decoder.NAME],
            manifest.components[vae_decoder.NAME],
            manifest.latents,
            side_within(decode_budget, manifest.latents.scale),
        )
        self._vae_encoder = (
            VaeEncoder(networks[vae_encoder.NAME], manifest.components[vae_encoder.NAME], manifest.latents)
            if vae_encoder.NAME in networks
            else None
        )

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        engine: Engine | None = None,
        threads: int | None = None,
        decode_budget: int | None = None,
    ) -> TextToImage:
        """Load every network of the bundle on `engine` (ONNX Runtime when None). Raises `BadBundle`.

        `threads` is for the default engine: None takes every core. `decode_budget` is how many bytes of activations
        decoding may take, beyond which it goes tile by tile: None is half of the memory that is free now.
        """
        check_family(bundle)
        engine = engine or OnnxRuntime(threads)
        networks = _load_all(bundle, engine)
        return cls(bundle, engine.name, networks, decode_budget or available_memory() // 2)

    def start(self, request: GenerationRequest, index: int = 0) -> DenoiseState:
        """Picture `index` of the request, before its first step. The request's seed must be set."""
        if request.seed is None:
            raise ValueError("the request's seed must be fixed before it is drawn")
        manifest = self.bundle.manifest
        scale = manifest.latents.scale
        skip = request.steps - request.steps_taken
        conditioning = self._conditioning(request)
        state = begin(
            schedule=make_schedule(request.scheduler, manifest.scheduler, request.steps, skip),
            prompt_embeds=conditioning.prompt_embeds,
            added=conditioning.added,
            guidance_scale=request.guidance,
            seed=picture_seed(request.seed, index),
            shape=(manifest.latents.channels, request.height // scale, request.width // scale),
            label=f"{manifest.title} {request.to_json()}",
        )
        return state if request.image is None else begin_from(state, self._original(request.image, request.mask))

    def truncated(self, request: GenerationRequest) -> str | None:
        """The end of the prompt that the tokenizer must cut off, or None; a locale's template takes room too."""
        read = self._caption(request.prompt, request)
        return read.unread(self._tokenizer(read.text).cut)

    def predict(self, batch: Sequence[Feeds]) -> list[NDArray[np.float32]]:
        """One UNet call for all of them (latents of one shape); for each its rows of noise_pred, float32.

        Raises `EngineFault` when the engine cannot.
        """
        parts = {
            SAMPLE: [item.sample for item in batch],
            TIMESTEP: [item.timestep for item in batch],
            ENCODER_HIDDEN_STATES: [item.prompt_embeds for item in batch],
            **{name: [item.added[name] for item in batch] for name in batch[0].added},
        }
        outputs = self._networks[UNET].run({name: self._joined(name, rows) for name, rows in parts.items()})
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

    def _original(self, image: Picture, mask: Picture | None) -> Original:
        if self._vae_encoder is None:
            raise ValueError("the offer of a bundle without a vae_encoder takes no picture to start from")
        chosen = None if mask is None else latent_mask(mask, self.bundle.manifest.latents.scale)
        return Original(self._vae_encoder.encode(image), chosen)

    def _conditioning(self, request: GenerationRequest) -> Conditioning:
        """One row, or with guidance two, the negative prompt first; an embedded guidance needs no second row."""
        rows = [self._encoded(request.prompt, request)]
        told = any(tensor.name == TIMESTEP_COND for tensor in self._unet.inputs)
        if request.guidance > 1.0 and not told:
            rows.insert(0, self._negative(request, rows[0]))
        return condition(rows, (request.width, request.height), request.guidance, self._unet)

    def _negative(self, request: GenerationRequest, prompt: Encoded) -> Encoded:
        if not request.negative_prompt and self.bundle.manifest.force_zeros_for_empty_prompt:
            return prompt.zeros()
        return self._encoded(request.negative_prompt, request)

    def _encoded(self, words: str, request: GenerationRequest) -> Encoded:
        return self._text_encoder.encode(self._caption(words, request).text)

    def _caption(self, words: str, request: GenerationRequest) -> Caption:
        return caption(words, request.locale, self.bundle.manifest)

    def _joined(self, name: str, parts: Sequence[NDArray[np.float32]]) -> NDArray[np.floating]:
        """The rows of all parts under one another, in the dtype that the UNet's tensor has."""
        rows = np.concatenate(parts) if len(parts) > 1 else np.ascontiguousarray(parts[0])
        return rows.astype(self._unet.input(name).dtype, copy=False)


def _load_all(bundle: Bundle, engine: Engine) -> dict[str, Network]:
    """Every network, or none: what was loaded before one that cannot be gives its memory back."""
    networks: dict[str, Network] = {}
    try:
        for name in wanted(bundle):
            networks[name] = engine.load(bundle, name)
    except BaseException:
        for network in networks.values():
            network.close()
        raise
    return networks


def _text_networks(bundle: Bundle, networks: Mapping[str, Network], first: Tokenizer) -> list[TextNetwork]:
    """The family's text networks, each with the tokenizer that it was trained with."""
    components = bundle.manifest.components
    found = [TextNetwork(first, networks[text_encoder.NAME], components[text_encoder.NAME])]
    if text_encoder.SECOND in networks:
        second = Tokenizer(bundle, bundle.manifest.tokenizer_2)
        found.append(TextNetwork(second, networks[text_encoder.SECOND], components[text_encoder.SECOND]))
    return found
