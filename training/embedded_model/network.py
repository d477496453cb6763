"""The network: a decoder of Llama's shape, which llama.cpp runs without anything of ours.

RMS norms, rotary positions on neighbouring pairs (ggml's NORM), grouped queries, SwiGLU, embeddings tied to the output.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor, nn

_MAX_POSITIONS: Final = 2_048
_QUERIES: Final = 128  # positions whose attention is computed at a time: what lies after them is never computed


@dataclass(frozen=True)
class Shape:
    """Sizes of a network."""

    vocabulary: int = 4_096
    width: int = 320
    layers: int = 6
    heads: int = 5
    kv_heads: int = 1
    inner: int = 832
    rope_base: float = 10_000.0
    epsilon: float = 1e-5

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.width // self.heads


class _Norm(nn.Module):
    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self._epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self._epsilon) * self.weight


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return what the last positions of *k* see: causal attention, query heads grouped over the key heads.

    Written out, because torch's fused attention is three times slower on a CPU when it learns.
    """
    n, heads, last, head = q.shape
    groups, positions = heads // k.shape[1], k.shape[2]
    scores = q.reshape(n, -1, groups * last, head) @ k.transpose(-1, -2)
    order = torch.arange(positions, device=q.device)
    is_later = order > order[positions - last :, None]
    scores = scores.view(n, -1, groups, last, positions).float() * head**-0.5
    weights = scores.masked_fill(is_later, -math.inf).softmax(-1).to(v.dtype)
    return (weights.view(n, -1, groups * last, positions) @ v).view(n, heads, last, head)


class Block(nn.Module):
    """One layer: attention, then the inner network, each added to what came in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape
        queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
        self.attention_norm = _Norm(shape.width, shape.epsilon)
        self.inner_norm = _Norm(shape.width, shape.epsilon)
        self.qkv = nn.Linear(shape.width, queries + 2 * keys, bias=False)
        self.out = nn.Linear(queries, shape.width, bias=False)
        self.gate_up = nn.Linear(shape.width, 2 * shape.inner, bias=False)
        self.down = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return (batch, positions, width)."""
        x = x + self.out(self._attended(self.attention_norm(x), cos, sin))
        gate, up = self.gate_up(self.inner_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def _attended(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        shape, (n, positions, _) = self._shape, x.shape
        widths = [shape.heads * shape.head, shape.kv_heads * shape.head, shape.kv_heads * shape.head]
        q, k, v = (part.view(n, positions, -1, shape.head).transpose(1, 2) for part in self.qkv(x).split(widths, -1))
        q, k = _rotated(q, cos, sin).to(v.dtype), _rotated(k, cos, sin).to(v.dtype)
        parts = [
            _attention(q[:, :, start : start + _QUERIES], k[:, :, : start + _QUERIES], v[:, :, : start + _QUERIES])
            for start in range(0, positions, _QUERIES)
        ]
        return torch.cat(parts, 2).transpose(1, 2).reshape(n, positions, -1)


class Network(nn.Module):
    """Token ids to logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = _Norm(shape.width, shape.epsilon)
        for name, parameter in self.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, 0, 0.02 if "embedding" in name else 0.6 * parameter.shape[1] ** -0.5)
        frequencies = shape.rope_base ** (-torch.arange(0, shape.head, 2).float() / shape.head)
        angles = torch.outer(torch.arange(_MAX_POSITIONS).float(), frequencies)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def trunk(self, ids: Tensor, compiled: Sequence[Callable[..., Tensor]] | None = None) -> Tensor:
        """Return (batch, positions, width), normed, before the output; *compiled* stands for the blocks."""
        x = self.embedding(ids)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for block in compiled or self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits of (batch, positions, vocabulary)."""
        return F.linear(self.trunk(ids), self.embedding.weight)
