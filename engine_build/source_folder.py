"""`source/` of a bundle: the diffusers folder again, its weights links to the ones in `onnx/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine_build.components import Network
from engine_build.source import PREPROCESSOR, WEIGHTS, Source, read_json


def write_source(source: Source, bundle: Path, networks: tuple[Network, ...]) -> None:
    """Write it into the bundle: a diffusers folder whose weights are links to the ones in `onnx/`."""
    folder = bundle / "source"
    for network in {network.folder: network for network in networks}.values():
        (folder / network.folder).mkdir(parents=True)
        _write_json(folder / network.folder / "config.json", source.configs[network.folder])
        link = folder / network.folder / f"{WEIGHTS[network.folder]}.safetensors"
        link.symlink_to(Path("../..") / network.weights)
    if source.feature_extractor is not None:
        (folder / PREPROCESSOR).parent.mkdir()
        _write_json(folder / PREPROCESSOR, source.feature_extractor)
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler" / "scheduler_config.json", source.scheduler)
    _write_json(folder / "model_index.json", _index(source))
    card = source.card.model_dump(exclude_defaults=True)
    if card:
        _write_json(folder / "ensueno.json", card)
    for tokenizer in (path.parent.name for path in sorted(bundle.glob("tokenizer*/tokenizer.json"))):
        _write_tokenizer(source.folder / tokenizer, folder / tokenizer)


def _write_tokenizer(theirs: Path, ours: Path) -> None:
    ours.mkdir()
    (ours / "tokenizer.json").symlink_to(f"../../{ours.name}/tokenizer.json")
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
