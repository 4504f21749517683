"""Words to token ids, by the bundle's tokenizer.json."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Vocabulary

from appliance.errors import BadBundle
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.manifest import Tokenizer as Settings


@dataclass(frozen=True)
class Tokens:
    """`token_ids` (1, max_length) int32, padded; `cut` is where in the text begins what did not fit, or None."""

    token_ids: NDArray[np.int32]
    cut: int | None


class Tokenizer:
    """The bundle's tokenizer, or another of its own by `settings`. Raises `BadBundle` when its file cannot be read."""

    def __init__(self, bundle: Bundle, settings: Settings | None = None) -> None:
        self._settings = settings or bundle.manifest.tokenizer
        path = bundle.path(self._settings.file)
        try:
            self._vocabulary = Vocabulary.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise BadBundle(f"{path} is no tokenizer ({error}): export the bundle again.") from None
        self._vocabulary.no_truncation()
        self._vocabulary.no_padding()

    def __call__(self, text: str) -> Tokens:
        """Begin, words, end, padding; what is too long is cut off before the end token."""
        settings = self._settings
        encoding = self._vocabulary.encode(text, add_special_tokens=False)
        room = settings.max_length - 2
        ids = [settings.bos_token_id, *encoding.ids[:room], settings.eos_token_id]
        ids += [settings.pad_token_id] * (settings.max_length - len(ids))
        cut = encoding.offsets[room][0] if len(encoding.ids) > room else None
        return Tokens(np.array([ids], dtype=np.int32), cut)
