"""What a word list stops, what it does not, and that every door asks it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BadInput, Unavailable
from appliance.journal import Journal
from appliance.prompt_filter import CHILDREN, WordList, filtered, read
from appliance.request import GenerationRequest, Offer

LIST = WordList(["nude", "hanging man", "Desnudo"])
CHILDRENS = read(Path("appliance/children.txt").resolve())


@pytest.mark.parametrize("prompt", ["a nude", "NUDES on a beach", "a Nudé", "n u d e", "n.u.d.e people", "a nu\u200bde",
                                    "a nud3, please", "ｎｕｄｅ", "the hanging   man", "hanging-man", "dos desnudos",
                                    "un desnudo"])  # fmt: skip
def test_what_is_said_plainly_is_stopped_however_it_is_written(prompt: str) -> None:
    assert LIST.holds(prompt)


@pytest.mark.parametrize("prompt", ["a nudeless word", "denude the hill", "a man hanging pictures", "a red apple",
                                    "1 2 3", "n u m b e r s", "a person without clothes"])  # fmt: skip
def test_other_words_are_drawn_also_those_that_only_mean_it(prompt: str) -> None:
    assert not LIST.holds(prompt)


SHAPES = {
    "a": "CYRILLIC {} LETTER A, GREEK {} LETTER ALPHA",
    "b": "CYRILLIC {} LETTER VE, GREEK {} LETTER BETA",
    "c": "CYRILLIC {} LETTER ES",
    "d": "CYRILLIC SMALL LETTER KOMI DE",
    "e": "CYRILLIC {} LETTER IE, GREEK {} LETTER EPSILON",
    "g": "CYRILLIC {} LETTER KOMI SJE",
    "h": "CYRILLIC {} LETTER EN, CYRILLIC {} LETTER SHHA, GREEK CAPITAL LETTER ETA",
    "i": "CYRILLIC {} LETTER BYELORUSSIAN-UKRAINIAN I, GREEK {} LETTER IOTA, LATIN SMALL LETTER DOTLESS I",
    "j": "CYRILLIC {} LETTER JE",
    "k": "CYRILLIC {} LETTER KA, GREEK {} LETTER KAPPA",
    "l": "CYRILLIC SMALL LETTER PALOCHKA",
    "m": "CYRILLIC {} LETTER EM, GREEK CAPITAL LETTER MU",
    "n": "GREEK SMALL LETTER ETA, GREEK CAPITAL LETTER NU",
    "o": "CYRILLIC {} LETTER O, GREEK {} LETTER OMICRON, GREEK SMALL LETTER SIGMA",
    "p": "CYRILLIC {} LETTER ER, GREEK {} LETTER RHO",
    "q": "CYRILLIC {} LETTER QA",
    "r": "CYRILLIC SMALL LETTER GHE",
    "s": "CYRILLIC {} LETTER DZE",
    "t": "CYRILLIC {} LETTER TE, GREEK {} LETTER TAU",
    "u": "GREEK SMALL LETTER UPSILON, GREEK SMALL LETTER MU",
    "v": "CYRILLIC {} LETTER IZHITSA, GREEK SMALL LETTER NU",
    "w": "CYRILLIC {} LETTER WE, GREEK SMALL LETTER OMEGA",
    "x": "CYRILLIC {} LETTER HA, GREEK {} LETTER CHI",
    "y": "CYRILLIC {} LETTER U, GREEK CAPITAL LETTER UPSILON, GREEK SMALL LETTER GAMMA",
    "z": "GREEK CAPITAL LETTER ZETA",
}


def like(letter: str) -> list[str]:
    """Whatever looks like it, itself too."""
    names = {name.format(case) for name in SHAPES.get(letter, "").split(", ") for case in ("SMALL", "CAPITAL")} - {""}
    if letter in SHAPES and letter != "x":  # of which there is no small capital
        names.add(f"LATIN LETTER SMALL CAPITAL {letter.upper()}")
    return [letter, *map(unicodedata.lookup, sorted(names))]


@pytest.mark.parametrize(("letter", "shape"), [(letter, shape) for letter in SHAPES for shape in like(letter)])
def test_each_look_alike_is_seen(letter: str, shape: str) -> None:
    assert WordList([f"{letter}foo"]).holds(f"a {shape}foo")


@given(st.sampled_from(sorted(words for (words, *more) in CHILDRENS.phrases if not more)), st.data())
def test_a_word_is_seen_whatever_its_letters_are_made_of(word: str, data: st.DataObject) -> None:
    written = "".join(data.draw(st.sampled_from(like(letter))) for letter in word)
    for prompt in (written, f"a {written}, please", ".".join(written), " ".join(written), "\u0301".join(written)):
        assert CHILDRENS.holds(prompt)


@pytest.mark.parametrize(("listed", "prompt"), [("голая", "ГОЛАЯ дама"), ("γυμνός", "ΓΥΜΝΟΣ"), ("Кот", "коты и кот")])
def test_a_list_in_another_alphabet_is_read_as_it_is(listed: str, prompt: str) -> None:
    assert WordList([listed]).holds(prompt)


@pytest.mark.parametrize("prompt", ["два человека на горе под луной", "репа, сено и кот в ванной", "Рита ест суп",
                                    "δύο άνθρωποι στο βουνό", "ΜΙΑ ΚΟΚΚΙΝΗ ΓΑΤΑ", "коло, хата і яблуко"])  # fmt: skip
def test_other_languages_say_nothing_by_their_looks(prompt: str) -> None:
    assert not CHILDRENS.holds(prompt)


def test_a_word_that_is_cut_in_two_gets_past() -> None:
    assert not LIST.holds("nu de")


def test_the_list_for_children_knows_two_languages_and_lets_the_examples_be() -> None:
    for prompt in ("a naked man", "una mujer desnuda", "gore and blood", "pechos"):
        assert CHILDRENS.holds(prompt), prompt
    for prompt in ("two people on the mountain", "dos personas en la montaña", "an assassin bug", "a classic car",
                   "a Sussex landscape", "a blue tit on a branch", "a cocktail party",
                   "una pared con grietas"):  # fmt: skip
        assert not CHILDRENS.holds(prompt), prompt


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
