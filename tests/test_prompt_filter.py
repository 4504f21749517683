"""What a word list stops, what it does not, and that every door asks it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BadInput, Unavailable
from appliance.journal import Journal
from appliance.prompt_filter import CHILDREN, WordList, filtered, read
from appliance.request import GenerationRequest, Offer

LIST = WordList(["nude", "hanging man", "Desnudo"])


@pytest.mark.parametrize("prompt", ["a nude", "NUDES on a beach", "a Nudé", "n u d e", "n.u.d.e people", "a nu\u200bde",
                                    "a nud3, please", "ｎｕｄｅ", "the hanging   man", "hanging-man", "dos desnudos",
                                    "un desnudo"])  # fmt: skip
def test_what_is_said_plainly_is_stopped_however_it_is_written(prompt: str) -> None:
    assert LIST.holds(prompt)


@pytest.mark.parametrize("prompt", ["a nudeless word", "denude the hill", "a man hanging pictures", "a red apple",
                                    "1 2 3", "n u m b e r s", "a person without clothes"])  # fmt: skip
def test_other_words_are_drawn_also_those_that_only_mean_it(prompt: str) -> None:
    assert not LIST.holds(prompt)


def test_the_list_for_children_knows_two_languages_and_lets_the_examples_be() -> None:
    words = read(Path("appliance/children.txt").resolve())
    for prompt in ("a naked man", "una mujer desnuda", "gore and blood", "pechos"):
        assert words.holds(prompt), prompt
    for prompt in ("two people on the mountain", "dos personas en la montaña", "an assassin bug", "a classic car",
                   "a Sussex landscape", "a blue tit on a branch", "a cocktail party",
                   "una pared con grietas"):  # fmt: skip
        assert not words.holds(prompt), prompt


def test_every_door_is_asked_before_anything_is_accepted(tmp_path: Path, tiny_offer: Offer) -> None:
    """The journal asks, so no door can forget to."""
    journal = Journal(tmp_path / "journal.db", reserve=0, admit=filtered(CHILDREN, lambda request: None))
    with pytest.raises(BadInput, match="ask for something else"):
        journal.submit(GenerationRequest.of({"prompt": "a nude"}, tiny_offer))
    assert sum(journal.counts().values()) == 0
    journal.submit(GenerationRequest.of({"prompt": "a red apple", "negative_prompt": "nude"}, tiny_offer))


def test_what_comes_after_it_is_asked_too_and_without_a_list_alone(tiny_offer: Offer) -> None:
    def busy(request: GenerationRequest) -> None:
        raise Unavailable("busy")

    request = GenerationRequest.of({"prompt": "a red apple"}, tiny_offer)
    with pytest.raises(Unavailable):
        filtered(CHILDREN, busy)(request)
    assert filtered(None, busy) is busy


def test_a_list_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("empty", "bytes", "none"):
        with pytest.raises(BadInput, match="list"):
            filtered(str(tmp_path / name), lambda request: None)


@given(st.text(max_size=200))
def test_no_text_makes_it_stumble(text: str) -> None:
    LIST.holds(text)
