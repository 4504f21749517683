"""Muon for matrices and convolutions, AdamW for all the rest, as one optimizer.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) makes each weight's momentum orthogonal before it
is applied, by five Newton-Schulz steps; scaled as Liu et al. 2025 (arXiv:2502.16982) do, so that AdamW's rate
fits both. On these small networks it costs a few hundredths of a step and halves the steps that are needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose iteration drives singular values towards 1


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearly the nearest orthogonal matrix to float ``[m, n]``: singular values between about 0.7 and 1.2."""
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.T if tall else x).float()
    return result


class Muon(torch.optim.Optimizer):
    """Groups with ``orthogonal`` true take Muon's step, the others AdamW's; decoupled weight decay for both.

    State by parameter: ``first`` (momentum) and, for AdamW, ``second`` and ``count``.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], rate: float, decay: float) -> None:
        super().__init__(groups, {"lr": rate, "decay": decay, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Apply the gradients that are there."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["decay"])
                if group["orthogonal"]:
                    self._orthogonal_step(parameter, group["lr"])
                else:
                    self._adam_step(parameter, group["lr"])

    def _orthogonal_step(self, parameter: Tensor, rate: float, momentum: float = 0.95) -> None:
        state = self.state[parameter]
        if not state:
            state["first"] = torch.zeros_like(parameter)
        first: Tensor = state["first"]
        first.lerp_(parameter.grad, 1 - momentum)  # type: ignore[arg-type]
        ahead = torch.lerp(parameter.grad, first, momentum)  # type: ignore[arg-type]
        flat = ahead.flatten(1)
        parameter.sub_(orthogonal(flat).view_as(ahead), alpha=rate * 0.2 * max(flat.shape) ** 0.5)

    def _adam_step(self, parameter: Tensor, rate: float, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        state, gradient = self.state[parameter], parameter.grad
        if not state:
            state["first"], state["second"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["count"] = torch.zeros((), dtype=torch.float32)
        state["count"] += 1
        count = float(state["count"])
        first: Tensor = state["first"].lerp_(gradient, 1 - betas[0])
        second: Tensor = state["second"].lerp_(gradient.square(), 1 - betas[1])  # type: ignore[union-attr]
        scale = (second / (1 - betas[1] ** count)).sqrt_().add_(1e-8)
        parameter.addcdiv_(first, scale, value=-rate / (1 - betas[0] ** count))


def make(module: nn.Module, rate: float, decay: float) -> Muon:
    """Hidden matrices and convolutions to Muon; embeddings, biases, norms and thin layers to AdamW."""
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in module.parameters():
        hidden = parameter.ndim >= 2 and id(parameter) not in embeddings and min(parameter.flatten(1).shape) > 16
        (matrices if hidden else others).append(parameter)
    groups = [{"params": matrices, "orthogonal": True}, {"params": others, "decay": 0.0}]
    return Muon([group for group in groups if group["params"]], rate, decay)
