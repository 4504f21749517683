"""A trained run as a diffusers folder, in the very form of the large models, with ``ensueno.json`` beside it.

Averaged weights, safetensors only. ``engine_build`` reads the folder and never this package.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from training import autoencoder, diffusion, networks, tokenizer
from training.corpus import captions, data
from training.diffusion import Load
from training.errors import TrainingError
from training.run import Run


def write(run: Run, folder: Path, out: Path, load: Load = diffusion.trained) -> None:
    """Write the folder beside ``out`` and move it into place whole; an existing one is never touched."""
    if out.exists():
        raise TrainingError(f"{out} exists already: name a folder that does not.")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        pipeline, steps = assemble(run, folder, load)
        pipeline.save_pretrained(partial, safe_serialization=True)
        card = json.dumps(describe(run, pipeline, steps), ensure_ascii=False, indent=2)
        (partial / "ensueno.json").write_text(card + "\n", "utf-8")
        for path in partial.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors makes files that only their maker can read
        os.rename(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def assemble(run: Run, folder: Path, load: Load) -> tuple[Any, int]:
    """A diffusers pipeline of the run's averaged weights, and how many steps its UNet was trained."""
    device = torch.device("cpu")
    words = tokenizer.load(folder / "tokenizer")
    module, steps = load(run, words, folder)
    dataset = data.load(run, folder / "data")
    factor = autoencoder.scaling_factor(run, dataset, folder, device)
    vae = networks.autoencoder(run, scaling_factor=factor)
    vae.load_state_dict(autoencoder.load(run, folder, device).state_dict())
    pipeline = StableDiffusionPipeline(  # type: ignore[no-untyped-call]
        tokenizer=words,
        text_encoder=module["text_encoder"],
        unet=module["unet"],
        vae=vae,
        scheduler=networks.scheduler(run),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return pipeline, steps


def describe(run: Run, pipeline: Any, steps: int) -> dict[str, Any]:
    """What ``ensueno.json`` says: what the box needs to know and a diffusers folder does not hold."""
    parts = ("text_encoder", "unet", "vae")
    return {
        "name": run.name,
        "version": run.version,
        "licence": run.licence,
        "default_steps": run.sample.steps,
        "default_guidance": run.sample.guidance,
        "sizes": [[run.data.size, run.data.size]],
        "locales": list(run.locales),
        "locale_prompts": {locale: captions.tell(speech, "{}") for locale, speech in run.locales.items()},
        "examples": {locale: list(speech.examples) for locale, speech in run.locales.items()},
        "trained_steps": steps,
        "parameters": {part: networks.parameter_count(getattr(pipeline, part)) for part in parts},
        "sources": [
            {"package": f"{s.npm}@{s.version}", "licence": s.licence, "author": s.author} for s in data.load_sources()
        ],
    }
