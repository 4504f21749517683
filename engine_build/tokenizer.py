"""The tokenizer: one `tokenizer.json` and the special ids, whatever form the folder has it in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from appliance.errors import BadInput
from appliance.pipeline.manifest import Tokenizer
from engine_build.source import Source, read_json

FILE = "tokenizer/tokenizer.json"


def sequence_length(source: Source) -> int:
    """Tokens in a prompt (77 for CLIP): the tokenizer's limit, within the text encoder's positions."""
    positions = source.configs["text_encoder"].get("max_position_embeddings", 77)
    path = source.folder / "tokenizer" / "tokenizer_config.json"
    limit = read_json(path).get("model_max_length") if path.is_file() else None
    return int(positions if not isinstance(limit, int) else min(limit, positions))


def write_tokenizer(source: Source, bundle: Path) -> Tokenizer:
    """Write `tokenizer/tokenizer.json` into the bundle; → its part of the manifest."""
    folder, target = source.folder / "tokenizer", bundle / FILE
    target.parent.mkdir(parents=True)
    if (folder / "tokenizer.json").is_file():
        shutil.copyfile(folder / "tokenizer.json", target)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        _convert(folder, target)
    else:
        raise BadInput("tokenizer holds neither tokenizer.json nor vocab.json and merges.txt: save it again.")
    return _describe(source, target)


def _convert(folder: Path, target: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer: Any = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    tokenizer.backend_tokenizer.save(str(target))


def _describe(source: Source, path: Path) -> Tokenizer:
    from tokenizers import Tokenizer as Fast

    try:
        fast = Fast.from_file(str(path))
    except Exception:  # the Rust side raises bare Exception
        raise BadInput("tokenizer/tokenizer.json is not a tokenizer: save it again.") from None
    vocabulary = fast.get_vocab_size(with_added_tokens=True)
    if vocabulary > source.configs["text_encoder"]["vocab_size"]:
        raise BadInput(
            f"The tokenizer knows {vocabulary} tokens and the text encoder "
            f"{source.configs['text_encoder']['vocab_size']}: save the two that were trained together."
        )
    names = _special_tokens(source.folder / "tokenizer")
    ids = {}
    for key in ("bos_token", "eos_token", "pad_token"):
        name = names.get(key)
        found = fast.token_to_id(name) if name is not None else None
        if found is None:
            raise BadInput(f"The tokenizer has no {key}: save it with bos_token, eos_token and pad_token.")
        ids[f"{key}_id"] = found
    return Tokenizer(file=FILE, max_length=sequence_length(source), **ids)


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
