"""Token ids to prompt embeddings; a text that was met lately is not computed again."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from appliance.engines import Network
from appliance.pipeline.manifest import Component
from appliance.pipeline.tokenizer import Tokenizer

NAME = "text_encoder"
INPUT_IDS = "input_ids"
PROMPT_EMBEDS = "prompt_embeds"
REMEMBERED = 32  # texts; 236 KB each for CLIP-L


class TextEncoder:
    """Text → (1, length, width) float32, read-only.

    Each text goes through the network alone, so its embedding does not depend on what else is asked for.
    """

    def __init__(self, tokenizer: Tokenizer, network: Network, component: Component) -> None:
        self._tokenizer = tokenizer
        self._network = network
        self._ids_dtype = component.input(INPUT_IDS).dtype
        self.encode = lru_cache(maxsize=REMEMBERED)(self._encode)

    def _encode(self, text: str) -> NDArray[np.float32]:
        ids = self._tokenizer(text).token_ids.astype(self._ids_dtype, copy=False)
        embeds = self._network.run({INPUT_IDS: ids})[PROMPT_EMBEDS].astype(np.float32)
        embeds.flags.writeable = False
        return embeds
