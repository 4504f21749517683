"""The things that can be drawn: pictures with transparency, and their words in every locale.

``things.npy`` is uint8 ``[M, S, S, 4]`` (RGBA, straight alpha), ``things.json`` its words. People come in every skin
tone and gender that the pictures have, so that "a person" may be drawn as any of them.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from training.corpus import language, words
from training.corpus.wordnet import WordNet
from training.corpus.words import Words
from training.errors import TrainingError
from training.run import ColourSettings, Run

Pixels = npt.NDArray[np.uint8]
_STEM = re.compile(r"[0-9a-f]{2,6}(-[0-9a-f]{2,6})*")
_VARIATION_SELECTOR = "\ufe0f"


@dataclass(frozen=True)
class Thing:
    """One thing: its id (the file name of its picture), words by locale, and rows of ``Library.pictures``."""

    id: str
    words: dict[str, Words]
    pictures: tuple[int, ...]
    bodies: tuple[int, ...]  # the whole of it, for scenes; for most things the same as ``pictures``
    colour: str | None = None  # that most of it has

    @property
    def is_local(self) -> bool:
        """Whether a word of some place means it."""
        return any(spoken.local for spoken in self.words.values())


@dataclass(frozen=True)
class Library:
    """All things, and words that mean none of them."""

    pictures: Pixels  # [M, S, S, 4]
    stems: tuple[str, ...]  # the file name of each picture
    things: dict[str, Thing]
    strangers: tuple[str, ...]

    def named(self, names: Sequence[str]) -> list[Thing]:
        """Things by their name in the first locale. Raises `TrainingError` for a name that nothing bears."""
        table = {next(iter(thing.words.values())).name: thing for thing in self.things.values()}
        missing = [name for name in names if name not in table]
        if missing:
            raise TrainingError(f"Nothing in the data is named {missing[0]!r}.")
        return [table[name] for name in names]


def character_of(stem: str) -> str | None:
    """The character sequence, without variation selectors, that a file name such as ``2764-fe0f-200d-1f525`` means."""
    points = [int(part, 16) for part in stem.split("-")] if _STEM.fullmatch(stem) else []
    if not points or max(points) > sys.maxunicode:
        return None
    return "".join(map(chr, points)).replace(_VARIATION_SELECTOR, "")


def with_tone(stem: str, tone: str) -> str:
    """The file name of the same person in a skin tone, which Unicode writes behind the first character."""
    first, *rest = stem.split("-")
    return "-".join([first, tone, *(part for i, part in enumerate(rest) if (i, part) != (0, "fe0f"))])


def shrink(picture: Image.Image, size: int) -> Pixels:
    """RGBA ``[size, size, 4]``; weighted by alpha, so that colours of transparent pixels do not bleed in."""
    weighted = picture.convert("RGBA").convert("RGBa").resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(weighted.convert("RGBA"), np.uint8)


def colour_of(rgba: Pixels, colours: Mapping[str, ColourSettings]) -> str | None:
    """The colour that most of the picture's own pixels (two in five at least) are nearest to, if there is one."""
    pixels = rgba[rgba[..., 3] > 200][:, :3].astype(np.float32)
    if not len(pixels) or not colours:
        return None
    anchors = np.array([anchor for colour in colours.values() for anchor in colour.rgb], np.float32)
    owner = np.array([i for i, colour in enumerate(colours.values()) for _ in colour.rgb])
    nearest = owner[np.argmin(((pixels[:, None] - anchors[None]) ** 2).sum(-1), axis=1)]
    counts = np.bincount(nearest, minlength=len(colours))
    return list(colours)[int(counts.argmax())] if counts.max() > 0.4 * len(pixels) else None


def read_pictures(archives: Sequence[Path], size: int) -> dict[str, Pixels]:
    """Every picture of the archives by file name; the first archive that has a character wins."""
    found: dict[str, Pixels] = {}
    seen: set[str] = set()
    for path in archives:
        with tarfile.open(path) as archive:
            members = sorted((m for m in archive if m.isfile()), key=lambda m: m.name)
            for member in tqdm(members, desc=path.name, unit="file", disable=None):
                stem = Path(member.name).stem
                character = character_of(stem) if member.name.endswith((".webp", ".png")) else None
                if character is not None and character not in seen:
                    seen.add(character)
                    found[stem] = shrink(_open(archive, member), size)
    return found


