"""`source/` of a bundle: what its diffusers folder holds beside weights and tokenizers, which the bundle has already.

`links.json` says where those lie. The bundle itself holds no link, so that it survives a zip, a Windows checkout and a
copy of any kind; whoever needs the diffusers folder writes it again, weights as links.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance.errors import BadInput
from engine_build.bundle_folder import built_beside
from engine_build.components import Network
from engine_build.source import LINKS, PREPROCESSOR, WEIGHTS, Source, read_json


def write_source(source: Source, bundle: Path, networks: tuple[Network, ...]) -> None:
    """Write it into the bundle, whose networks and tokenizers are there."""
    folder = bundle / "source"
    links: dict[str, str] = {}
    for network in {network.folder: network for network in networks}.values():
        (folder / network.folder).mkdir(parents=True)
        _write_json(folder / network.folder / "config.json", source.configs[network.folder])
        links[f"{network.folder}/{WEIGHTS[network.folder]}.safetensors"] = network.weights
    if source.feature_extractor is not None:
        (folder / PREPROCESSOR).parent.mkdir()
        _write_json(folder / PREPROCESSOR, source.feature_extractor)
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler" / "scheduler_config.json", source.scheduler)
    _write_json(folder / "model_index.json", _index(source))
    card = source.card.model_dump(exclude_defaults=True)
    if card:
        _write_json(folder / "ensueno.json", card)
    for path in sorted(bundle.glob("tokenizer*/tokenizer.json")):
        name = str(path.relative_to(bundle))
        links[name] = name
        _write_tokenizer_config(source.folder / path.parent.name, folder / path.parent.name)
    _write_json(folder / LINKS, links)


def diffusers_folder(bundle: Path, out: Path) -> Path:
    """Write the diffusers folder of a bundle as the new folder `out`: its configs, and links to its weights and
    tokenizers; → `out`. Raises `BadInput`."""
    if not (bundle / "source" / LINKS).is_file():
        raise BadInput(f"{bundle} has no source/{LINKS}: name a bundle that `python -m engine_build export` wrote.")
    links = read_json(bundle / "source" / LINKS)
    if out.exists():
        raise BadInput(f"{out} exists: name a folder that does not.")
    with built_beside(out) as folder:
        shutil.copytree(bundle / "source", folder, ignore=shutil.ignore_patterns(LINKS), dirs_exist_ok=True)
        _link(folder, bundle, links)
    return out


def _link(folder: Path, bundle: Path, links: dict[str, Any]) -> None:
    """Put the bundle's weights and tokenizers where `links` says. Raises `BadInput`."""
    root = bundle.resolve()
    for name, where in links.items():
        target = (root / str(where)).resolve()
        if Path(name).is_absolute() or ".." in Path(name).parts or not target.is_relative_to(root):
            raise BadInput(f"source/{LINKS} leads out of the bundle ({name[:60]}): export it again.")
        if not target.is_file():
            raise BadInput(
                f"{bundle.name} has no {str(where)[:60]}, which source/{LINKS} names: copy the bundle again."
            )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)


@contextmanager
def as_diffusers(bundle: Path) -> Iterator[Path]:
    """The diffusers folder of a bundle, for a while. Raises `BadInput`."""
    with tempfile.TemporaryDirectory() as place:
        yield diffusers_folder(bundle, Path(place) / bundle.name)


def _write_tokenizer_config(theirs: Path, ours: Path) -> None:
    ours.mkdir()
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (theirs / name).is_file():
            _write_json(ours / name, read_json(theirs / name))


def _index(source: Source) -> dict[str, Any]:
    """model_index.json with the networks that were left out marked absent."""
    kept = {*source.classes, "tokenizer", "tokenizer_2", "scheduler"}
    if source.feature_extractor is not None:
        kept.add("feature_extractor")
    return {
        key: value if key in kept or not isinstance(value, list) else [None, None]
        for key, value in source.index.items()
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    """Without `_name_or_path`, which names a folder of the machine that trained."""
    value = {key: item for key, item in value.items() if key != "_name_or_path"}
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
