"""Torch modules around the libraries' models: bare tensors in and out, as the declarations name them.

Tensors cross the edge in float32 whatever the model computes in, so a bundle's float16 graphs have the I/O tensors of
its float32 ones. timestep and time_ids stay float32 inside: float16 is too coarse for them, and the models cast
what they make of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from appliance.pipeline.families import TEXT_EMBEDS, TIMESTEP_COND

Wrap = Callable[[Any], Any]


def text_encoder(model: Any) -> Any:
    """input_ids int32 (batch, L) → prompt_embeds (batch, L, d)."""
    import torch

    class TextEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any) -> Any:
            return _as(self.model(input_ids, return_dict=False)[0], torch.float32)

    return TextEncoder()


def penultimate_text_encoder(model: Any) -> Any:
    """input_ids int32 (batch, L) → prompt_embeds (batch, L, d), of the layer before the last, as SDXL reads them."""
    import torch

    class PenultimateTextEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any) -> Any:
            return _as(self.model(input_ids, output_hidden_states=True).hidden_states[-2], torch.float32)

    return PenultimateTextEncoder()


def pooled_text_encoder(model: Any) -> Any:
    """The same, and text_embeds (batch, p): the last layer at the end token, projected."""
    import torch

    class PooledTextEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any) -> Any:
            answer = self.model(input_ids, output_hidden_states=True)
            return _as(answer.hidden_states[-2], torch.float32), _as(answer.text_embeds, torch.float32)

    return PooledTextEncoder()


def unet_taking(added: Sequence[str]) -> Wrap:
    """The wrapper for a UNet with these inputs beside sample, timestep and encoder_hidden_states."""
    if TEXT_EMBEDS in added:
        return sdxl_unet
    return lcm_unet if TIMESTEP_COND in added else unet


def unet(model: Any) -> Any:
    """sample (batch, C, h, w), timestep (batch,), encoder_hidden_states (batch, L, d) → noise_pred."""
    import torch

    class UNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, sample: Any, timestep: Any, encoder_hidden_states: Any) -> Any:
            return _noise_pred(self.model, sample, timestep, encoder_hidden_states)

    return UNet()


def lcm_unet(model: Any) -> Any:
    """The same, with timestep_cond (batch, c): the guidance, embedded."""
    import torch

    class LcmUNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, sample: Any, timestep: Any, encoder_hidden_states: Any, timestep_cond: Any) -> Any:
            return _noise_pred(self.model, sample, timestep, encoder_hidden_states, timestep_cond)

    return LcmUNet()


def sdxl_unet(model: Any) -> Any:
    """The same as `unet`, with text_embeds (batch, p), time_ids (batch, 6) and, for an LCM, timestep_cond."""
    import torch

    class SdxlUNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self,
            sample: Any,
            timestep: Any,
            encoder_hidden_states: Any,
            text_embeds: Any,
            time_ids: Any,
            timestep_cond: Any = None,
        ) -> Any:
            # Both float32: the library joins them, embeds the sizes in float32 and casts what comes of it.
            added = {"text_embeds": text_embeds, "time_ids": time_ids}
            return _noise_pred(self.model, sample, timestep, encoder_hidden_states, timestep_cond, added)

    return SdxlUNet()


def vae_decoder(model: Any) -> Any:
    """latents (batch, C, h, w), already divided by scaling_factor → image (batch, 3, H, W) in [-1, 1]."""
    import torch

    class VaeDecoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, latents: Any) -> Any:
            return _as(self.model.decode(_as(latents, self.model.dtype), return_dict=False)[0], torch.float32)

    return VaeDecoder()


def vae_encoder(model: Any) -> Any:
    """image (batch, 3, H, W) in [-1, 1] → latents (batch, C, h, w): the posterior's mean, not shifted or scaled."""
    import torch

    class VaeEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            return _as(self.model.encode(_as(image, self.model.dtype), return_dict=False)[0].mode(), torch.float32)

    return VaeEncoder()


def tiny_vae_encoder(model: Any) -> Any:
    """The same of an AutoencoderTiny, which has no posterior: its latents are what it gives."""
    import torch

    class TinyVaeEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            return _as(self.model.encode(_as(image, self.model.dtype), return_dict=False)[0], torch.float32)

    return TinyVaeEncoder()


def safety_checker(model: Any) -> Any:
    """clip_input (batch, 3, size, size) → score (batch,): above 0 it is flagged.

    The largest of cosine - threshold over the concepts, each 0.01 more where any concept of special care is over its
    own: `forward_onnx` of diffusers/pipelines/stable_diffusion/safety_checker.py, without its rounding, which `forward`
    has (to three digits, so that there a score must be over 0.0005).
    """
    import torch

    def cosines(embeds: Any, concepts: Any) -> Any:
        normalize = torch.nn.functional.normalize
        return torch.mm(normalize(embeds), normalize(concepts).t())

    class SafetyChecker(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, clip_input: Any) -> Any:
            embeds = self.model.visual_projection(self.model.vision_model(clip_input)[1])
            special = cosines(embeds, self.model.special_care_embeds) - self.model.special_care_embeds_weights
            concepts = cosines(embeds, self.model.concept_embeds) - self.model.concept_embeds_weights
            care = (special.amax(dim=1) > 0).to(concepts.dtype) * 0.01
            return _as(concepts.amax(dim=1) + care, torch.float32)

    return SafetyChecker()


def _noise_pred(model: Any, sample: Any, timestep: Any, states: Any, cond: Any = None, added: Any = None) -> Any:
    inside = model.dtype
    answer = model(
        _as(sample, inside),
        timestep,
        _as(states, inside),
        timestep_cond=None if cond is None else _as(cond, inside),
        added_cond_kwargs=added,
        return_dict=False,
    )
    return _as(answer[0], sample.dtype)


def _as(tensor: Any, dtype: Any) -> Any:
    """A float32 graph shall hold no Cast."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)
