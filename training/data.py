"""The data of a run: packages fetched by npm, pictures packed in one array, words in one json file.

``pictures.npy`` is uint8 ``[N, size, size, 3]`` (sRGB over white), ``captions.json`` its words in the same order.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from training import captions
from training.captions import Entry, Words
from training.errors import TrainingError
from training.run import PACKAGE, ColourSettings, Run, read_toml

Pixels = npt.NDArray[np.uint8]
_STEM = re.compile(r"[0-9a-f]{2,6}(-[0-9a-f]{2,6})*")
_VARIATION_SELECTOR = "\ufe0f"


@dataclass(frozen=True)
class Source:
    """One row of ``sources.toml``."""

    use: str
    npm: str
    version: str
    integrity: str
    licence: str
    author: str
    url: str

    @property
    def filename(self) -> str:
        """The name under which ``npm pack`` writes the package."""
        return f"{self.npm.lstrip('@').replace('/', '-')}-{self.version}.tgz"


@dataclass(frozen=True)
class Dataset:
    """Pictures and their words, in the same order."""

    pictures: Pixels  # [N, size, size, 3]
    entries: list[Entry]


def load_sources(path: Path = PACKAGE / "sources.toml") -> list[Source]:
    """The table of packages that the data is made of."""
    try:
        return [Source(**row) for row in read_toml(path)["source"]]
    except (KeyError, TypeError) as error:
        raise TrainingError(f"{path} is not a table of sources: {error}.") from error


def check_integrity(path: Path, integrity: str) -> None:
    """Refuse a package whose sha512 is not the one written in the table (Subresource Integrity form)."""
    digest = "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode("ascii")
    if digest != integrity:
        raise TrainingError(f"{path} is not the package that sources.toml names: its {digest[:24]}… differs.")


def fetch(source: Source, folder: Path) -> Path:
    """The package's archive in ``folder``, fetched by npm when it is not there, its integrity checked."""
    path = folder / source.filename
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"{source.npm}@{source.version}"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise TrainingError("npm is needed to fetch the training data and is not installed.") from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["npm gave no reason"])[-1]
            raise TrainingError(f"npm could not fetch {source.npm}@{source.version}: {reason}.") from error
    check_integrity(path, source.integrity)
    return path


def _annotation_tables(archives: Sequence[Path], locale: str) -> Iterator[Mapping[str, Any]]:
    """One locale's annotation table of each CLDR archive; an archive without the locale gives none."""
    for path in archives:
        with tarfile.open(path) as archive:
            for kind in ("annotations", "annotationsDerived"):
                try:
                    member = archive.extractfile(f"package/{kind}/{locale}/annotations.json")
                except KeyError:
                    continue
                if member is not None:
                    yield json.load(member)[kind]["annotations"]


def read_words(archives: Sequence[Path], run: Run) -> dict[str, dict[str, Words]]:
    """Words by locale and character."""
    words: dict[str, dict[str, Words]] = {}
    for locale, speech in run.locales.items():
        tables = [t for name in speech.annotations for t in _annotation_tables(archives, name)]
        if not tables:
            raise TrainingError(f"The CLDR packages have no annotations for the locale {locale!r}.")
        words[locale] = captions.merge_annotations(tables)
    return words


def character_of(stem: str) -> str | None:
    """The character sequence, without variation selectors, that a file name such as ``2764-fe0f-200d-1f525`` means."""
    if not _STEM.fullmatch(stem):
        return None
    return "".join(chr(int(part, 16)) for part in stem.split("-")).replace(_VARIATION_SELECTOR, "")


def _wanted(name: str, run: Run) -> bool:
    return not any(re.search(pattern, name) for pattern in run.data.leave_out)


def over_white(picture: Image.Image, size: int) -> tuple[Pixels, Pixels]:
    """The picture over white at ``size`` x ``size``: RGB ``[size, size, 3]`` and its alpha ``[size, size]``.

    It is composited before it is made smaller, so that colours of transparent pixels do not bleed in.
    """
    rgba = picture.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    rgb = white.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    alpha = rgba.getchannel("A").resize((size, size), Image.Resampling.BOX)
    return np.asarray(rgb, np.uint8), np.asarray(alpha, np.uint8)


