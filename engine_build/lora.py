"""LoRA files merged into a model's weights at export: W + scale * alpha / rank * up @ down.

Hu et al. 2021, arXiv:2106.09685, section 4.1.

Tools spell one and the same module in different ways. All spellings come down to its name with "_" for ".", which is
looked up among the model's own modules, so nothing here has to know an architecture but for the older block numbers.

    peft, diffusers   unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight
    older diffusers   unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight
    kohya             lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight
    kohya, SDXL       lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import BadInput
from engine_build.tensor_file import read_header, read_metadata

# How a key ends → what it is, the module's name being what stands before
ENDS = {
    r"\.lora_A(\.\w+)?\.weight": "down",
    r"\.lora_B(\.\w+)?\.weight": "up",
    r"[._]lora(_linear_layer)?[._]down\.weight": "down",
    r"[._]lora(_linear_layer)?[._]up\.weight": "up",
    r"\.alpha": "alpha",
}
# How a key begins → the component; what matches none is taken for a UNet that was saved alone
BEGINS = {
    r"lora_unet_|unet\.": "unet",
    r"lora_te2_|text_encoder_2\.": "text_encoder_2",
    r"lora_te1?_|text_encoder\.": "text_encoder",
}
SHOWN = 3  # keys named in the sentence about those that did not fit


@dataclass(frozen=True, slots=True)
class Layer:
    """One module's part of the file: the keys of its tensors (`alpha` may be absent)."""

    component: str
    name: str
    down: str | None = None
    up: str | None = None
    alpha: str | None = None


@dataclass(frozen=True, slots=True)
class Lora:
    """A file looked at, not yet loaded. `strange` are keys of no known kind; `alphas` come from peft's metadata."""

    path: Path
    scale: float
    layers: tuple[Layer, ...]
    strange: tuple[str, ...]
    alphas: dict[str, float]


def read_lora(text: str) -> Lora:
    """FILE or FILE:SCALE, header checked. Raises `BadInput`."""
    path, scale = _path_and_scale(text)
    if not math.isfinite(scale):
        raise BadInput(f"A LoRA's scale must be a finite number, not {scale}: write {path.name}:0.8 or the like.")
    if not path.is_file():
        raise BadInput(f"There is no file {path}: name a LoRA in safetensors.")
    if path.suffix != ".safetensors":
        raise BadInput(f"{path.name} may run code when it is opened, so only safetensors are taken: convert it first.")
    found: dict[tuple[str, str], dict[str, str]] = {}
    strange = []
    for key in read_header(path):
        place = _place(key)
        if place is None:
            strange.append(key)
        else:
            component, name, part = place
            found.setdefault((component, name), {})[part] = key
    layers = tuple(Layer(component, name, **parts) for (component, name), parts in found.items())
    if not layers:
        raise BadInput(f"{path.name} holds no LoRA that this version knows (lora_A/lora_B or lora_down/lora_up).")
    return Lora(path, scale, layers, tuple(strange), _alphas(read_metadata(path)))


def merge(lora: Lora, model: Any, component: str) -> frozenset[Layer]:
    """Add the file's part for this component to the model's weights, in place; → the layers that fitted."""
    from safetensors import safe_open

    mine = [layer for layer in lora.layers if layer.component == component and layer.up and layer.down]
    if not mine:
        return frozenset()
    modules = _modules(model)
    with safe_open(str(lora.path), framework="pt") as file:
        return frozenset(layer for layer in mine if _merge(lora, layer, modules.get(layer.name), file.get_tensor))


def check_fit(lora: Lora, merged: Sequence[Layer], say: Callable[[str], None]) -> None:
    """Say in one sentence what was left out. Raises `BadInput` when nothing fitted."""
    left = [layer.down or layer.up or layer.alpha or layer.name for layer in lora.layers if layer not in merged]
    left += lora.strange
    if not merged:
        raise BadInput(f"{lora.path.name} fits no layer of this model ({left[0][:120]} ...): was it made for another?")
    if left:
        more = " ..." if len(left) > SHOWN else ""
        say(f"{lora.path.name}: {len(merged)} layers merged; {len(left)} did not fit: {', '.join(left[:SHOWN])}{more}")
    else:
        say(f"{lora.path.name}: {len(merged)} layers merged at scale {lora.scale:g}")


