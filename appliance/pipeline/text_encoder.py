"""A text to what the UNet reads of it; a text that was met lately is not computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from appliance.engines import Network
from appliance.pipeline.manifest import Component
from appliance.pipeline.tokenizer import Tokenizer

NAME = "text_encoder"
SECOND = "text_encoder_2"
INPUT_IDS = "input_ids"
PROMPT_EMBEDS = "prompt_embeds"
TEXT_EMBEDS = "text_embeds"
REMEMBERED = 32  # texts; 236 KB each for CLIP-L, 636 KB for SDXL's two


@dataclass(frozen=True)
class Encoded:
    """`prompt_embeds` (1, length, width) and, where a network pools, `text_embeds` (1, width); float32, read-only."""

    prompt_embeds: NDArray[np.float32]
    text_embeds: NDArray[np.float32] | None

    def zeros(self) -> Encoded:
        """Zeros in these shapes."""
        pooled = None if self.text_embeds is None else np.zeros_like(self.text_embeds)
        return Encoded(np.zeros_like(self.prompt_embeds), pooled)


@dataclass(frozen=True)
class TextNetwork:
    """A tokenizer and the network that reads its ids."""

    tokenizer: Tokenizer
    network: Network
    component: Component

    def __call__(self, text: str) -> dict[str, NDArray[np.float32]]:
        ids = self.tokenizer(text).token_ids.astype(self.component.input(INPUT_IDS).dtype, copy=False)
        return {name: value.astype(np.float32) for name, value in self.network.run({INPUT_IDS: ids}).items()}


class TextEncoder:
    """All text networks of a bundle: their prompt embeddings side by side, and what the last of them pools.

    Each text goes through the networks alone, so its embedding does not depend on what else is asked for.
    """

    def __init__(self, networks: Sequence[TextNetwork]) -> None:
        self._networks = networks
        self.encode = lru_cache(maxsize=REMEMBERED)(self._encode)

    def _encode(self, text: str) -> Encoded:
        answers = [network(text) for network in self._networks]
        embeds = np.concatenate([answer[PROMPT_EMBEDS] for answer in answers], axis=-1)
        pooled = answers[-1].get(TEXT_EMBEDS)
        for array in (embeds, pooled):
            if array is not None:
                array.flags.writeable = False
        return Encoded(embeds, pooled)
