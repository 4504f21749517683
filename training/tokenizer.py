"""CLIP's tokenizer with a small vocabulary of its own, learned from the captions.

Byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909) over bytes, so that no sentence is unknown. In CLIP's order
it has 256 byte characters, the same 256 at a word's end (``</w>``), the merges, a beginning and an end.
``transformers.CLIPTokenizer`` and a plain ``tokenizers.Tokenizer`` read the same folder and give the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from transformers import CLIPTokenizer

from training.errors import TrainingError
from training.run import TokenizerSettings

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"


def _learn_merges(lines: Iterable[str], count: int) -> list[tuple[str, str]]:
    """The ``count`` best merges, learned through CLIP's own normalizer and pre-tokenizer."""
    clip = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(BPE(end_of_word_suffix=_WORD_END))
    learner.normalizer, learner.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    trainer = BpeTrainer(
        vocab_size=512 + count,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix=_WORD_END,
        show_progress=False,
    )
    learner.train_from_iterator(lines, trainer)
    merges = [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]
    return merges[:count]


def learn(lines: Sequence[str], settings: TokenizerSettings) -> CLIPTokenizer:
    """A tokenizer with at most ``settings.vocabulary`` tokens, learned from caption lines."""
    room = settings.vocabulary - 514
    if room < 0:
        raise TrainingError("The vocabulary needs at least 514 tokens: two for each byte, a beginning and an end.")
    merges = _learn_merges(lines, room)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = letters + [letter + _WORD_END for letter in letters] + [a + b for a, b in merges] + [BEGIN, END]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    made: CLIPTokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=settings.length)  # type: ignore[arg-type]
    return made


def learn_or_load(folder: Path, lines: Callable[[], Sequence[str]], settings: TokenizerSettings) -> CLIPTokenizer:
    """The tokenizer in ``folder``, learned from ``lines()`` and saved there the first time."""
    if not (folder / "tokenizer.json").exists():
        learn(lines(), settings).save_pretrained(folder)
    return load(folder)


def load(folder: Path) -> CLIPTokenizer:
    """The tokenizer in ``folder``."""
    if not (folder / "tokenizer.json").exists():
        raise TrainingError(f"There is no tokenizer in {folder}: train the diffusion first.")
    loaded: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return loaded


def encode(tokenizer: Any, lines: Sequence[str]) -> Tensor:
    """Ids int64 ``[B, L]``: beginning, words, end; cut and filled up with ends to the model's length."""
    ids = tokenizer(list(lines), padding="max_length", truncation=True, max_length=tokenizer.model_max_length)
    return torch.tensor(ids["input_ids"], dtype=torch.int64)
