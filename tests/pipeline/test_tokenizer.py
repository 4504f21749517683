"""Token ids, padding, and what had to be cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import BadBundle
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.tokenizer import Tokenizer
from tests.tiny_bundles import LENGTH, make_tiny_bundle


@pytest.fixture(scope="module")
def tokenizer(bundle: Bundle) -> Tokenizer:
    return Tokenizer(bundle)


def test_short_text_is_padded(bundle: Bundle, tokenizer: Tokenizer) -> None:
    settings = bundle.manifest.tokenizer
    tokens = tokenizer("cat")
    ids = tokens.token_ids
    assert (ids.shape, ids.dtype.name) == ((1, LENGTH), "int32")
    assert ids[0, 0] == settings.bos_token_id
    assert ids[0, 4] == settings.eos_token_id
    assert set(ids[0, 5:].tolist()) == {settings.pad_token_id}
    assert tokens.cut is None


def test_exactly_what_fits_is_kept(tokenizer: Tokenizer) -> None:
    assert tokenizer("abcdefghijklmn").cut is None
    assert tokenizer("abcdefghijklmno").cut == len("abcdefghijklmn")


def test_the_cut_is_a_place_in_the_text_as_it_was_written(tokenizer: Tokenizer) -> None:
    text = "a red apple on The Tall Mountain"
    assert text[tokenizer(text).cut :] == "Tall Mountain"


def test_case_and_empty_text(tokenizer: Tokenizer) -> None:
    assert tokenizer("CAT").token_ids.tolist() == tokenizer("cat").token_ids.tolist()
    assert tokenizer("").token_ids[0, 1] == tokenizer("").token_ids[0, 2]


@given(text=st.text(max_size=60))
@settings(max_examples=100)
def test_any_text(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer(text)
    assert tokens.token_ids.shape == (1, LENGTH)
    assert tokens.cut is None or 0 < tokens.cut < len(text)


def test_same_ids_as_transformers(bundle: Bundle, tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    settings = bundle.manifest.tokenizer
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(bundle.path(settings.file)),
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    for text in ("a red apple", "dos personas en la montaña"):
        wanted = theirs(text, add_special_tokens=False)["input_ids"][: LENGTH - 2]
        assert tokenizer(text).token_ids[0, 1 : 1 + len(wanted)].tolist() == wanted


def test_a_broken_file_is_a_bad_bundle(tmp_path: Path) -> None:
    folder = make_tiny_bundle(tmp_path / "broken")
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(BadBundle, match=r"tokenizer\.json is no tokenizer"):
        Tokenizer(Bundle.open(folder))
