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
    """Nearly the nearest orthogonal matrix to each float ``[…, m, n]``: singular values between about 0.7 and 1.2."""
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).float()
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
            # equals go together, in few calls: a card is done with one small matrix before it is told of the next
            alike: dict[Any, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    key = _flat(parameter) if group["orthogonal"] else self._count(parameter)
                    alike.setdefault(key, []).append(parameter)
            for key, parameters in alike.items():
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["decay"])
                if group["orthogonal"]:
                    self._orthogonal_step(parameters, group["lr"])
                else:
                    self._adam_step(parameters, key, group["lr"])

    def _moments(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]

    def _count(self, parameter: Tensor) -> float:
        """The number of this step of the parameter, from 1."""
        count = self.state[parameter].setdefault("count", torch.zeros((), dtype=torch.float32))
        count += 1
        return float(count)

    def _orthogonal_step(self, parameters: list[Tensor], rate: float, momentum: float = 0.95) -> None:
        """One step of matrices of one shape."""
        gradients, first = _gradients(parameters), self._moments("first", parameters)
        torch._foreach_lerp_(first, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, first, momentum)
        flat = torch.stack([tensor.flatten(1) for tensor in ahead])
        steps = orthogonal(flat) * (rate * 0.2 * max(_flat(parameters[0])) ** 0.5)
        torch._foreach_sub_(parameters, [made.view(p.shape) for made, p in zip(steps, parameters, strict=True)])

    def _adam_step(
        self, parameters: list[Tensor], count: float, rate: float, betas: tuple[float, float] = (0.9, 0.99)
    ) -> None:
        """The step of this number of all of them."""
        gradients = _gradients(parameters)
        first, second = (self._moments(name, parameters) for name in ("first", "second"))
        torch._foreach_lerp_(first, gradients, 1 - betas[0])
        torch._foreach_lerp_(second, torch._foreach_mul(gradients, gradients), 1 - betas[1])
        scale = torch._foreach_div(second, 1 - betas[1] ** count)
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, 1e-8)
        torch._foreach_addcdiv_(parameters, first, scale, value=-rate / (1 - betas[0] ** count))


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _flat(parameter: Tensor) -> tuple[int, int]:
    """Rows and columns of a weight as a matrix."""
    return len(parameter), parameter.numel() // len(parameter)


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
