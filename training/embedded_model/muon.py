"""Muon: momentum whose matrices are made orthogonal before each step (Jordan and others, 2024), for the inner matrices.

Matrices that are stacked for speed (q, k and v; gate and up) are made orthogonal apart. Everything else is AdamW's.
"""

from typing import Final

import torch
from torch import Tensor

from training.embedded_model.network import Network

_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5
_DECAY: Final = 0.05


def _orthogonal(gradients: Tensor) -> Tensor:
    """Return matrices near the orthogonal ones nearest to those given, by a quintic Newton-Schulz iteration."""
    a, b, c = _COEFFICIENTS
    x = gradients.bfloat16()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if is_tall else x).float()


class Muon:
    """The optimiser of a network's matrices, with its momentum as state."""

    def __init__(self, network: Network) -> None:
        named = network.named_parameters()
        self.matrices = {name: p for name, p in named if p.ndim == 2 and "embedding" not in name}
        self.momentum = {name: torch.zeros_like(p) for name, p in self.matrices.items()}
        shape = network.shape
        self._qkv = [shape.heads * shape.head, shape.kv_heads * shape.head, shape.kv_heads * shape.head]

    @torch.no_grad()
    def step(self, rate: float, momentum: float) -> None:
        """Move every matrix by its gradient and momentum; matrices of one shape at once."""
        groups: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for name, parameter in self.matrices.items():
            if parameter.grad is None:
                continue
            kept = self.momentum[name].lerp_(parameter.grad, 1 - momentum)
            update = parameter.grad.lerp(kept, momentum)
            for part, change in zip(self._parts(name, parameter.data), self._parts(name, update), strict=True):
                groups.setdefault(tuple(change.shape), []).append((part, change))
        for size, members in groups.items():
            changes = _orthogonal(torch.stack([change for _, change in members]))
            scale = rate * max(1.0, size[0] / size[1]) ** 0.5
            for (part, _), change in zip(members, changes, strict=True):
                part.mul_(1 - rate * _DECAY).add_(change, alpha=-scale)

    def _parts(self, name: str, tensor: Tensor) -> tuple[Tensor, ...]:
        if "qkv" in name:
            return tuple(tensor.split(self._qkv, 0))
        return tuple(tensor.chunk(2, 0)) if "gate_up" in name else (tensor,)
