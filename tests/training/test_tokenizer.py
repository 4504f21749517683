"""transformers' CLIPTokenizer and a plain tokenizers.Tokenizer must say the same of every text."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from training import tokenizer
from training.corpus import captions
from training.corpus.data import Dataset
from training.errors import TrainingError
from training.run import Run, TokenizerSettings

TEXTS = [
    "a red apple",
    "",
    "   ",
    "una luna, un círculo",
    "A RED APPLE",
    "\x00\x07 bell\x1b[0m",
    "line\nfeed\tand\r\nreturn",
    "🐶 dog 👩🏽‍🚀",
    "שלום עולם",
    "مرحبا \u202eبالعالم\u202c",
    "İSTANBUL ǅ ﬁ ½ ①",
    "日本語の林檎",
    "e\u0301 é",
    "<|endoftext|> in the middle <|startoftext|>",
    "don't we'll it's",
    "word" * 200,
    "\ufffd\U0010ffff",
]


@pytest.fixture(scope="module")
def folder(run: Run, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.learn(captions.corpus(dataset.scenes, run, dataset.library), run.tokenizer).save_pretrained(path)
    return path


@pytest.mark.parametrize("text", TEXTS)
def test_both_libraries_give_the_same_ids(folder: Path, text: str) -> None:
    clip = CLIPTokenizer.from_pretrained(folder)
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert plain.padding is None
    assert plain.truncation is None
    ids = clip(text)["input_ids"]
    assert plain.encode(text).ids == ids
    assert ids[0] == clip.bos_token_id
    assert ids[-1] == clip.eos_token_id

    plain.enable_truncation(16)
    plain.enable_padding(length=16, pad_id=clip.pad_token_id, pad_token=clip.pad_token)
    assert tokenizer.encode(clip, [text])[0].tolist() == plain.encode(text).ids


def test_no_text_is_unknown(folder: Path) -> None:
    clip = CLIPTokenizer.from_pretrained(folder)
    for text in ("\x00", "日", "🐶", "ñ"):
        assert clip.eos_token_id not in clip(text)["input_ids"][1:-1]


def test_letters_of_either_case_are_the_same_and_the_end_survives_the_cut(folder: Path) -> None:
    clip = tokenizer.load(folder)
    upper, lower, long = tokenizer.encode(clip, ["MANZANA Ñ", "manzana ñ", "apple " * 99])
    assert upper.tolist() == lower.tolist()
    assert len(long) == 16
    assert long[-1] == clip.eos_token_id


def test_learning_twice_gives_the_same_tokenizer(run: Run, dataset: Dataset, folder: Path) -> None:
    lines = captions.corpus(dataset.scenes, run, dataset.library)
    assert tokenizer.learn(lines, run.tokenizer).get_vocab() == tokenizer.load(folder).get_vocab()


def test_the_vocabulary_is_clips(folder: Path, run: Run) -> None:
    clip = tokenizer.load(folder)
    vocabulary = clip.get_vocab()
    assert len(vocabulary) <= run.tokenizer.vocabulary
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert vocabulary["<|startoftext|>"] == len(vocabulary) - 2
    assert vocabulary["<|endoftext|>"] == len(vocabulary) - 1


def test_a_vocabulary_that_cannot_hold_all_bytes_is_refused() -> None:
    with pytest.raises(TrainingError, match="514"):
        tokenizer.learn(["x"], TokenizerSettings(vocabulary=100, length=8))


def test_a_missing_tokenizer_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no tokenizer"):
        tokenizer.load(tmp_path)
