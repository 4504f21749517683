"""The tokenizer: one `tokenizer.json` and the special ids, whatever form the folder has it in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from appliance.errors import BadInput
from appliance.pipeline.manifest import Tokenizer
from engine_build.source import Source, read_json

ENCODERS = {"tokenizer": "text_encoder", "tokenizer_2": "text_encoder_2"}
JSON = "tokenizer.json"
SHORTEST = 3  # a beginning, a word, an end


def tokenizer_of(encoder: str) -> str:
    """The tokenizer whose ids this text encoder reads."""
    return {reader: name for name, reader in ENCODERS.items()}[encoder]


def sequence_length(source: Source, encoder: str) -> int:
    """Tokens in a prompt (77 for CLIP): the tokenizer's limit, within the text encoder's positions."""
    positions = source.configs[encoder].get("max_position_embeddings", 77)
    path = source.folder / tokenizer_of(encoder) / "tokenizer_config.json"
    limit = read_json(path).get("model_max_length") if path.is_file() else None
    length = int(positions if not isinstance(limit, int) else min(limit, positions))
    if length < SHORTEST:
        name = tokenizer_of(encoder)
        raise BadInput(f"The {name} cuts prompts off after {length} tokens: save it with its own model_max_length.")
    return length


def write_tokenizers(source: Source, bundle: Path) -> dict[str, Tokenizer]:
    """Write each text encoder's tokenizer into the bundle; → the manifest's parts by their names."""
    return {name: _write(source, bundle, name) for name, encoder in ENCODERS.items() if encoder in source.classes}


def _write(source: Source, bundle: Path, name: str) -> Tokenizer:
    folder, target = source.folder / name, bundle / name / JSON
    target.parent.mkdir(parents=True)
    if (folder / JSON).is_file():
        shutil.copyfile(folder / JSON, target)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        _convert(folder, target)
    else:
        raise BadInput(f"{name} holds neither {JSON} nor vocab.json and merges.txt: save it again.")
    return _describe(source, target, name)


def _convert(folder: Path, target: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer: Any = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    tokenizer.backend_tokenizer.save(str(target))


def _describe(source: Source, path: Path, name: str) -> Tokenizer:
    from tokenizers import Tokenizer as Fast

    try:
        fast = Fast.from_file(str(path))
    except Exception:  # the Rust side raises bare Exception
        raise BadInput(f"{name}/{JSON} is not a tokenizer: save it again.") from None
    vocabulary, encoder = fast.get_vocab_size(with_added_tokens=True), ENCODERS[name]
    if vocabulary > source.configs[encoder]["vocab_size"]:
        raise BadInput(
            f"The {name} knows {vocabulary} tokens and the {encoder} "
            f"{source.configs[encoder]['vocab_size']}: save the two that were trained together."
        )
    names = _special_tokens(source.folder / name)
    ids = {}
    for key in ("bos_token", "eos_token", "pad_token"):
        token = names.get(key)
        found = fast.token_to_id(token) if token is not None else None
        if found is None:
            raise BadInput(f"The {name} has no {key}: save it with bos_token, eos_token and pad_token.")
        ids[f"{key}_id"] = found
    return Tokenizer(file=f"{name}/{JSON}", max_length=sequence_length(source, encoder), **ids)


def _special_tokens(folder: Path) -> dict[str, str]:
    """bos, eos and pad as text; padding falls back on eos, as in CLIP."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            for key, value in read_json(folder / name).items():
                text = _text(value)
                if text is not None:
                    found[key] = text
    found.setdefault("bos_token", "<|startoftext|>")
    found.setdefault("eos_token", "<|endoftext|>")
    found.setdefault("pad_token", found["eos_token"])
    return found


def _text(value: Any) -> str | None:
    """A token is a string or an object with its `content`."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None