def _open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Image.Image:
    """The picture in one regular file of an archive."""
    file = archive.extractfile(member)
    if file is None:
        raise TrainingError(f"{member.name} is not a file.")
    try:
        picture = Image.open(io.BytesIO(file.read()))
        picture.load()
    except (OSError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{member.name} is not a picture: {error}.") from error
    return picture


def read_words(
    run: Run, archives: Sequence[Path], stems: Sequence[str], wordnet: WordNet
) -> dict[str, dict[str, Words]]:
    """Words by locale and file name, of the pictures that have a name in every locale and are wanted."""
    spoken = {name: words.cldr(archives, locale.annotations, name) for name, locale in run.locales.items()}
    characters = {stem: character_of(stem) or "" for stem in stems}
    first = next(iter(run.locales))
    kept = [
        stem
        for stem, character in characters.items()
        if all(character in table for table in spoken.values()) and wanted(spoken[first][character].name, run)
    ]
    if not kept:
        raise TrainingError("No picture has a name in every locale of the run.")
    places = words.load_places()
    result = {}
    for name, locale in run.locales.items():
        table = {stem: spoken[name][characters[stem]] for stem in kept}
        table = words.with_everyday(table, language.load(locale.language).names)
        if locale.language == "en":
            said = {s.short[0] for s in table.values()}
            table = words.with_synonyms(table, {word: wordnet.synonyms(word) for word in said})
        result[name] = words.with_places(table, places, name)
    return result


def wanted(name: str, run: Run) -> bool:
    """Whether the run does not leave the thing of this name out."""
    return not any(re.search(pattern, name) for pattern in run.data.leave_out)


def build(run: Run, picture_archives: Sequence[Path], word_archives: Sequence[Path], wordnet: WordNet) -> Library:
    """Things with a name in every locale of the run, in the order of their file names."""
    found = read_pictures(picture_archives, run.data.size)
    spoken = read_words(run, word_archives, list(found), wordnet)
    people = {person.id: person for person in run.people}
    rows: dict[str, int] = {}
    things: dict[str, Thing] = {}
    for stem in spoken[next(iter(spoken))]:
        person = people.get(stem)
        pictures = _rows(variants(person.pictures, run.tones, found), rows) if person else _rows([stem], rows)
        bodies = _rows(variants(person.bodies, run.tones, found), rows) if person and person.bodies else pictures
        colour = None if person else colour_of(found[stem], run.colours)
        things[stem] = Thing(stem, {loc: table[stem] for loc, table in spoken.items()}, pictures, bodies, colour)
    missing = sorted(set(people) - set(things))
    if missing:
        raise TrainingError(f"The person {missing[0]} has no picture or is left out.")
    known = {word for thing in things.values() for said in thing.words.values() for word in said.all}
    strangers = wordnet.nouns({part for word in known for part in word.split()})
    chosen = np.random.default_rng(run.seed).permutation(len(strangers))[: run.data.strangers]
    return Library(
        np.stack([found[stem] for stem in rows]), tuple(rows), things, tuple(strangers[i] for i in sorted(chosen))
    )


def variants(stems: Sequence[str], tones: Sequence[str], found: Mapping[str, Pixels]) -> list[str]:
    """Every stem in every skin tone, each there exactly once, so that all are drawn equally often."""
    made = [with_tone(stem, tone) for stem in stems for tone in tones] if tones else list(stems)
    missing = [stem for stem in made if stem not in found]
    if missing:
        raise TrainingError(f"The pictures have no {missing[0]}, which the run's people name.")
    return made


def _rows(stems: Sequence[str], rows: dict[str, int]) -> tuple[int, ...]:
    """The rows of these pictures, given out as they are first asked for."""
    return tuple(rows.setdefault(stem, len(rows)) for stem in stems)


def save(library: Library, folder: Path) -> None:
    """Write ``things.npy`` and ``things.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "things.npy", library.pictures, allow_pickle=False)
    packed: dict[str, Any] = {
        "stems": library.stems,
        "strangers": library.strangers,
        "things": [
            {
                "id": thing.id,
                "pictures": thing.pictures,
                "bodies": thing.bodies,
                "colour": thing.colour,
                "words": words.to_json(thing.words),
            }
            for thing in library.things.values()
        ],
    }
    (folder / "things.json").write_text(json.dumps(packed, ensure_ascii=False, indent=1) + "\n", "utf-8")


def load(folder: Path) -> Library:
    """Read what ``save`` wrote. Raises `TrainingError`."""
    try:
        pictures = np.load(folder / "things.npy", allow_pickle=False)
        packed = json.loads((folder / "things.json").read_text("utf-8"))
        things = {
            t["id"]: Thing(t["id"], words.from_json(t["words"]), tuple(t["pictures"]), tuple(t["bodies"]), t["colour"])
            for t in packed["things"]
        }
        return Library(pictures, tuple(packed["stems"]), things, tuple(packed["strangers"]))
    except FileNotFoundError as error:
        raise TrainingError(f"There is no data in {folder}: run 'python -m training data RUN' first.") from error
    except (EOFError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"The data in {folder} is damaged: {error}.") from error
