"""The few-step variant: what it learns from, and that it is another model with the same words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training import diffusion, distill, export, stages, tokenizer
from training.corpus.data import Dataset
from training.errors import TrainingError
from training.run import Run

CPU = torch.device("cpu")


def test_the_schedule_goes_from_noise_to_the_picture(run: Run) -> None:
    sigmas = distill.sigmas(run)
    assert len(sigmas) == run.distill.steps + 1
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_a_trajectory_is_the_teachers_own_walk_with_guidance(run: Run, trained: Path, dataset: Dataset) -> None:
    stage = distill.DistillStage(run, dataset, trained, CPU)
    states, hidden = stage.trajectories(*stage.batch(3))
    count = run.stages["distill"].batch // run.distill.steps
    assert states.shape[:2] == (run.distill.steps + 1, count)
    assert hidden.shape == (count, run.tokenizer.length, run.text.width)
    again, _ = stage.trajectories(*stage.batch(3))
    assert torch.equal(states, again)
    assert not torch.equal(states, stage.trajectories(*stage.batch(4))[0])


def test_a_student_that_walks_as_the_teacher_does_has_no_loss(
    run: Run, trained: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = distill.DistillStage(run, dataset, trained, CPU)
    states, _ = stage.trajectories(*stage.batch(0))
    gaps = stage.sigmas.diff().view(-1, 1, 1, 1, 1)
    right = (states.diff(dim=0) / gaps).flatten(0, 1)
    monkeypatch.setattr(diffusion, "predict", _only_student(diffusion.predict, stage.module, right))
    assert float(stage.loss(*stage.batch(0))) < 1e-10


def _only_student(predict: Callable[..., Tensor], student: nn.Module, answer: Tensor) -> Callable[..., Tensor]:
    def answered(unet: nn.Module, latents: Tensor, sigma: Tensor, hidden: Tensor) -> Tensor:
        return answer if unet is student else predict(unet, latents, sigma, hidden)

    return answered


def test_only_the_unet_learns(run: Run, trained: Path) -> None:
    assert stages.train(run, "distill", trained, "cpu")
    words = tokenizer.load(trained / "tokenizer")
    teacher, _ = diffusion.trained(run, words, trained)
    student, steps = distill.trained(run, words, trained)
    assert steps == run.stages["distill"].steps
    same = {name: torch.equal(tensor, student.state_dict()[name]) for name, tensor in teacher.state_dict().items()}
    assert all(alike for name, alike in same.items() if name.startswith("text_encoder."))
    assert not all(alike for name, alike in same.items() if name.startswith("unet."))


def test_the_variant_is_exported_under_its_own_name_with_its_own_steps(run: Run, trained: Path, tmp_path: Path) -> None:
    stages.train(run, "distill", trained, "cpu")
    few = distill.variant(run)
    export.write(few, trained, tmp_path / "few", distill.trained)
    card = json.loads((tmp_path / "few" / "ensueno.json").read_text("utf-8"))
    assert (card["name"], card["default_steps"], card["default_guidance"]) == ("tiny-few", run.distill.steps, 1.0)


def test_without_a_distilled_model_the_sentence_says_so(run: Run, trained: Path) -> None:
    words = tokenizer.load(trained / "tokenizer")
    with pytest.raises(TrainingError, match=r"distill\.safetensors"):
        distill.trained(run, words, trained)
