"""What the model reads: the words in their locale's template, and which of them it could not read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.pipeline.caption import caption
from appliance.pipeline.manifest import Bundle, Manifest
from tests.tiny_bundles import PLACES, make_tiny_bundle


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "placed", **PLACES)).manifest


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("en", "en-us: football"),
        ("en-US", "en-us: football"),
        ("en-GB", "en-gb: football"),
        ("en_au", "en-gb: football"),
        ("es-MX", "(football) es"),
        ("pt", "football"),
        ("fr", "football"),
    ],
)
def test_the_words_are_read_as_those_of_their_place(placed: Manifest, locale: str, text: str) -> None:
    assert caption("football", locale, placed).text == text


def test_a_bundle_without_templates_reads_the_words_alone(bundle: Bundle) -> None:
    assert caption("football", "en-GB", bundle.manifest).text == "football"


def test_nothing_stays_nothing(placed: Manifest) -> None:
    assert caption("", "en-GB", placed).text == ""


def test_braces_are_words(placed: Manifest) -> None:
    assert caption("{} {0} {words", "en-GB", placed).text == "en-gb: {} {0} {words"


@given(words=st.text(min_size=1, max_size=30), locale=st.sampled_from(["en", "es", "fr"]))
def test_what_was_not_read_is_an_end_of_the_persons_own_words(placed: Manifest, words: str, locale: str) -> None:
    read = caption(words, locale, placed)
    assert read.text[read.begin : read.end] == words
    for cut in range(len(read.text) + 1):
        unread = read.unread(cut)
        assert unread is None or words.rstrip().endswith(unread)
    assert read.unread(0) == (words.strip() or None)
    assert read.unread(read.end) is None
    assert read.unread(None) is None
