"""WordNet's own files are read as wndb(5WN) says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training import world
from tests.training.world import Packages
from training.corpus.wordnet import WordNet
from training.errors import TrainingError


@pytest.fixture(scope="module")
def dictionary(packages: Packages) -> WordNet:
    return WordNet(packages.wordnet)


def test_synonyms_are_other_plain_words_of_the_same_sense(dictionary: WordNet) -> None:
    assert dictionary.synonyms("car") == ["auto", "automobile", "motorcar"]
    assert dictionary.synonyms("dog") == ["domestic dog"]
    assert dictionary.synonyms("domestic dog") == ["dog"]
    assert dictionary.synonyms("sorrow") == dictionary.synonyms("never heard") == []


def test_the_most_frequent_sense_counts(tmp_path: Path) -> None:
    dictionary = WordNet(world.wordnet(tmp_path / "w.tgz", [("mouse", "rodent"), ("mouse", "pointer")]))
    assert dictionary.synonyms("mouse") == ["rodent"]


def test_a_synset_of_more_than_nine_words_is_counted_in_hexadecimal(tmp_path: Path) -> None:
    many = ["one", *(f"word{letter}" for letter in "abcdefghijkl")]
    assert WordNet(world.wordnet(tmp_path / "w.tgz", [many])).synonyms("one") == many[1:]


def test_nouns_are_single_words_that_nothing_is_called(dictionary: WordNet) -> None:
    nouns = dictionary.nouns(["Car", "dog", "cloud", "auto", "automobile", "motorcar", "words"])
    assert nouns == ["dustup", "lagoon", "laguna", "quarrel", "row", "sorrow", "swarm", "wrangle"]


@pytest.mark.parametrize("files", [{}, {"dict/index.noun": b""}])
def test_a_package_without_nouns_is_said(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(TrainingError, match="no WordNet nouns"):
        WordNet(world.archive(tmp_path / "empty.tgz", files))


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "w.tgz").write_bytes(b"not a tar")
    with pytest.raises(TrainingError, match="no WordNet nouns"):
        WordNet(tmp_path / "w.tgz")
