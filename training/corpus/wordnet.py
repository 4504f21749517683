"""Synonyms and nouns from WordNet's database files (Fellbaum 1998; the format is wndb(5WN)).

``data.noun`` has one synset a line: ``offset lex_filenum ss_type w_cnt word lex_id [word lex_id ...] ...``, the count
in hexadecimal; ``index.noun`` has ``lemma pos synset_cnt p_cnt [symbols] sense_cnt tagsense_cnt offset ...``, the most
frequent sense first.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

from training.errors import TrainingError

_PLAIN = re.compile(r"[a-z]+( [a-z]+)?")


class WordNet:
    """The nouns of one package. Raises `TrainingError` when it has no noun files."""

    def __init__(self, archive: Path) -> None:
        self._first: dict[str, str] = {}
        self._words: dict[str, tuple[str, ...]] = {}
        try:
            with tarfile.open(archive) as packed:
                index, data = (_lines(packed, f"package/dict/{name}.noun") for name in ("index", "data"))
        except (KeyError, tarfile.TarError) as error:
            raise TrainingError(f"{archive} holds no WordNet nouns: {error}.") from error
        for line in index:
            parts = line.split()
            pointers = int(parts[3])
            self._first[parts[0].replace("_", " ")] = parts[6 + pointers]
        for line in data:
            parts = line.split()
            count = int(parts[3], 16)
            self._words[parts[0]] = tuple(word.replace("_", " ") for word in parts[4 : 4 + 2 * count : 2])

    def synonyms(self, word: str) -> list[str]:
        """The other plain words, one or two lower-case ones, of the word's most frequent sense."""
        offset = self._first.get(word.lower())
        same = self._words.get(offset, ()) if offset else ()
        return [other for other in same if other != word and _PLAIN.fullmatch(other)]

    def nouns(self, known: Iterable[str]) -> list[str]:
        """Every plain single-word noun that is not a known word, in the alphabet's order."""
        taken = {word.lower() for word in known}
        return sorted(word for word in self._first if " " not in word and _PLAIN.fullmatch(word) and word not in taken)


def _lines(packed: tarfile.TarFile, name: str) -> list[str]:
    file = packed.extractfile(name)
    if file is None:
        raise KeyError(name)
    return [line for line in file.read().decode("utf-8").splitlines() if line and not line.startswith(" ")]
