"""`scripts/check-full-size`: export and draw at a model's true size, with random weights; time, memory and disk.

It proves that nothing grows past what a machine has, not that pictures are good. The architectures are those of
runwayml/stable-diffusion-v1-5 (Rombach et al. 2022, arXiv:2112.10752) and stabilityai/stable-diffusion-xl-base-1.0
(Podell et al. 2023, arXiv:2307.01952).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from appliance.device import sensors
from appliance.errors import BadInput, EnsuenoError

GIB = 1 << 30
LENGTH = 77
TRAINED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "projection_dim": 1280, "hidden_act": "gelu",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """A published architecture; `unet_bytes` is its UNet in float32, `disk` what folder and bundle take in float16."""

    pipeline: str
    unet: dict[str, Any]
    vae: dict[str, Any]
    texts: tuple[dict[str, Any], ...]
    unet_bytes: int
    disk: int

    @property
    def memory(self) -> int:
        """Bytes that must be available: ONNX Runtime was measured at 2.8 times the float32 UNet, and some to spare."""
        return int(3.3 * self.unet_bytes)


MODELS = {
    "sd15": Model(
        "StableDiffusionPipeline",
        {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        VAE | {"sample_size": 512, "scaling_factor": 0.18215},
        (CLIP_L,),
        4 * 859_520_964,
        6 * GIB,
    ),
    "sdxl": Model(
        "StableDiffusionXLPipeline",
        {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": [1, 2, 10],
            "attention_head_dim": [5, 10, 20],
            "use_linear_projection": True,
            "cross_attention_dim": 2048,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
        (CLIP_L, CLIP_G),
        4 * 2_567_463_684,
        16 * GIB,
    ),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What one process took; on a busy machine its CPU time says more than the clock."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_gib: float


def main(arguments: Sequence[str] | None = None) -> int:
    """→ exit status: 2 where the machine is too small, with a sentence."""
    parser = argparse.ArgumentParser(prog="scripts/check-full-size", description=__doc__.partition("\n")[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="where the gigabytes go")
    parser.add_argument("--precision", choices=("f32", "f16"), default="f32")
    parser.add_argument("--out", type=Path, default=Path("full-size"), help="writes OUT-<model>.json and .md")
    parser.add_argument("--make-folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.make_folder is not None:
            make_folder(MODELS[options.model], options.make_folder)
        else:
            _check(options)
    except EnsuenoError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


def check_machine(name: str, model: Model, work: Path, root: Path = Path("/")) -> None:
    """Raises `BadInput` where memory or disk would not do."""
    have = available(root)
    if have < model.memory:
        raise BadInput(
            f"{name} needs about {model.memory / GIB:.0f} GiB of memory and {have / GIB:.1f} GiB are available: "
            "close other programs, or use a larger machine."
        )
    free = shutil.disk_usage(work).free
    if free < model.disk:
        raise BadInput(
            f"{name} needs about {model.disk / GIB:.0f} GiB under {work} and {free / GIB:.1f} GiB are free: "
            "name another folder with --work."
        )


def available(root: Path) -> int:
    """Bytes that could be taken without swapping. Raises `BadInput` where the kernel does not say."""
    found = sensors.memory(root).available
    if not found:
        raise BadInput("/proc/meminfo does not say how much memory is available: run this on Linux.")
    return found


def _check(options: argparse.Namespace) -> None:
    model = MODELS[options.model]
    check_machine(options.model, model, options.work)
    with tempfile.TemporaryDirectory(prefix="full-size-", dir=options.work) as work:
        folder, bundle = Path(work) / options.model, Path(work) / "bundle"
        itself = [sys.executable, "-m", "benchmarks.full_size", options.model, "--make-folder", str(folder)]
        export = [sys.executable, "-m", "engine_build", "export", str(folder), "--out", str(bundle)]
        draw = [sys.executable, "-m", "appliance", "generate", "a red apple", "--bundle", str(bundle)]
        picture = Path(work) / "a.png"
        stages = [
            run("random weights", itself),
            run("export", [*export, "--no-preview", "--precision", options.precision]),
            run("one picture of two steps", [*draw, "--steps", "2", "--seed", "1", "--out", str(picture)]),
        ]
        result = _result(options, stages, bundle) | {"engine": drawn_by(picture)}
    _write(options.out, options.model, result)


def run(name: str, command: list[str]) -> Stage:
    """Run to the end and measure. Raises `BadInput` when it fails; its own sentence is on standard error."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    child = os.posix_spawn(command[0], command, dict(os.environ))
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise BadInput(f"{name} failed with status {os.waitstatus_to_exitcode(status)}: see above.")
    cpu = usage.ru_utime + usage.ru_stime
    return Stage(name, round(time.monotonic() - began, 1), round(cpu, 1), round(usage.ru_maxrss * 1024 / GIB, 2))


def drawn_by(picture: Path) -> str:
    """The engine's name, as the picture tells it."""
    with Image.open(picture) as opened:
        return str(json.loads(opened.info["ensueno"])["engine"])


def _result(options: argparse.Namespace, stages: list[Stage], bundle: Path) -> dict[str, Any]:
    files = {path.name: path.stat().st_size for path in sorted(bundle.glob("onnx/*"))}
    return {
        "model": options.model,
        "precision": options.precision,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "stages": [asdict(stage) for stage in stages],
        "bundle_bytes": sum(files.values()),
        "files": files,
    }


def _write(out: Path, name: str, result: dict[str, Any]) -> None:
    stem = out.with_name(f"{out.name}-{name}")
    stem.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    stages = ([f"{value}" for value in one.values()] for one in result["stages"])
    rows = "".join(f"| {' | '.join(values)} |\n" for values in stages)
    text = (
        f"# {name} at true size, random weights\n\n{result['machine']}; bundle {result['bundle_bytes'] / GIB:.2f} GiB, "
        f"{result['precision']}, drawn by {result['engine']}\n\n"
        f"| stage | s | CPU s | peak GiB |\n|---|---|---|---|\n{rows}"
    )
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def make_folder(model: Model, folder: Path) -> None:
    """A diffusers folder of float16 safetensors, one network in memory at a time."""
    import diffusers
    import torch
    import transformers

    library: Any = diffusers
    torch.manual_seed(0)
    index: dict[str, Any] = {"_class_name": model.pipeline, "scheduler": ["diffusers", "EulerDiscreteScheduler"]}
    library.UNet2DConditionModel(**model.unet).half().save_pretrained(str(folder / "unet"))
    library.AutoencoderKL(**model.vae).half().save_pretrained(str(folder / "vae"))
    library.EulerDiscreteScheduler(**TRAINED, timestep_spacing="leading").save_pretrained(str(folder / "scheduler"))
    index |= {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    for number, config in enumerate(model.texts, 1):
        ending = "" if number == 1 else f"_{number}"
        kind = "CLIPTextModel" if number == 1 else "CLIPTextModelWithProjection"
        settings = transformers.CLIPTextConfig(**config, max_position_embeddings=LENGTH, eos_token_id=2)
        getattr(transformers, kind)(settings).half().save_pretrained(str(folder / f"text_encoder{ending}"))
        _save_tokenizer(folder / f"tokenizer{ending}")
        index |= {
            f"text_encoder{ending}": ["transformers", kind],
            f"tokenizer{ending}": ["transformers", "CLIPTokenizer"],
        }
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


def _save_tokenizer(folder: Path) -> None:
    """Letters only: CLIP's own words are not at hand, and random weights understand none."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": LENGTH}), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