def _path_and_scale(text: str) -> tuple[Path, float]:
    """A colon belongs to the path where no number follows."""
    path, colon, scale = text.rpartition(":")
    if not colon or Path(text).is_file():
        return Path(text), 1.0
    try:
        return Path(path), float(scale)
    except ValueError:
        return Path(text), 1.0


def _place(key: str) -> tuple[str, str, str] | None:
    """(component, module name with "_" for ".", part) of a key, or None where its end is unknown."""
    matches = ((re.fullmatch(rf"(.+?){end}", key), part) for end, part in ENDS.items())
    match, part = next(((match, part) for match, part in matches if match), (None, ""))
    if match is None:
        return None
    name = match[1].removeprefix("base_model.model.")
    component = "unet"
    for begin, kind in BEGINS.items():
        found = re.match(begin, name)
        if found:
            component, name = kind, name[found.end() :]
            break
    flat = name.replace(".processor.", ".").replace(".", "_")
    return component, flat.removeprefix("base_model_model_").removeprefix("text_model_"), part


def _alphas(metadata: dict[str, str]) -> dict[str, float]:
    """Component → alpha, where peft's settings are kept in the file (diffusers 0.34 and later)."""
    try:
        settings = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        pairs = ((name, settings.get(f"{name}.lora_alpha")) for name in ("unet", "text_encoder", "text_encoder_2"))
        return {name: float(alpha) for name, alpha in pairs if alpha is not None}
    except (ValueError, TypeError, AttributeError):
        return {}


def _modules(model: Any) -> dict[str, Any]:
    """The model's modules that have weights, by every name they go by, "_" for "."."""
    found = {}
    older = dict(_block_numbers(model))
    for name, module in model.named_modules():
        if getattr(module, "weight", None) is not None and module.weight.ndim in (2, 4):
            for alias in {name, name.removesuffix(".0"), _numbered(name, older)}:
                found[alias.removeprefix("text_model.").replace(".", "_")] = module
    return found


def _numbered(name: str, older: dict[str, str]) -> str:
    """The name in the numbering of the first Stable Diffusion code."""
    for ours, theirs in older.items():
        if name.startswith(f"{ours}."):
            rest = name.removeprefix(f"{ours}.")
            return f"{theirs}.{_RESNET.get(rest, rest)}" if "resnets" in ours else f"{theirs}.{rest}"
    return name


_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def _block_numbers(model: Any) -> Iterator[tuple[str, str]]:
    """diffusers' name of each part of a UNet → `input_blocks.4.1` and the like; nothing for other models."""
    downs, ups = getattr(model, "down_blocks", ()), getattr(model, "up_blocks", ())
    number = 1
    for index, block in enumerate(downs):
        for layer in range(len(block.resnets)):
            yield f"down_blocks.{index}.resnets.{layer}", f"input_blocks.{number}.0"
            yield f"down_blocks.{index}.attentions.{layer}", f"input_blocks.{number}.1"
            number += 1
        yield f"down_blocks.{index}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
        number += block.downsamplers is not None
    for theirs, part in enumerate(("resnets.0", "attentions.0", "resnets.1")):
        yield f"mid_block.{part}", f"middle_block.{theirs}"
    number = 0
    for index, block in enumerate(ups):
        for layer in range(len(block.resnets)):
            yield f"up_blocks.{index}.resnets.{layer}", f"output_blocks.{number}.0"
            yield f"up_blocks.{index}.attentions.{layer}", f"output_blocks.{number}.1"
            number += 1
        sampler = 2 if hasattr(block, "attentions") else 1
        yield f"up_blocks.{index}.upsamplers.0", f"output_blocks.{number - 1}.{sampler}"


def _merge(lora: Lora, layer: Layer, module: Any, tensor: Callable[[str], Any]) -> bool:
    """Whether the layer's shapes fitted the module's weight, which then holds it."""
    if module is None or layer.down is None or layer.up is None:
        return False
    down, up = tensor(layer.down).float(), tensor(layer.up).float()
    rank, weight = len(down), module.weight
    alpha = float(tensor(layer.alpha)) if layer.alpha else lora.alphas.get(layer.component, float(rank))
    flat_down, flat_up = down.flatten(1), up.flatten(1)
    fits = rank > 0 and (flat_up.shape, flat_down.shape) == ((len(weight), rank), (rank, weight[0].numel()))
    if fits:
        weight.data += lora.scale * alpha / rank * (flat_up @ flat_down).reshape(weight.shape)
    return fits
