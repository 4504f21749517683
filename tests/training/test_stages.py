"""Training stops and goes on as if it had never stopped, and what it makes is a diffusers folder."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from training import autoencoder, checkpoint, diffusion, export, loop, stages
from training.corpus import data
from training.corpus.data import Dataset
from training.errors import TrainingError
from training.loop import Budget, Trainer
from training.run import Run, parse_run

CPU = torch.device("cpu")


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(run: Run, trained: Path) -> None:
    folder = trained
    whole = load_file(folder / "diffusion.safetensors")
    for name in ("diffusion", "decoder"):
        (folder / f"{name}.safetensors").unlink()
    stages.train(run, "diffusion", folder, "cpu", stop_after=2)
    assert checkpoint.load_average(folder / "diffusion.safetensors")[0].step == 2
    stages.train(run, "diffusion", folder, "cpu")
    resumed = load_file(folder / "diffusion.safetensors")
    assert whole.keys() == resumed.keys()
    assert {name.split("/")[0] for name in whole} == {"weights", "average", "first", "second", "count"}
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_stop_signal_leaves_a_checkpoint(run: Run, dataset: Dataset, tmp_path: Path) -> None:
    class Stopping(autoencoder.AutoencoderStage):
        def batch(self, step: int) -> tuple[torch.Tensor, ...]:
            if step == 1:
                signal.raise_signal(signal.SIGTERM)  # to this very thread: it is here at once
            return super().batch(step)

    trainer = Trainer(run, Stopping(run, dataset, tmp_path, CPU), tmp_path, CPU, Budget())
    assert not trainer.train()
    assert checkpoint.load_average(tmp_path / "autoencoder.safetensors")[0].step == 2
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_next_batch_is_the_same_for_whoever_asks(run: Run, trained: Path, dataset: Dataset) -> None:
    one, two = (diffusion.DiffusionStage(run, dataset, trained, CPU) for _ in range(2))
    for step in (0, 5, 4):
        for left, right in zip(one.batch(step), two.batch(step), strict=True):
            assert torch.equal(left, right)
    assert not torch.equal(one.batch(0)[0], one.batch(1)[0])


def test_a_picture_is_moved_by_a_few_pixels_and_perhaps_mirrored() -> None:
    columns = torch.arange(16, dtype=torch.uint8).view(1, 1, 16, 1).expand(40, 16, 16, 3)
    made = autoencoder.moved(columns, 2, np.random.default_rng(1))
    found = {tuple(row.tolist()) for row in made[:, 0, :, 0]}
    straight = {tuple(min(15, max(0, x + shift)) for x in range(16)) for shift in range(-2, 3)}
    assert found == straight | {row[::-1] for row in straight}


def test_a_shelf_gives_the_rows_that_it_is_asked_for() -> None:
    array = np.arange(12, dtype=np.int16).reshape(6, 2)
    assert loop.shelf(array, CPU)(np.array([4, 0])).tolist() == [[8, 9], [0, 1]]


def test_every_picture_is_seen_once_before_any_is_seen_twice(run: Run) -> None:
    seen = np.concatenate([loop.batch_indices(run, "diffusion", step, 4, 10) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))


def test_the_rate_warms_up_and_falls_to_zero(run: Run) -> None:
    settings = run.stages["diffusion"]
    rates = [loop.rate_at(settings, step, step / settings.steps) for step in range(settings.steps + 1)]
    assert rates[0] < rates[1]
    assert rates[-1] == 0.0
    assert loop.rate_at(settings, 3, 1.5) == 0.0


def test_a_time_budget_ends_the_stage(run: Run, dataset: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(
        run, autoencoder.AutoencoderStage(run, dataset, tmp_path, CPU), tmp_path, CPU, Budget(minutes=1e-6)
    )
    assert trainer.train()
    assert trainer.step == 1


def test_a_checkpoint_of_other_settings_is_refused(trained: Path, table: dict[str, Any]) -> None:
    table["seed"] = 8
    with pytest.raises(TrainingError, match="other settings"):
        stages.train(parse_run(table), "autoencoder", trained, "cpu")
    assert stages.train(parse_run(table), "autoencoder", trained, "cpu", restart=True)


def test_a_damaged_checkpoint_is_named(run: Run, folder: Path) -> None:
    (folder / "autoencoder.safetensors").write_bytes(b"not safetensors at all")
    with pytest.raises(TrainingError, match="cannot be read"):
        stages.train(run, "autoencoder", folder, "cpu")


def test_a_half_written_checkpoint_leaves_the_last_whole_one(run: Run, folder: Path) -> None:
    stages.train(run, "autoencoder", folder, "cpu", stop_after=2)
    (folder / "autoencoder.partial").write_bytes(b"killed while writing")
    assert stages.train(run, "autoencoder", folder, "cpu")


def test_a_loss_that_is_no_number_stops_with_a_sentence(run: Run, dataset: Dataset, tmp_path: Path) -> None:
    class Broken(autoencoder.AutoencoderStage):
        def loss(self, *batch: torch.Tensor) -> torch.Tensor:
            return super().loss(*batch) * float("nan")

    with pytest.raises(TrainingError, match="not a number"):
        Trainer(run, Broken(run, dataset, tmp_path, CPU), tmp_path, CPU, Budget()).train()
    assert not (tmp_path / "autoencoder.safetensors").exists()


def test_training_lowers_the_loss(run: Run, dataset: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(run, autoencoder.AutoencoderStage(run, dataset, tmp_path, CPU), tmp_path, CPU, Budget())
    batch = trainer.stage.batch(0)
    before = trainer.stage.loss(*batch).item()
    trainer.train()
    assert trainer.stage.loss(*batch).item() < before


def test_the_export_is_a_diffusers_folder_that_draws_what_the_run_draws(
    run: Run, trained: Path, dataset: Dataset, tmp_path: Path
) -> None:
    folder = trained
    out = tmp_path / "out"
    export.write(run, folder, out)
    index = json.loads((out / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    card = json.loads((out / "ensueno.json").read_text("utf-8"))
    assert card["sizes"] == [[32, 32]]
    assert card["locales"] == list(run.locales)
    assert card["locale_prompts"]["en-GB"] == "en-gb: {}"
    assert card["examples"] == {"en": ["a red apple"], "en-GB": ["a football"], "es": ["una manzana"], "es-419": []}
    assert len(card["sources"]) == len(data.load_sources())
    assert card["trained_steps"] == 4
    assert not list(out.rglob("*.bin"))
    assert {path.stat().st_mode & 0o777 for path in out.rglob("*") if path.is_file()} == {0o644}
    assert not list(out.rglob("*.pt"))
    words = CLIPTokenizer.from_pretrained(out / "tokenizer")
    text = CLIPTextModel.from_pretrained(out / "text_encoder")
    unet = UNet2DConditionModel.from_pretrained(out / "unet")  # type: ignore[no-untyped-call]
    vae = AutoencoderTiny.from_pretrained(out / "vae")  # type: ignore[no-untyped-call]
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(out / "scheduler")  # type: ignore[no-untyped-call]
    sampler = diffusion.Sampler(run, dataset, folder, CPU)
    wanted = sampler.draw(["en-us: a red apple"], seed=3, steps=3, guidance=2.0)

    ids = words(
        ["", "en-us: a red apple"], padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    ).input_ids
    latents = torch.randn((1, 4, 4, 4), generator=torch.Generator().manual_seed(3))
    scheduler.set_timesteps(3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for t in scheduler.timesteps:
            away, towards = unet(torch.cat([latents] * 2), t.expand(2), text(ids)[0]).sample.float().chunk(2)
            latents = scheduler.step(away + 2.0 * (towards - away), t, latents).prev_sample
    with torch.no_grad():
        made = vae.decode(latents / vae.config.scaling_factor).sample
    assert np.abs(autoencoder.to_pixels(made).astype(int) - wanted.astype(int)).max() <= 2


def test_an_export_never_overwrites(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(TrainingError, match="exists already"):
        export.write(run, folder, tmp_path / "out")


def test_an_export_that_fails_leaves_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="train"):
        export.write(run, folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_the_refined_decoder_leaves_the_latents_alone(run: Run, trained: Path, dataset: Dataset) -> None:
    plain, refined = (autoencoder.load(run, trained, CPU, refined=wish) for wish in (False, True))
    one, two = (autoencoder.encode(net, dataset.pictures, CPU) for net in (plain, refined))
    assert torch.equal(one, two)
    with torch.no_grad():
        assert not torch.equal(plain.decoder(one), refined.decoder(two))  # type: ignore[operator]


def test_a_contact_sheet_is_drawn(run: Run, trained: Path, tmp_path: Path) -> None:
    stages.draw(run, trained, "cpu", tmp_path / "sheet.png", count=2)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_latents_are_kept_while_encoder_and_pictures_stay(run: Run, trained: Path, dataset: Dataset) -> None:
    def kept() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in trained.glob("latents-*")}

    before = kept()
    assert len(before) == 1
    one = autoencoder.latents(run, dataset, trained, CPU)
    assert one.dtype == np.float16
    assert len(one) == len(dataset.pictures)
    assert kept() == before
    fewer = replace(dataset, pictures=dataset.pictures[:9])
    assert len(autoencoder.latents(run, fewer, trained, CPU)) == 9
    assert len(kept()) == 1, "those of other pictures are gone"
    assert np.array_equal(autoencoder.latents(run, dataset, trained, CPU), one)


def test_another_encoder_of_as_many_steps_has_its_own_latents(run: Run, trained: Path, dataset: Dataset) -> None:
    before = autoencoder.latents(run, dataset, trained, CPU)
    faster = replace(run, stages={**run.stages, "autoencoder": replace(run.stages["autoencoder"], rate=0.1)})
    assert stages.train(faster, "autoencoder", trained, "cpu", restart=True)
    assert not np.array_equal(autoencoder.latents(run, dataset, trained, CPU), before)


def test_the_tokenizer_is_learned_once(run: Run, trained: Path, dataset: Dataset) -> None:
    path = trained / "tokenizer" / "tokenizer.json"
    before = path.stat().st_mtime_ns
    words = diffusion.make_tokenizer(run, replace(dataset, scenes=[]), trained)
    assert path.stat().st_mtime_ns == before
    assert words.get_vocab() == diffusion.make_tokenizer(run, dataset, trained).get_vocab()