def colour_of(rgb: Pixels, alpha: Pixels, colours: Sequence[ColourSettings]) -> ColourSettings | None:
    """The colour that most of the picture's own pixels (two in five at least) are nearest to, if there is one."""
    pixels = rgb[alpha > 200].astype(np.float32)
    if not len(pixels) or not colours:
        return None
    anchors = np.array([anchor for colour in colours for anchor in colour.rgb], np.float32)
    owner = np.array([i for i, colour in enumerate(colours) for _ in colour.rgb])
    nearest = owner[np.argmin(((pixels[:, None] - anchors[None]) ** 2).sum(-1), axis=1)]
    counts = np.bincount(nearest, minlength=len(colours))
    return colours[int(counts.argmax())] if counts.max() > 0.4 * len(pixels) else None


def build(run: Run, picture_archives: Sequence[Path], word_archives: Sequence[Path]) -> Dataset:
    """Pictures with a name in every locale of the run, each character once, in the order of their file names."""
    words = read_words(word_archives, run)
    first = next(iter(run.locales))
    pictures: dict[str, Pixels] = {}
    entries: list[Entry] = []
    for path in picture_archives:
        with tarfile.open(path) as archive:
            members = sorted((m for m in archive if m.isfile()), key=lambda m: m.name)
            for member in tqdm(members, desc=path.name, unit="file", disable=None):
                stem = Path(member.name).stem
                character = character_of(stem) if member.name.endswith((".webp", ".png")) else None
                if character is None or character in pictures:
                    continue
                if any(character not in table for table in words.values()):
                    continue
                if not _wanted(words[first][character].name, run):
                    continue
                rgb, alpha = over_white(_read_picture(archive, member), run.data.size)
                colour = colour_of(rgb, alpha, run.colours)
                pictures[character] = rgb
                entries.append(_entry(stem, character, words, colour))
    if not pictures:
        raise TrainingError("No picture has a name in every locale of the run.")
    return Dataset(np.stack(list(pictures.values())), entries)


def _read_picture(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Image.Image:
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


def _entry(stem: str, character: str, words: Mapping[str, Mapping[str, Words]], colour: ColourSettings | None) -> Entry:
    """The words of one picture, its colour among them."""
    spoken = {locale: table[character] for locale, table in words.items()}
    if colour is not None:
        spoken = {loc: replace(w, colours=colour.words.get(loc, ())) for loc, w in spoken.items()}
    return Entry(stem, spoken)


def save(dataset: Dataset, run: Run, sources: Sequence[Source], folder: Path) -> None:
    """Write ``pictures.npy`` and ``captions.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "pictures.npy", dataset.pictures, allow_pickle=False)
    packed = {
        "size": run.data.size,
        "locales": list(run.locales),
        "sources": [{"package": f"{s.npm}@{s.version}", "licence": s.licence} for s in sources],
        "pictures": captions.to_json(dataset.entries),
    }
    (folder / "captions.json").write_text(json.dumps(packed, ensure_ascii=False, indent=1) + "\n", "utf-8")


def load(run: Run, folder: Path) -> Dataset:
    """Read what ``save`` wrote, and refuse data of another size or of other locales."""
    try:
        pictures = np.load(folder / "pictures.npy", allow_pickle=False)
        packed = json.loads((folder / "captions.json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(f"There is no data in {folder}: run 'python -m training data {run.name}' first.") from error
    except ValueError as error:
        raise TrainingError(f"The data in {folder} is damaged: {error}.") from error
    if packed["size"] != run.data.size or packed["locales"] != list(run.locales):
        raise TrainingError(f"The data in {folder} was made for another size or other locales: make it again.")
    return Dataset(pictures, captions.from_json(packed["pictures"]))


def make(run: Run, folder: Path, downloads: Path) -> Dataset:
    """Fetch, build and save."""
    sources = load_sources()
    archives = {source: fetch(source, downloads) for source in sources}
    dataset = build(
        run,
        [path for source, path in archives.items() if source.use == "pictures"],
        [path for source, path in archives.items() if source.use == "words"],
    )
    save(dataset, run, sources, folder)
    return dataset
