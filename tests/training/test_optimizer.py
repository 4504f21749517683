"""Muon's step is orthogonal, and the rest takes AdamW's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training import optimizer


@pytest.mark.parametrize("shape", [(24, 24), (20, 180), (180, 20)])
def test_momentum_is_made_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(optimizer.orthogonal(matrix))
    assert values.min() > 0.3
    assert values.max() < 1.4


def test_matrices_of_one_shape_take_the_steps_that_each_would_take_alone() -> None:
    def step(matrices: list[nn.Parameter]) -> None:
        groups = [{"params": matrices, "orthogonal": True}]
        for number, matrix in enumerate(matrices):
            matrix.grad = torch.cos(torch.arange(24.0 * 30).view(24, 30) * (len(matrix) + number))
        optimizer.Muon(groups, 1e-2, 0.1).step()

    together, apart = ([nn.Parameter(torch.ones(24, 30) * i) for i in range(3)] for _ in range(2))
    step(together)
    for number, matrix in enumerate(apart):
        groups = [{"params": [matrix], "orthogonal": True}]
        matrix.grad = torch.cos(torch.arange(24.0 * 30).view(24, 30) * (24 + number))
        optimizer.Muon(groups, 1e-2, 0.1).step()
    for one, other in zip(together, apart, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_zero_momentum_moves_nothing() -> None:
    assert torch.equal(optimizer.orthogonal(torch.zeros(8, 8)), torch.zeros(8, 8))


def test_matrices_go_to_muon_and_all_else_to_adamw() -> None:
    module = nn.ModuleDict(
        {
            "word": nn.Embedding(40, 32),
            "wide": nn.Conv2d(32, 32, 3),
            "thin": nn.Conv2d(32, 4, 3),
            "norm": nn.LayerNorm(9),
        }
    )
    by_kind = {g["orthogonal"]: g["params"] for g in optimizer.make(module, 1e-3, 0.1).param_groups}
    names = {id(p): n for n, p in module.named_parameters()}
    assert [names[id(p)] for p in by_kind[True]] == ["wide.weight"]
    assert len(by_kind[False]) == len(names) - 1


def test_the_rest_takes_the_steps_that_torch_takes() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 9)) for _ in range(2))
    mine = optimizer.Muon([{"params": [ours]}], 1e-2, 0.1)
    reference = torch.optim.AdamW([theirs], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    for step in range(5):
        for parameter in (ours, theirs):
            parameter.grad = torch.sin(torch.arange(9.0) + step) * (step + 1)
        mine.step()
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_parameter_without_a_gradient_stays() -> None:
    module = nn.Linear(32, 32)
    before = module.weight.detach().clone()
    optimizer.make(module, 1.0, 0.5).step()
    assert torch.equal(module.weight, before)
