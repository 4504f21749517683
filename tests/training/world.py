"""A world to learn from, as small as can be: packages such as npm gives, with pictures and words made here."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from training.corpus.data import Source
from training.corpus.library import character_of
from training.corpus.paint import GROUNDS
from training.corpus.words import load_places

RED, GREEN, BLUE, YELLOW = (220, 30, 30, 255), (40, 160, 60, 255), (30, 60, 220, 255), (240, 210, 40, 255)
PAINTS = (RED, GREEN, BLUE, YELLOW)
TONES = ("1f3fb", "1f3ff")

# what the tests speak of; whatever places.toml and the backgrounds need besides is added without a fine name
NAMES = {
    "1f332": ("evergreen tree", "árbol de hoja perenne"),
    "1f34e": ("red apple", "manzana roja"),
    "1f35f": ("french fries", "patatas fritas"),
    "1f3a9": ("top hat", "sombrero de copa"),
    "1f3c8": ("american football", "balón de fútbol americano"),
    "1f415": ("dog", "perro"),
    "1f41d": ("honeybee", "abeja"),
    "1f436": ("dog face", "cara de perro"),
    "1f451": ("crown", "corona"),
    "1f45b": ("purse", "monedero"),
    "1f576-fe0f": ("sunglasses", "gafas de sol"),
    "1f697": ("automobile", "coche"),
    "1f9d1": ("person", "persona"),
    "2601-fe0f": ("cloud", "nube"),
    "26bd": ("soccer ball", "balón de fútbol"),
    "26f0-fe0f": ("mountain", "montaña"),
    "2764-fe0f-200d-1f525": ("heart on fire", "corazón en llamas"),
}
BRITISH = {"26bd": "football"}
AMERICAN_SPANISH = {"26bd": "pelota de fútbol", "1f697": "auto", "1f35f": "papas fritas"}
SYNSETS = (
    ("car", "auto", "automobile", "motorcar", "Model_T", "very_old_car"),
    ("dog", "domestic_dog", "Canis_familiaris"),
    ("lagoon", "laguna"),
    ("quarrel", "wrangle", "row", "words", "run-in", "dustup"),
    ("cloud", "swarm"),
    ("sorrow",),
)


@dataclass(frozen=True)
class Packages:
    """Where each package lies."""

    pictures: Path
    words: tuple[Path, Path]
    wordnet: Path

    @property
    def sources(self) -> list[Source]:
        """Rows such as those of ``sources.toml``, for packages that are fetched already."""
        uses = {self.pictures: "pictures", self.words[0]: "words", self.words[1]: "words", self.wordnet: "synonyms"}
        return [
            Source(use, path.name.removesuffix("-1.0.0.tgz"), "1.0.0", integrity(path), "MIT", "the tests", "here")
            for path, use in uses.items()
        ]


def integrity(path: Path) -> str:
    """The package's hash as npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """A package as npm packs it."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def picture(colour: tuple[int, int, int, int], round_one: bool = True) -> bytes:
    """A disc or a square of one colour in the middle of a transparent (and falsely green) square."""
    image = Image.new("RGBA", (48, 48), (0, 255, 0, 0))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if round_one else draw.rectangle)((8, 8, 40, 40), fill=colour)
    stream = io.BytesIO()
    image.save(stream, "WEBP", lossless=True, exact=True)
    return stream.getvalue()


def said(name: str, *keywords: str) -> dict[str, Any]:
    """One character's row of a CLDR table."""
    return {"tts": [name], "default": list(keywords)}


def cldr_table(kind: str, table: Mapping[str, Any]) -> bytes:
    """A CLDR table."""
    return json.dumps({kind: {"annotations": table}}).encode()


def wordnet(path: Path, synsets: Iterable[Sequence[str]]) -> Path:
    """WordNet's noun files; the synset that comes first is a word's most frequent sense."""
    data, senses = [], dict[str, list[str]]()
    for i, synset in enumerate(synsets):
        offset = f"{i + 1:08d}"
        words = " ".join(f"{word} 0" for word in synset)
        data.append(f"{offset} 06 n {len(synset):02x} {words} 001 @ {offset} n 0000 | a gloss")
        for word in synset:
            senses.setdefault(word.lower(), []).append(offset)
    index = [f"{word} n {len(found)} 2 @ ~ {len(found)} 0 {' '.join(found)}" for word, found in sorted(senses.items())]
    licence = "  1 This software and database is being provided to you, the LICENSEE  \n"
    files = {
        name: licence + "".join(f"{line}  \n" for line in lines) for name, lines in (("index", index), ("data", data))
    }
    return archive(path, {f"dict/{name}.noun": text.encode() for name, text in files.items()})


def things() -> dict[str, tuple[str, str]]:
    """English and Spanish names by file name."""
    meant = {thing for place in load_places() for thing in place.means.values()}
    stamps = {stem for ground in GROUNDS.values() for stem in ground.stamps}
    return {**{stem: (f"thing {stem}", f"cosa {stem}") for stem in sorted(meant | stamps)}, **NAMES}


def tables(names: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """CLDR's annotations of every locale by character."""

    def by_character(said_of: Mapping[str, Any]) -> dict[str, Any]:
        return {character_of(stem) or "": row for stem, row in said_of.items()}

    toned = {character_of(f"1f9d1-{tone}") or "": "person: some skin tone" for tone in TONES}
    english = by_character({stem: said(en, f"{en} kind", "shape") for stem, (en, _) in names.items()})
    spanish = by_character({stem: said(es, f"tipo de {es}", "forma") for stem, (_, es) in names.items()})
    return {
        "en": {**english, **{character: said(name) for character, name in toned.items()}},
        "en-001": by_character({stem: {"tts": [name]} for stem, name in BRITISH.items()}),
        "es": {**spanish, **{character: said("persona: tono de piel") for character in toned}},
        "es-419": by_character({stem: {"tts": [name]} for stem, name in AMERICAN_SPANISH.items()}),
    }


def make_packages(folder: Path) -> Packages:
    """Every package that the tiny run is made of."""
    folder.mkdir(parents=True, exist_ok=True)
    names = things()
    people = [f"{stem}-{tone}" for stem in ("1f9d1", "1f468", "1f9cd") for tone in TONES]
    shapes = {stem: picture(PAINTS[i % 4], i % 3 > 0) for i, stem in enumerate([*names, *people])}
    shapes |= {"1f34e": picture(RED), "1f41d": picture(YELLOW), "1f999": picture(BLUE)}  # the last has no name
    derived = {"2764-fe0f-200d-1f525"}
    said_by = tables({stem: pair for stem, pair in names.items() if stem not in derived})
    also = tables({stem: pair for stem, pair in names.items() if stem in derived})
    return Packages(
        archive(
            folder / "pictures-1.0.0.tgz",
            {f"assets/{stem}.webp": content for stem, content in shapes.items()} | {"README.md": b"not a picture"},
        ),
        (
            archive(
                folder / "words-1.0.0.tgz",
                {f"annotations/{name}/annotations.json": cldr_table("annotations", t) for name, t in said_by.items()},
            ),
            archive(
                folder / "derived-1.0.0.tgz",
                {
                    f"annotationsDerived/{name}/annotations.json": cldr_table("annotationsDerived", also[name])
                    for name in ("en", "es")
                },
            ),
        ),
        wordnet(folder / "synonyms-1.0.0.tgz", SYNSETS),
    )
